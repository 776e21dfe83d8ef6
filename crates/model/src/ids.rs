//! Identities: hashes of what makes a thing itself.

use sha2::{Digest, Sha256};

use crate::EventType;

/// Identity of an event: 32 hex characters of (account, kind, the caller's id).
///
/// Two kinds that share one id, or two accounts that do, are different events.
pub fn event_key(account_id: &str, event_type: EventType, event_id: &str) -> String {
    hash("event", &[account_id, event_type.as_str(), event_id])
}

/// Identity of a domain: 32 hex characters of its lower-case name.
pub fn domain_id(name: &str) -> String {
    hash("domain", &[&name.to_ascii_lowercase()])
}

/// Identity of a target of message events: the event's account and the URL,
/// whatever the level at which the URL is wanted.
pub fn message_target_id(account_id: &str, url: &str) -> String {
    hash("message-target", &[account_id, url])
}

/// Identity of a target of alerts: the setting, wherever its URL points.
pub fn alert_target_id(setting_id: &str) -> String {
    hash("alert-target", &[setting_id])
}

/// Identity of one event on its way to one target.
///
/// An event that is accepted again, after its deduplication window, is delivered again:
/// each acceptance makes deliveries of its own. An event that has no `acceptance` was
/// stored by an older version, and keeps the id that the older version gives it.
pub fn delivery_id(event_key: &str, acceptance: &str, target_id: &str) -> String {
    if acceptance.is_empty() {
        return old_delivery_id(event_key, target_id, 0);
    }
    hash("delivery-of-acceptance", &[event_key, acceptance, target_id])
}

/// Identity of the delivery that a resend of this one makes: each resend is the next
/// generation, and a delivery of its own.
///
/// Only the delivery itself tells its acceptance, so its next id follows from its own id.
/// A delivery that has the id of an older version keeps that version's ids: what it was
/// resent as before the upgrade is found under the same id afterwards.
pub fn next_delivery_id(
    delivery_id: &str,
    event_key: &str,
    target_id: &str,
    generation: u32,
) -> Option<String> {
    let next = generation.checked_add(1)?;
    if delivery_id == old_delivery_id(event_key, target_id, generation) {
        return Some(old_delivery_id(event_key, target_id, next));
    }
    Some(hash("resend", &[delivery_id]))
}

fn old_delivery_id(event_key: &str, target_id: &str, generation: u32) -> String {
    hash("delivery", &[event_key, target_id, &generation.to_string()])
}

/// The delivery stream that a target belongs to, of `shards` streams.
pub fn shard_of(target_id: &str, shards: u32) -> u32 {
    let head = target_id.get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    head.unwrap_or(0) % shards.max(1)
}

/// 16 bytes of SHA-256 as hex. The length before each part keeps
/// ("ab", "c") and ("a", "bc") apart.
fn hash(kind: &str, parts: &[&str]) -> String {
    let mut sha = Sha256::new();
    sha.update(kind.as_bytes());
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part.as_bytes());
    }
    hex::encode(&sha.finalize()[..16])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_and_account_are_part_of_an_events_identity() {
        let job = event_key("a1", EventType::ValidationJob, "one");
        assert_ne!(job, event_key("a1", EventType::ValidationPreview, "one"));
        assert_ne!(job, event_key("a2", EventType::ValidationJob, "one"));
        assert_eq!(job, event_key("a1", EventType::ValidationJob, "one"));
        assert_eq!(job.len(), 32);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(message_target_id("ab", "c"), message_target_id("a", "bc"));
    }

    #[test]
    fn each_acceptance_has_deliveries_and_resends_of_its_own() {
        let mut seen = std::collections::BTreeSet::new();
        for acceptance in ["", "a1", "a2"] {
            let mut id = delivery_id("event", acceptance, "target");
            for generation in 0..4 {
                assert!(seen.insert(id.clone()), "{acceptance:?} {generation}");
                id = next_delivery_id(&id, "event", "target", generation).expect("an id");
            }
        }
    }

    #[test]
    fn deliveries_of_events_that_an_older_version_stored_keep_their_ids() {
        let first = delivery_id("event", "", "target");
        assert_eq!(first, hash("delivery", &["event", "target", "0"]));
        let second = next_delivery_id(&first, "event", "target", 0).expect("an id");
        assert_eq!(second, hash("delivery", &["event", "target", "1"]));
        let third = next_delivery_id(&second, "event", "target", 1).expect("an id");
        assert_eq!(third, hash("delivery", &["event", "target", "2"]));
    }

    #[test]
    fn domains_compare_without_case() {
        assert_eq!(domain_id("Mail.Example"), domain_id("mail.example"));
    }

    #[test]
    fn every_target_has_a_shard() {
        let shards: std::collections::BTreeSet<u32> =
            (0..64).map(|n| shard_of(&message_target_id("a", &n.to_string()), 4)).collect();
        assert_eq!(shards, (0..4).collect());
        assert_eq!(shard_of("", 1), 0);
    }
}
