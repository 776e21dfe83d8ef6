//! Messages that archive could not read, kept as they were.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::{clean, distinct};
use crate::{Store, StoreError};

/// Messages of one page, and bytes of their payloads, unless there is one alone.
const PAGE: i64 = 500;
const PAGE_BYTES: i64 = 8 * 1024 * 1024;

/// A message that is to be kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnreadRow {
    /// `events` or `outcomes`.
    pub stream: String,
    /// Its place there.
    pub sequence: u64,
    /// Whose it is.
    pub account_id: String,
    /// When it is kept.
    pub stored_at: DateTime<Utc>,
    /// Whether a newer version can read it.
    pub is_newer: bool,
    /// Why it was not read.
    pub reason: String,
    /// One event, or a batch of one outcome.
    pub payload: Vec<u8>,
}

/// A message that was kept.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "as in UnreadRow")]
pub struct UnreadMessage {
    /// Its place among those that are kept.
    pub id: i64,
    pub stream: String,
    pub sequence: i64,
    pub payload: Vec<u8>,
}

impl Store {
    /// Keeps messages, each once, but for those of erased accounts.
    ///
    /// # Errors
    /// Those of the database; none was kept then.
    pub async fn insert_unread(&self, rows: &[UnreadRow]) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = self.pool.begin().await?;
        let accounts = distinct(rows.iter().map(|row| row.account_id.as_str()));
        // None that the database cannot hold is one of its accounts.
        let accounts: Vec<&str> = accounts.into_iter().filter(|one| !one.contains('\0')).collect();
        let erased = sqlx::query_scalar!(
            "SELECT account_id FROM accounts WHERE account_id = ANY($1::text[]) \
             AND erased_at IS NOT NULL",
            &accounts as &[&str]
        )
        .fetch_all(&mut *tx)
        .await?;
        for row in rows.iter().filter(|row| !erased.contains(&row.account_id)) {
            let (account_id, reason) = (clean(&row.account_id), clean(&row.reason));
            sqlx::query!(
                "INSERT INTO unread_messages (stream, sequence, account_id, stored_at, is_newer, \
                 reason, payload) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                row.stream,
                i64::try_from(row.sequence).unwrap_or(i64::MAX),
                account_id.as_ref(),
                row.stored_at,
                row.is_newer,
                reason.as_ref(),
                row.payload
            )
            .execute(&mut *tx)
            .await?;
        }
        Ok(tx.commit().await?)
    }

    /// The next messages of a newer version after this place.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unread_after(&self, id: i64) -> Result<Vec<UnreadMessage>, StoreError> {
        let page = sqlx::query_as!(
            UnreadMessage,
            "SELECT id AS \"id!\", stream AS \"stream!\", sequence AS \"sequence!\", \
             payload AS \"payload!\" FROM (SELECT id, stream, sequence, payload, \
             sum(octet_length(payload)) OVER (ORDER BY id) - octet_length(payload) AS before \
             FROM (SELECT * FROM unread_messages WHERE id > $1 AND is_newer ORDER BY id LIMIT $2) p) \
             sized WHERE before < $3 ORDER BY id",
            id,
            PAGE,
            PAGE_BYTES
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(page)
    }

    /// Gives up messages that are in history now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn delete_unread(&self, ids: &[i64]) -> Result<(), StoreError> {
        sqlx::query!("DELETE FROM unread_messages WHERE id = ANY($1)", ids)
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}

/// Gives up what was kept before this moment. Returns how many messages that were.
pub(super) async fn give_up(
    session: &mut PgConnection,
    kept_from: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let gone = sqlx::query!("DELETE FROM unread_messages WHERE stored_at < $1", kept_from)
        .execute(session)
        .await?;
    Ok(gone.rows_affected())
}
