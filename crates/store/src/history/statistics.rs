//! Statistics: history, counted while it is inserted.
//!
//! What must always hold:
//! - a try and an end are counted in the transaction that inserts their row, and
//!   only when that row was really inserted. So what the broker hands out again
//!   is not counted again, and whoever dies, at whatever moment, leaves rows and
//!   counts that agree;
//! - rows are locked in one order, that of [`Slot`], and last of all that a
//!   transaction locks: two writers wait for each other and not for ever;
//! - what is folded or given up is so in one statement with what it becomes.
//!
//! Of each account there are slots of five minutes, which are folded into hours
//! some days later; of each target there are hours. So a batch costs as many rows
//! as it has accounts and targets, however many tries there are, and a read never
//! looks at history itself.

mod backlog;
mod fold;
mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use model::Latencies;
use sqlx::PgConnection;

use super::{AttemptRow, EndRow, Uuid, clean};
use crate::StoreError;

pub use backlog::Backlog;
pub(in crate::history) use fold::keep;
pub use fold::short_slots_from;
pub use read::{Counted, Outcomes, SlotRow, TargetFilter, TargetOrder, TargetStatistics};

/// Length of the short slots, in seconds. As in the migration.
pub const SHORT_SLOT_SECONDS: i32 = 300;
/// Length of the long slots, in seconds.
pub const LONG_SLOT_SECONDS: i32 = 3_600;
/// Stands for all targets of an account together.
const ALL_TARGETS: Uuid = Uuid::nil();

/// What is counted together, in the order in which rows are locked.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Slot<'a> {
    account_id: &'a str,
    target_id: Uuid,
    seconds: i32,
    starts_at: DateTime<Utc>,
}

impl<'a> Slot<'a> {
    /// The slots that something of this moment counts in.
    fn of(
        account_id: &'a str,
        target_id: Option<Uuid>,
        at: DateTime<Utc>,
    ) -> impl Iterator<Item = Self> {
        let slot = move |target_id, seconds| {
            let starts_at = slot_start(at, seconds);
            Self { account_id, target_id, seconds, starts_at }
        };
        // What could not be read, whomever it was for, is the account's all the same.
        let target = target_id.filter(|id| *id != ALL_TARGETS);
        [Some(slot(ALL_TARGETS, SHORT_SLOT_SECONDS))]
            .into_iter()
            .chain([target.map(|target_id| slot(target_id, LONG_SLOT_SECONDS))])
            .flatten()
    }

    fn is_of_one_target(&self) -> bool {
        self.target_id != ALL_TARGETS
    }
}

/// When the slot begins that this moment is in.
pub fn slot_start(at: DateTime<Utc>, seconds: i32) -> DateTime<Utc> {
    let seconds = i64::from(seconds.max(1));
    // Earlier than a moment that there is, by less than a day.
    DateTime::from_timestamp(at.timestamp().div_euclid(seconds) * seconds, 0).unwrap_or(at)
}

/// What is to be added to one slot.
#[derive(Debug, Default)]
struct Addition<'a> {
    counted: Counted,
    /// Of the last try: where it went, and for which level.
    last: Option<(DateTime<Utc>, &'a str, Option<&'a str>)>,
    last_taken_at: Option<DateTime<Utc>>,
    /// With why.
    last_failed: Option<(DateTime<Utc>, &'a str)>,
}

/// What a batch adds.
#[derive(Debug, Default)]
pub(super) struct Tally<'a>(BTreeMap<Slot<'a>, Addition<'a>>);

