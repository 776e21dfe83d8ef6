//! Alert settings: which alert goes where.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::accounts::{account_changed, account_grew, lock_account};
use crate::error::is_duplicate;
use crate::notices::{AlertTrouble, NoticeStage, note};
use crate::quotas::check_quota;
use crate::{DocumentKey, Quota, Quotas, Store, StoreError, Thing};

/// An alert setting.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertSetting {
    /// Of the setting.
    pub setting_id: Uuid,
    /// An alert event type.
    pub event_type: String,
    /// Where the alert goes.
    pub destination: AlertDestination,
    /// Raised each time the setting is saved; from 1.
    pub generation: i64,
    /// Since when nothing goes there, because a delivery has used up its schedule.
    pub disabled_at: Option<DateTime<Utc>>,
    /// How that delivery ended, as a short machine name.
    pub disabled_reason: Option<String>,
}

/// Where an alert goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AlertDestination {
    /// To a URL.
    Webhook {
        /// `http` or `https`.
        url: String,
    },
    /// To mailboxes.
    Email {
        /// 1 to 50 addresses.
        emails: Vec<String>,
    },
}

/// What a customer gives to make or to replace an alert setting.
#[derive(Clone, Debug)]
pub struct NewAlert {
    /// An alert event type.
    pub event_type: String,
    /// Where the alert is to go.
    pub destination: AlertDestination,
}

/// A report that a delivery of an alert setting has used up its schedule.
#[derive(Clone, Copy, Debug)]
pub struct ExhaustedAlert<'a> {
    /// Whose setting it is.
    pub account_id: &'a str,
    /// Which one.
    pub setting_id: Uuid,
    /// The generation that the delivery was made for.
    pub generation: i64,
    /// Why the delivery was given up.
    pub reason: &'a str,
    /// When.
    pub at: DateTime<Utc>,
}

impl AlertDestination {
    /// The channel's name in requests and answers.
    pub const fn channel(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Email { .. } => "email",
        }
    }

    fn url(&self) -> Option<&str> {
        match self {
            Self::Webhook { url } => Some(url),
            Self::Email { .. } => None,
        }
    }

    fn emails(&self) -> Option<&[String]> {
        match self {
            Self::Webhook { .. } => None,
            Self::Email { emails } => Some(emails),
        }
    }
}

impl Store {
    /// The alert settings of an account, oldest first, and the sealed key that
    /// signs them, of one moment.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account.
    pub async fn alert_settings(
        &self,
        account_id: &str,
    ) -> Result<(Vec<AlertSetting>, Vec<u8>), StoreError> {
        let mut tx = self.snapshot().await?;
        let sealed_key = sqlx::query_scalar!(
            "SELECT sealed_alerts_signing_key FROM accounts WHERE account_id = $1",
            account_id
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound(Thing::Account))?;
        let settings = settings_of(&mut tx, account_id).await?;
        tx.commit().await?;
        Ok((settings, sealed_key))
    }

