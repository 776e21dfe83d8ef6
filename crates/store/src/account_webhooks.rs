//! Webhooks of an account: one URL and its event types each, for every domain
//! of the account and of its subaccounts.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::accounts::{account_changed, account_grew, lock_account};
use crate::quotas::check_quota;
use crate::{DocumentKey, MAX_URLS, Quota, Quotas, Store, StoreError, Thing};

/// An account-level webhook.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountWebhook {
    /// 24 hex characters.
    pub webhook_id: String,
    /// Where its events go.
    pub url: String,
    /// Webhook ids, in the order in which they were given.
    pub event_types: Vec<String>,
    /// The customer's words; may be empty.
    pub description: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// An account-level webhook to be made, or what one is to become.
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

/// Which account-level webhooks are to be removed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccountWebhooks<'a> {
    /// Every one of the account.
    All,
    /// Those with these ids, all of which have to be there.
    Listed(&'a [String]),
}

/// What came of removing account-level webhooks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Removed {
    /// All that were meant are gone.
    Done(DocumentKey),
    /// The account has no webhook of this id. Nothing was removed.
    Missing {
        /// The first of the list that is not there.
        webhook_id: String,
    },
    /// The account has no webhook at all.
    NoneThere,
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
             WHERE e.webhook_id = w.webhook_id ORDER BY e.position, e.event_type) \
             AS \"event_types!\" \
             FROM account_webhooks w WHERE w.account_id = $1 ORDER BY w.created_at, w.webhook_id",
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(webhooks)
    }

    /// An account-level webhook of this account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn account_webhook(
        &self,
        account_id: &str,
        webhook_id: &str,
    ) -> Result<AccountWebhook, StoreError> {
        let webhook = sqlx::query_as!(
            AccountWebhook,
            "SELECT w.webhook_id, w.url, w.description, w.created_at, \
             ARRAY(SELECT e.event_type FROM account_webhook_events e \
             WHERE e.webhook_id = w.webhook_id ORDER BY e.position, e.event_type) \
             AS \"event_types!\" \
             FROM account_webhooks w WHERE w.account_id = $1 AND w.webhook_id = $2",
            account_id,
            webhook_id
        )
        .fetch_optional(&self.pool)
        .await?;
        webhook.ok_or(StoreError::NotFound(Thing::Webhook))
    }

    /// Makes an account-level webhook, with all its event types or not at all.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account, [`StoreError::UrlExists`]
    /// when a webhook of the account has this URL for one of the event types,
    /// [`StoreError::TooManyUrls`] when one of them has three URLs already,
    /// [`StoreError::QuotaReached`].
    pub async fn create_account_webhook(
        &self,
        account_id: &str,
        new: &NewAccountWebhook,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        // From here on nobody else changes the webhooks of this account, so
        // that the free slots found below are still free when they are taken.
        lock_account(&mut tx, account_id).await?;
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
        take_slots(&mut tx, account_id, new).await?;
        check_quota(&mut tx, account_id, Quota::Webhooks, quotas).await?;
        let key = account_grew(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Gives an account-level webhook another URL, other event types and
    /// another description: all of them or none. Its age stays.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when the account has no such webhook; otherwise
    /// as [`Store::create_account_webhook`], where other webhooks of the
    /// account are in the way.
    pub async fn replace_account_webhook(
        &self,
        account_id: &str,
        new: &NewAccountWebhook,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        // Its own slots are free before the new ones are looked for: a webhook
        // is not in its own way.
        let freed = sqlx::query!(
            "DELETE FROM account_webhook_events WHERE account_id = $1 AND webhook_id = $2",
            account_id,
            new.webhook_id
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        let updated = sqlx::query!(
            "UPDATE account_webhooks SET url = $3, description = $4 \
             WHERE account_id = $1 AND webhook_id = $2",
            account_id,
            new.webhook_id,
            new.url,
            new.description
        )
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Err(StoreError::NotFound(Thing::Webhook));
        }
        take_slots(&mut tx, account_id, new).await?;
        // Who is over a quota that was lowered since may still change what there is.
        if new.event_types.len() as u64 > freed {
            check_quota(&mut tx, account_id, Quota::Webhooks, quotas).await?;
        }
        let key = account_grew(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Removes account-level webhooks: all that are meant, or none.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account, or those of the database.
    pub async fn remove_account_webhooks(
        &self,
        account_id: &str,
        which: AccountWebhooks<'_>,
        at: DateTime<Utc>,
    ) -> Result<Removed, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let listed = match which {
            AccountWebhooks::All => None,
            AccountWebhooks::Listed(ids) => Some(ids),
        };
        let removed = sqlx::query_scalar!(
            "DELETE FROM account_webhooks WHERE account_id = $1 \
             AND ($2::text[] IS NULL OR webhook_id = ANY ($2)) RETURNING webhook_id",
            account_id,
            listed
        )
        .fetch_all(&mut *tx)
        .await?;
        let missing = listed.and_then(|ids| ids.iter().find(|id| !removed.contains(id)));
        if let Some(webhook_id) = missing {
            // Dropping the transaction brings back those that were there.
            return Ok(Removed::Missing { webhook_id: webhook_id.clone() });
        }
        if removed.is_empty() {
            return Ok(Removed::NoneThere);
        }
        let key = account_changed(&mut tx, account_id, at).await?;
        tx.commit().await?;
        Ok(Removed::Done(key))
    }
}

/// Takes a slot for each event type of a webhook that has none yet. Whoever
/// calls has locked the account.
async fn take_slots(
    tx: &mut PgConnection,
    account_id: &str,
    new: &NewAccountWebhook,
) -> Result<(), StoreError> {
    let taken = sqlx::query!(
        "SELECT event_type, slot, url FROM account_webhook_events \
         WHERE account_id = $1 AND event_type = ANY ($2)",
        account_id,
        &new.event_types
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
            .ok_or(StoreError::TooManyUrls { event_type, most: MAX_URLS })?;
        slots.push(free);
    }
    sqlx::query!(
        "INSERT INTO account_webhook_events \
         (account_id, event_type, slot, webhook_id, url, position) \
         SELECT $1, event_type, slot, $2, $3, (n - 1)::smallint \
         FROM unnest($4::text[], $5::smallint[]) WITH ORDINALITY \
         AS given (event_type, slot, n)",
        account_id,
        new.webhook_id,
        new.url,
        &new.event_types,
        &slots
    )
    .execute(tx)
    .await?;
    Ok(())
}
