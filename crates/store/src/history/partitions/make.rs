//! Days come: those around today, and those of rows that are about to be written.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, Utc};
use sqlx::PgConnection;

use super::{AHEAD, BEHIND, DaysKept, Retention, TABLES, TRIES, Table, briefly, midnight, run};
use crate::error::is_lock_timeout;
use crate::history::HistoryTable;
use crate::{Store, StoreError};

/// Held by a transaction that makes a day. Any number that no other lock has.
const MAKING: i64 = 0x706f_7374_0000_0004;

impl Store {
    /// Makes those of these days that are kept and not there, so that rows of them do not
    /// go to the default partition. Says which of them are there now: a day of which the
    /// default partition has rows already, or which is not kept, is left out.
    ///
    /// # Errors
    /// Those of the database, and that somebody else holds a table. Days that were made stay.
    pub async fn make_days(
        &self,
        table: HistoryTable,
        days: &BTreeSet<NaiveDate>,
        retention: &Retention,
        now: DateTime<Utc>,
    ) -> Result<BTreeSet<NaiveDate>, StoreError> {
        let Some(table) = TABLES.into_iter().find(|one| one.name == table.as_str()) else {
            return Ok(BTreeSet::new());
        };
        let mut connection = self.pool.acquire().await?;
        let mut there = table.days(&mut connection).await?;
        let kept = table.first_kept(retention, now.date_naive())..=last(now.date_naive());
        for day in days.iter().filter(|day| kept.contains(day)) {
            if !there.contains(day) && table.make_day(&mut connection, *day).await? {
                there.insert(*day);
            }
        }
        Ok(days.intersection(&there).copied().collect())
    }
}

impl Table {
    /// Makes the days around today, and those of which the default partition has rows.
    pub(super) async fn make(
        self,
        session: &mut PgConnection,
        first: NaiveDate,
        today: NaiveDate,
        done: &mut DaysKept,
    ) -> Result<(), StoreError> {
        let from = today.checked_sub_days(Days::new(BEHIND)).unwrap_or(today);
        // Left by a pass that ended before it had moved all of them.
        let has_strays = self.has_strays(session).await?;
        let mut wanted: BTreeSet<NaiveDate> =
            from.iter_days().take_while(|day| *day <= last(today)).collect();
        if has_strays {
            wanted.extend(self.days_in(session, "strays", first, last(today)).await?);
        }
        let there = self.days(session).await?;
        for day in wanted.difference(&there).copied().filter(|day| *day >= first) {
            match self.make_day(session, day).await {
                Ok(true) => done.made.push(self.partition(day)),
                Ok(false) => {}
                Err(error) => done.leave(session, self.partition(day), error).await?,
            }
        }
        if has_strays {
            self.move_strays(session, done).await?;
        }
        let there = self.days(session).await?;
        let waiting = self.days_in(session, "default", first, last(today)).await?;
        let missing: Vec<NaiveDate> = waiting.difference(&there).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.set_strays_aside(session, &missing, done).await?;
        done.made.extend(missing.into_iter().map(|day| self.partition(day)));
        self.move_strays(session, done).await
    }

    /// Makes a day; `false` when the default partition has rows of it.
    pub(super) async fn make_day(
        self,
        connection: &mut PgConnection,
        day: NaiveDate,
    ) -> Result<bool, StoreError> {
        for tries in 1.. {
            let mut tx = briefly(connection).await?;
            match self.attach(&mut tx, day).await {
                Ok(()) => {
                    tx.commit().await?;
                    return Ok(true);
                }
                Err(StoreError::Database(error)) if crate::error::is_out_of_place(&error) => {
                    return Ok(false);
                }
                Err(error) if is_lock_timeout(&error) && tries < TRIES => {}
                Err(error) => return Err(error),
            }
            tx.rollback().await?;
        }
        Ok(false)
    }

    /// What is inserted into the default partition meanwhile waits for that partition's
    /// lock. It is refused then, and finds its place in the new one when it is tried again:
    /// see [`StoreError::is_about_the_data`]. Inserts into other days go on.
    pub(super) async fn attach(
        self,
        tx: &mut PgConnection,
        day: NaiveDate,
    ) -> Result<(), StoreError> {
        let (name, partition) = (self.name, self.partition(day));
        let next = day.succ_opt().unwrap_or(day);
        let (from, to) = (midnight(day).to_rfc3339(), midnight(next).to_rfc3339());
        // Whoever writes a batch may be making the same day.
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", MAKING).execute(&mut *tx).await?;
        if self.days(tx).await?.contains(&day) {
            return Ok(());
        }
        run(tx, format!("CREATE TABLE {partition} (LIKE {name} INCLUDING ALL)")).await?;
        let bounds = format!("FOR VALUES FROM ('{from}') TO ('{to}')");
        run(tx, format!("ALTER TABLE {name} ATTACH PARTITION {partition} {bounds}")).await?;
        Ok(())
    }
}

/// The last day that is made now.
fn last(today: NaiveDate) -> NaiveDate {
    today.checked_add_days(Days::new(AHEAD)).unwrap_or(today)
}
