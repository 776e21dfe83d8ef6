//! Rows that went to the default partition, because nobody had made their day.
//!
//! A day cannot be attached while the default partition has rows of it, and no lock that
//! inserts wait for may last as long as a move of millions of rows. So the default
//! partition is set aside as it is, an empty one takes its place, the days are attached, and the rows
//! are moved to where they belong, a few blocks at a time, each time in one transaction.
//! The first part is moved in the transaction that sets them aside: the few rows that there are
//! most of the time are seen by every reader at every moment. Of many, those that were
//! not moved yet are not seen for the minutes that it takes.
//!
//! Dying on the way leaves the rest in the table that was set aside; the next pass goes on.

use std::collections::BTreeSet;

use chrono::NaiveDate;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{DaysKept, EVENTS, TRIES, Table, briefly, midnight, run};
use crate::StoreError;
use crate::error::is_lock_timeout;

/// Blocks of one transaction: 512 KiB, which are some hundreds or thousands of rows.
const BLOCKS: i64 = 64;

impl Table {
    /// Days in these bounds of which the default partition, or what was set aside of it, has
    /// rows. Reads all of it, which holds up nobody.
    pub(super) async fn days_in(
        self,
        session: &mut PgConnection,
        part: &str,
        first: NaiveDate,
        last: NaiveDate,
    ) -> Result<BTreeSet<NaiveDate>, StoreError> {
        let Self { name, column, .. } = self;
        let days: Vec<NaiveDate> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT DISTINCT ({column} AT TIME ZONE 'UTC')::date FROM {name}_{part} \
             WHERE {column} >= $1 AND {column} < $2"
        )))
        .bind(midnight(first))
        .bind(midnight(last.succ_opt().unwrap_or(last)))
        .fetch_all(session)
        .await?;
        Ok(days.into_iter().collect())
    }

    pub(super) async fn has_strays(self, session: &mut PgConnection) -> Result<bool, StoreError> {
        let strays = format!("{}_strays", self.name);
        let there = sqlx::query_scalar!("SELECT to_regclass($1) IS NOT NULL AS \"there!\"", strays);
        Ok(there.fetch_one(session).await?)
    }

    /// Sets the default partition aside, makes these days, and moves the first rows there.
    pub(super) async fn set_strays_aside(
        self,
        session: &mut PgConnection,
        days: &[NaiveDate],
        done: &mut DaysKept,
    ) -> Result<(), StoreError> {
        let name = self.name;
        for tries in 1.. {
            let mut tx = briefly(session).await?;
            let moved = async {
                for statement in [
                    format!("ALTER TABLE {name} DETACH PARTITION {name}_default"),
                    format!("ALTER TABLE {name}_default RENAME TO {name}_strays"),
                    format!("CREATE TABLE {name}_default PARTITION OF {name} DEFAULT"),
                ] {
                    run(&mut tx, statement).await?;
                }
                for day in days {
                    self.attach(&mut tx, *day).await?;
                }
                self.move_part(&mut tx, 0, Position::Kept).await
            };
            match moved.await {
                Ok(moved) => {
                    tx.commit().await?;
                    done.moved += moved;
                    return Ok(());
                }
                Err(error) if is_lock_timeout(&error) && tries < TRIES => tx.rollback().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves what was set aside to where it belongs, from the first block to the last.
    pub(super) async fn move_strays(
        self,
        session: &mut PgConnection,
        done: &mut DaysKept,
    ) -> Result<(), StoreError> {
        let name = self.name;
        let blocks: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT pg_relation_size('{name}_strays') / current_setting('block_size')::bigint"
        )))
        .fetch_one(&mut *session)
        .await?;
        let (mut block, mut tries) = (0, 1);
        while block < blocks {
            let mut tx = briefly(session).await?;
            match self.move_part(&mut tx, block, Position::Anew).await {
                Ok(moved) => {
                    tx.commit().await?;
                    done.moved += moved;
                    (block, tries) = (block + BLOCKS, 1);
                }
                // Who inserts meanwhile keeps it waiting.
                Err(error) if is_lock_timeout(&error) && tries < TRIES => {
                    tx.rollback().await?;
                    tries += 1;
                }
                Err(error) => return Err(error),
            }
        }
        // Nobody has written to it since it was set aside, and all of it has been moved.
        run(session, format!("DROP TABLE {name}_strays")).await?;
        Ok(())
    }

    /// Moves the rows of some blocks. A row that came once more meanwhile is there already;
    /// those of accounts that were erased meanwhile are left out, as from every insert.
    async fn move_part(
        self,
        tx: &mut PgConnection,
        block: i64,
        position: Position,
    ) -> Result<u64, StoreError> {
        let name = self.name;
        let mut columns = "*".to_owned();
        let mut into = String::new();
        if name == EVENTS && position == Position::Anew {
            // Whoever follows events has read on while these were not seen. They arrive anew, as
            // events do: under the lock that keeps positions in order.
            super::super::events::in_order(tx).await?;
            columns = sqlx::query_scalar(AssertSqlSafe(format!(
                "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute \
                 WHERE attrelid = '{name}_strays'::regclass AND attnum > 0 \
                 AND NOT attisdropped AND attname <> 'position'"
            )))
            .fetch_one(&mut *tx)
            .await?;
            into = format!("({columns})");
        }
        let (from, to) = (block, block + BLOCKS);
        let moved: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
            "WITH moved AS (DELETE FROM {name}_strays \
             WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid RETURNING *), \
             kept AS (INSERT INTO {name} {into} SELECT {columns} FROM moved WHERE NOT EXISTS \
             (SELECT FROM accounts a WHERE a.account_id = moved.account_id \
             AND a.erased_at IS NOT NULL) ON CONFLICT DO NOTHING) \
             SELECT count(*) FROM moved"
        )))
        .fetch_one(tx)
        .await?;
        Ok(moved.unsigned_abs())
    }
}

/// Of an event among those that become visible one after the other.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Position {
    /// It was seen all the while.
    Kept,
    /// It was not.
    Anew,
}
