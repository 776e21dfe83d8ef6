//! How much one account may have of each thing.
//!
//! A quota is looked at while the row of the account is locked, so that no
//! race between two replicas goes past it.

use std::fmt;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::accounts::lock_account;
use crate::{Store, StoreError};

/// Quotas of every account that has none of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quotas {
    /// URLs of webhooks, over all event types, domains and the account itself.
    pub webhooks: u32,
    /// Alert settings.
    pub alert_settings: u32,
    /// Domains.
    pub domains: u32,
    /// API keys that are neither revoked nor expired.
    pub api_keys: u32,
    /// Subaccounts that are not closed.
    pub subaccounts: u32,
}

/// What a quota is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Quota {
    Webhooks,
    AlertSettings,
    Domains,
    ApiKeys,
    Subaccounts,
}

/// How much of something an account has, and how much it may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Usage {
    /// Of what.
    pub quota: Quota,
    /// How many it has.
    pub used: i64,
    /// How many it may have.
    pub limit: i64,
    /// Whether that is the deployment's limit, and not one of the account's own.
    pub is_default: bool,
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Webhooks, Self::AlertSettings, Self::Domains, Self::ApiKeys, Self::Subaccounts];

    /// Its name for operators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhooks => "webhooks",
            Self::AlertSettings => "alert_settings",
            Self::Domains => "domains",
            Self::ApiKeys => "api_keys",
            Self::Subaccounts => "subaccounts",
        }
    }

    /// The quota of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quota| quota.as_str() == name)
    }
}

impl Store {
    /// What an account has of everything that there is a quota of.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn usage(
        &self,
        account_id: &str,
        defaults: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<Vec<Usage>, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let mut usages = Vec::with_capacity(Quota::ALL.len());
        for quota in Quota::ALL {
            usages.push(usage(&mut connection, account_id, quota, defaults, Some(at)).await?);
        }
        Ok(usages)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Webhooks => "webhook URLs",
            Self::AlertSettings => "alert settings",
            Self::Domains => "domains",
            Self::ApiKeys => "API keys",
            Self::Subaccounts => "subaccounts",
        })
    }
}

/// Refuses what has brought an account over its quota. To be called after the
/// insert, so that what exists already is told as such, and before the commit.
/// Whoever inserts has locked the account before.
pub(crate) async fn check_quota(
    tx: &mut PgConnection,
    account_id: &str,
    quota: Quota,
    defaults: &Quotas,
) -> Result<(), StoreError> {
    // Locks that are held already are granted at once.
    lock_account(tx, account_id).await?;
    let Usage { used, limit, .. } = usage(tx, account_id, quota, defaults, None).await?;
    if used > limit {
        return Err(StoreError::QuotaReached { quota, limit });
    }
    Ok(())
}

/// Without a moment, that of the account's newest key counts: the one that is
/// being made, where it matters.
async fn usage(
    tx: &mut PgConnection,
    account_id: &str,
    quota: Quota,
    defaults: &Quotas,
    at: Option<DateTime<Utc>>,
) -> Result<Usage, StoreError> {
    let (used, own, default) = match quota {
        Quota::Webhooks => {
            let row = sqlx::query!(
                "SELECT (SELECT count(*) FROM account_webhook_events WHERE account_id = $1) \
                 + (SELECT count(*) FROM domain_webhooks w JOIN domains d USING (domain_id) \
                 WHERE d.account_id = $1 AND d.deleted_at IS NULL) AS \"used!\", max_webhooks \
                 FROM accounts WHERE account_id = $1",
                account_id
            )
            .fetch_one(tx)
            .await?;
            (row.used, row.max_webhooks, defaults.webhooks)
        }
        Quota::AlertSettings => {
            let row = sqlx::query!(
                "SELECT (SELECT count(*) FROM alert_settings WHERE account_id = $1) AS \"used!\", \
                 max_alert_settings FROM accounts WHERE account_id = $1",
                account_id
            )
            .fetch_one(tx)
            .await?;
            (row.used, row.max_alert_settings, defaults.alert_settings)
        }
        Quota::Domains => {
            let row = sqlx::query!(
                "SELECT (SELECT count(*) FROM domains WHERE account_id = $1 \
                 AND deleted_at IS NULL) AS \"used!\", max_domains \
                 FROM accounts WHERE account_id = $1",
                account_id
            )
            .fetch_one(tx)
            .await?;
            (row.used, row.max_domains, defaults.domains)
        }
        Quota::ApiKeys => {
            let row = sqlx::query!(
                "SELECT (SELECT count(*) FROM api_keys k WHERE k.account_id = $1 \
                 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > \
                 coalesce($2, (SELECT max(n.created_at) FROM api_keys n WHERE n.account_id = $1)))) \
                 AS \"used!\", max_api_keys FROM accounts WHERE account_id = $1",
                account_id,
                at
            )
            .fetch_one(tx)
            .await?;
            (row.used, row.max_api_keys, defaults.api_keys)
        }
        Quota::Subaccounts => {
            let row = sqlx::query!(
                "SELECT (SELECT count(*) FROM accounts s WHERE s.parent_id = $1 \
                 AND s.status <> 'closed') AS \"used!\", a.max_subaccounts \
                 FROM accounts a WHERE a.account_id = $1",
                account_id
            )
            .fetch_one(tx)
            .await?;
            (row.used, row.max_subaccounts, defaults.subaccounts)
        }
    };
    let limit = own.map_or(i64::from(default), i64::from);
    Ok(Usage { quota, used, limit, is_default: own.is_none() })
}
