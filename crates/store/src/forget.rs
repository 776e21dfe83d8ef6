//! How the documents of deleted domains and erased accounts leave the broker.
//!
//! 1. Some time after the deletion, the document is deleted from the bucket, and its row says
//!    so: nobody publishes it any more. What watches the bucket hears of it.
//! 2. A day later everybody has heard. What tells of the deletion leaves the bucket as well,
//!    and with it the row of a domain. The row of an account stays, without anything in it.
//!
//! A domain that is made again meanwhile takes its row, and its versions go on. A row that is
//! changed, by new keys for secrets for example, is published, and leaves once more.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Postgres, Transaction};

use crate::{DocumentKey, Store, StoreError};

/// Longer than any delivery of before the deletion can be on its way: policies end after three
/// days at most, and an outage may come on top.
const FORGET_AFTER: TimeDelta = TimeDelta::days(7);
/// How long the bucket tells of the deletion to those that watch it.
const HEARD_AFTER: TimeDelta = TimeDelta::days(1);
/// Documents that are looked at in one page.
const PAGE: i64 = 100;

/// Where a walk over deleted domains is: behind the one that was deleted then.
pub type ForgetPlace = (DateTime<Utc>, String);

/// A document that is to be deleted from the bucket. As long as this lives nobody else publishes
/// or deletes it; dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Forgetting {
    tx: Transaction<'static, Postgres>,
    key: DocumentKey,
    /// Since when the bucket does not have it.
    forgotten_at: Option<DateTime<Utc>>,
}

impl Forgetting {
    /// Whether whatever watches the bucket has heard of the deletion.
    pub fn is_heard(&self, now: DateTime<Utc>) -> bool {
        self.forgotten_at.is_some_and(|at| at <= now - HEARD_AFTER)
    }

    /// Notes that the document was deleted from the bucket.
    ///
    /// Dying before this has the document published once more, and deleted again later.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forgotten(mut self, now: DateTime<Utc>) -> Result<(), StoreError> {
        match &self.key {
            DocumentKey::Account(id) => {
                sqlx::query!("UPDATE accounts SET forgotten_at = $2 WHERE account_id = $1", id, now)
            }
            DocumentKey::Domain(id) => {
                sqlx::query!("UPDATE domains SET forgotten_at = $2 WHERE domain_id = $1", id, now)
            }
        }
        .execute(&mut *self.tx)
        .await?;
        Ok(self.tx.commit().await?)
    }

    /// Removes the row of a domain of which the bucket has nothing any more, and looks no more
    /// for an account's document.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn gone(mut self) -> Result<(), StoreError> {
        match &self.key {
            DocumentKey::Account(id) => {
                sqlx::query!(
                    "UPDATE accounts SET forgotten_at = 'infinity' WHERE account_id = $1",
                    id
                )
                .execute(&mut *self.tx)
                .await?;
            }
            DocumentKey::Domain(id) => {
                sqlx::query!("DELETE FROM domain_webhooks WHERE domain_id = $1", id)
                    .execute(&mut *self.tx)
                    .await?;
                sqlx::query!("DELETE FROM domains WHERE domain_id = $1", id)
                    .execute(&mut *self.tx)
                    .await?;
            }
        }
        Ok(self.tx.commit().await?)
    }
}

impl Store {
    /// The next domains, in the order of their deletion, whose documents may leave the bucket,
    /// or have left it. Not those of an account of which something older can still be sent
    /// again: it would be sent without what the domain hides.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn domains_to_forget(
        &self,
        after: Option<&ForgetPlace>,
        now: DateTime<Utc>,
    ) -> Result<Vec<(ForgetPlace, DocumentKey)>, StoreError> {
        let (deleted_at, domain_id) = match after {
            Some((deleted_at, domain_id)) => (*deleted_at, domain_id.as_str()),
            None => (DateTime::UNIX_EPOCH, ""),
        };
        let rows = sqlx::query!(
            "SELECT d.domain_id, d.deleted_at AS \"deleted_at!\" FROM domains d \
             WHERE d.deleted_at < $1 AND (d.deleted_at, d.domain_id) > ($2, $3) \
             AND (d.forgotten_at IS NULL OR d.forgotten_at <= $4) \
             AND NOT EXISTS (SELECT FROM undelivered u WHERE u.account_id = d.account_id \
             AND u.sent_again_at IS NULL AND u.ended_at < d.deleted_at + $5::interval) \
             ORDER BY d.deleted_at, d.domain_id LIMIT $6",
            now - FORGET_AFTER,
            deleted_at,
            domain_id,
            now - HEARD_AFTER,
            interval(FORGET_AFTER),
            PAGE
        );
        let rows = rows.fetch_all(&self.pool).await?.into_iter();
        Ok(rows
            .map(|row| {
                let key = DocumentKey::Domain(row.domain_id.clone());
                ((row.deleted_at, row.domain_id), key)
            })
            .collect())
    }

    /// Some erased accounts whose documents may leave the bucket, or have left it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn accounts_to_forget(
        &self,
        now: DateTime<Utc>,
    ) -> Result<Vec<DocumentKey>, StoreError> {
        let ids = sqlx::query_scalar!(
            "SELECT account_id FROM accounts WHERE erased_at IS NOT NULL AND erased_at < $1 \
             AND (forgotten_at IS NULL OR forgotten_at <= $2) ORDER BY erased_at LIMIT $3",
            now - FORGET_AFTER,
            now - HEARD_AFTER,
            PAGE
        );
        Ok(ids.fetch_all(&self.pool).await?.into_iter().map(DocumentKey::Account).collect())
    }

    /// Takes a document to delete it. `None` if it is not to be any more, or if a change of it
    /// is to be published first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forgetting(
        &self,
        key: &DocumentKey,
        now: DateTime<Utc>,
    ) -> Result<Option<Forgetting>, StoreError> {
        let mut tx = self.pool.begin().await?;
        // Publications of the document take the same lock.
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0)) AS \"locked!: ()\"",
            key.to_string()
        )
        .fetch_one(&mut *tx)
        .await?;
        let before = now - FORGET_AFTER;
        let found =
            match key {
                DocumentKey::Account(id) => sqlx::query_scalar!(
                    "SELECT forgotten_at FROM accounts WHERE account_id = $1 AND erased_at < $2 \
                     AND NOT EXISTS (SELECT FROM settings_outbox WHERE document_key = $3) \
                     FOR UPDATE",
                    id,
                    before,
                    key.to_string()
                )
                .fetch_optional(&mut *tx)
                .await?,
                DocumentKey::Domain(id) => {
                    sqlx::query_scalar!(
                        "SELECT forgotten_at FROM domains WHERE domain_id = $1 AND deleted_at < $2 \
                     AND NOT EXISTS (SELECT FROM settings_outbox WHERE document_key = $3) \
                     FOR UPDATE",
                        id,
                        before,
                        key.to_string()
                    )
                    .fetch_optional(&mut *tx)
                    .await?
                }
            };
        Ok(found.map(|forgotten_at| Forgetting { tx, key: key.clone(), forgotten_at }))
    }
}

fn interval(delta: TimeDelta) -> sqlx::postgres::types::PgInterval {
    let microseconds = delta.num_microseconds().unwrap_or(i64::MAX);
    sqlx::postgres::types::PgInterval { months: 0, days: 0, microseconds }
}
