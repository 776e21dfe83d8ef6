//! What was acknowledged and when, and what has arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Digits of a number that stands in an event's id or a URL: always as many, so that no
/// number is the beginning of another.
const DIGITS: usize = 8;
const EVENT: &str = "powercut-";
const CHANGE: &str = "/changed/";

/// Shared by callers, customers and the receiver. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Since the cut before.
    new_events: Vec<(u64, Instant)>,
    /// By domain: since the cut before.
    new_changes: Vec<(usize, u64, Instant)>,
    /// All that was acknowledged before a cut, and found after it.
    events: BTreeMap<u64, Instant>,
    changes: BTreeMap<(usize, u64), Instant>,
    /// Event and path.
    arrived: BTreeSet<(u64, String)>,
}

/// What counts at a cut.
#[derive(Debug)]
pub(super) struct Acknowledged {
    pub(super) events: Vec<u64>,
    pub(super) changes: usize,
}

impl Ledger {
    pub(super) fn event_stored(&self, event: u64) {
        self.lock().new_events.push((event, Instant::now()));
    }

    pub(super) fn change_made(&self, domain: usize, change: u64) {
        self.lock().new_changes.push((domain, change, Instant::now()));
    }

    pub(super) fn event_arrived(&self, event: u64, path: &str) {
        self.lock().arrived.insert((event, path.to_owned()));
    }

    /// What was acknowledged before this moment, since the last call. What came later is
    /// promised by nobody who still has power.
    pub(super) fn close(&self, at: Instant) -> Acknowledged {
        let mut state = self.lock();
        let events = std::mem::take(&mut state.new_events);
        let events: Vec<_> = events.into_iter().filter(|(_, acked)| *acked < at).collect();
        let changes = std::mem::take(&mut state.new_changes);
        let changes: Vec<_> = changes.into_iter().filter(|(.., acked)| *acked < at).collect();
        let acknowledged = Acknowledged {
            events: events.iter().map(|(event, _)| *event).collect(),
            changes: changes.len(),
        };
        state.events.extend(events);
        state.changes.extend(changes.into_iter().map(|(domain, n, acked)| ((domain, n), acked)));
        acknowledged
    }

    /// Strikes out the events that are not among these, and returns them: a loss counts once.
    pub(super) fn forget_events_but(&self, stored: &BTreeSet<u64>) -> Vec<(u64, Instant)> {
        let mut state = self.lock();
        let (kept, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut state.events).into_iter().partition(|(id, _)| stored.contains(id));
        state.events = kept;
        lost.into_iter().collect()
    }

    /// Strikes out the changes that are newer than these documents, and returns when they
    /// were acknowledged.
    pub(super) fn forget_changes_after(&self, documents: &[Vec<u8>]) -> Vec<Instant> {
        let mut newest: BTreeMap<usize, u64> = BTreeMap::new();
        for (domain, change) in documents.iter().filter_map(|document| change_in(document)) {
            let known = newest.entry(domain).or_default();
            *known = change.max(*known);
        }
        let mut state = self.lock();
        let is_kept = |(domain, change): &(usize, u64)| newest.get(domain) >= Some(change);
        let (kept, lost): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut state.changes).into_iter().partition(|(key, _)| is_kept(key));
        state.changes = kept;
        lost.into_values().collect()
    }

    /// The brokers are empty, on purpose.
    pub(super) fn forget_all(&self) {
        let mut state = self.lock();
        state.events.clear();
        state.changes.clear();
    }

    /// Which of these events a receiver has not got.
    pub(super) fn undelivered(&self, events: &[u64]) -> Vec<u64> {
        let state = self.lock();
        let has = |event: u64, path: &str| state.arrived.contains(&(event, path.to_owned()));
        let is_everywhere = |event: u64| super::receiver::PATHS.iter().all(|path| has(event, path));
        events.iter().copied().filter(|event| !is_everywhere(*event)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of an event.
pub(super) fn event_id(event: u64) -> String {
    format!("{EVENT}{event:0DIGITS$}")
}

/// The path that a change puts into the settings of a domain.
pub(super) fn change_path(domain: usize, change: u64) -> String {
    format!("{CHANGE}{domain}/{change:0DIGITS$}")
}

/// The event whose id stands in these bytes, whatever their encoding around it.
pub(super) fn event_in(bytes: &[u8]) -> Option<u64> {
    number(after(bytes, EVENT)?)
}

/// The domain and the change whose path stands in these bytes.
fn change_in(bytes: &[u8]) -> Option<(usize, u64)> {
    let rest = after(bytes, CHANGE)?;
    let slash = rest.iter().position(|byte| *byte == b'/')?;
    let domain = std::str::from_utf8(&rest[..slash]).ok()?.parse().ok()?;
    Some((domain, number(&rest[slash + 1..])?))
}

fn after<'a>(bytes: &'a [u8], marker: &str) -> Option<&'a [u8]> {
    let at = bytes.windows(marker.len()).position(|window| window == marker.as_bytes())?;
    Some(&bytes[at + marker.len()..])
}

fn number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes.get(..DIGITS)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_encoded_bytes() {
        let bytes = [b"\x0a\x11".as_slice(), event_id(42).as_bytes(), b"\x12\x07"].concat();
        assert_eq!(event_in(&bytes), Some(42));
        let url = format!("\x1ahttp://127.0.0.1:1{}\x22", change_path(2, 7));
        assert_eq!(change_in(url.as_bytes()), Some((2, 7)));
        assert_eq!(event_in(b"powercut-12"), None);
    }

    #[test]
    fn only_what_was_acknowledged_before_the_cut_counts_and_a_loss_counts_once() {
        let ledger = Ledger::default();
        ledger.event_stored(1);
        ledger.event_stored(2);
        (1..=3).for_each(|change| ledger.change_made(0, change));
        let cut = Instant::now();
        ledger.event_stored(3);
        ledger.change_made(0, 4);

        let acknowledged = ledger.close(cut);
        assert_eq!(acknowledged.events, [1, 2]);
        assert_eq!(acknowledged.changes, 3);
        let lost = ledger.forget_events_but(&[2, 3].into());
        assert_eq!(lost.iter().map(|(event, _)| *event).collect::<Vec<_>>(), [1]);
        assert!(ledger.forget_events_but(&[2].into()).is_empty());
        let document = change_path(0, 2).into_bytes();
        assert_eq!(ledger.forget_changes_after(&[document]).len(), 1);
        assert_eq!(ledger.forget_changes_after(&[]).len(), 2);
    }

    #[test]
    fn an_event_is_delivered_once_every_receiver_has_it() {
        let ledger = Ledger::default();
        ledger.event_arrived(1, super::super::receiver::PATHS[0]);
        assert_eq!(ledger.undelivered(&[1]), [1]);
        ledger.event_arrived(1, super::super::receiver::PATHS[1]);
        assert!(ledger.undelivered(&[1]).is_empty());
    }
}
