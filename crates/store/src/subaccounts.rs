//! Subaccounts, as their parents see them (reference §10).

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::account_info::change_features;
use crate::accounts::account_changed;
use crate::outbox::enqueue;
use crate::quotas::check_quota;
use crate::{
    AccountStatus, DocumentKey, FeatureChanges, Features, Quota, Quotas, SealedKeys, Store,
    StoreError, Thing,
};

/// An account that belongs to another one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Subaccount {
    /// 24 hex characters.
    pub account_id: String,
    /// What its parent calls it; two may have the same.
    pub label: String,
    /// Whether it may do anything.
    pub status: AccountStatus,
    /// Its switches.
    pub features: Features,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A subaccount to be made, without an API key: its parent's acts for it.
#[derive(Clone, Debug)]
pub struct NewSubaccount {
    /// 24 hex characters, at random.
    pub account_id: String,
    /// 1 to 128 characters.
    pub label: String,
    /// Its signing keys.
    pub keys: SealedKeys,
}

/// Which subaccounts to list.
#[derive(Clone, Debug)]
pub struct SubaccountQuery {
    /// Those with one of these.
    pub statuses: Vec<AccountStatus>,
    /// Those whose label has this in it, in whatever case; all when empty.
    pub label_contains: String,
    /// By label from Z to A.
    pub descending: bool,
    /// How many to pass over.
    pub skip: u32,
    /// How many to list.
    pub limit: u32,
}

