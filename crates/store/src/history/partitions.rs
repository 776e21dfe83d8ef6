//! The days of history: made ahead, given up by dropping them.
//!
//! What must always hold:
//! - a row always has a place: where nobody has made its day, the default
//!   partition takes it, and hands it over when the day is made;
//! - a day is dropped only when all of it is older than its table keeps;
//! - bodies of what was not delivered are counted as expired in the transaction
//!   that drops them.
//!
//! One process at a time does this, under a lock that ends with its transaction.
//! Each table and day is a transaction of its own: dying between two of them
//! leaves the rest to the next pass. Statements wait only briefly for tables, so
//! that inserts, which wait behind them, are not held up; what could not be had is
//! left to the next pass too.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};

use super::HistoryTable;
use crate::{Store, StoreError};

/// Held while days are made and given up. Any number that no other lock has.
const DAYS: i64 = 0x706f_7374_0000_0003;
/// Days that are made ahead. Whatever makes them may be away for a week.
const AHEAD: u64 = 7;
/// Days before today that are made, for what was on its way at midnight, or
/// stood in the broker while archive was away.
const BEHIND: u64 = 2;

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
    /// Slots of statistics that were folded into hours, or given up.
    pub slots: u64,
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
    Table { name: "undelivered", column: UNDELIVERED_COLUMN, keeps: |days| days.undelivered_days },
];
const UNDELIVERED: &str = HistoryTable::Undelivered.as_str();
const UNDELIVERED_COLUMN: &str = "ended_at";

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
}

impl Store {
    /// Makes the days that are about to come, and gives up those that no table
    /// keeps any more. `None` when another process is at it.
    ///
    /// Today is the earlier of what the caller and the database take for today:
    /// a clock that is ahead drops nothing.
    ///
    /// # Errors
    /// Those of the database. What was done before stays done.
    pub async fn keep_days(
        &self,
        retention: &Retention,
        now: DateTime<Utc>,
    ) -> Result<Option<DaysKept>, StoreError> {
        // Held by a transaction of its own for as long as this takes.
        let mut guard = self.pool.begin().await?;
        let ours = sqlx::query_scalar!("SELECT pg_try_advisory_xact_lock($1) AS \"ours!\"", DAYS)
            .fetch_one(&mut *guard)
            .await?;
        if !ours {
            return Ok(None);
        }
        let theirs = sqlx::query_scalar!("SELECT clock_timestamp() AS \"now!\"")
            .fetch_one(&mut *guard)
            .await?;
        let today = now.date_naive();
        let mut done = DaysKept::default();
        for table in TABLES {
            self.make_days(table, retention, today, &mut done).await?;
            let today = today.min(theirs.date_naive());
            self.give_up_days(table, retention, today, &mut done).await?;
        }
        let now = now.min(theirs);
        let days = Days::new(retention.statistics_days.into());
        let first = now.date_naive().checked_sub_days(days).unwrap_or(NaiveDate::MIN);
        done.slots = self.keep_statistics(now, midnight(first)).await?;
        guard.commit().await?;
        Ok(Some(done))
    }

