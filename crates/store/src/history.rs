//! History: what was accepted, decided, tried and ended.
//!
//! Each insert takes a batch, is atomic, and can be repeated. Rows are inserted in the order of
//! their day and key, so that two replicas which insert overlapping batches wait for each other
//! rather than for ever. Rows of accounts that are erased are left out by the transaction that
//! inserts; what is erased meanwhile is gone through once more: see erasures.rs.

use std::borrow::Cow;
use std::collections::BTreeSet;

mod attempts;
mod copy;
mod ends;
mod erase;
mod events;
mod failures;
mod insert;
mod journey;
mod open;
pub(crate) mod partitions;
mod routings;
mod search;
mod statistics;
mod unread;
mod why;

pub use attempts::{AttemptRow, NamedEvent};
pub use ends::EndRow;
pub use erase::{ErasedPart, HistoryTable};
pub use events::EventRow;
pub use failures::{AttemptPlace, FailedAttempt, FailureSearch};
pub use journey::{AcceptedRow, Journey, KnownEnd, next_delivery_id};
pub use open::{OpenDecision, OpenDecisions, OpenPlace};
pub use partitions::{DaysKept, Retention};
pub use routings::{DecisionRow, RoutedRow};
pub use search::{EventPlace, EventScope, EventSearch, FoundEvent, Order, PAGE_BYTES};
pub use statistics::{
    Backlog, Counted, LONG_SLOT_SECONDS, Outcomes, SHORT_SLOT_SECONDS, SlotRow, TargetFilter,
    TargetOrder, TargetStatistics, short_slots_from, slot_start,
};
pub use unread::{UnreadMessage, UnreadRow};
pub use uuid::Uuid;
pub use why::{Addressee, Considered, WhySearch};

/// An id as history has it: 32 lower-case hex characters as 16 bytes. `None`
/// for every other text, upper-case hex included, because two texts must never
/// become one id.
pub fn id(hex: &str) -> Option<Uuid> {
    let is_ours = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    // This parser would take hyphens, braces and upper case too.
    is_ours.then(|| Uuid::try_parse(hex).ok()).flatten()
}

/// The rows in the order of their key.
fn by_key<T, K: Ord>(rows: &[T], key: impl Fn(&T) -> K) -> Vec<&T> {
    let mut rows: Vec<&T> = rows.iter().collect();
    rows.sort_by_key(|row| key(row));
    rows
}

/// Each account once: which of them are erased is looked up for a few, and not for each row.
fn distinct<'a>(accounts: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    accounts.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Text that PostgreSQL takes. It has no place for the character NUL, which a
/// receiver's answer or a caller's id may hold.
fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { text.replace('\0', "\u{fffd}").into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_to_the_letter() {
        let hex = "0123456789abcdef0123456789abcdef";
        assert_eq!(id(hex).map(|id| id.simple().to_string()).as_deref(), Some(hex));
        let hyphens = "01234567-89ab-cdef-0123-456789abcdef";
        for other in ["", "unknown", "d1", hyphens, &hex.to_uppercase(), &hex[1..]] {
            assert_eq!(id(other), None, "{other}");
        }
    }
}
