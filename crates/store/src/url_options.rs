//! How deliveries are made to the URLs of an account, and its policies.

use chrono::{DateTime, Utc};
use prost::Message as _;
use protocol::v1::{self, PolicyOverride};
use sqlx::PgConnection;

use crate::accounts::{account_changed, account_grew, lock_account};
use crate::{DocumentKey, Store, StoreError, Thing};

/// URLs that an account can say something of. All of it is in the account's
/// document, and is looked through at every delivery.
pub const MAX_URL_OPTIONS: i64 = 100;

/// What an account says of one URL.
#[derive(Clone, Debug, PartialEq)]
pub struct UrlOptions {
    /// As it stands in the subscriptions.
    pub url: String,
    /// Since when deliveries to it are held, if they are.
    pub paused_at: Option<DateTime<Utc>>,
    /// What of the account's policy is different.
    pub policy: Option<PolicyOverride>,
    /// Headers that are sent along, by name.
    pub headers: Vec<UrlHeader>,
    /// Whether message events are sent in the form of before 2018.
    pub legacy_payload: bool,
}

/// A header that is sent along.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UrlHeader {
    /// In lower case.
    pub name: String,
    /// The value, sealed.
    pub sealed: Vec<u8>,
}

/// A header as it is to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NewHeader {
    /// With this value, sealed.
    Set(UrlHeader),
    /// As it is, by its name.
    Keep(String),
}

/// What is to be said of one URL.
#[derive(Clone, Debug, PartialEq)]
pub struct NewUrlOptions<'a> {
    /// As it stands in the subscriptions.
    pub url: &'a str,
    /// Whether deliveries to it are held.
    pub is_paused: bool,
    /// What of the account's policy is different.
    pub policy: Option<&'a PolicyOverride>,
    /// All headers that are sent along.
    pub headers: Vec<NewHeader>,
    /// Whether message events are sent in the form of before 2018.
    pub legacy_payload: bool,
}

/// The policies of an account, where they are not the deployment's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccountPolicies {
    /// Of message events.
    pub message: Option<PolicyOverride>,
    /// Of alerts.
    pub alert: Option<PolicyOverride>,
}