    /// Days that are not to be dropped at once and have no partition yet: those
    /// around today, and those of which the default partition holds rows.
    async fn make_days(
        &self,
        table: Table,
        retention: &Retention,
        today: NaiveDate,
        done: &mut DaysKept,
    ) -> Result<(), StoreError> {
        let Table { name, column, .. } = table;
        let mut connection = self.pool.acquire().await?;
        let made = partitions(&mut connection, name).await?;
        let from = today.checked_sub_days(Days::new(BEHIND)).unwrap_or(today);
        let last = today.checked_add_days(Days::new(AHEAD)).unwrap_or(today);
        let mut wanted: Vec<NaiveDate> = from.iter_days().take_while(|day| *day <= last).collect();
        // Few rows are there, unless nobody has made days for long.
        let stray: Vec<NaiveDate> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT DISTINCT ({column} AT TIME ZONE 'UTC')::date FROM {name}_default \
             WHERE {column} <= $1"
        )))
        .bind(midnight(last))
        .fetch_all(&mut *connection)
        .await?;
        drop(connection);
        wanted.extend(stray);
        wanted.sort_unstable();
        wanted.dedup();
        let first = table.first_kept(retention, today);
        for day in wanted.into_iter().filter(|day| *day >= first) {
            let partition = table.partition(day);
            if !made.contains(&partition) {
                self.make_day(table, day).await?;
                done.made.push(partition);
            }
        }
        Ok(())
    }

    /// A table of its own, which takes over the rows of its day, is then attached.
    /// What is inserted into the default partition meanwhile waits for that
    /// partition's lock. It is refused then, and finds its place in the new one when
    /// it is tried again: see [`StoreError::is_about_the_data`].
    async fn make_day(&self, table: Table, day: NaiveDate) -> Result<(), StoreError> {
        let Table { name, column, .. } = table;
        let partition = table.partition(day);
        let next = day.succ_opt().unwrap_or(day);
        let (from, to) = (midnight(day).to_rfc3339(), midnight(next).to_rfc3339());
        let mut tx = self.briefly().await?;
        for statement in [
            format!("CREATE TABLE {partition} (LIKE {name} INCLUDING ALL)"),
            format!("LOCK TABLE {name}_default IN ACCESS EXCLUSIVE MODE"),
            format!(
                "WITH moved AS (DELETE FROM {name}_default \
                 WHERE {column} >= '{from}' AND {column} < '{to}' RETURNING *) \
                 INSERT INTO {partition} SELECT * FROM moved"
            ),
            format!(
                "ALTER TABLE {name} ATTACH PARTITION {partition} FOR VALUES FROM ('{from}') TO ('{to}')"
            ),
        ] {
            sqlx::query(AssertSqlSafe(statement)).execute(&mut *tx).await?;
        }
        Ok(tx.commit().await?)
    }

    async fn give_up_days(
        &self,
        table: Table,
        retention: &Retention,
        today: NaiveDate,
        done: &mut DaysKept,
    ) -> Result<(), StoreError> {
        let Table { name, column, .. } = table;
        let first = table.first_kept(retention, today);
        let mut connection = self.pool.acquire().await?;
        let made = partitions(&mut connection, name).await?;
        drop(connection);
        let old = made.into_iter().filter(|made| table.day(made).is_some_and(|day| day < first));
        for partition in old {
            let mut tx = self.briefly().await?;
            // Nobody adds a row between the count and the drop.
            sqlx::query(AssertSqlSafe(format!("LOCK TABLE {partition} IN ACCESS EXCLUSIVE MODE")))
                .execute(&mut *tx)
                .await?;
            if name == UNDELIVERED {
                done.expired += count_expired(&mut tx, &partition).await?;
            }
            sqlx::query(AssertSqlSafe(format!("DROP TABLE {partition}"))).execute(&mut *tx).await?;
            tx.commit().await?;
            done.dropped.push(partition);
        }
        // What came when its day was given up already. Where it is undelivered, it
        // expires as the others did.
        let mut tx = self.briefly().await?;
        if name == UNDELIVERED {
            let late = format!(
                "(SELECT * FROM {name}_default WHERE {column} < '{}')",
                midnight(first).to_rfc3339()
            );
            done.expired += count_expired(&mut tx, &format!("{late} AS late")).await?;
        }
        let deleted =
            sqlx::query(AssertSqlSafe(format!("DELETE FROM {name}_default WHERE {column} < $1")))
                .bind(midnight(first))
                .execute(&mut *tx)
                .await?;
        tx.commit().await?;
        done.late += deleted.rows_affected();
        Ok(())
    }

    /// A transaction that waits for no lock longer than inserts can be held up.
    /// Reads of other transactions hold it off for as long as they last.
    async fn briefly(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query!("SET LOCAL lock_timeout = '1s'").execute(&mut *tx).await?;
        Ok(tx)
    }
}

/// Counts the deliveries in a partition, or in a part of one, as expired.
async fn count_expired(tx: &mut Transaction<'_, Postgres>, rows: &str) -> Result<u64, StoreError> {
    let counts: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(format!(
        "WITH counted AS (SELECT account_id, (ended_at AT TIME ZONE 'UTC')::date AS ended_on, \
         outcome, count(*) AS deliveries FROM {rows} WHERE sent_again_at IS NULL GROUP BY 1, 2, 3), \
         kept AS (INSERT INTO expired AS e (account_id, ended_on, outcome, deliveries) \
         SELECT * FROM counted ON CONFLICT (account_id, ended_on, outcome) \
         DO UPDATE SET deliveries = e.deliveries + excluded.deliveries) \
         SELECT deliveries FROM counted"
    )))
    .fetch_all(&mut **tx)
    .await?;
    Ok(counts.into_iter().filter_map(|count| u64::try_from(count).ok()).sum())
}

/// The partitions of a table, by name.
async fn partitions(connection: &mut PgConnection, name: &str) -> Result<Vec<String>, StoreError> {
    let partitions = sqlx::query_scalar!(
        "SELECT c.relname::text AS \"name!\" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
         WHERE i.inhparent = $1::text::regclass ORDER BY c.relname",
        name
    )
    .fetch_all(connection)
    .await?;
    Ok(partitions)
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}
