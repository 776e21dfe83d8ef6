//! Webhooks of a domain: for each webhook id, one to three URLs.
//!
//! Customers see them in two ways: an id and its URLs, or a URL and its event
//! types. Both are the same rows. Every change locks the account and then the
//! domain, reads what is there, decides in memory and writes the ids that have
//! changed, so that a request is carried out as a whole or not at all. Of an
//! account that is closed nothing is changed: [`StoreError::AccountClosed`].

mod by_url;

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::accounts::lock_account;
use crate::domains::{domain_changed, lock_domain};
use crate::quotas::check_quota;
use crate::{DocumentKey, Quota, Quotas, Store, StoreError, Thing};

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

/// A domain that has a URL.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DomainWithUrl {
    /// Hash of the name.
    pub domain_id: String,
    /// Its name.
    pub name: String,
    /// Whether its operator has disabled it.
    pub is_disabled: bool,
    /// Webhook ids, those from before 2018 among them, by name.
    pub webhook_ids: Vec<String>,
}

impl Store {
    /// The domains of an account that have this URL, by name.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn domains_with_url(
        &self,
        account_id: &str,
        url: &str,
    ) -> Result<Vec<DomainWithUrl>, StoreError> {
        let domains = sqlx::query_as!(
            DomainWithUrl,
            "SELECT d.domain_id, d.name, d.disabled_at IS NOT NULL AS \"is_disabled!\", \
             array_agg(w.event_type ORDER BY w.event_type) AS \"webhook_ids!\" \
             FROM domains d JOIN domain_webhooks w USING (domain_id) \
             WHERE d.account_id = $1 AND d.deleted_at IS NULL AND w.url = $2 \
             GROUP BY d.domain_id ORDER BY d.name",
            account_id,
            url
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(domains)
    }

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
    /// [`StoreError::Exists`] when the id has URLs already,
    /// [`StoreError::TooManyUrls`], [`StoreError::QuotaReached`].
    pub async fn create_domain_webhook(
        &self,
        account_id: &str,
        domain_id: &str,
        webhook: &DomainWebhook,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        let webhooks = locked(&mut tx, account_id, domain_id).await?;
        if webhooks.iter().any(|there| there.event_type == webhook.event_type) {
            return Err(StoreError::Exists(Thing::Webhook));
        }
        write(&mut tx, domain_id, &webhooks, &by_url::with(&webhooks, webhook)).await?;
        check_quota(&mut tx, account_id, Quota::Webhooks, quotas).await?;
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Replaces the URLs of a webhook id that has some: distinct, one to three.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain, or the
    /// domain no such webhook, [`StoreError::TooManyUrls`],
    /// [`StoreError::QuotaReached`].
    pub async fn replace_domain_webhook(
        &self,
        account_id: &str,
        domain_id: &str,
        webhook: &DomainWebhook,
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<DocumentKey, StoreError> {
        let mut tx = self.pool.begin().await?;
        let webhooks = locked(&mut tx, account_id, domain_id).await?;
        let before = webhooks
            .iter()
            .find(|there| there.event_type == webhook.event_type)
            .ok_or(StoreError::NotFound(Thing::Webhook))?;
        write(&mut tx, domain_id, &webhooks, &by_url::with(&webhooks, webhook)).await?;
        // Who is over a quota that was lowered since may still change what there is.
        if webhook.urls.len() > before.urls.len() {
            check_quota(&mut tx, account_id, Quota::Webhooks, quotas).await?;
        }
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok(key)
    }

    /// Takes a webhook id its URLs, and returns them in their order.
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
        let webhooks = locked(&mut tx, account_id, domain_id).await?;
        let DomainWebhook { event_type, urls } = webhooks
            .iter()
            .find(|webhook| webhook.event_type == event_type)
            .cloned()
            .ok_or(StoreError::NotFound(Thing::Webhook))?;
        let none = DomainWebhook { event_type, urls: Vec::new() };
        write(&mut tx, domain_id, &webhooks, &by_url::with(&webhooks, &none)).await?;
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok((urls, key))
    }

    /// Adds a URL to each of these webhook ids, which are distinct, or to none
    /// of them. Returns all webhooks of the domain, as they are afterwards.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain,
    /// [`StoreError::UrlExists`] when one of the ids has the URL already,
    /// [`StoreError::TooManyUrls`] when one has three others,
    /// [`StoreError::QuotaReached`].
    pub async fn add_domain_url(
        &self,
        account_id: &str,
        domain_id: &str,
        url: &str,
        event_types: &[&str],
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<(Vec<DomainWebhook>, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        let before = locked(&mut tx, account_id, domain_id).await?;
        let after = by_url::add(before.clone(), url, event_types)?;
        write(&mut tx, domain_id, &before, &after).await?;
        check_quota(&mut tx, account_id, Quota::Webhooks, quotas).await?;
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok((by_url::configured(after), key))
    }

    /// Gives a URL that some webhook id has exactly these ids, which are
    /// distinct and at least one. Returns all webhooks of the domain, as they
    /// are afterwards.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain, or the
    /// domain no such URL, [`StoreError::TooManyUrls`] when one of the ids has
    /// three others, [`StoreError::QuotaReached`].
    pub async fn replace_domain_url(
        &self,
        account_id: &str,
        domain_id: &str,
        url: &str,
        event_types: &[&str],
        quotas: &Quotas,
        at: DateTime<Utc>,
    ) -> Result<(Vec<DomainWebhook>, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        let before = locked(&mut tx, account_id, domain_id).await?;
        let after = by_url::replace(before.clone(), url, event_types)?;
        write(&mut tx, domain_id, &before, &after).await?;
        if by_url::count(&after) > by_url::count(&before) {
            check_quota(&mut tx, account_id, Quota::Webhooks, quotas).await?;
        }
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok((by_url::configured(after), key))
    }

    /// Removes URLs from all webhook ids. Each text that is given is a URL, or
    /// several with commas between when no URL of the domain is all of it.
    /// Returns all webhooks of the domain, as they are afterwards.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when this account has no such domain, or the
    /// domain none of the URLs.
    pub async fn remove_domain_urls(
        &self,
        account_id: &str,
        domain_id: &str,
        given: &[&str],
        at: DateTime<Utc>,
    ) -> Result<(Vec<DomainWebhook>, DocumentKey), StoreError> {
        let mut tx = self.pool.begin().await?;
        let before = locked(&mut tx, account_id, domain_id).await?;
        let after = by_url::remove(before.clone(), given)?;
        write(&mut tx, domain_id, &before, &after).await?;
        let key = domain_changed(&mut tx, domain_id, at).await?;
        tx.commit().await?;
        Ok((by_url::configured(after), key))
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

/// Locks account and domain, in the order that all writers keep to, and reads
/// the webhooks: nobody else changes them before the transaction ends.
async fn locked(
    tx: &mut PgConnection,
    account_id: &str,
    domain_id: &str,
) -> Result<Vec<DomainWebhook>, StoreError> {
    lock_account(tx, account_id).await?;
    lock_domain(tx, account_id, domain_id).await?;
    let rows = sqlx::query!(
        "SELECT event_type, url FROM domain_webhooks WHERE domain_id = $1 \
         ORDER BY event_type, position",
        domain_id
    )
    .fetch_all(tx)
    .await?;
    Ok(grouped(rows.into_iter().map(|row| (row.event_type, row.url))))
}

/// Replaces the URLs of the ids that have others than before; those without any are gone
/// afterwards. The positions of the others have no gaps.
async fn write(
    tx: &mut PgConnection,
    domain_id: &str,
    before: &[DomainWebhook],
    after: &[DomainWebhook],
) -> Result<(), StoreError> {
    by_url::check_room(before, after)?;
    let webhooks = by_url::changed(before, after);
    let ids: Vec<String> = webhooks.iter().map(|webhook| webhook.event_type.clone()).collect();
    sqlx::query!(
        "DELETE FROM domain_webhooks WHERE domain_id = $1 AND event_type = ANY ($2::text[])",
        domain_id,
        &ids
    )
    .execute(&mut *tx)
    .await?;
    let (mut event_types, mut positions, mut urls) = (Vec::new(), Vec::new(), Vec::new());
    for webhook in &webhooks {
        for (position, url) in (0_i16..).zip(&webhook.urls) {
            event_types.push(webhook.event_type.clone());
            positions.push(position);
            urls.push(url.clone());
        }
    }
    sqlx::query!(
        "INSERT INTO domain_webhooks (domain_id, event_type, position, url) \
         SELECT $1, event_type, position, url \
         FROM unnest($2::text[], $3::smallint[], $4::text[]) AS given (event_type, position, url)",
        domain_id,
        &event_types,
        &positions,
        &urls
    )
    .execute(tx)
    .await?;
    Ok(())
}
