//! What stands in the way when a stream is there already.

use async_nats::jetstream::stream::Config;

/// The layout of the streams. Raised with each change of what they are configured
/// with, so that an older version that starts during an upgrade takes nothing back.
///
/// 2: retries stand on `retry.<target>.<delivery>`.
const LAYOUT: u32 = 2;
/// Where a stream says whose layout it has.
const LAYOUT_KEY: &str = "postrider-layout";

/// What to do with a stream that is there.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Judgement {
    /// Bring it to what is wanted. Limits by which it loses messages, and which
    /// somebody else has set, are named.
    Update { taken_back: Vec<&'static str> },
    /// It is a newer version's, of this layout: leave it as it is.
    Newer(u32),
}

/// Marks what we make as of our layout.
pub(super) fn mark(config: &mut Config) {
    config.metadata.insert(LAYOUT_KEY.to_owned(), LAYOUT.to_string());
}

/// Keeps what is larger there than it is wanted, and says what: each role has an
/// environment of its own, and the last one to start must not take back what another one
/// promises its callers.
pub(super) fn keep_larger(there: &Config, wanted: &mut Config) -> Vec<String> {
    let mut kept = Vec::new();
    if there.duplicate_window > wanted.duplicate_window && !wanted.duplicate_window.is_zero() {
        kept.push(format!(
            "a deduplication window of {:?}, not {:?},",
            there.duplicate_window, wanted.duplicate_window
        ));
        wanted.duplicate_window = there.duplicate_window;
    }
    if there.max_bytes > wanted.max_bytes && wanted.max_bytes > 0 {
        kept.push(format!("a limit of {} bytes, not {},", there.max_bytes, wanted.max_bytes));
        wanted.max_bytes = there.max_bytes;
    }
    kept
}

/// Looks at what is there.
///
/// # Errors
/// Says what to do where an update would take copies away, would take another's
/// stream over, or cannot be made.
pub(super) fn judge(there: &Config, wanted: &Config) -> Result<Judgement, String> {
    let name = &wanted.name;
    let layout = there.metadata.get(LAYOUT_KEY).and_then(|layout| layout.parse().ok());
    if let Some(newer) = layout.filter(|layout| *layout > LAYOUT) {
        return Ok(Judgement::Newer(newer));
    }
    let foreign = there.subjects.iter().find(|subject| !wanted.subjects.contains(subject));
    if let Some(foreign) = foreign.filter(|_| layout.is_none()) {
        return Err(format!(
            "stream {name} is not Postrider's, it takes {foreign}: give Postrider an account of \
             its own on the broker, or another POSTRIDER_REGION"
        ));
    }
    if there.retention != wanted.retention || there.storage != wanted.storage {
        return Err(format!(
            "stream {name} keeps messages in another way ({:?}, {:?}) than Postrider needs \
             ({:?}, {:?}), which cannot be changed: it has to be made anew, once it is empty",
            there.retention, there.storage, wanted.retention, wanted.storage
        ));
    }
    if there.num_replicas > wanted.num_replicas {
        return Err(format!(
            "stream {name} has {} copies, and POSTRIDER_NATS_REPLICAS is {}: set it to {} for every \
             role; copies are only taken away by hand, with `nats stream edit`",
            there.num_replicas, wanted.num_replicas, there.num_replicas
        ));
    }
    let limits = [
        ("max_age", !there.max_age.is_zero() && there.max_age != wanted.max_age),
        ("max_msgs", there.max_messages > 0 && there.max_messages != wanted.max_messages),
        ("max_bytes", there.max_bytes > 0 && wanted.max_bytes <= 0),
        ("discard", there.discard != wanted.discard),
    ];
    let taken_back = limits.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name);
    Ok(Judgement::Update { taken_back: taken_back.collect() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_nats::jetstream::stream::RetentionPolicy;

    use super::*;

    fn wanted() -> Config {
        let mut config = Config {
            name: "us_DELIVERIES_0".into(),
            subjects: vec!["us.deliveries.0.>".into()],
            retention: RetentionPolicy::WorkQueue,
            num_replicas: 3,
            ..Config::default()
        };
        mark(&mut config);
        config
    }

    #[test]
    fn copies_are_never_taken_away_by_a_setting() {
        let one = Config { num_replicas: 1, ..wanted() };
        let refusal = judge(&wanted(), &one).unwrap_err();
        assert!(refusal.contains("POSTRIDER_NATS_REPLICAS is 1: set it to 3"), "{refusal}");
        assert_eq!(judge(&one, &wanted()), Ok(Judgement::Update { taken_back: vec![] }));
    }

    #[test]
    fn windows_and_sizes_are_only_raised() {
        let window = |seconds| Config {
            duplicate_window: Duration::from_secs(seconds),
            max_bytes: 1000 * i64::try_from(seconds).unwrap(),
            ..wanted()
        };
        let (mut smaller, mut larger) = (window(600), window(7200));
        assert_eq!(keep_larger(&window(3600), &mut smaller).len(), 2);
        assert_eq!(smaller, window(3600));
        assert_eq!(keep_larger(&window(3600), &mut larger), Vec::<String>::new());
        assert_eq!(larger, window(7200));
    }

    #[test]
    fn what_a_newer_version_has_made_is_left_alone() {
        let mut newer = Config { subjects: vec!["us.other.>".into()], ..wanted() };
        newer.metadata.insert(LAYOUT_KEY.into(), "7".into());
        assert_eq!(judge(&newer, &wanted()), Ok(Judgement::Newer(7)));
    }

    #[test]
    fn a_stream_of_somebody_else_is_not_taken_over() {
        let mut theirs = Config { subjects: vec!["orders.>".into()], ..wanted() };
        theirs.metadata.clear();
        let refusal = judge(&theirs, &wanted()).unwrap_err();
        assert!(refusal.contains("orders.>"), "{refusal}");
        // One that was made before there was a mark is ours by its subjects.
        theirs.subjects = wanted().subjects;
        assert!(judge(&theirs, &wanted()).is_ok());
    }

    #[test]
    fn limits_that_lose_messages_are_named_and_another_retention_is_refused() {
        let limited = Config {
            max_age: Duration::from_secs(60),
            max_messages: 1000,
            max_bytes: 1000,
            ..wanted()
        };
        let taken_back = vec!["max_age", "max_msgs", "max_bytes"];
        assert_eq!(judge(&limited, &wanted()), Ok(Judgement::Update { taken_back }));
        let other = Config { retention: RetentionPolicy::Limits, ..wanted() };
        assert!(judge(&other, &wanted()).unwrap_err().contains("made anew"));
    }
}
