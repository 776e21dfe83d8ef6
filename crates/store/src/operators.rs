//! Accounts as operators see them.

use chrono::{DateTime, Utc};

use crate::accounts::{account_changed, lock_account};
use crate::{Account, AccountStatus, DocumentKey, Quota, Store, StoreError, Thing};

/// An account with everything that operators ask for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountDetails {
    /// The account itself.
    pub account: Account,
    /// What its customer calls it.
    pub label: String,
    /// Whom to write to about its settings and deliveries.
    pub contact_email: Option<String>,
    /// Why it is disabled or closed.
    pub status_reason: Option<String>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Since when its personal data is to be gone.
    pub erased_at: Option<DateTime<Utc>>,
    /// When the last of its history was gone.
    pub erasure_done_at: Option<DateTime<Utc>>,
    /// Quotas of its own that the delivery path keeps.
    pub path_quotas: [(PathQuota, Option<u32>); 2],
}

/// What the delivery path keeps a quota of, for a primary account and its
/// subaccounts together. 0 for no limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathQuota {
    /// Events that are accepted in a second.
    EventsPerSecond,
    /// Deliveries that wait for a later moment.
    WaitingDeliveries,
}

impl PathQuota {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::EventsPerSecond, Self::WaitingDeliveries];

    /// Its name for operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EventsPerSecond => "events_per_second",
            Self::WaitingDeliveries => "waiting_deliveries",
        }
    }
}

/// What operators change of an account; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct AccountChange {
    /// Whom to write to, or nobody.
    pub contact_email: Option<Option<String>>,
    /// Quotas of the account's own; without a number that of the deployment holds.
    pub quotas: Vec<(Quota, Option<u32>)>,
    /// The same of what the delivery path keeps.
    pub path_quotas: Vec<(PathQuota, Option<u32>)>,
}

impl Store {
    /// An account by its name or its id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn account_details(&self, name: &str) -> Result<AccountDetails, StoreError> {
        let mut found = self.details(Some(name)).await?;
        found.pop().ok_or(StoreError::NotFound(Thing::Account))
    }

    /// All accounts, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn all_account_details(&self) -> Result<Vec<AccountDetails>, StoreError> {
        self.details(None).await
    }

    async fn details(&self, name: Option<&str>) -> Result<Vec<AccountDetails>, StoreError> {
        let rows = sqlx::query!(
            "SELECT a.account_id, a.name, p.name AS \"parent_name?\", a.status, a.created_at, \
             a.label, a.contact_email, a.disabled_reason, a.updated_at, a.erased_at, \
             e.done_at AS \"done_at?\", a.events_per_second, a.waiting_deliveries \
             FROM accounts a LEFT JOIN accounts p ON p.account_id = a.parent_id \
             LEFT JOIN erasures e ON e.account_id = a.account_id \
             WHERE $1::text IS NULL OR a.name = $1 OR a.account_id = $1 ORDER BY a.name",
            name
        )
        .fetch_all(&self.pool)
        .await?;
        let details = rows.into_iter().map(|row| AccountDetails {
            account: Account {
                account_id: row.account_id,
                name: row.name,
                parent_name: row.parent_name,
                status: AccountStatus::from_column(&row.status),
                created_at: row.created_at,
            },
            label: row.label,
            contact_email: row.contact_email,
            status_reason: row.disabled_reason,
            updated_at: row.updated_at,
            erased_at: row.erased_at,
            erasure_done_at: row.done_at,
            path_quotas: [
                (PathQuota::EventsPerSecond, row.events_per_second.map(i32::unsigned_abs)),
                (PathQuota::WaitingDeliveries, row.waiting_deliveries.map(i32::unsigned_abs)),
            ],
        });
        Ok(details.collect())
    }

    /// Changes an account, all of it or nothing.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], and [`StoreError::AccountClosed`].
    pub async fn update_account(
        &self,
        account_id: &str,
        change: &AccountChange,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        if let Some(contact_email) = &change.contact_email {
            sqlx::query!(
                "UPDATE accounts SET contact_email = $2 WHERE account_id = $1",
                account_id,
                contact_email.as_deref()
            )
            .execute(&mut *tx)
            .await?;
        }
        let (quotas, limits): (Vec<&str>, Vec<Option<i32>>) = change
            .quotas
            .iter()
            .map(|(quota, limit)| {
                // What is more than the column takes is no limit in practice either.
                let limit = limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
                (quota.as_str(), limit)
            })
            .unzip();
        sqlx::query!(
            "WITH wanted AS (SELECT * FROM unnest($2::text[], $3::integer[]) AS w (quota, value)) \
             UPDATE accounts SET \
             max_webhooks = CASE WHEN 'webhooks' = ANY($2) THEN \
             (SELECT value FROM wanted WHERE quota = 'webhooks') ELSE max_webhooks END, \
             max_alert_settings = CASE WHEN 'alert_settings' = ANY($2) THEN \
             (SELECT value FROM wanted WHERE quota = 'alert_settings') ELSE max_alert_settings END, \
             max_domains = CASE WHEN 'domains' = ANY($2) THEN \
             (SELECT value FROM wanted WHERE quota = 'domains') ELSE max_domains END, \
             max_api_keys = CASE WHEN 'api_keys' = ANY($2) THEN \
             (SELECT value FROM wanted WHERE quota = 'api_keys') ELSE max_api_keys END, \
             max_subaccounts = CASE WHEN 'subaccounts' = ANY($2) THEN \
             (SELECT value FROM wanted WHERE quota = 'subaccounts') ELSE max_subaccounts END \
             WHERE account_id = $1",
            account_id,
            &quotas as &[&str],
            &limits as &[Option<i32>]
        )
        .execute(&mut *tx)
        .await?;
        for (quota, limit) in &change.path_quotas {
            let limit = limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
            match quota {
                PathQuota::EventsPerSecond => sqlx::query!(
                    "UPDATE accounts SET events_per_second = $2 WHERE account_id = $1",
                    account_id,
                    limit
                ),
                PathQuota::WaitingDeliveries => sqlx::query!(
                    "UPDATE accounts SET waiting_deliveries = $2 WHERE account_id = $1",
                    account_id,
                    limit
                ),
            }
            .execute(&mut *tx)
            .await?;
        }
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }
}
