//! What is left to be done of the erasure of accounts.
//!
//! The settings of an erased account are gone with the transaction that marked
//! it. History and the broker follow, in parts, by whoever finds them here: a
//! process that dies on the way leaves its rows for the next one, and doing a
//! part again does no harm.
//!
//! What archive inserts is checked against the mark by the transaction that inserts it,
//! so that only one which looked before the mark can add a row after it, or count
//! one. No statement of ours lasts longer than half a minute, and no transaction
//! idles for more than a whole one. So history is gone through at once, and once
//! more when every such transaction has ended.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{Store, StoreError};

/// Passes over the history, the last of which finds nothing unless something raced.
const PASSES: i16 = 2;
/// From the end of a pass to the beginning of the next one: more than the six
/// statements and pauses of the longest transaction can take.
const BETWEEN_PASSES: TimeDelta = TimeDelta::minutes(10);
/// Accounts in one answer.
const LIMIT: i64 = 1000;

/// An account of which the broker may hold something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Purge {
    /// Which.
    pub account_id: String,
    found: i64,
}

/// An account whose history is to be gone through.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pass {
    /// Which.
    pub account_id: String,
    passes: i16,
}

impl Store {
    /// Accounts of which the broker may hold something.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn erasures_to_purge(&self) -> Result<Vec<Purge>, StoreError> {
        let purges = sqlx::query_as!(
            Purge,
            "SELECT account_id, found FROM erasures WHERE purged < found LIMIT $1",
            LIMIT
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(purges)
    }

    /// Notes that the broker was purged of what was there when the purge was read.
    ///
    /// # Errors
    /// Those of the database; it is purged once more then.
    pub async fn erasure_purged(&self, purge: &Purge) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE erasures SET purged = greatest(purged, $2) WHERE account_id = $1",
            purge.account_id,
            purge.found
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Accounts whose history is to be gone through now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn erasure_passes(&self, now: DateTime<Utc>) -> Result<Vec<Pass>, StoreError> {
        let passes = sqlx::query_as!(
            Pass,
            "SELECT account_id, passes FROM erasures WHERE next_pass_at <= $1 \
             ORDER BY next_pass_at LIMIT $2",
            now,
            LIMIT
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(passes)
    }

    /// Notes that history was gone through for an account. Of two replicas that
    /// have done the same pass only the first one counts.
    ///
    /// # Errors
    /// Those of the database; the pass is repeated then.
    pub async fn erasure_pass_done(
        &self,
        pass: &Pass,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE erasures SET passes = passes + 1, \
             next_pass_at = CASE WHEN passes + 1 < $3::smallint THEN $4::timestamptz END, \
             done_at = CASE WHEN passes + 1 >= $3::smallint THEN $5::timestamptz END \
             WHERE account_id = $1 AND passes = $2 AND next_pass_at IS NOT NULL",
            pass.account_id,
            pass.passes,
            PASSES,
            now + BETWEEN_PASSES,
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Notes that messages of these accounts were met on the broker: for those
    /// that are erased, it is to be purged again. To be called before the
    /// messages are acked.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_late_messages(&self, account_ids: &[&str]) -> Result<(), StoreError> {
        // In the order of ids, so that two replicas wait for each other and not for ever.
        sqlx::query!(
            "UPDATE erasures SET found = found + 1 WHERE account_id IN \
             (SELECT account_id FROM erasures WHERE account_id = ANY($1) \
             ORDER BY account_id FOR NO KEY UPDATE)",
            account_ids as &[&str]
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
