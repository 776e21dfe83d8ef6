//! How much one account may have of each thing.
//!
//! A quota is looked at while the row of the account is locked, so that no
//! race between two replicas goes past it.

use std::fmt;

use sqlx::PgConnection;

use crate::StoreError;
use crate::accounts::lock_account;

/// Quotas of every account that has none of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quotas {
    /// URLs of webhooks, over all event types, domains and the account itself.
    pub webhooks: u32,
    /// Alert settings.
    pub alert_settings: u32,
    /// Domains.
    pub domains: u32,
    /// API keys that are not revoked.
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
                "SELECT (SELECT count(*) FROM api_keys WHERE account_id = $1 \
                 AND revoked_at IS NULL) AS \"used!\", max_api_keys \
                 FROM accounts WHERE account_id = $1",
                account_id
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
    if used > limit {
        return Err(StoreError::QuotaReached { quota, limit });
    }
    Ok(())
}