impl<'a> Tally<'a> {
    /// Counts a try whose row was inserted. One that was not charged says nothing of
    /// the receiver, and is none.
    pub(super) fn attempt(&mut self, row: &'a AttemptRow) {
        if !row.charged {
            return;
        }
        let at = row.started_at;
        let is_taken = row.reason == "ok";
        for slot in Slot::of(&row.account_id, row.target_id, at) {
            let addition = self.0.entry(slot).or_default();
            let Addition { counted, last, last_taken_at, last_failed } = addition;
            if is_taken {
                counted.taken += 1;
            } else {
                counted.failed += 1;
            }
            // Who refuses a connection is not fast, and who never answers has no time.
            // A mail that was taken has no status.
            if is_taken || row.status.is_some() {
                counted.latencies.record(row.duration_ms);
            }
            if !slot.is_of_one_target() {
                continue;
            }
            *last = (*last).max(Some((at, row.url.as_str(), row.level.as_deref())));
            if is_taken {
                *last_taken_at = (*last_taken_at).max(Some(at));
            } else {
                *last_failed = (*last_failed).max(Some((at, row.reason.as_str())));
            }
        }
    }

    /// Counts an end whose row was inserted.
    pub(super) fn end(&mut self, row: &'a EndRow) {
        let times = if chassis::mutant("statistics_count_twice") { 2 } else { 1 };
        for slot in Slot::of(&row.account_id, row.target_id, row.ended_at) {
            self.0.entry(slot).or_default().counted.outcomes.count(&row.outcome, times);
        }
    }

    /// Adds counts of a slot as they are.
    fn counted(&mut self, slot: Slot<'a>, counted: &Counted) {
        self.0.entry(slot).or_default().counted.add(counted);
    }

