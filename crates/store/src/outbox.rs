//! How a committed change finds its way into the settings bucket.
//!
//! A change leaves a row here in its own transaction. Whoever publishes takes
//! a lock on the document, reads its newest state, puts it into the bucket and
//! deletes the rows that it covers. So documents go out in the order of their
//! versions, whichever replica publishes, and a process that dies on the way
//! leaves the row for the next one.

use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::documents::{self, Document};
use crate::{Store, StoreError};

/// Names a document of the settings bucket.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum DocumentKey {
    /// Of an account, by its id.
    Account(String),
    /// Of a domain, by its id.
    Domain(String),
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(id) => write!(f, "account.{id}"),
            Self::Domain(id) => write!(f, "domain.{id}"),
        }
    }
}

impl DocumentKey {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('.')? {
            ("account", id) => Some(Self::Account(id.to_owned())),
            ("domain", id) => Some(Self::Domain(id.to_owned())),
            _ => None,
        }
    }
}

/// Documents that are committed and not published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Outbox {
    /// How many.
    pub documents: u64,
    /// Since when the oldest waits.
    pub oldest: Option<DateTime<Utc>>,
}

/// A document that is to be put into the bucket now. Nobody else publishes
/// this document as long as this value lives; dropping it leaves the document
/// in the outbox.
#[derive(Debug)]
pub struct Publication {
    tx: Transaction<'static, Postgres>,
    key: DocumentKey,
    version: i64,
    document: Document,
}

