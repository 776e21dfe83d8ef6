//! How rows of history are inserted: by COPY, and each of them once.
//!
//! `INSERT … ON CONFLICT DO NOTHING` looks for the key of each row and writes them one
//! by one; COPY writes them by the block, for less than half of the CPU, and fails as a
//! whole when a key is there already. That is rare: the broker hands a message out
//! again when its ack was lost. So keys are looked for when COPY has met one, those rows
//! are left out, and the rest is copied again.

use std::collections::HashSet;
use std::hash::Hash;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::distinct;
use crate::error::{is_duplicate, is_out_of_place};
use crate::{Store, StoreError};

/// The earliest and the latest of some moments.
pub(super) type Span = (DateTime<Utc>, DateTime<Utc>);

/// How often a batch is tried.
const TRIES: usize = 5;

/// A row of a table in which its key is unique.
pub(super) trait Keyed: Sync {
    /// What makes a row, as the database has it.
    type Key: Copy + Eq + Hash + Send;

    /// Held from before rows are looked for and copied until they are committed.
    const LOCK: Option<i64> = None;
    /// Whether rows that are there are looked for at once: where the table itself refuses
    /// none.
    const LOOKS_FIRST: bool = false;

    fn key(&self) -> Self::Key;

    /// The moment that decides in which day it stands.
    fn at(&self) -> DateTime<Utc>;

    fn account_id(&self) -> &str;

    /// The keys of these rows that are there. All of them stand within this span.
    fn known(
        tx: &mut PgConnection,
        rows: &[&Self],
        span: Span,
    ) -> impl Future<Output = Result<HashSet<Self::Key>, StoreError>> + Send;

    /// Copies these rows, and writes whatever belongs to them.
    fn copy(
        tx: &mut PgConnection,
        rows: &[&Self],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Inserts those rows that are not there yet. Those of one key have to stand side by
/// side, of which the first one is taken, and all of them in an order that every writer of the
/// table keeps to, so that two writers of the same rows wait for each other and not for ever.
pub(super) async fn insert<R: Keyed>(store: &Store, mut rows: Vec<&R>) -> Result<(), StoreError> {
    rows.dedup_by_key(|row| row.key());
    let mut looks = R::LOOKS_FIRST;
    for tries in 1.. {
        if rows.is_empty() {
            break;
        }
        let mut tx = store.pool.begin().await?;
        leave_out_erased(&mut tx, &mut rows).await?;
        if let Some(lock) = R::LOCK
            && !chassis::mutant("archive_no_end_lock")
        {
            sqlx::query!("SELECT pg_advisory_xact_lock($1)", lock).execute(&mut *tx).await?;
        }
        if looks && let Some(span) = span(rows.iter().map(|row| row.at())) {
            let known = R::known(&mut tx, &rows, span).await?;
            rows.retain(|row| !known.contains(&row.key()));
        }
        match R::copy(&mut tx, &rows).await {
            // Dying before the commit leaves nothing of it, dying after it all.
            Ok(()) => {
                chassis::crash_point("archive.inserted");
                return Ok(tx.commit().await?);
            }
            // Another one had inserted it, or does so between our look and the copy.
            Err(StoreError::Database(error)) if is_duplicate(&error) && tries < TRIES => {
                looks = true;
            }
            Err(StoreError::Database(error)) if is_out_of_place(&error) && tries < TRIES => {}
            Err(error) => return Err(error),
        }
        tx.rollback().await?;
    }
    Ok(())
}

/// Leaves out what belongs to accounts that are erased. One that is erased after this
/// look is gone through when no transaction can have begun before: see erasures.rs.
async fn leave_out_erased<R: Keyed>(
    tx: &mut PgConnection,
    rows: &mut Vec<&R>,
) -> Result<(), StoreError> {
    let accounts = distinct(rows.iter().map(|row| row.account_id()));
    let erased = sqlx::query_scalar!(
        "SELECT account_id FROM accounts WHERE account_id = ANY($1::text[]) \
         AND erased_at IS NOT NULL",
        &accounts as &[&str]
    )
    .fetch_all(tx)
    .await?;
    if !erased.is_empty() {
        rows.retain(|row| !erased.iter().any(|erased| erased == row.account_id()));
    }
    Ok(())
}

fn span(moments: impl Iterator<Item = DateTime<Utc>>) -> Option<Span> {
    moments.map(|at| (at, at)).reduce(|(first, last), (at, _)| (first.min(at), last.max(at)))
}
