//! The keys that sign deliveries: sealed, replaced, and sealed anew.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};

use crate::accounts::{account_changed, lock_account};
use crate::{DocumentKey, Store, StoreError, Thing};

/// What a signing key signs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SigningKeyKind {
    /// Deliveries of message events.
    Http,
    /// Deliveries of alerts.
    Alerts,
}

/// Every secret of one account, sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedSecrets {
    /// Signs the deliveries of message events.
    pub http_signing_key: Vec<u8>,
    /// The one before it, while that also signs.
    pub previous_http_signing_key: Option<Vec<u8>>,
    /// Signs the deliveries of alerts.
    pub alerts_signing_key: Vec<u8>,
    /// The one before it, while that also signs.
    pub previous_alerts_signing_key: Option<Vec<u8>>,
    /// Headers that are sent along with deliveries.
    pub headers: Vec<SealedHeader>,
}

/// The value of a header that is sent along with deliveries to one URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedHeader {
    /// Which URL.
    pub url: String,
    /// Its name, in lower case.
    pub name: String,
    /// Its value.
    pub sealed: Vec<u8>,
}

/// The secrets of an account that nobody else changes as long as this value
/// lives. Dropping it leaves them as they were.
#[derive(Debug)]
pub struct Resealing {
    tx: Transaction<'static, Postgres>,
    account_id: String,
    secrets: SealedSecrets,
    has_expired: bool,
}

impl Resealing {
    /// As they are stored, without previous keys that sign nothing any more.
    pub fn secrets(&self) -> &SealedSecrets {
        &self.secrets
    }

    /// Whether a previous key that signs nothing any more is still stored, to
    /// be taken away by [`Self::replace`].
    pub fn has_expired(&self) -> bool {
        self.has_expired
    }

    /// Stores the same secrets, sealed anew.
    ///
    /// # Errors
    /// Those of the database; the secrets stay as they were.
    pub async fn replace(
        mut self,
        secrets: &SealedSecrets,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        sqlx::query!(
            "UPDATE accounts SET sealed_http_signing_key = $2, \
             sealed_previous_http_signing_key = $3, previous_http_signing_key_until = \
             CASE WHEN $3::bytea IS NOT NULL THEN previous_http_signing_key_until END, \
             sealed_alerts_signing_key = $4, \
             sealed_previous_alerts_signing_key = $5, previous_alerts_signing_key_until = \
             CASE WHEN $5::bytea IS NOT NULL THEN previous_alerts_signing_key_until END \
             WHERE account_id = $1",
            self.account_id,
            secrets.http_signing_key,
            secrets.previous_http_signing_key.as_deref(),
            secrets.alerts_signing_key,
            secrets.previous_alerts_signing_key.as_deref()
        )
        .execute(&mut *self.tx)
        .await?;
        for SealedHeader { url, name, sealed } in &secrets.headers {
            sqlx::query!(
                "UPDATE url_headers SET sealed = $4 \
                 WHERE account_id = $1 AND url = $2 AND name = $3",
                self.account_id,
                url,
                name,
                sealed
            )
            .execute(&mut *self.tx)
            .await?;
        }
        let key = account_changed(&mut self.tx, &self.account_id, at).await?;
        self.tx.commit().await?;
        Ok(key)
    }
}

impl Store {
    /// Replaces a signing key. The one that it replaces also signs until
    /// `keep_previous_until`, or signs nothing from now on. A still older one
    /// signs nothing in either case.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::AccountClosed`], or those of the
    /// database.
    pub async fn replace_signing_key(
        &self,
        account_id: &str,
        kind: SigningKeyKind,
        sealed: &[u8],
        keep_previous_until: Option<DateTime<Utc>>,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        // The right side of each assignment is the row as it was.
        let update = match kind {
            SigningKeyKind::Http => sqlx::query!(
                "UPDATE accounts SET sealed_http_signing_key = $2, \
                 previous_http_signing_key_until = $3, sealed_previous_http_signing_key = \
                 CASE WHEN $3::timestamptz IS NOT NULL THEN sealed_http_signing_key END \
                 WHERE account_id = $1",
                account_id,
                sealed,
                keep_previous_until
            )
            .execute(&mut *tx),
            SigningKeyKind::Alerts => sqlx::query!(
                "UPDATE accounts SET sealed_alerts_signing_key = $2, \
                 previous_alerts_signing_key_until = $3, sealed_previous_alerts_signing_key = \
                 CASE WHEN $3::timestamptz IS NOT NULL THEN sealed_alerts_signing_key END \
                 WHERE account_id = $1",
                account_id,
                sealed,
                keep_previous_until
            )
            .execute(&mut *tx),
        };
        update.await?;
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Ids of accounts in their order, at most 100, those after `account_id`.
    /// With an empty one it begins from the first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_ids_after(&self, account_id: &str) -> Result<Vec<String>, StoreError> {
        let ids = sqlx::query_scalar!(
            "SELECT account_id FROM accounts WHERE account_id > $1 ORDER BY account_id LIMIT 100",
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(ids)
    }

    /// Takes the secrets of an account to seal them anew, waiting for whoever
    /// changes the account now.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn resealing(
        &self,
        account_id: &str,
        at: DateTime<Utc>,
    ) -> Result<Resealing, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query!(
            "SELECT sealed_http_signing_key, sealed_alerts_signing_key, \
             sealed_previous_http_signing_key, previous_http_signing_key_until, \
             sealed_previous_alerts_signing_key, previous_alerts_signing_key_until \
             FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE",
            account_id
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound(Thing::Account))?;
        let expired = |until: Option<DateTime<Utc>>| until.is_some_and(|until| until <= at);
        let (http_expired, alerts_expired) = (
            expired(row.previous_http_signing_key_until),
            expired(row.previous_alerts_signing_key_until),
        );
        let headers = sqlx::query_as!(
            SealedHeader,
            "SELECT url, name, sealed FROM url_headers WHERE account_id = $1 ORDER BY url, name",
            account_id
        )
        .fetch_all(&mut *tx)
        .await?;
        let secrets = SealedSecrets {
            headers,
            http_signing_key: row.sealed_http_signing_key,
            previous_http_signing_key: row
                .sealed_previous_http_signing_key
                .filter(|_| !http_expired),
            alerts_signing_key: row.sealed_alerts_signing_key,
            previous_alerts_signing_key: row
                .sealed_previous_alerts_signing_key
                .filter(|_| !alerts_expired),
        };
        Ok(Resealing {
            tx,
            account_id: account_id.to_owned(),
            secrets,
            has_expired: http_expired || alerts_expired,
        })
    }
}