impl Publication {
    /// What to put into the bucket.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Notes that the broker has the document.
    ///
    /// Dying before this leaves the row, and the same document is put once more.
    ///
    /// # Errors
    /// Those of the database; the document stays in the outbox.
    pub async fn done(mut self) -> Result<(), StoreError> {
        sqlx::query!(
            "DELETE FROM settings_outbox WHERE document_key = $1 AND version <= $2",
            self.key.to_string(),
            self.version
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(self.tx.commit().await?)
    }

    /// Gives the document a version above this one, which the broker has and the
    /// database never had, or has forgotten.
    ///
    /// # Errors
    /// Those of the database; the document stays in the outbox.
    pub async fn raise_above(&mut self, version: u64) -> Result<(), StoreError> {
        let version = i64::try_from(version).unwrap_or(i64::MAX - 1);
        match &self.key {
            DocumentKey::Account(id) => sqlx::query!(
                "UPDATE accounts SET version = greatest(version, $2) + 1 WHERE account_id = $1",
                id,
                version
            ),
            DocumentKey::Domain(id) => sqlx::query!(
                "UPDATE domains SET version = greatest(version, $2) + 1 WHERE domain_id = $1",
                id,
                version
            ),
        }
        .execute(&mut *self.tx)
        .await?;
        (self.version, self.document) = documents::load(&mut self.tx, &self.key).await?;
        Ok(())
    }
}

impl Store {
    /// Takes a document out of the outbox, waiting for whoever publishes it
    /// now. `None` when it has been published since.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn publication(&self, key: &DocumentKey) -> Result<Option<Publication>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let name = key.to_string();
        sqlx::query!(
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0)) AS \"locked!: ()\"",
            name
        )
        .fetch_one(&mut *tx)
        .await?;
        // Each statement from here on sees what was committed before the lock was granted.
        let waiting = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM settings_outbox WHERE document_key = $1) AS \"waiting!\"",
            name
        )
        .fetch_one(&mut *tx)
        .await?;
        if !waiting {
            return Ok(None);
        }
        let (version, document) = documents::load(&mut tx, key).await?;
        Ok(Some(Publication { tx, key: key.clone(), version, document }))
    }

    /// How many documents there are, published or not.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_documents(&self) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar!(
            "SELECT (SELECT count(*) FROM accounts WHERE forgotten_at IS NULL) \
             + (SELECT count(*) FROM domains WHERE forgotten_at IS NULL) AS \"count!\""
        );
        Ok(count.fetch_one(&self.pool).await?.unsigned_abs())
    }

    /// Queues the documents of the next accounts after this id as they are, a
    /// hundred at most, but for those that were forgotten: nothing of them has to have changed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn queue_accounts_after(
        &self,
        account_id: &str,
        at: DateTime<Utc>,
    ) -> Result<Vec<DocumentKey>, StoreError> {
        let ids = sqlx::query_scalar!(
            "WITH page AS (SELECT account_id, version FROM accounts WHERE account_id > $1 \
             AND forgotten_at IS NULL ORDER BY account_id LIMIT 100), queued AS (INSERT INTO settings_outbox \
             (document_key, version, queued_at) SELECT 'account.' || account_id, version, $2 \
             FROM page ON CONFLICT DO NOTHING) SELECT account_id FROM page ORDER BY account_id",
            account_id,
            at
        );
        let ids = ids.fetch_all(&self.pool).await?;
        Ok(ids.into_iter().map(DocumentKey::Account).collect())
    }

    /// As [`Self::queue_accounts_after`], of domains, deleted ones too.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn queue_domains_after(
        &self,
        domain_id: &str,
        at: DateTime<Utc>,
    ) -> Result<Vec<DocumentKey>, StoreError> {
        let ids = sqlx::query_scalar!(
            "WITH page AS (SELECT domain_id, version FROM domains WHERE domain_id > $1 \
             AND forgotten_at IS NULL ORDER BY domain_id LIMIT 100), queued AS (INSERT INTO settings_outbox \
             (document_key, version, queued_at) SELECT 'domain.' || domain_id, version, $2 \
             FROM page ON CONFLICT DO NOTHING) SELECT domain_id FROM page ORDER BY domain_id",
            domain_id,
            at
        );
        let ids = ids.fetch_all(&self.pool).await?;
        Ok(ids.into_iter().map(DocumentKey::Domain).collect())
    }

    /// The next accounts after this id, a hundred at most: the documents and their versions.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_versions_after(
        &self,
        account_id: &str,
    ) -> Result<Vec<(DocumentKey, u64)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT account_id, version FROM accounts WHERE account_id > $1 \
             AND forgotten_at IS NULL ORDER BY account_id LIMIT 100",
            account_id
        );
        let rows = rows.fetch_all(&self.pool).await?.into_iter();
        Ok(rows
            .map(|row| (DocumentKey::Account(row.account_id), row.version.unsigned_abs()))
            .collect())
    }

    /// As [`Self::account_versions_after`], of domains, deleted ones too.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn domain_versions_after(
        &self,
        domain_id: &str,
    ) -> Result<Vec<(DocumentKey, u64)>, StoreError> {
        let rows = sqlx::query!(
            "SELECT domain_id, version FROM domains WHERE domain_id > $1 \
             AND forgotten_at IS NULL ORDER BY domain_id LIMIT 100",
            domain_id
        );
        let rows = rows.fetch_all(&self.pool).await?.into_iter();
        Ok(rows
            .map(|row| (DocumentKey::Domain(row.domain_id), row.version.unsigned_abs()))
            .collect())
    }

    /// Queues a document as it is. Says whether it was to be: not while it waits in the
    /// outbox anyway, nor once it has another version than this one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn queue_again(
        &self,
        key: &DocumentKey,
        version: u64,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let (account_id, domain_id) = match key {
            DocumentKey::Account(id) => (Some(id), None),
            DocumentKey::Domain(id) => (None, Some(id)),
        };
        let queued = sqlx::query!(
            "INSERT INTO settings_outbox (document_key, version, queued_at) \
             SELECT $1, $2, $3 WHERE NOT EXISTS \
             (SELECT FROM settings_outbox WHERE document_key = $1) AND EXISTS \
             (SELECT FROM accounts WHERE account_id = $4 AND version = $2 \
             UNION ALL SELECT FROM domains WHERE domain_id = $5 AND version = $2)",
            key.to_string(),
            i64::try_from(version).unwrap_or(i64::MAX),
            at,
            account_id,
            domain_id
        );
        Ok(queued.execute(&self.pool).await?.rows_affected() > 0)
    }

    /// How much waits in the outbox.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn outbox(&self) -> Result<Outbox, StoreError> {
        let row = sqlx::query!(
            "SELECT count(DISTINCT document_key) AS \"documents!\", min(queued_at) AS oldest \
             FROM settings_outbox"
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Outbox { documents: row.documents.unsigned_abs(), oldest: row.oldest })
    }

    /// Documents that wait in the outbox since before `queued_before` and whose next try is
    /// due, at most 100: those that have failed least often first, so that what cannot
    /// be published holds up nothing else.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn unpublished(
        &self,
        queued_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Vec<DocumentKey>, StoreError> {
        let keys = sqlx::query_scalar!(
            "SELECT document_key FROM settings_outbox WHERE queued_at <= $1 \
             GROUP BY document_key HAVING max(next_try_at) <= $2 \
             ORDER BY max(tries), min(queued_at) LIMIT 100",
            queued_before,
            now
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(keys.iter().filter_map(|key| DocumentKey::parse(key)).collect())
    }

    /// Puts the next try of a document off: for a second, twice as long each time, a minute
    /// at most.
    ///
    /// # Errors
    /// Those of the database; it is tried again at once then.
    pub async fn put_off(&self, key: &DocumentKey, now: DateTime<Utc>) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE settings_outbox SET tries = tries + 1, next_try_at = $2::timestamptz \
             + least(60, pow(2, least(tries, 6))) * interval '1 second' WHERE document_key = $1",
            key.to_string(),
            now
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// Queues a document in the transaction of the change.
pub(crate) async fn enqueue(
    tx: &mut PgConnection,
    key: &DocumentKey,
    version: i64,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    sqlx::query!(
        "INSERT INTO settings_outbox (document_key, version, queued_at) VALUES ($1, $2, $3)",
        key.to_string(),
        version,
        at
    )
    .execute(tx)
    .await?;
    Ok(())
}
