//! What an account says of itself: its label, its contact, its switches.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::accounts::{account_changed, lock_account};
use crate::{AccountStatus, DocumentKey, Store, StoreError, Thing};

/// An account as its owner sees it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountInfo {
    /// 24 hex characters.
    pub account_id: String,
    /// What its owner calls it.
    pub label: String,
    /// Of a subaccount.
    pub parent_id: Option<String>,
    /// Whether it may do anything.
    pub status: AccountStatus,
    /// Whom to write to about its deliveries.
    pub contact_email: Option<String>,
    /// Its switches.
    pub features: Features,
    /// Until when the HTTP signing key before the present one also signs.
    pub previous_http_signing_key_until: Option<DateTime<Utc>>,
    /// Until when the alerts signing key before the present one also signs.
    pub previous_alerts_signing_key_until: Option<DateTime<Utc>>,
}

/// The switches of an account (reference §6.2).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Features {
    /// Whether deliveries show no personal data. The switch of the account
    /// itself; that of its parent or of a domain may be on as well.
    pub redact_pii: bool,
    /// Those that have no effect, by name, as far as they were ever set.
    pub others: BTreeMap<String, bool>,
}

/// Switches to be set; all others stay.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FeatureChanges {
    /// Whether deliveries show no personal data.
    pub redact_pii: Option<bool>,
    /// Those that have no effect, by name.
    pub others: BTreeMap<String, bool>,
}

impl Features {
    /// From the columns: the switch, and those of the map that are on and off.
    pub(crate) fn from_columns(redact_pii: bool, on: Vec<String>, off: Vec<String>) -> Self {
        let on = on.into_iter().map(|name| (name, true));
        let others = on.chain(off.into_iter().map(|name| (name, false))).collect();
        Self { redact_pii, others }
    }
}

impl Store {
    /// An account as its owner sees it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn account_info(&self, account_id: &str) -> Result<AccountInfo, StoreError> {
        let row = sqlx::query!(
            "SELECT account_id, label, parent_id, status, contact_email, redact_pii, \
             previous_http_signing_key_until, previous_alerts_signing_key_until, \
             ARRAY(SELECT key FROM jsonb_each(features) WHERE value = 'true') AS \"on!\", \
             ARRAY(SELECT key FROM jsonb_each(features) WHERE value = 'false') AS \"off!\" \
             FROM accounts WHERE account_id = $1",
            account_id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::NotFound(Thing::Account))?;
        Ok(AccountInfo {
            account_id: row.account_id,
            label: row.label,
            parent_id: row.parent_id,
            status: AccountStatus::from_column(&row.status),
            contact_email: row.contact_email,
            features: Features::from_columns(row.redact_pii, row.on, row.off),
            previous_http_signing_key_until: row.previous_http_signing_key_until,
            previous_alerts_signing_key_until: row.previous_alerts_signing_key_until,
        })
    }

    /// Calls an account something else. The delivery path does not know labels,
    /// so that there is nothing to publish.
    ///
    /// # Errors
    /// [`StoreError::AccountClosed`], or those of the database.
    pub async fn set_account_label(
        &self,
        account_id: &str,
        label: &str,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let updated = sqlx::query!(
            "UPDATE accounts SET label = $2, updated_at = $3 \
             WHERE account_id = $1 AND status <> 'closed'",
            account_id,
            label,
            at
        )
        .execute(&self.pool)
        .await?;
        unless_closed(updated.rows_affected())
    }

    /// Says whom to write to about an account's deliveries, or that nobody is
    /// to be written to. Not published either.
    ///
    /// # Errors
    /// [`StoreError::AccountClosed`], or those of the database.
    pub async fn set_contact_email(
        &self,
        account_id: &str,
        contact_email: Option<&str>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let updated = sqlx::query!(
            "UPDATE accounts SET contact_email = $2, updated_at = $3 \
             WHERE account_id = $1 AND status <> 'closed'",
            account_id,
            contact_email,
            at
        )
        .execute(&self.pool)
        .await?;
        unless_closed(updated.rows_affected())
    }

    /// Sets switches of an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::AccountClosed`], or those of the
    /// database.
    pub async fn set_features(
        &self,
        account_id: &str,
        changes: &FeatureChanges,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let key = change_features(&mut tx, account_id, changes, at).await?;
        tx.commit().await?;
        Ok(key)
    }
}

/// Sets switches of an account that is locked.
pub(crate) async fn change_features(
    tx: &mut sqlx::PgConnection,
    account_id: &str,
    changes: &FeatureChanges,
    at: DateTime<Utc>,
) -> Result<DocumentKey, StoreError> {
    let (names, values): (Vec<_>, Vec<_>) =
        changes.others.iter().map(|(name, value)| (name.clone(), *value)).unzip();
    sqlx::query!(
        "UPDATE accounts SET redact_pii = coalesce($2, redact_pii), features = features || \
         coalesce((SELECT jsonb_object_agg(f.name, f.value) \
         FROM unnest($3::text[], $4::boolean[]) AS f (name, value)), '{}') \
         WHERE account_id = $1",
        account_id,
        changes.redact_pii,
        &names,
        &values
    )
    .execute(&mut *tx)
    .await?;
    account_changed(tx, account_id, at).await
}

/// An account keeps its row for good, so that one which was not changed is closed.
fn unless_closed(rows: u64) -> Result<(), StoreError> {
    if rows == 0 { Err(StoreError::AccountClosed) } else { Ok(()) }
}
