//! Days go, and bodies of what was not delivered are counted as they do.

use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{DaysKept, TRIES, Table, UNDELIVERED, briefly, midnight, run};
use crate::StoreError;
use crate::error::is_lock_timeout;

/// Rows of one transaction.
const AT_ONCE: i64 = 2_000;

impl Table {
    /// Gives up everything before this day. A day that somebody is just reading is left to
    /// the next pass; the others go.
    pub(super) async fn give_up(
        self,
        session: &mut PgConnection,
        mut first: NaiveDate,
        done: &mut DaysKept,
    ) -> Result<(), StoreError> {
        if chassis::mutant("days_drop_too_early") {
            first = first.succ_opt().unwrap_or(first);
        }
        for day in self.days(session).await?.range(..first) {
            let partition = self.partition(*day);
            match self.drop_day(session, &partition).await {
                Ok(expired) => {
                    done.expired += expired;
                    done.dropped.push(partition);
                }
                Err(error) => done.leave(session, partition, error).await?,
            }
        }
        self.delete_late(session, first, done).await
    }

    async fn drop_day(
        self,
        session: &mut PgConnection,
        partition: &str,
    ) -> Result<u64, StoreError> {
        for tries in 1.. {
            let mut tx = briefly(session).await?;
            let dropped = async {
                let mut expired = 0;
                if self.name == UNDELIVERED {
                    // Readers may go on; nobody adds a row between the count and the drop.
                    run(&mut tx, format!("LOCK TABLE {partition} IN SHARE MODE")).await?;
                    expired = count_expired(&mut tx, "", partition).await?;
                }
                // It locks the whole table before the day, as readers do: in the other order
                // the two wait for each other.
                run(&mut tx, format!("DROP TABLE {partition}")).await?;
                Ok(expired)
            };
            match dropped.await {
                Ok(expired) => {
                    tx.commit().await?;
                    return Ok(expired);
                }
                Err(error) if is_lock_timeout(&error) && tries < TRIES => tx.rollback().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }

    /// Deletes what came when its day was given up already. Where it is undelivered, it
    /// expires as the others did.
    async fn delete_late(
        self,
        session: &mut PgConnection,
        first: NaiveDate,
        done: &mut DaysKept,
    ) -> Result<(), StoreError> {
        let Self { name, column, .. } = self;
        let first = midnight(first).to_rfc3339();
        let late = format!(
            "DELETE FROM {name}_default WHERE ctid = ANY(ARRAY(SELECT ctid FROM {name}_default \
             WHERE {column} < '{first}' LIMIT {AT_ONCE}))"
        );
        loop {
            let mut tx = briefly(session).await?;
            let before: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
                "SELECT count(*) FROM (SELECT FROM {name}_default WHERE {column} < '{first}' \
                 LIMIT {AT_ONCE}) late"
            )))
            .fetch_one(&mut *tx)
            .await?;
            if before == 0 {
                return Ok(());
            }
            if name == UNDELIVERED {
                let gone = format!("gone AS ({late} RETURNING *), ");
                done.expired += count_expired(&mut tx, &gone, "gone").await?;
            } else {
                run(&mut tx, late.clone()).await?;
            }
            tx.commit().await?;
            done.late += before.unsigned_abs();
        }
    }
}

/// Counts the deliveries among these rows as expired. `with` may say what the rows are.
async fn count_expired(tx: &mut PgConnection, with: &str, rows: &str) -> Result<u64, StoreError> {
    let counts: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(format!(
        "WITH {with} counted AS (SELECT account_id, (ended_at AT TIME ZONE 'UTC')::date AS ended_on, \
         outcome, count(*) AS deliveries FROM {rows} WHERE sent_again_at IS NULL GROUP BY 1, 2, 3), \
         kept AS (INSERT INTO expired AS e (account_id, ended_on, outcome, deliveries) \
         SELECT * FROM counted ON CONFLICT (account_id, ended_on, outcome) \
         DO UPDATE SET deliveries = e.deliveries + excluded.deliveries) \
         SELECT deliveries FROM counted"
    )))
    .fetch_all(tx)
    .await?;
    Ok(counts.into_iter().filter_map(|count| u64::try_from(count).ok()).sum())
}