struct Row {
    account_id: String,
    label: String,
    status: String,
    redact_pii: bool,
    on: Vec<String>,
    off: Vec<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Subaccount {
    fn from(row: Row) -> Self {
        Self {
            account_id: row.account_id,
            label: row.label,
            status: AccountStatus::from_column(&row.status),
            features: Features::from_columns(row.redact_pii, row.on, row.off),
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

impl Store {
    /// Makes a subaccount.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that parent, or when it is not open;
    /// [`StoreError::NestedSubaccount`] when the parent is a subaccount;
    /// [`StoreError::QuotaReached`] when the parent has as many as it may have.
    pub async fn create_subaccount(
        &self,
        parent_id: &str,
        new: &NewSubaccount,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<(Subaccount, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        let parent_is_subaccount = sqlx::query_scalar!(
            "SELECT is_subaccount FROM accounts WHERE account_id = $1 AND status = 'open' \
             FOR NO KEY UPDATE",
            parent_id
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound(Thing::ParentAccount))?;
        if parent_is_subaccount {
            return Err(StoreError::NestedSubaccount);
        }
        // Names are for operators and are unique; customers' labels are neither.
        let name = format!("sub-{}", new.account_id);
        sqlx::query!(
            "INSERT INTO accounts (account_id, name, label, parent_id, sealed_http_signing_key, \
             sealed_alerts_signing_key, created_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
            new.account_id,
            name,
            new.label,
            parent_id,
            new.keys.http_signing_key,
            new.keys.alerts_signing_key,
            at
        )
        .execute(&mut *tx)
        .await?;
        check_quota(&mut tx, parent_id, Quota::Subaccounts, quotas).await?;
        let key = DocumentKey::Account(new.account_id.clone());
        enqueue(&mut tx, &key, 1, at).await?;
        let made = load(&mut tx, parent_id, &new.account_id).await?;
        tx.commit().await?;
        Ok((made, key))
    }

    /// One subaccount of this account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn subaccount(
        &self,
        parent_id: &str,
        account_id: &str,
    ) -> Result<Subaccount, StoreError> {
        let mut connection = self.pool.acquire().await?;
        load(&mut connection, parent_id, account_id).await
    }

    /// Subaccounts of this account, by label, and how many there are without
    /// `skip` and `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn subaccounts(
        &self,
        parent_id: &str,
        query: &SubaccountQuery,
    ) -> Result<(Vec<Subaccount>, i64), StoreError> {
        let statuses: Vec<_> =
            query.statuses.iter().map(|status| status.as_str().to_owned()).collect();
        // One snapshot for both, so that the total is that of the list.
        let mut tx = self.pool.begin().await?;
        sqlx::query!("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            .execute(&mut *tx)
            .await?;
        let total = sqlx::query_scalar!(
            "SELECT count(*) AS \"total!\" FROM accounts WHERE parent_id = $1 \
             AND status = ANY($2) AND position(lower($3) IN lower(label)) > 0",
            parent_id,
            &statuses,
            query.label_contains
        )
        .fetch_one(&mut *tx)
        .await?;
        // Only one of the first two is not NULL for all rows, and sorts.
        let rows = sqlx::query_as!(
            Row,
            "SELECT account_id, label, status, redact_pii, created_at, updated_at, \
             ARRAY(SELECT key FROM jsonb_each(features) WHERE value = 'true') AS \"on!\", \
             ARRAY(SELECT key FROM jsonb_each(features) WHERE value = 'false') AS \"off!\" \
             FROM accounts WHERE parent_id = $1 \
             AND status = ANY($2) AND position(lower($3) IN lower(label)) > 0 \
             ORDER BY CASE WHEN $4 THEN label END DESC, CASE WHEN NOT $4 THEN label END, \
             account_id LIMIT $5 OFFSET $6",
            parent_id,
            &statuses,
            query.label_contains,
            query.descending,
            i64::from(query.limit),
            i64::from(query.skip)
        )
        .fetch_all(&mut *tx)
        .await?;
        Ok((rows.into_iter().map(Subaccount::from).collect(), total))
    }

    /// Lets a subaccount do nothing until it is enabled again.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Already`] when it is disabled
    /// or closed.
    pub async fn disable_subaccount(
        &self,
        parent_id: &str,
        account_id: &str,
        reason: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<(Subaccount, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        match lock(&mut tx, parent_id, account_id).await? {
            AccountStatus::Open => {}
            status => return Err(StoreError::Already(status)),
        }
        sqlx::query!(
            "UPDATE accounts SET status = 'disabled', disabled_reason = $2 WHERE account_id = $1",
            account_id,
            reason
        )
        .execute(&mut *tx)
        .await?;
        let key = account_changed(&mut tx, account_id, at).await?;
        let disabled = load(&mut tx, parent_id, account_id).await?;
        tx.commit().await?;
        Ok((disabled, key))
    }

    /// Lets a disabled subaccount go on.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Already`] when it is open or
    /// closed; the latter is final.
    pub async fn enable_subaccount(
        &self,
        parent_id: &str,
        account_id: &str,
        at: DateTime<Utc>,
    ) -> Result<(Subaccount, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        match lock(&mut tx, parent_id, account_id).await? {
            AccountStatus::Disabled => {}
            status => return Err(StoreError::Already(status)),
        }
        sqlx::query!(
            "UPDATE accounts SET status = 'open', disabled_reason = NULL WHERE account_id = $1",
            account_id
        )
        .execute(&mut *tx)
        .await?;
        let key = account_changed(&mut tx, account_id, at).await?;
        let enabled = load(&mut tx, parent_id, account_id).await?;
        tx.commit().await?;
        Ok((enabled, key))
    }

    /// Ends a subaccount for good and revokes its API keys.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Already`] when it is closed.
    pub async fn close_subaccount(
        &self,
        parent_id: &str,
        account_id: &str,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        let status = lock(&mut tx, parent_id, account_id).await?;
        if status == AccountStatus::Closed {
            return Err(StoreError::Already(status));
        }
        let key = close(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Sets switches of a subaccount.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Already`] when it is closed.
    pub async fn set_subaccount_features(
        &self,
        parent_id: &str,
        account_id: &str,
        changes: &FeatureChanges,
        at: DateTime<Utc>,
    ) -> Result<(Subaccount, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        let status = lock(&mut tx, parent_id, account_id).await?;
        if status == AccountStatus::Closed {
            return Err(StoreError::Already(status));
        }
        let key = change_features(&mut tx, account_id, changes, at).await?;
        let changed = load(&mut tx, parent_id, account_id).await?;
        tx.commit().await?;
        Ok((changed, key))
    }

    /// How many messages a subaccount may send in a month, if its parent has
    /// said so. Nothing here sends messages.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn monthly_sending_limit(
        &self,
        parent_id: &str,
        account_id: &str,
    ) -> Result<Option<i64>, StoreError> {
        let limit = sqlx::query_scalar!(
            "SELECT monthly_sending_limit FROM accounts WHERE account_id = $1 AND parent_id = $2",
            account_id,
            parent_id
        )
        .fetch_optional(&self.pool)
        .await?;
        limit.ok_or(StoreError::NotFound(Thing::Account))
    }

    /// Sets that limit, or takes it away. The delivery path does not know it,
    /// so that there is nothing to publish.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Already`] when it is closed.
    pub async fn set_monthly_sending_limit(
        &self,
        parent_id: &str,
        account_id: &str,
        limit: Option<i64>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        let status = lock(&mut tx, parent_id, account_id).await?;
        if status == AccountStatus::Closed {
            return Err(StoreError::Already(status));
        }
        sqlx::query!(
            "UPDATE accounts SET monthly_sending_limit = $2, updated_at = $3 WHERE account_id = $1",
            account_id,
            limit,
            at
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}

/// Closes an account that is locked, and revokes its API keys with it, so that
/// there is no moment at which they open something that has ended.
pub(crate) async fn close(
    tx: &mut PgConnection,
    account_id: &str,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    sqlx::query!("UPDATE accounts SET status = 'closed' WHERE account_id = $1", account_id)
        .execute(&mut *tx)
        .await?;
    sqlx::query!(
        "UPDATE api_keys SET revoked_at = $2 WHERE account_id = $1 AND revoked_at IS NULL",
        account_id,
        at
    )
    .execute(&mut *tx)
    .await?;
    account_changed(tx, account_id, at).await
}

async fn lock(
    tx: &mut PgConnection,
    parent_id: &str,
    account_id: &str,
) -> Result<AccountStatus, StoreError> {
    let status = sqlx::query_scalar!(
        "SELECT status FROM accounts WHERE account_id = $1 AND parent_id = $2 FOR NO KEY UPDATE",
        account_id,
        parent_id
    )
    .fetch_optional(tx)
    .await?
    .ok_or(StoreError::NotFound(Thing::Account))?;
    Ok(AccountStatus::from_column(&status))
}

async fn load(
    tx: &mut PgConnection,
    parent_id: &str,
    account_id: &str,
) -> Result<Subaccount, StoreError> {
    let row = sqlx::query_as!(
        Row,
        "SELECT account_id, label, status, redact_pii, created_at, updated_at, \
         ARRAY(SELECT key FROM jsonb_each(features) WHERE value = 'true') AS \"on!\", \
         ARRAY(SELECT key FROM jsonb_each(features) WHERE value = 'false') AS \"off!\" \
         FROM accounts WHERE account_id = $1 AND parent_id = $2",
        account_id,
        parent_id
    )
    .fetch_optional(tx)
    .await?;
    row.map(Subaccount::from).ok_or(StoreError::NotFound(Thing::Account))
}
