//! Accounts and their subaccounts.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::api_keys::insert_key;
use crate::outbox::enqueue;
use crate::{DocumentKey, NewKey, Store, StoreError, Thing, documents};

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

    /// An account by its name or its id; no name looks like an id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn account_named(&self, name: &str) -> Result<Account, StoreError> {
        let row = sqlx::query!(
            "SELECT a.account_id AS \"account_id!\", a.name AS \"name!\", a.status AS \"status!\", \
             a.created_at AS \"created_at!\", p.name AS \"parent_name?\" \
             FROM accounts a LEFT JOIN accounts p ON p.account_id = a.parent_id \
             WHERE a.name = $1 OR a.account_id = $1",
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
}

/// Locks the row of an account until the transaction ends: changes of one
/// account's settings happen one after the other. Rows that refer to the
/// account can be inserted meanwhile. A closed account is refused: whoever was
/// let in just before it was closed must add nothing to it, and above all not
/// after it was erased.
pub(crate) async fn lock_account(
    tx: &mut PgConnection,
    account_id: &str,
) -> Result<(), StoreError> {
    let status = sqlx::query_scalar!(
        "SELECT status FROM accounts WHERE account_id = $1 FOR NO KEY UPDATE",
        account_id
    )
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::NotFound(Thing::Account))?;
    match AccountStatus::from_column(&status) {
        AccountStatus::Closed => Err(StoreError::AccountClosed),
        AccountStatus::Open | AccountStatus::Disabled => Ok(()),
    }
}

/// As [`lock_account`], for whoever names the account or has its id. Returns the id.
pub(crate) async fn lock_account_named(
    tx: &mut PgConnection,
    name: &str,
) -> Result<String, StoreError> {
    let account_id = sqlx::query_scalar!(
        "SELECT account_id FROM accounts WHERE name = $1 OR account_id = $1",
        name
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::NotFound(Thing::Account))?;
    lock_account(tx, &account_id).await?;
    Ok(account_id)
}

/// Raises the version of an account's document and queues it.
pub(crate) async fn account_changed(
    tx: &mut PgConnection,
    account_id: &str,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    let version = sqlx::query_scalar!(
        "UPDATE accounts SET version = version + 1, updated_at = $2, forgotten_at = NULL \
         WHERE account_id = $1 RETURNING version",
        account_id,
        at
    )
    .fetch_one(&mut *tx)
    .await?;
    let key = DocumentKey::Account(account_id.to_owned());
    enqueue(tx, &key, version, at).await?;
    Ok(key)
}

/// As [`account_changed`], for what may have made the document larger: one that the broker
/// does not take would keep every later change from coming into force, an operator's too.
pub(crate) async fn account_grew(
    tx: &mut PgConnection,
    account_id: &str,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    let key = account_changed(tx, account_id, at).await?;
    documents::check_size(tx, account_id).await?;
    Ok(key)
}

async fn parent_id(tx: &mut PgConnection, name: &str) -> Result<String, StoreError> {
    let missing = |error| match error {
        StoreError::NotFound(_) => StoreError::NotFound(Thing::ParentAccount),
        error => error,
    };
    // A parent that is being closed closes its subaccounts, and must not miss this one.
    let parent_id = lock_account_named(&mut *tx, name).await.map_err(missing)?;
    let is_subaccount = sqlx::query_scalar!(
        "SELECT is_subaccount AS \"is_subaccount!\" FROM accounts WHERE account_id = $1",
        parent_id
    )
    .fetch_one(tx)
    .await?;
    if is_subaccount { Err(StoreError::NestedSubaccount) } else { Ok(parent_id) }
}
