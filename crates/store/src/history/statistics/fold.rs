//! Short slots become long ones, and long ones are given up.
//!
//! A slot is deleted and added to its hour in one transaction: dying in it leaves
//! both as they were. A row that somebody is just counting in is passed over till
//! the next time, so that nobody waits here who holds something. What is counted
//! in a slot that was folded already makes that slot anew, and it is folded again.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection};

use super::read::Columns;
use super::{LONG_SLOT_SECONDS, SHORT_SLOT_SECONDS, Slot, Tally, slot_start};
use crate::StoreError;

/// How old a short slot is when it is folded.
const SHORT_SLOTS_FOR: TimeDelta = TimeDelta::days(3);
/// Rows of one transaction.
const AT_ONCE: i64 = 2_000;
/// Transactions of one pass, of either kind. What is left is done by the next one,
/// some minutes later.
const TRANSACTIONS: usize = 20;

/// Folds what is old enough, and gives up what began before `kept_from`. Returns
/// how many slots that were.
///
/// # Errors
/// Those of the database. What was done before stays done.
pub(in crate::history) async fn keep(
    session: &mut PgConnection,
    now: DateTime<Utc>,
    kept_from: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut done = 0;
    for _ in 0..TRANSACTIONS {
        let deleted = sqlx::query!(
            "DELETE FROM statistics WHERE ctid = ANY(ARRAY(SELECT ctid FROM statistics \
             WHERE seconds = ANY('{300,3600}') AND starts_at < $1 LIMIT $2 \
             FOR UPDATE SKIP LOCKED))",
            kept_from,
            AT_ONCE
        )
        .execute(&mut *session)
        .await?;
        done += deleted.rows_affected();
        if deleted.rows_affected() < AT_ONCE.unsigned_abs() {
            break;
        }
    }
    for _ in 0..TRANSACTIONS {
        let folded = fold(session, short_slots_from(now)).await?;
        done += folded;
        if folded < AT_ONCE.unsigned_abs() {
            break;
        }
    }
    Ok(done)
}

/// Folds some of the slots before this moment; returns how many.
async fn fold(session: &mut PgConnection, before: DateTime<Utc>) -> Result<u64, StoreError> {
    let mut tx = session.begin().await?;
    // What is being erased is left to whoever erases it.
    let rows = sqlx::query_as!(
        Columns,
        "DELETE FROM statistics WHERE ctid = ANY(ARRAY(SELECT ctid FROM statistics s \
         WHERE seconds = $1 AND starts_at < $2 AND NOT EXISTS (SELECT FROM accounts a \
         WHERE a.account_id = s.account_id AND a.erased_at IS NOT NULL) LIMIT $3 \
         FOR UPDATE OF s SKIP LOCKED)) \
         RETURNING account_id, target_id, starts_at, taken, failed, latencies, delivered, \
         rejected, exhausted, expired, suppressed, held, poisoned",
        SHORT_SLOT_SECONDS,
        before,
        AT_ONCE
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut tally = Tally::default();
    for row in &rows {
        let slot = Slot {
            account_id: &row.account_id,
            target_id: row.target_id,
            seconds: LONG_SLOT_SECONDS,
            starts_at: slot_start(row.starts_at, LONG_SLOT_SECONDS),
        };
        tally.counted(slot, &row.counted());
    }
    tally.add(&mut tx).await?;
    tx.commit().await?;
    Ok(rows.len() as u64)
}

/// From here on there are short slots.
pub fn short_slots_from(now: DateTime<Utc>) -> DateTime<Utc> {
    // A whole hour, so that none is half folded.
    slot_start(now - SHORT_SLOTS_FOR, LONG_SLOT_SECONDS)
}
