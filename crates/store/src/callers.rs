//! Who is calling.

use chrono::{DateTime, TimeDelta, Utc};

use crate::{AccountStatus, Role, Store, StoreError};

/// How far behind `last_used_at` may be, so that not every request writes.
const LAST_USED_PRECISION: TimeDelta = TimeDelta::minutes(1);

/// Whose key a caller has shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Authenticated {
    /// Of the key.
    pub key_id: String,
    /// What the key may be used for.
    pub role: Role,
    /// The key's account.
    pub account: CallerAccount,
    /// The key's account, or its parent, when that is a subaccount: the tenant.
    pub primary_id: String,
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

/// To whom an account belongs, and who belongs to it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Family {
    /// Of a subaccount.
    pub parent_id: Option<String>,
    /// Of a primary account.
    pub subaccount_ids: Vec<String>,
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
            "SELECT k.key_id, k.role, k.last_used_at, a.account_id, a.status, a.parent_id, \
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
            primary_id: row.parent_id.unwrap_or_else(|| row.account_id.clone()),
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

    /// The parent of an account, and its subaccounts, closed ones too: what has
    /// happened to them is theirs.
    ///
    /// # Errors
    /// Those of the database; an unknown account has no family.
    pub async fn account_family(&self, account_id: &str) -> Result<Family, StoreError> {
        let family = sqlx::query_as!(
            Family,
            "SELECT (SELECT parent_id FROM accounts WHERE account_id = $1) AS parent_id, \
             ARRAY(SELECT account_id FROM accounts WHERE parent_id = $1 \
             ORDER BY account_id) AS \"subaccount_ids!\"",
            account_id
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(family)
    }
}