    /// An alert setting of this account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn alert_setting(
        &self,
        account_id: &str,
        setting_id: Uuid,
    ) -> Result<AlertSetting, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "SELECT setting_id, event_type, url, emails, generation, disabled_at, disabled_reason \
             FROM alert_settings WHERE account_id = $1 AND setting_id = $2",
            account_id,
            setting_id
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.ok_or(StoreError::NotFound(Thing::AlertSetting))?.into())
    }

    /// Makes an alert setting.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account, [`StoreError::Exists`] when
    /// this alert goes to this URL already, or to the email channel,
    /// [`StoreError::QuotaReached`].
    pub async fn create_alert_setting(
        &self,
        account_id: &str,
        setting_id: Uuid,
        new: &NewAlert,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let inserted = sqlx::query!(
            "INSERT INTO alert_settings \
             (setting_id, account_id, event_type, channel, url, emails, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            setting_id,
            account_id,
            new.event_type,
            new.destination.channel(),
            new.destination.url(),
            new.destination.emails(),
            at
        )
        .execute(&mut *tx)
        .await;
        conflict(inserted)?;
        check_quota(&mut tx, account_id, Quota::AlertSettings, quotas).await?;
        let key = account_grew(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Replaces an alert setting and enables it: the next generation.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the account has no such setting,
    /// [`StoreError::Exists`] when another one sends this alert there already.
    pub async fn update_alert_setting(
        &self,
        account_id: &str,
        setting_id: Uuid,
        new: &NewAlert,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let updated = sqlx::query!(
            "UPDATE alert_settings SET event_type = $3, channel = $4, url = $5, emails = $6, \
             generation = generation + 1, disabled_at = NULL, disabled_reason = NULL \
             WHERE account_id = $1 AND setting_id = $2",
            account_id,
            setting_id,
            new.event_type,
            new.destination.channel(),
            new.destination.url(),
            new.destination.emails()
        )
        .execute(&mut *tx)
        .await;
        if conflict(updated)? == 0 {
            return Err(StoreError::NotFound(Thing::AlertSetting));
        }
        let key = account_grew(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Removes an alert setting.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the account has no such setting.
    pub async fn delete_alert_setting(
        &self,
        account_id: &str,
        setting_id: Uuid,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let deleted = sqlx::query!(
            "DELETE FROM alert_settings WHERE account_id = $1 AND setting_id = $2",
            account_id,
            setting_id
        )
        .execute(&mut *tx)
        .await?;
        if deleted.rows_affected() == 0 {
            return Err(StoreError::NotFound(Thing::AlertSetting));
        }
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Disables an alert setting, unless it was saved since the generation that
    /// was reported, is disabled already or gone. Says whether it has.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn disable_alert_setting(
        &self,
        exhausted: ExhaustedAlert<'_>,
    ) -> Result<bool, StoreError> {
        let ExhaustedAlert { account_id, setting_id, generation, reason, at } = exhausted;
        let any_generation = chassis::mutant("disable_ignores_generation");
        let mut tx = self.pool.begin().await?;
        match lock_account(&mut tx, account_id).await {
            Err(StoreError::NotFound(_) | StoreError::AccountClosed) => return Ok(false),
            locked => locked?,
        }
        let disabled = sqlx::query!(
            "UPDATE alert_settings SET disabled_at = $4, disabled_reason = $5 \
             WHERE account_id = $1 AND setting_id = $2 AND (generation = $3 OR $6) \
             AND disabled_at IS NULL",
            account_id,
            setting_id,
            generation,
            at,
            reason,
            any_generation
        )
        .execute(&mut *tx)
        .await?;
        if disabled.rows_affected() == 0 {
            return Ok(false);
        }
        // The owner is told of it, or nothing of this has happened.
        let stage = NoticeStage::Disabled;
        let next_attempt_at = None;
        let trouble =
            AlertTrouble { account_id, setting_id, generation, stage, reason, at, next_attempt_at };
        note(&mut tx, trouble).await?;
        account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(true)
    }
}

struct Row {
    setting_id: Uuid,
    event_type: String,
    url: Option<String>,
    emails: Option<Vec<String>>,
    generation: i64,
    disabled_at: Option<DateTime<Utc>>,
    disabled_reason: Option<String>,
}

impl From<Row> for AlertSetting {
    fn from(row: Row) -> Self {
        // A constraint says that exactly one of the two is there.
        let destination = match row.url {
            Some(url) => AlertDestination::Webhook { url },
            None => AlertDestination::Email { emails: row.emails.unwrap_or_default() },
        };
        Self {
            setting_id: row.setting_id,
            event_type: row.event_type,
            destination,
            generation: row.generation,
            disabled_at: row.disabled_at,
            disabled_reason: row.disabled_reason,
        }
    }
}

/// The settings of an account, oldest first.
pub(crate) async fn settings_of(
    connection: &mut PgConnection,
    account_id: &str,
) -> Result<Vec<AlertSetting>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "SELECT setting_id, event_type, url, emails, generation, disabled_at, disabled_reason \
         FROM alert_settings WHERE account_id = $1 ORDER BY created_at, setting_id",
        account_id
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(AlertSetting::from).collect())
}

/// The rows that a write has touched, or that it met another setting.
fn conflict(result: Result<sqlx::postgres::PgQueryResult, sqlx::Error>) -> Result<u64, StoreError> {
    match result {
        Ok(done) => Ok(done.rows_affected()),
        Err(error) if is_duplicate(&error) => Err(StoreError::Exists(Thing::AlertSetting)),
        Err(error) => Err(error.into()),
    }
}
