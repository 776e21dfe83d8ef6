//! Accounts and their subaccounts.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::error::is_duplicate;
use crate::outbox::enqueue;
use crate::{ApiKey, DocumentKey, Store, StoreError, Thing};

/// An account or a subaccount.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// 24 hex characters.
    pub account_id: String,
    /// What operators and internal callers call it.
    pub name: String,
    /// Of a subaccount.
    pub parent_name: Option<String>,
    /// Whether it may do anything.
    pub status: AccountStatus,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// Whether an account may do anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccountStatus {
    /// It may.
    Open,
    /// Not at the moment.
    Disabled,
    /// Never again.
    Closed,
}

/// Both signing keys of an account, sealed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedKeys {
    /// Signs the deliveries of message events.
    pub http_signing_key: Vec<u8>,
    /// Signs the deliveries of alerts.
    pub alerts_signing_key: Vec<u8>,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// 24 hex characters, at random.
    pub account_id: String,
    /// 1 to 64 of `a-z`, `0-9`, `-`, `_`, `.`.
    pub name: String,
    /// For a subaccount.
    pub parent_name: Option<String>,
    /// Its signing keys.
    pub keys: SealedKeys,
    /// Its first API key.
    pub api_key: NewKey,
}

/// An API key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// `xxxxxxxx-yyyyyyyy`, at random.
    pub key_id: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
}

impl AccountStatus {
    /// Its name in the database and in Mailgun's answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Disabled => "disabled",
            Self::Closed => "closed",
        }
    }

    /// What the database says. It allows no other than these three.
    pub(crate) fn from_column(text: &str) -> Self {
        match text {
            "open" => Self::Open,
            "disabled" => Self::Disabled,
            _ => Self::Closed,
        }
    }
}

impl Store {
    /// Makes an account with its keys.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that parent, [`StoreError::NestedSubaccount`]
    /// when the parent is a subaccount, [`StoreError::Exists`] when the name is
    /// taken or another account has the API key.
    pub async fn create_account(
        &self,
        new: &NewAccount,
        at: DateTime<Utc>,
    ) -> Result<(Account, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        let parent_id = match &new.parent_name {
            Some(name) => Some(parent_id(&mut tx, name).await?),
            None => None,
        };
        let created_at = sqlx::query_scalar!(
            "INSERT INTO accounts (account_id, name, label, parent_id, sealed_http_signing_key, \
             sealed_alerts_signing_key, created_at, updated_at) \
             VALUES ($1, $2, $2, $3, $4, $5, $6, $6) \
             ON CONFLICT (name) DO NOTHING RETURNING created_at",
            new.account_id,
            new.name,
            parent_id,
            new.keys.http_signing_key,
            new.keys.alerts_signing_key,
            at
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::Exists(Thing::Account))?;
        insert_key(&mut tx, &new.account_id, &new.api_key, at).await?;
        let key = DocumentKey::Account(new.account_id.clone());
        enqueue(&mut tx, &key, 1, at).await?;
        tx.commit().await?;
        let account = Account {
            account_id: new.account_id.clone(),
            name: new.name.clone(),
            parent_name: new.parent_name.clone(),
            status: AccountStatus::Open,
            created_at,
        };
        Ok((account, key))
    }