impl Store {
    /// What an account says of its URLs, in their order.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn url_options(&self, account_id: &str) -> Result<Vec<UrlOptions>, StoreError> {
        let mut tx = self.pool.begin().await?;
        options_of(&mut tx, account_id).await
    }

    /// Says this of a URL, and nothing of what was said before but the headers
    /// that are to be kept.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without a header that is to be kept,
    /// [`StoreError::TooManyUrlOptions`], [`StoreError::AccountClosed`], or
    /// those of the database. Nothing is changed then.
    pub async fn set_url_options(
        &self,
        account_id: &str,
        new: &NewUrlOptions<'_>,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let policy = new.policy.map(PolicyOverride::encode_to_vec);
        sqlx::query!(
            "INSERT INTO url_options (account_id, url, paused_at, policy, legacy_payload, updated_at) \
             VALUES ($1, $2, CASE WHEN $3 THEN $6::timestamptz END, $4, $5, $6) \
             ON CONFLICT (account_id, url) DO UPDATE SET \
             paused_at = CASE WHEN $3 THEN coalesce(url_options.paused_at, $6) END, \
             policy = $4, legacy_payload = $5, updated_at = $6",
            account_id,
            new.url,
            new.is_paused,
            policy,
            new.legacy_payload,
            at
        )
        .execute(&mut *tx)
        .await?;
        check_count(&mut tx, account_id).await?;
        set_headers(&mut tx, account_id, new).await?;
        let key = account_grew(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Holds deliveries to a URL, or sends them again; all else that is said of
    /// it stays.
    ///
    /// # Errors
    /// As [`Self::set_url_options`].
    pub async fn pause_url(
        &self,
        account_id: &str,
        url: &str,
        is_paused: bool,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        sqlx::query!(
            "INSERT INTO url_options (account_id, url, paused_at, updated_at) \
             VALUES ($1, $2, CASE WHEN $3 THEN $4::timestamptz END, $4) \
             ON CONFLICT (account_id, url) DO UPDATE SET \
             paused_at = CASE WHEN $3 THEN coalesce(url_options.paused_at, $4) END, \
             updated_at = $4",
            account_id,
            url,
            is_paused,
            at
        )
        .execute(&mut *tx)
        .await?;
        check_count(&mut tx, account_id).await?;
        let key = account_grew(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Says nothing of a URL any more.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when nothing was said, [`StoreError::AccountClosed`],
    /// or those of the database.
    pub async fn delete_url_options(
        &self,
        account_id: &str,
        url: &str,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let deleted = sqlx::query!(
            "DELETE FROM url_options WHERE account_id = $1 AND url = $2",
            account_id,
            url
        )
        .execute(&mut *tx)
        .await?;
        if deleted.rows_affected() == 0 {
            return Err(StoreError::NotFound(Thing::UrlOptions));
        }
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// The policies of an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn account_policies(&self, account_id: &str) -> Result<AccountPolicies, StoreError> {
        let row = sqlx::query!(
            "SELECT message_policy, alert_policy FROM accounts WHERE account_id = $1",
            account_id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::NotFound(Thing::Account))?;
        let message = row.message_policy.as_deref().map(policy).transpose()?;
        let alert = row.alert_policy.as_deref().map(policy).transpose()?;
        Ok(AccountPolicies { message, alert })
    }

    /// Sets both policies of an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::AccountClosed`], or those of the
    /// database.
    pub async fn set_account_policies(
        &self,
        account_id: &str,
        policies: &AccountPolicies,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        sqlx::query!(
            "UPDATE accounts SET message_policy = $2, alert_policy = $3 WHERE account_id = $1",
            account_id,
            policies.message.as_ref().map(PolicyOverride::encode_to_vec),
            policies.alert.as_ref().map(PolicyOverride::encode_to_vec)
        )
        .execute(&mut *tx)
        .await?;
        let key = account_grew(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }
}

async fn check_count(tx: &mut PgConnection, account_id: &str) -> Result<(), StoreError> {
    let count = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM url_options WHERE account_id = $1",
        account_id
    )
    .fetch_one(tx)
    .await?;
    if count > MAX_URL_OPTIONS { Err(StoreError::TooManyUrlOptions) } else { Ok(()) }
}

async fn set_headers(
    tx: &mut PgConnection,
    account_id: &str,
    new: &NewUrlOptions<'_>,
) -> Result<(), StoreError> {
    let names: Vec<String> = new
        .headers
        .iter()
        .map(|header| match header {
            NewHeader::Set(header) => header.name.clone(),
            NewHeader::Keep(name) => name.clone(),
        })
        .collect();
    sqlx::query!(
        "DELETE FROM url_headers WHERE account_id = $1 AND url = $2 AND name <> ALL($3)",
        account_id,
        new.url,
        &names
    )
    .execute(&mut *tx)
    .await?;
    for header in &new.headers {
        if let NewHeader::Set(UrlHeader { name, sealed }) = header {
            sqlx::query!(
                "INSERT INTO url_headers (account_id, url, name, sealed) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (account_id, url, name) DO UPDATE SET sealed = $4",
                account_id,
                new.url,
                name,
                sealed
            )
            .execute(&mut *tx)
            .await?;
        }
    }
    let count = sqlx::query_scalar!(
        "SELECT count(*) AS \"count!\" FROM url_headers WHERE account_id = $1 AND url = $2",
        account_id,
        new.url
    )
    .fetch_one(&mut *tx)
    .await?;
    // One that was to be kept is not there.
    if usize::try_from(count).ok() != Some(names.len()) {
        return Err(StoreError::NotFound(Thing::Header));
    }
    Ok(())
}

/// What an account says of its URLs, in their order.
pub(crate) async fn options_of(
    tx: &mut PgConnection,
    account_id: &str,
) -> Result<Vec<UrlOptions>, StoreError> {
    let rows = sqlx::query!(
        "SELECT o.url, o.paused_at, o.policy, o.legacy_payload, \
         ARRAY(SELECT name FROM url_headers h WHERE h.account_id = o.account_id \
         AND h.url = o.url ORDER BY name) AS \"names!\", \
         ARRAY(SELECT sealed FROM url_headers h WHERE h.account_id = o.account_id \
         AND h.url = o.url ORDER BY name) AS \"sealed!\" \
         FROM url_options o WHERE o.account_id = $1 ORDER BY o.url",
        account_id
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|row| {
            let headers = row.names.into_iter().zip(row.sealed);
            Ok(UrlOptions {
                url: row.url,
                paused_at: row.paused_at,
                policy: row.policy.as_deref().map(policy).transpose()?,
                headers: headers.map(|(name, sealed)| UrlHeader { name, sealed }).collect(),
                legacy_payload: row.legacy_payload,
            })
        })
        .collect()
}

/// The policy of a column, which nobody but this crate has written.
pub(crate) fn policy(column: &[u8]) -> Result<PolicyOverride, StoreError> {
    PolicyOverride::decode(column).map_err(|_| StoreError::Corrupt("a policy"))
}

/// The same in the account's document.
pub(crate) fn in_document(options: UrlOptions) -> v1::UrlOptions {
    let headers = options.headers.into_iter();
    v1::UrlOptions {
        url: options.url,
        paused_at: options.paused_at.map(Into::into),
        policy: options.policy,
        headers: headers
            .map(|header| v1::SealedHeader { name: header.name, sealed: header.sealed.into() })
            .collect(),
        legacy_payload: options.legacy_payload,
    }
}
