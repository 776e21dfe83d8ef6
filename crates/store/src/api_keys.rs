//! API keys: what their owner and operators see of them.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::accounts::{lock_account, lock_account_named};
use crate::error::is_duplicate;
use crate::quotas::check_quota;
use crate::{Quota, Quotas, Store, StoreError, Thing};

/// How long an account's list tells of a key that has expired.
const EXPIRED_LISTED: TimeDelta = TimeDelta::days(30);

/// What an API key may be used for (reference §1.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Everything but API keys, subaccounts and the account itself.
    Developer,
    /// Reading, without secrets.
    Basic,
    /// Sending messages, which is none of the calls here.
    Sending,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Developer, Self::Basic, Self::Sending];

    /// Its name in the database and in Mailgun's answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Developer => "developer",
            Self::Basic => "basic",
            Self::Sending => "sending",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == name)
    }

    /// What the database says. A name that this release does not know allows nothing.
    pub(crate) fn from_column(name: &str) -> Self {
        Self::parse(name).unwrap_or(Self::Sending)
    }
}

/// Mailgun's word for who holds a key. What a key may do, its role says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyKind {
    /// Whoever sends messages of one domain.
    Domain,
    /// A person or a program.
    User,
    /// A session in a browser.
    Web,
}

impl KeyKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Domain, Self::User, Self::Web];

    /// Its name in the database and in Mailgun's answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::User => "user",
            Self::Web => "web",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// What the database says. It allows no other than these three.
    fn from_column(name: &str) -> Self {
        Self::parse(name).unwrap_or(Self::User)
    }
}

/// What is known of an API key. The key itself is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// `xxxxxxxx-yyyyyyyy`.
    pub key_id: String,
    /// The account that it opens.
    pub account_name: String,
    /// What it may be used for.
    pub role: Role,
    /// Who holds it.
    pub kind: KeyKind,
    /// What its owner noted; may be empty.
    pub description: String,
    /// The domain that it was made for.
    pub domain_name: Option<String>,
    /// Mail address of who asked for it, as its maker says.
    pub requestor: Option<String>,
    /// For whom it is, as its maker says.
    pub user_name: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when on it opens nothing.
    pub expires_at: Option<DateTime<Utc>>,
    /// Since when it opens nothing.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, right to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// An API key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// `xxxxxxxx-yyyyyyyy`, at random.
    pub key_id: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// What it may be used for.
    pub role: Role,
    /// Who holds it.
    pub kind: KeyKind,
    /// A note of its owner, at most 256 characters.
    pub description: String,
    /// The domain that it is for; lower case, in ASCII.
    pub domain_name: Option<String>,
    /// Mail address of who asked for it, at most 256 characters.
    pub requestor: Option<String>,
    /// For whom it is, at most 256 characters.
    pub user_name: Option<String>,
    /// From when on it opens nothing; `None` for never.
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewKey {
    /// A key that may do everything, for ever.
    pub fn admin(key_id: String, hash: [u8; 32]) -> Self {
        Self {
            key_id,
            hash,
            role: Role::Admin,
            kind: KeyKind::User,
            description: String::new(),
            domain_name: None,
            requestor: None,
            user_name: None,
            expires_at: None,
        }
    }
}

/// Which keys of an account are listed.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Only those of this kind.
    pub kind: Option<KeyKind>,
    /// Only those that were made for this domain.
    pub domain_name: Option<String>,
}

impl Store {
    /// The keys of an account, oldest first, revoked and expired ones too.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account.
    pub async fn keys(&self, account_name: &str) -> Result<Vec<ApiKey>, StoreError> {
        let account_id = self.account_named(account_name).await?.account_id;
        let rows = sqlx::query_as!(
            Row,
            "SELECT k.key_id, a.name AS account_name, k.role, k.kind, k.description, \
             k.domain_name, k.requestor, k.user_name, k.created_at, k.expires_at, k.revoked_at, k.last_used_at \
             FROM api_keys k JOIN accounts a USING (account_id) \
             WHERE k.account_id = $1 ORDER BY k.created_at, k.key_id",
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(ApiKey::from).collect())
    }