    /// An account by its name.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn account_named(&self, name: &str) -> Result<Account, StoreError> {
        let row = sqlx::query!(
            "SELECT a.account_id, a.name, a.status, a.created_at, p.name AS \"parent_name?\" \
             FROM accounts a LEFT JOIN accounts p ON p.account_id = a.parent_id WHERE a.name = $1",
            name
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::NotFound(Thing::Account))?;
        Ok(Account {
            account_id: row.account_id,
            name: row.name,
            parent_name: row.parent_name,
            status: AccountStatus::from_column(&row.status),
            created_at: row.created_at,
        })
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        let rows = sqlx::query!(
            "SELECT a.account_id, a.name, a.status, a.created_at, p.name AS \"parent_name?\" \
             FROM accounts a LEFT JOIN accounts p ON p.account_id = a.parent_id ORDER BY a.name"
        )
        .fetch_all(&self.pool)
        .await?;
        let accounts = rows.into_iter().map(|row| Account {
            account_id: row.account_id,
            name: row.name,
            parent_name: row.parent_name,
            status: AccountStatus::from_column(&row.status),
            created_at: row.created_at,
        });
        Ok(accounts.collect())
    }

    /// Opens, disables or closes an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn set_account_status(
        &self,
        account_id: &str,
        status: AccountStatus,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        sqlx::query!(
            "UPDATE accounts SET status = $2 WHERE account_id = $1",
            account_id,
            status.as_str()
        )
        .execute(&mut *tx)
        .await?;
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// The sealed signing keys of an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn sealed_keys(&self, account_id: &str) -> Result<SealedKeys, StoreError> {
        let row = sqlx::query!(
            "SELECT sealed_http_signing_key, sealed_alerts_signing_key \
             FROM accounts WHERE account_id = $1",
            account_id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::NotFound(Thing::Account))?;
        Ok(SealedKeys {
            http_signing_key: row.sealed_http_signing_key,
            alerts_signing_key: row.sealed_alerts_signing_key,
        })
    }

    /// Replaces the key that signs alerts.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn set_alerts_signing_key(
        &self,
        account_id: &str,
        sealed: &[u8],
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        sqlx::query!(
            "UPDATE accounts SET sealed_alerts_signing_key = $2 WHERE account_id = $1",
            account_id,
            sealed
        )
        .execute(&mut *tx)
        .await?;
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Gives an account one more API key.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account, [`StoreError::Exists`] when
    /// any account has, or ever had, this key.
    pub async fn create_key(
        &self,
        account_name: &str,
        key: &NewKey,
        at: DateTime<Utc>,
    ) -> Result<ApiKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        let account_id = sqlx::query_scalar!(
            "SELECT account_id FROM accounts WHERE name = $1 FOR KEY SHARE",
            account_name
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound(Thing::Account))?;
        let created_at = insert_key(&mut tx, &account_id, key, at).await?;
        tx.commit().await?;
        Ok(ApiKey {
            key_id: key.key_id.clone(),
            account_name: account_name.to_owned(),
            created_at,
            revoked_at: None,
        })
    }
}

/// Locks the row of an account until the transaction ends: changes of one
/// account's settings happen one after the other. Rows that refer to the
/// account can be inserted meanwhile.
pub(crate) async fn lock_account(
    tx: &mut PgConnection,
    account_id: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "SELECT account_id FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE",
        account_id
    )
    .fetch_optional(tx)
    .await?
    .map(|_| ())
    .ok_or(StoreError::NotFound(Thing::Account))
}

/// Raises the version of an account's document and queues it.
pub(crate) async fn account_changed(
    tx: &mut PgConnection,
    account_id: &str,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    let version = sqlx::query_scalar!(
        "UPDATE accounts SET version = version + 1, updated_at = $2 WHERE account_id = $1 \
         RETURNING version",
        account_id,
        at
    )
    .fetch_one(&mut *tx)
    .await?;
    let key = DocumentKey::Account(account_id.to_owned());
    enqueue(tx, &key, version, at).await?;
    Ok(key)
}

async fn parent_id(tx: &mut PgConnection, name: &str) -> Result<String, StoreError> {
    let parent = sqlx::query!(
        "SELECT account_id, is_subaccount FROM accounts WHERE name = $1 FOR KEY SHARE",
        name
    )
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::NotFound(Thing::ParentAccount))?;
    if parent.is_subaccount {
        return Err(StoreError::NestedSubaccount);
    }
    Ok(parent.account_id)
}

/// Returns the moment as it was stored, which is less precise than the clock.
async fn insert_key(
    tx: &mut PgConnection,
    account_id: &str,
    key: &NewKey,
    at: DateTime<Utc>,
) -> Result<DateTime<Utc>, StoreError> {
    let inserted = sqlx::query_scalar!(
        "INSERT INTO api_keys (key_id, hash, account_id, created_at) VALUES ($1, $2, $3, $4) \
         RETURNING created_at",
        key.key_id,
        &key.hash[..],
        account_id,
        at
    )
    .fetch_one(tx)
    .await;
    match inserted {
        Ok(created_at) => Ok(created_at),
        Err(error) if is_duplicate(&error) => Err(StoreError::Exists(Thing::ApiKey)),
        Err(error) => Err(error.into()),
    }
}
