//! The days of history: made ahead, given up by dropping them.
//!
//! What must always hold:
//! - a row always has a place: where nobody has made its day, the default
//!   partition takes it, and hands it over when the day is made;
//! - a day is dropped only when all of it is older than its table keeps;
//! - bodies of what was not delivered are counted as expired in the transaction
//!   that drops them.
//!
//! One process at a time keeps days. Its lock belongs to the session in which all of
//! the work is done: when the connection is lost, the lock, the transaction under way
//! and the pass are lost together. Each step is a transaction of its own, so dying
//! between two of them leaves the rest to the next pass. A step waits only briefly for
//! tables, because inserts wait behind it; a step that fails is named and left to the next
//! pass, and the other steps go on.

pub(crate) mod before_10;
mod drop;
mod make;
mod strays;

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};

use super::{HistoryTable, unread};
use crate::{Store, StoreError};

/// Held while days are kept. Any number that no other lock has.
const DAYS: i64 = 0x706f_7374_0000_0003;
/// Days that are made ahead. Whatever makes them may be away for a week.
const AHEAD: u64 = 7;
/// Days before today that are made, for what was on its way at midnight, or
/// stood in the broker while archive was away.
const BEHIND: u64 = 2;
/// How often a step asks for a table that somebody else is using.
const TRIES: usize = 5;

/// How many whole days each table keeps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Retention {
    pub events_days: u32,
    /// What was decided of each event.
    pub routings_days: u32,
    pub attempts_days: u32,
    pub ends_days: u32,
    /// Bodies of what was not delivered.
    pub undelivered_days: u32,
    pub statistics_days: u32,
}

/// What was done about the days of all tables.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DaysKept {
    /// Partitions that were made.
    pub made: Vec<String>,
    /// Partitions that were dropped.
    pub dropped: Vec<String>,
    /// Deliveries whose body was given up.
    pub expired: u64,
    /// Rows older than their table keeps that were deleted one by one: their day
    /// had no partition any more.
    pub late: u64,
    /// Rows that waited in the default partition and were moved out of it.
    pub moved: u64,
    /// Slots of statistics that were folded into hours, or given up.
    pub slots: u64,
    /// Messages that no version has come to read for as long as they are kept.
    pub unread: u64,
    /// Whether there is more to do than one pass does.
    pub has_more: bool,
    /// What could not be done now, and why: the next pass tries it again.
    pub left: Vec<String>,
}

impl Retention {
    /// The first day that every table keeps.
    fn shortest(&self, today: NaiveDate) -> NaiveDate {
        let first = TABLES.into_iter().map(|table| table.first_kept(self, today)).max();
        first.unwrap_or(today)
    }
}

impl DaysKept {
    /// Notes a step that failed. Without the session there is no lock any more, so that
    /// its loss ends the pass.
    async fn leave(
        &mut self,
        session: &mut PgConnection,
        step: String,
        error: StoreError,
    ) -> Result<(), StoreError> {
        session.ping().await?;
        self.left.push(format!("{step}: {error}"));
        Ok(())
    }
}

/// A table of days.
#[derive(Clone, Copy)]
struct Table {
    name: &'static str,
    /// Tells the day.
    column: &'static str,
    keeps: fn(&Retention) -> u32,
}

const TABLES: [Table; 5] = [
    Table { name: "events", column: "accepted_at", keeps: |days| days.events_days },
    Table { name: "routing_decisions", column: "routed_at", keeps: |days| days.routings_days },
    Table { name: "attempts", column: "started_at", keeps: |days| days.attempts_days },
    Table { name: "ends", column: "ended_at", keeps: |days| days.ends_days },
    Table { name: UNDELIVERED, column: "ended_at", keeps: |days| days.undelivered_days },
];
const UNDELIVERED: &str = HistoryTable::Undelivered.as_str();
const DECISIONS: Table = TABLES[1];
const EVENTS: &str = HistoryTable::Events.as_str();

impl Table {
    fn partition(self, day: NaiveDate) -> String {
        format!("{}_{}", self.name, day.format("%Y%m%d"))
    }