    /// The keys of an account as its customer sees them, oldest first: without
    /// revoked ones, and without those that expired more than 30 days ago.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_keys(
        &self,
        account_id: &str,
        filter: &KeyFilter,
        at: DateTime<Utc>,
    ) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "SELECT k.key_id, a.name AS account_name, k.role, k.kind, k.description, \
             k.domain_name, k.requestor, k.user_name, k.created_at, k.expires_at, k.revoked_at, k.last_used_at \
             FROM api_keys k JOIN accounts a USING (account_id) \
             WHERE k.account_id = $1 AND k.revoked_at IS NULL \
             AND (k.expires_at IS NULL OR k.expires_at > $2) \
             AND ($3::text IS NULL OR k.kind = $3) \
             AND ($4::text IS NULL OR k.domain_name = $4) \
             ORDER BY k.created_at, k.key_id",
            account_id,
            at - EXPIRED_LISTED,
            filter.kind.map(KeyKind::as_str),
            filter.domain_name
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(ApiKey::from).collect())
    }

    /// Gives an account one more key, on behalf of an operator: beyond its quota as well.
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
        let account_id = lock_account_named(&mut tx, account_name).await?;
        insert_key(&mut tx, &account_id, key, at).await?;
        let made = read(&mut tx, &key.key_id).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Gives an account one more key, on behalf of its customer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the key is of kind domain and this account
    /// has no such domain, [`StoreError::QuotaReached`], or
    /// [`StoreError::Exists`] when any account has, or ever had, this key.
    pub async fn create_account_key(
        &self,
        account_id: &str,
        key: &NewKey,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<ApiKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        if key.kind == KeyKind::Domain {
            // The row stays as it is until the commit, so that the domain is not
            // deleted meanwhile and leaves this key behind.
            sqlx::query_scalar!(
                "SELECT domain_id FROM domains \
                 WHERE name = $1 AND account_id = $2 AND deleted_at IS NULL FOR SHARE",
                key.domain_name.as_deref(),
                account_id
            )
            .fetch_optional(&mut *tx)
            .await?
            .ok_or(StoreError::NotFound(Thing::Domain))?;
        }
        insert_key(&mut tx, account_id, key, at).await?;
        check_quota(&mut tx, account_id, Quota::ApiKeys, quotas).await?;
        let made = read(&mut tx, &key.key_id).await?;
        tx.commit().await?;
        Ok(made)
    }

    /// Takes a key out of use. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that key.
    pub async fn revoke_key(&self, key_id: &str, at: DateTime<Utc>) -> Result<(), StoreError> {
        let revoked = sqlx::query!(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, $2) WHERE key_id = $1",
            key_id,
            at
        )
        .execute(&self.pool)
        .await?;
        match revoked.rows_affected() {
            0 => Err(StoreError::NotFound(Thing::ApiKey)),
            _ => Ok(()),
        }
    }

    /// Takes a key out of use, on behalf of the customer.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such key, or had it
    /// revoked before; [`StoreError::LastAdminKey`] when nobody could make a key
    /// for the account afterwards.
    pub async fn revoke_account_key(
        &self,
        account_id: &str,
        key_id: &str,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        // Two keys that are revoked at once could both be taken for the one that stays.
        lock_account(&mut tx, account_id).await?;
        let revoked = sqlx::query!(
            "UPDATE api_keys SET revoked_at = $3 \
             WHERE key_id = $1 AND account_id = $2 AND revoked_at IS NULL \
             RETURNING (role = 'admin' AND expires_at IS NULL) AS \"holds_the_account!\"",
            key_id,
            account_id,
            at
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound(Thing::ApiKey))?;
        if revoked.holds_the_account {
            // A subaccount is never lost: its parent makes keys for it.
            let still_held = sqlx::query_scalar!(
                "SELECT a.is_subaccount OR EXISTS (SELECT FROM api_keys k \
                 WHERE k.account_id = a.account_id AND k.role = 'admin' \
                 AND k.expires_at IS NULL AND k.revoked_at IS NULL) AS \"held!\" \
                 FROM accounts a WHERE a.account_id = $1",
                account_id
            )
            .fetch_one(&mut *tx)
            .await?;
            if !still_held {
                return Err(StoreError::LastAdminKey);
            }
        }
        Ok(tx.commit().await?)
    }
}

/// Inserts a key. The caller has locked the account's row, or keeps it from
/// being deleted.
pub(crate) async fn insert_key(
    tx: &mut PgConnection,
    account_id: &str,
    key: &NewKey,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let inserted = sqlx::query!(
        "INSERT INTO api_keys (key_id, hash, account_id, role, kind, description, \
         domain_name, requestor, user_name, expires_at, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        key.key_id,
        &key.hash[..],
        account_id,
        key.role.as_str(),
        key.kind.as_str(),
        key.description,
        key.domain_name,
        key.requestor,
        key.user_name,
        key.expires_at,
        at
    )
    .execute(tx)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if is_duplicate(&error) => Err(StoreError::Exists(Thing::ApiKey)),
        Err(error) => Err(error.into()),
    }
}

/// A key as it was stored, whose moments are less precise than the clock.
async fn read(tx: &mut PgConnection, key_id: &str) -> Result<ApiKey, StoreError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT k.key_id, a.name AS account_name, k.role, k.kind, k.description, \
         k.domain_name, k.requestor, k.user_name, k.created_at, k.expires_at, k.revoked_at, k.last_used_at \
         FROM api_keys k JOIN accounts a USING (account_id) WHERE k.key_id = $1",
        key_id
    )
    .fetch_one(tx)
    .await?;
    Ok(row.into())
}

struct Row {
    key_id: String,
    account_name: String,
    role: String,
    kind: String,
    description: String,
    domain_name: Option<String>,
    requestor: Option<String>,
    user_name: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<Row> for ApiKey {
    fn from(row: Row) -> Self {
        Self {
            key_id: row.key_id,
            account_name: row.account_name,
            role: Role::from_column(&row.role),
            kind: KeyKind::from_column(&row.kind),
            description: row.description,
            domain_name: row.domain_name,
            requestor: row.requestor,
            user_name: row.user_name,
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
        }
    }
}
