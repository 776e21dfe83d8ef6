//! API keys: who is calling, and the operator's view of them.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{AccountStatus, Store, StoreError, Thing};

/// How far behind `last_used_at` may be, so that not every request writes.
const LAST_USED_PRECISION: TimeDelta = TimeDelta::minutes(1);

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

/// What is known of an API key. The key itself is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    /// `xxxxxxxx-yyyyyyyy`.
    pub key_id: String,
    /// The account that it opens.
    pub account_name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when it opens nothing.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// Whose key a caller has shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authenticated {
    /// Of the key.
    pub key_id: String,
    /// What the key may be used for.
    pub role: Role,
    /// The key's account.
    pub account: CallerAccount,
    /// Of the parent of the key's account, when that is a subaccount.
    pub parent_status: Option<AccountStatus>,
    /// The subaccount that was asked for; `None` also when it is not one of this account's.
    pub subaccount: Option<CallerAccount>,
}

/// An account in the part of the caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallerAccount {
    /// 24 hex characters.
    pub account_id: String,
    /// Whether it may do anything.
    pub status: AccountStatus,
}

impl Store {
    /// Looks up the account of an API key by the key's hash, and the
    /// subaccount of that account which has this id.
    ///
    /// # Errors
    /// Those of the database; an unknown or revoked key is `None`.
    pub async fn authenticate(
        &self,
        hash: &[u8; 32],
        subaccount_id: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<Option<Authenticated>, StoreError> {
        let row = sqlx::query!(
            "SELECT k.key_id, k.role, k.last_used_at, a.account_id, a.status, \
             p.status AS \"parent_status?\", \
             s.account_id AS \"subaccount_id?\", s.status AS \"subaccount_status?\" \
             FROM api_keys k JOIN accounts a USING (account_id) \
             LEFT JOIN accounts p ON p.account_id = a.parent_id \
             LEFT JOIN accounts s ON s.account_id = $2 AND s.parent_id = a.account_id \
             WHERE k.hash = $1 AND k.revoked_at IS NULL \
             AND (k.expires_at IS NULL OR k.expires_at > $3)",
            &hash[..],
            subaccount_id,
            at
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        if row.last_used_at.is_none_or(|last| at - last >= LAST_USED_PRECISION) {
            sqlx::query!(
                "UPDATE api_keys SET last_used_at = greatest(last_used_at, $2) WHERE key_id = $1",
                row.key_id,
                at
            )
            .execute(&self.pool)
            .await?;
        }
        let caller = |account_id, status: String| CallerAccount {
            account_id,
            status: AccountStatus::from_column(&status),
        };
        Ok(Some(Authenticated {
            key_id: row.key_id,
            role: Role::from_column(&row.role),
            parent_status: row.parent_status.as_deref().map(AccountStatus::from_column),
            account: caller(row.account_id, row.status),
            subaccount: row
                .subaccount_id
                .zip(row.subaccount_status)
                .map(|(account_id, status)| caller(account_id, status)),
        }))
    }

    /// The id of the account that an API key opens.
    ///
    /// # Errors
    /// Those of the database; an unknown or revoked key is `None`.
    pub async fn account_of_key(&self, hash: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let account_id = sqlx::query_scalar!(
            "SELECT account_id FROM api_keys WHERE hash = $1 AND revoked_at IS NULL",
            &hash[..]
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(account_id)
    }

    /// The keys of an account, oldest first, revoked ones too.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account.
    pub async fn keys(&self, account_name: &str) -> Result<Vec<ApiKey>, StoreError> {
        let account_id = self.account_named(account_name).await?.account_id;
        let rows = sqlx::query!(
            "SELECT key_id, created_at, revoked_at FROM api_keys \
             WHERE account_id = $1 ORDER BY created_at, key_id",
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        let keys = rows.into_iter().map(|row| ApiKey {
            key_id: row.key_id,
            account_name: account_name.to_owned(),
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        });
        Ok(keys.collect())
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
}