    /// Adds all of it. To be called last in a transaction: from here on it waits for
    /// others who have locked rows in the same order, and who wait for nothing else.
    pub(super) async fn add(self, tx: &mut PgConnection) -> Result<(), StoreError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let slots: Vec<&Slot<'_>> = self.0.keys().collect();
        let accounts: Vec<&str> = slots.iter().map(|slot| slot.account_id).collect();
        let targets: Vec<Uuid> = slots.iter().map(|slot| slot.target_id).collect();
        let seconds: Vec<i32> = slots.iter().map(|slot| slot.seconds).collect();
        let starts: Vec<DateTime<Utc>> = slots.iter().map(|slot| slot.starts_at).collect();
        let additions: Vec<&Addition<'_>> = self.0.values().collect();
        let counts = |count: &dyn Fn(&Counted) -> u64| -> Vec<i64> {
            additions.iter().map(|one| number(count(&one.counted))).collect()
        };
        let outcomes = |count: &dyn Fn(&Outcomes) -> u64| counts(&|one| count(&one.outcomes));
        let latencies: Vec<String> =
            additions.iter().map(|one| array(&one.counted.latencies)).collect();
        let urls: Vec<Option<Cow<'_, str>>> =
            additions.iter().map(|one| one.last.map(|(_, url, _)| clean(url))).collect();
        let levels: Vec<Option<&str>> =
            additions.iter().map(|one| one.last.and_then(|(.., level)| level)).collect();
        let taken_at: Vec<Option<DateTime<Utc>>> =
            additions.iter().map(|one| one.last_taken_at).collect();
        let failed_at: Vec<Option<DateTime<Utc>>> =
            additions.iter().map(|one| one.last_failed.map(|(at, _)| at)).collect();
        let reasons: Vec<Option<Cow<'_, str>>> =
            additions.iter().map(|one| one.last_failed.map(|(_, reason)| clean(reason))).collect();
        sqlx::query!(
            "INSERT INTO statistics AS s (account_id, target_id, seconds, starts_at, taken, \
             failed, delivered, rejected, exhausted, expired, suppressed, held, poisoned, \
             latencies, last_url, last_taken_at, last_failed_at, last_reason, last_level) \
             SELECT account_id, target_id, seconds, starts_at, taken, failed, delivered, \
             rejected, exhausted, expired, suppressed, held, poisoned, latencies::bigint[], \
             last_url, last_taken_at, last_failed_at, last_reason, last_level \
             FROM unnest($1::text[], $2::uuid[], $3::integer[], $4::timestamptz[], $5::bigint[], \
             $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], \
             $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], \
             $16::timestamptz[], $17::timestamptz[], $18::text[], $19::text[]) \
             AS r (account_id, target_id, seconds, starts_at, taken, failed, delivered, \
             rejected, exhausted, expired, suppressed, held, poisoned, latencies, last_url, \
             last_taken_at, last_failed_at, last_reason, last_level) \
             ON CONFLICT (account_id, target_id, seconds, starts_at) DO UPDATE SET \
             taken = s.taken + excluded.taken, failed = s.failed + excluded.failed, \
             delivered = s.delivered + excluded.delivered, \
             rejected = s.rejected + excluded.rejected, \
             exhausted = s.exhausted + excluded.exhausted, \
             expired = s.expired + excluded.expired, \
             suppressed = s.suppressed + excluded.suppressed, held = s.held + excluded.held, \
             poisoned = s.poisoned + excluded.poisoned, \
             latencies = CASE WHEN excluded.latencies = '{}' THEN s.latencies \
             WHEN s.latencies = '{}' THEN excluded.latencies \
             ELSE ARRAY(SELECT a + b FROM unnest(s.latencies, excluded.latencies) AS u (a, b)) END, \
             last_level = CASE WHEN excluded.last_url IS NULL THEN s.last_level \
             ELSE excluded.last_level END, \
             last_url = coalesce(excluded.last_url, s.last_url), \
             last_taken_at = greatest(s.last_taken_at, excluded.last_taken_at), \
             last_reason = CASE WHEN s.last_failed_at > excluded.last_failed_at \
             THEN s.last_reason ELSE coalesce(excluded.last_reason, s.last_reason) END, \
             last_failed_at = greatest(s.last_failed_at, excluded.last_failed_at)",
            &accounts as &[&str],
            &targets,
            &seconds,
            &starts,
            &counts(&|one| one.taken),
            &counts(&|one| one.failed),
            &outcomes(&|one| one.delivered),
            &outcomes(&|one| one.rejected),
            &outcomes(&|one| one.exhausted),
            &outcomes(&|one| one.expired),
            &outcomes(&|one| one.suppressed),
            &outcomes(&|one| one.held),
            &outcomes(&|one| one.poisoned),
            &latencies,
            &urls as &[Option<Cow<'_, str>>],
            &taken_at as &[Option<DateTime<Utc>>],
            &failed_at as &[Option<DateTime<Utc>>],
            &reasons as &[Option<Cow<'_, str>>],
            &levels as &[Option<&str>]
        )
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// A count as the database has it.
fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The steps as the text of an array; an empty one for nothing, which costs least.
fn array(latencies: &Latencies) -> String {
    if latencies.total() == 0 {
        return "{}".to_owned();
    }
    let counts: Vec<String> =
        latencies.counts().iter().map(|count| number(*count).to_string()).collect();
    format!("{{{}}}", counts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_begins_at_a_round_moment() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a moment");
        for (moment, seconds, start) in [
            ("2025-10-09T08:53:20.5Z", SHORT_SLOT_SECONDS, "2025-10-09T08:50:00Z"),
            ("2025-10-09T08:55:00Z", SHORT_SLOT_SECONDS, "2025-10-09T08:55:00Z"),
            ("2025-10-09T08:59:59.999Z", LONG_SLOT_SECONDS, "2025-10-09T08:00:00Z"),
            ("2025-10-09T08:59:59Z", 86_400, "2025-10-09T00:00:00Z"),
            ("1969-12-31T23:59:59Z", LONG_SLOT_SECONDS, "1969-12-31T23:00:00Z"),
        ] {
            assert_eq!(slot_start(at(moment), seconds), at(start), "{moment}");
        }
    }

    #[test]
    fn steps_are_written_as_an_array() {
        let mut latencies = Latencies::default();
        assert_eq!(array(&latencies), "{}");
        latencies.record(0);
        latencies.record(u32::MAX);
        let text = array(&latencies);
        assert!(text.starts_with("{1,0,0,") && text.ends_with(",0,1}"), "{text}");
    }
}
