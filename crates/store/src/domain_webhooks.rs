//! Webhooks of a domain: for each webhook id, one to three URLs.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::domains::{domain_changed, lock_domain};
use crate::{DocumentKey, Store, StoreError, Thing};

/// URLs that one event type can have on one level.
pub const MAX_URLS: usize = 3;

/// The URLs of one webhook id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainWebhook {
    /// A webhook id, or one of the ids from before 2018.
    pub event_type: String,
    /// One to three, in the order in which they were given.
    pub urls: Vec<String>,
}

impl Store {
    /// All webhooks of a domain, by name of the id.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain.
    pub async fn domain_webhooks(
        &self,
        account_id: &str,
        domain_id: &str,
    ) -> Result<Vec<DomainWebhook>, StoreError> {
        // One statement, so that domain and webhooks are of one moment.
        let rows = sqlx::query!(
            "SELECT w.event_type AS \"event_type?\", w.url AS \"url?\" \
             FROM domains d LEFT JOIN domain_webhooks w USING (domain_id) \
             WHERE d.domain_id = $1 AND d.account_id = $2 AND d.deleted_at IS NULL \
             ORDER BY w.event_type, w.position",
            domain_id,
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        if rows.is_empty() {
            return Err(StoreError::NotFound(Thing::Domain));
        }
        Ok(grouped(rows.into_iter().filter_map(|row| row.event_type.zip(row.url))))
    }

    /// Gives a webhook id that has none its URLs: distinct, one to three.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain,
    /// [`StoreError::Exists`] when the id has URLs already.
    pub async fn create_domain_webhook(
        &self,
        account_id: &str,
        domain_id: &str,
        webhook: &DomainWebhook,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_domain(&mut tx, account_id, domain_id).await?;
        let existing = sqlx::query_scalar!(
            "SELECT count(*) AS \"count!\" FROM domain_webhooks \
             WHERE domain_id = $1 AND event_type = $2",
            domain_id,
            webhook.event_type
        )
        .fetch_one(&mut *tx)
        .await?;
        if existing > 0 {
            return Err(StoreError::Exists(Thing::Webhook));
        }
        insert(&mut tx, domain_id, webhook).await?;
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Replaces the URLs of a webhook id that has some: distinct, one to three.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain, or the
    /// domain no such webhook.
    pub async fn replace_domain_webhook(
        &self,
        account_id: &str,
        domain_id: &str,
        webhook: &DomainWebhook,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_domain(&mut tx, account_id, domain_id).await?;
        remove(&mut tx, domain_id, &webhook.event_type).await?;
        insert(&mut tx, domain_id, webhook).await?;
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Takes a webhook id its URLs, and returns them.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain, or the
    /// domain no such webhook.
    pub async fn delete_domain_webhook(
        &self,
        account_id: &str,
        domain_id: &str,
        event_type: &str,
        at: DateTime<Utc>,
    ) -> Result<(Vec<String>, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_domain(&mut tx, account_id, domain_id).await?;
        let removed = remove(&mut tx, domain_id, event_type).await?;
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok((removed, key))
    }
}

/// Puts rows that are sorted by webhook id together.
pub(crate) fn grouped(rows: impl Iterator<Item = (String, String)>) -> Vec<DomainWebhook> {
    let mut webhooks: Vec<DomainWebhook> = Vec::new();
    for (event_type, url) in rows {
        match webhooks.last_mut() {
            Some(last) if last.event_type == event_type => last.urls.push(url),
            _ => webhooks.push(DomainWebhook { event_type, urls: vec![url] }),
        }
    }
    webhooks
}

async fn insert(
    tx: &mut PgConnection,
    domain_id: &str,
    webhook: &DomainWebhook,
) -> Result<(), StoreError> {
    if webhook.urls.len() > MAX_URLS {
        let event_type = webhook.event_type.clone();
        return Err(StoreError::TooManyUrls { event_type });
    }
    sqlx::query!(
        "INSERT INTO domain_webhooks (domain_id, event_type, position, url) \
         SELECT $1, $2, (n - 1)::smallint, url \
         FROM unnest($3::text[]) WITH ORDINALITY AS given (url, n)",
        domain_id,
        webhook.event_type,
        &webhook.urls
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Removes the URLs of one id; in their order.
async fn remove(
    tx: &mut PgConnection,
    domain_id: &str,
    event_type: &str,
) -> Result<Vec<String>, StoreError> {
    let mut removed = sqlx::query!(
        "DELETE FROM domain_webhooks WHERE domain_id = $1 AND event_type = $2 \
         RETURNING position, url",
        domain_id,
        event_type
    )
    .fetch_all(tx)
    .await?;
    if removed.is_empty() {
        return Err(StoreError::NotFound(Thing::Webhook));
    }
    removed.sort_by_key(|row| row.position);
    Ok(removed.into_iter().map(|row| row.url).collect())
}
