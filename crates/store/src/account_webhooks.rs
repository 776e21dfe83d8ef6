//! Webhooks of an account: one URL and its event types each, for every domain
//! of the account and of its subaccounts.

use chrono::{DateTime, Utc};

use crate::accounts::{account_changed, lock_account};
use crate::{DocumentKey, MAX_URLS, Store, StoreError, Thing};

/// An account-level webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountWebhook {
    /// 24 hex characters.
    pub webhook_id: String,
    /// Where its events go.
    pub url: String,
    /// Webhook ids, by name.
    pub event_types: Vec<String>,
    /// The customer's words; may be empty.
    pub description: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// An account-level webhook to be made.
#[derive(Clone, Debug)]
pub struct NewAccountWebhook {
    /// 24 hex characters, at random.
    pub webhook_id: String,
    /// Where its events are to go.
    pub url: String,
    /// Distinct webhook ids, at least one.
    pub event_types: Vec<String>,
    /// The customer's words; may be empty.
    pub description: String,
}

impl Store {
    /// The account-level webhooks of an account, oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn account_webhooks(
        &self,
        account_id: &str,
    ) -> Result<Vec<AccountWebhook>, StoreError> {
        let webhooks = sqlx::query_as!(
            AccountWebhook,
            "SELECT w.webhook_id, w.url, w.description, w.created_at, \
             ARRAY(SELECT e.event_type FROM account_webhook_events e \
             WHERE e.webhook_id = w.webhook_id ORDER BY e.event_type) AS \"event_types!\" \
             FROM account_webhooks w WHERE w.account_id = $1 ORDER BY w.created_at, w.webhook_id",
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(webhooks)
    }

    /// Makes an account-level webhook, with all its event types or not at all.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account, [`StoreError::UrlExists`]
    /// when a webhook of the account has this URL for one of the event types,
    /// [`StoreError::TooManyUrls`] when one of them has three URLs already.
    pub async fn create_account_webhook(
        &self,
        account_id: &str,
        new: &NewAccountWebhook,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        // From here on nobody else changes the webhooks of this account, so
        // that the free slots found below are still free when they are taken.
        lock_account(&mut tx, account_id).await?;
        let taken = sqlx::query!(
            "SELECT event_type, slot, url FROM account_webhook_events WHERE account_id = $1",
            account_id
        )
        .fetch_all(&mut *tx)
        .await?;
        let mut slots = Vec::new();
        for event_type in &new.event_types {
            let of_type = || taken.iter().filter(|row| row.event_type == *event_type);
            let event_type = event_type.clone();
            if of_type().any(|row| row.url == new.url) {
                return Err(StoreError::UrlExists { event_type, url: new.url.clone() });
            }
            let free = (0_i16..)
                .take(MAX_URLS)
                .find(|slot| of_type().all(|row| row.slot != *slot))
                .ok_or(StoreError::TooManyUrls { event_type })?;
            slots.push(free);
        }
        sqlx::query!(
            "INSERT INTO account_webhooks (webhook_id, account_id, description, url, created_at) \
             VALUES ($1, $2, $3, $4, $5)",
            new.webhook_id,
            account_id,
            new.description,
            new.url,
            at
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!(
            "INSERT INTO account_webhook_events (account_id, event_type, slot, webhook_id, url) \
             SELECT $1, event_type, slot, $2, $3 \
             FROM unnest($4::text[], $5::smallint[]) AS given (event_type, slot)",
            account_id,
            new.webhook_id,
            new.url,
            &new.event_types,
            &slots
        )
        .execute(&mut *tx)
        .await?;
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Removes an account-level webhook.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the account has no such webhook.
    pub async fn delete_account_webhook(
        &self,
        account_id: &str,
        webhook_id: &str,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let deleted = sqlx::query!(
            "DELETE FROM account_webhooks WHERE webhook_id = $1 AND account_id = $2",
            webhook_id,
            account_id
        )
        .execute(&mut *tx)
        .await?;
        if deleted.rows_affected() == 0 {
            return Err(StoreError::NotFound(Thing::Webhook));
        }
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }
}
