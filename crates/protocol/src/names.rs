//! Names of streams, subjects, buckets and consumers.
//!
//! Each begins with the region, so that two deployments on one broker never
//! touch. Subjects carry our own ids and hashes only, never a caller's text.

/// Makes every name that one deployment uses on the broker.
#[derive(Clone, Debug)]
pub struct Names {
    region: String,
}

impl Names {
    /// For the deployment of this region. The region is 1 to 32 characters of
    /// `a-z`, `0-9` and `-`; whoever reads the configuration has checked that.
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: region.into() }
    }

    /// The region that every name begins with.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The stream of accepted events.
    pub fn events_stream(&self) -> String {
        format!("{}_EVENTS", self.region)
    }

    /// All subjects of the stream of accepted events.
    pub fn events_all(&self) -> String {
        format!("{}.events.>", self.region)
    }

    /// The subject of one accepted event.
    pub fn event(&self, family: &str, event_type: &str, account_id: &str) -> String {
        format!("{}.events.{family}.{event_type}.{account_id}", self.region)
    }

    /// The subjects of all accepted events of one account.
    pub fn events_of_account(&self, account_id: &str) -> String {
        format!("{}.events.*.*.{account_id}", self.region)
    }

    /// The stream of deliveries of shard `shard`.
    pub fn deliveries_stream(&self, shard: u32) -> String {
        format!("{}_DELIVERIES_{shard}", self.region)
    }

    /// The shard that a delivery stream of this region has in its name.
    pub fn shard_of_stream(&self, stream: &str) -> Option<u32> {
        stream.strip_prefix(&self.region)?.strip_prefix("_DELIVERIES_")?.parse().ok()
    }

    /// All subjects of one delivery stream. The last one is where retries of versions
    /// before stream layout 2 wait: they still fire.
    pub fn deliveries_all(&self, shard: u32) -> [String; 3] {
        let retry = format!("{}.deliveries.{shard}.retry", self.region);
        [self.due_all(shard), format!("{retry}.*.*"), format!("{retry}.*")]
    }

    /// The subjects of what is due now in one delivery stream.
    pub fn due_all(&self, shard: u32) -> String {
        format!("{}.deliveries.{shard}.due.*.*", self.region)
    }

    /// The subjects of what waits for its next attempt in one delivery stream.
    pub fn retry_all(&self, shard: u32) -> String {
        format!("{}.deliveries.{shard}.retry.>", self.region)
    }

    /// Where a delivery stands while it is due.
    pub fn due(&self, shard: u32, target_id: &str, delivery_id: &str) -> String {
        format!("{}.deliveries.{shard}.due.{target_id}.{delivery_id}", self.region)
    }

    /// Where what is due on this subject stands while it waits for its next moment. It
    /// stays in its stream, whatever the number of streams.
    pub fn retry_of(&self, due: &str) -> Option<String> {
        self.elsewhere(due, "retry")
    }

    /// Both places of what is due on this subject: a wildcard that its `due` and its
    /// `retry` match, and nothing else does.
    pub fn places_of(&self, due: &str) -> Option<String> {
        self.elsewhere(due, "*")
    }

    /// Where versions before stream layout 2 let a delivery wait.
    pub fn old_retry_of(&self, due: &str) -> Option<String> {
        let (shard, rest) = self.after_region(due)?.strip_prefix("deliveries.")?.split_once('.')?;
        let (_target, delivery) = rest.strip_prefix("due.")?.split_once('.')?;
        Some(format!("{}.deliveries.{shard}.retry.{delivery}", self.region))
    }

    /// The stream that a `due` subject belongs to.
    pub fn stream_of(&self, due: &str) -> Option<String> {
        let (kind, rest) = self.after_region(due)?.split_once('.')?;
        match kind {
            "deliveries" => Some(self.deliveries_stream(rest.split('.').next()?.parse().ok()?)),
            "unrouted" => Some(self.unrouted_stream()),
            _ => None,
        }
    }

    fn elsewhere(&self, due: &str, place: &str) -> Option<String> {
        let (before, after) = self.after_region(due)?.split_once(".due.")?;
        Some(format!("{}.{before}.{place}.{after}", self.region))
    }

    fn after_region<'a>(&self, subject: &'a str) -> Option<&'a str> {
        subject.strip_prefix(&self.region)?.strip_prefix('.')
    }

    /// The stream of events that cannot be routed yet.
    pub fn unrouted_stream(&self) -> String {
        format!("{}_UNROUTED", self.region)
    }

    /// All subjects of the stream of events that cannot be routed yet.
    pub fn unrouted_all(&self) -> [String; 2] {
        [self.unrouted_due_all(), format!("{}.unrouted.retry.*.*", self.region)]
    }

    /// The subjects of events whose next routing is due.
    pub fn unrouted_due_all(&self) -> String {
        format!("{}.unrouted.due.*.*", self.region)
    }

    /// Where an event stands while its next routing is due.
    pub fn unrouted_due(&self, account_id: &str, id: &str) -> String {
        format!("{}.unrouted.due.{account_id}.{id}", self.region)
    }

    /// The subjects of all events of one account that cannot be routed yet.
    pub fn unrouted_of_account(&self, account_id: &str) -> String {
        format!("{}.unrouted.*.{account_id}.*", self.region)
    }

    /// The stream of outcomes.
    pub fn outcomes_stream(&self) -> String {
        format!("{}_OUTCOMES", self.region)
    }

    /// All subjects of the stream of outcomes.
    pub fn outcomes_all(&self) -> String {
        format!("{}.outcomes.>", self.region)
    }

    /// The subject of outcomes of one kind and one account.
    pub fn outcomes(&self, kind: &str, account_id: &str) -> String {
        format!("{}.outcomes.{kind}.{account_id}", self.region)
    }

    /// The subjects of outcomes of one kind, whatever the account.
    pub fn outcomes_of_kind(&self, kind: &str) -> String {
        format!("{}.outcomes.{kind}.*", self.region)
    }

    /// The subjects of all outcomes of one account.
    pub fn outcomes_of_account(&self, account_id: &str) -> String {
        format!("{}.outcomes.*.{account_id}", self.region)
    }

    /// The KV bucket of settings documents.
    pub fn settings_bucket(&self) -> String {
        format!("{}_settings", self.region)
    }

    /// The KV bucket of targets in trouble, and of the dispatchers that are live.
    pub fn targets_bucket(&self) -> String {
        format!("{}_targets", self.region)
    }

    /// The KV bucket in which the floors of durable consumers are noted.
    pub fn floors_bucket(&self) -> String {
        format!("{}_floors", self.region)
    }

    /// A durable consumer's name, which is the same on every replica of its role.
    pub fn consumer(&self, role: &str) -> String {
        format!("{}_{role}", self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_stays_in_its_stream() {
        let names = Names::new("us");
        let due = names.due(3, "target", "delivery");
        assert_eq!(names.retry_of(&due).as_deref(), Some("us.deliveries.3.retry.target.delivery"));
        assert_eq!(names.places_of(&due).as_deref(), Some("us.deliveries.3.*.target.delivery"));
        assert_eq!(names.old_retry_of(&due).as_deref(), Some("us.deliveries.3.retry.delivery"));
        assert_eq!(names.stream_of(&due), Some(names.deliveries_stream(3)));
        assert_eq!(names.retry_of("eu.deliveries.3.due.target.delivery"), None);
        let due = names.unrouted_due("account", "7-99");
        assert_eq!(names.retry_of(&due).as_deref(), Some("us.unrouted.retry.account.7-99"));
        assert_eq!(names.stream_of(&due), Some(names.unrouted_stream()));
        assert_eq!(names.old_retry_of(&due), None);
    }
}