    /// The day of a partition of this table; `None` for the default one, and for
    /// what somebody else has attached.
    fn day(self, partition: &str) -> Option<NaiveDate> {
        let day = partition.strip_prefix(self.name)?.strip_prefix('_')?;
        (day.len() == 8).then(|| NaiveDate::parse_from_str(day, "%Y%m%d").ok()).flatten()
    }

    /// The first day that is kept.
    fn first_kept(self, retention: &Retention, today: NaiveDate) -> NaiveDate {
        let days = Days::new((self.keeps)(retention).into());
        today.checked_sub_days(days).unwrap_or(NaiveDate::MIN)
    }

    /// Its days that are there.
    async fn days(self, connection: &mut PgConnection) -> Result<BTreeSet<NaiveDate>, StoreError> {
        let partitions = sqlx::query_scalar!(
            "SELECT c.relname::text AS \"name!\" FROM pg_inherits i \
             JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::text::regclass",
            self.name
        )
        .fetch_all(connection)
        .await?;
        Ok(partitions.iter().filter_map(|partition| self.day(partition)).collect())
    }
}

impl Store {
    /// Makes the days that are about to come, and gives up those that no table
    /// keeps any more. `None` when another process is at it.
    ///
    /// Today is the earlier of what the caller and the database take for today:
    /// a clock that is ahead drops nothing.
    ///
    /// # Errors
    /// When the database is lost on the way. What was done before stays done.
    pub async fn keep_days(
        &self,
        retention: &Retention,
        now: DateTime<Utc>,
    ) -> Result<Option<DaysKept>, StoreError> {
        let mut session = self.session().await?;
        let kept = keep(&mut session, retention, now).await;
        // The lock goes with the session, whether this arrives or not.
        let _ = session.close().await;
        kept
    }
}

async fn keep(
    session: &mut PgConnection,
    retention: &Retention,
    now: DateTime<Utc>,
) -> Result<Option<DaysKept>, StoreError> {
    let ours = sqlx::query_scalar!("SELECT pg_try_advisory_lock($1) AS \"ours!\"", DAYS)
        .fetch_one(&mut *session)
        .await?;
    if !ours {
        return Ok(None);
    }
    let theirs = sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"")
        .fetch_one(&mut *session)
        .await?;
    let today = now.date_naive();
    let mut done = DaysKept::default();
    for table in TABLES {
        let first = table.first_kept(retention, today);
        if let Err(error) = table.make(session, first, today, &mut done).await {
            done.leave(session, format!("making days of {}", table.name), error).await?;
        }
        let first = table.first_kept(retention, today.min(theirs.date_naive()));
        if let Err(error) = table.give_up(session, first, &mut done).await {
            done.leave(session, format!("giving up days of {}", table.name), error).await?;
        }
    }
    let moment = now.min(theirs);
    let days = Days::new(retention.statistics_days.into());
    let first = moment.date_naive().checked_sub_days(days).unwrap_or(NaiveDate::MIN);
    match super::statistics::keep(session, moment, midnight(first)).await {
        Ok(slots) => done.slots = slots,
        Err(error) => done.leave(session, "folding statistics".to_owned(), error).await?,
    }
    let first = midnight(retention.shortest(today.min(theirs.date_naive())));
    match unread::give_up(session, first).await {
        Ok(unread) => done.unread = unread,
        Err(error) => done.leave(session, "giving up unread messages".to_owned(), error).await?,
    }
    match before_10::move_on(session).await {
        Ok(is_done) => done.has_more = !is_done,
        Err(error) => done.leave(session, "moving decisions".to_owned(), error).await?,
    }
    Ok(Some(done))
}

/// A transaction that waits for no lock longer than inserts, which queue up behind it,
/// can be held up. Reads of other transactions hold it off for as long as they last.
async fn briefly(session: &mut PgConnection) -> Result<Transaction<'_, Postgres>, StoreError> {
    let mut tx = session.begin().await?;
    sqlx::query!("SET LOCAL lock_timeout = '400ms'").execute(&mut *tx).await?;
    Ok(tx)
}

async fn run(tx: &mut PgConnection, statement: String) -> Result<u64, StoreError> {
    Ok(sqlx::query(AssertSqlSafe(statement)).execute(tx).await?.rows_affected())
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}
