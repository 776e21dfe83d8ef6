//! Settings as the documents that the delivery path reads.

use chrono::{DateTime, Utc};
use model::WebhookId;
use prost::Message as _;
use protocol::v1;
use sqlx::PgConnection;

use crate::alerts::settings_of;
use crate::domain_webhooks::grouped;
use crate::url_options::{in_document, options_of, policy};
use crate::{
    AccountStatus, AlertDestination, AlertSetting, DocumentKey, DomainWebhook, Store, StoreError,
    Thing,
};

/// A document of the settings bucket.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// All of one account.
    Account(Box<v1::AccountDocument>),
    /// All of one domain.
    Domain(v1::DomainDocument),
}

/// The settings that an event of one account is signed and delivered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Documents {
    /// Of the account.
    pub account: v1::AccountDocument,
    /// Of its parent, when it is a subaccount.
    pub parent: Option<v1::AccountDocument>,
    /// Of the domain, when one was asked for.
    pub domain: Option<v1::DomainDocument>,
}

impl Store {
    /// The documents of an account, of its parent, and of a domain of its own,
    /// as they are stored at this moment; the delivery path may not have the
    /// newest change yet.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] without that account, or when it has no such
    /// domain.
    pub async fn documents_for(
        &self,
        account_id: &str,
        domain_id: Option<&str>,
    ) -> Result<Documents, StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (_, account) = newest_account(&mut connection, account_id).await?;
        let parent = match account.parent_account_id.as_str() {
            "" => None,
            parent_id => Some(newest_account(&mut connection, parent_id).await?.1),
        };
        let domain = match domain_id {
            None => None,
            Some(domain_id) => {
                let (_, domain) = newest_domain(&mut connection, domain_id).await?;
                if domain.deleted || domain.account_id != account_id {
                    return Err(StoreError::NotFound(Thing::Domain));
                }
                Some(domain)
            }
        };
        Ok(Documents { account, parent, domain })
    }
}

/// The most bytes that an account's document has by a customer's doing. A quarter of what NATS
/// takes as it comes, so that what operators and Postrider itself add always finds room.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Refuses an account's settings that have become too large.
pub(crate) async fn check_size(tx: &mut PgConnection, account_id: &str) -> Result<(), StoreError> {
    let (_, document) = account(tx, account_id).await?;
    let bytes = document.encoded_len();
    if bytes > MAX_DOCUMENT_BYTES { Err(StoreError::SettingsTooLarge { bytes }) } else { Ok(()) }
}

/// Reads the newest state of a document, and its version.
pub(crate) async fn load(
    tx: &mut PgConnection,
    key: &DocumentKey,
) -> Result<(i64, Document), StoreError> {
    match key {
        DocumentKey::Account(id) => {
            let (version, mut document) = newest_account(tx, id).await?;
            if document.status() != v1::AccountStatus::Open
                && document.encoded_len() > MAX_DOCUMENT_BYTES
            {
                // From before there was a limit. That the account is disabled has to arrive.
                document.webhooks.clear();
                document.alerts.clear();
                document.url_options.clear();
            }
            Ok((version, Document::Account(Box::new(document))))
        }
        DocumentKey::Domain(id) => {
            let (version, document) = newest_domain(tx, id).await?;
            Ok((version, Document::Domain(document)))
        }
    }
}

/// A document takes several statements, each of which sees what is committed
/// when it begins. Every change raises the version, so that the parts are of
/// one moment when the version is the same before and after.
async fn newest_account(
    tx: &mut PgConnection,
    id: &str,
) -> Result<(i64, v1::AccountDocument), StoreError> {
    loop {
        let (version, document) = account(tx, id).await?;
        let now = sqlx::query_scalar!("SELECT version FROM accounts WHERE account_id = $1", id)
            .fetch_one(&mut *tx)
            .await?;
        if now == version {
            return Ok((version, document));
        }
    }
}

/// As [`newest_account`].
async fn newest_domain(
    tx: &mut PgConnection,
    id: &str,
) -> Result<(i64, v1::DomainDocument), StoreError> {
    loop {
        let (version, document) = domain(tx, id).await?;
        let now = sqlx::query_scalar!("SELECT version FROM domains WHERE domain_id = $1", id)
            .fetch_one(&mut *tx)
            .await?;
        if now == version {
            return Ok((version, document));
        }
    }
}

async fn account(
    tx: &mut PgConnection,
    id: &str,
) -> Result<(i64, v1::AccountDocument), StoreError> {
    let row = sqlx::query!(
        "SELECT name, parent_id, status, sealed_http_signing_key, sealed_alerts_signing_key, \
         sealed_previous_http_signing_key, previous_http_signing_key_until, \
         sealed_previous_alerts_signing_key, previous_alerts_signing_key_until, \
         redact_pii, erased_at, message_policy, alert_policy, version, \
         events_per_second, waiting_deliveries \
         FROM accounts WHERE account_id = $1",
        id
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::NotFound(Thing::Account))?;
    let webhooks = sqlx::query_as!(
        v1::AccountWebhook,
        "SELECT w.webhook_id, w.url, \
         ARRAY(SELECT e.event_type FROM account_webhook_events e \
         WHERE e.webhook_id = w.webhook_id ORDER BY e.event_type) AS \"event_types!\" \
         FROM account_webhooks w WHERE w.account_id = $1 ORDER BY w.created_at, w.webhook_id",
        id
    )
    .fetch_all(&mut *tx)
    .await?;
    let alerts = settings_of(tx, id).await?;
    let url_options = options_of(tx, id).await?;
    let status = match AccountStatus::from_column(&row.status) {
        AccountStatus::Open => v1::AccountStatus::Open,
        AccountStatus::Disabled => v1::AccountStatus::Disabled,
        AccountStatus::Closed => v1::AccountStatus::Closed,
    };
    let document = v1::AccountDocument {
        account_id: id.to_owned(),
        version: unsigned(row.version),
        name: row.name,
        parent_account_id: row.parent_id.unwrap_or_default(),
        status: status.into(),
        sealed_http_signing_key: row.sealed_http_signing_key.into(),
        sealed_alerts_signing_key: row.sealed_alerts_signing_key.into(),
        redact_pii: row.redact_pii,
        webhooks,
        alerts: alerts.into_iter().map(alert).collect(),
        previous_http_signing_key: previous_key(
            row.sealed_previous_http_signing_key,
            row.previous_http_signing_key_until,
        ),
        previous_alerts_signing_key: previous_key(
            row.sealed_previous_alerts_signing_key,
            row.previous_alerts_signing_key_until,
        ),
        erased: row.erased_at.is_some(),
        message_policy: row.message_policy.as_deref().map(policy).transpose()?,
        alert_policy: row.alert_policy.as_deref().map(policy).transpose()?,
        url_options: url_options.into_iter().map(in_document).collect(),
        events_per_second: row.events_per_second.map(i32::unsigned_abs),
        waiting_deliveries: row.waiting_deliveries.map(i32::unsigned_abs),
    };
    Ok((row.version, document))
}

async fn domain(tx: &mut PgConnection, id: &str) -> Result<(i64, v1::DomainDocument), StoreError> {
    let row = sqlx::query!(
        "SELECT name, account_id, redact_pii, version, deleted_at, disabled_at \
         FROM domains WHERE domain_id = $1",
        id
    )
    .fetch_optional(&mut *tx)
    .await?
    .ok_or(StoreError::NotFound(Thing::Domain))?;
    let rows = sqlx::query!(
        "SELECT event_type, url FROM domain_webhooks WHERE domain_id = $1 \
         ORDER BY event_type, position",
        id
    )
    .fetch_all(&mut *tx)
    .await?;
    let webhooks = grouped(rows.into_iter().map(|row| (row.event_type, row.url)));
    let document = v1::DomainDocument {
        domain_id: id.to_owned(),
        version: unsigned(row.version),
        name: row.name,
        account_id: row.account_id,
        redact_pii: row.redact_pii,
        webhooks: by_event_type(&webhooks),
        deleted: row.deleted_at.is_some(),
        disabled: row.disabled_at.is_some(),
    };
    Ok((row.version, document))
}

/// The URLs of each event type: those of its own id first, then those of the
/// older ids which stand for it, each URL once.
fn by_event_type(webhooks: &[DomainWebhook]) -> Vec<v1::DomainWebhook> {
    let mut merged: Vec<v1::DomainWebhook> = Vec::new();
    // In the order of this list today's ids come before the older ones.
    for id in WebhookId::ALL {
        let event_type = id.event_type().as_str();
        let stored = webhooks.iter().filter(|webhook| webhook.event_type == id.as_str());
        for url in stored.flat_map(|webhook| &webhook.urls) {
            match merged.iter_mut().find(|webhook| webhook.event_type == event_type) {
                Some(webhook) if webhook.urls.contains(url) => {}
                Some(webhook) => webhook.urls.push(url.clone()),
                None => merged.push(v1::DomainWebhook {
                    event_type: event_type.to_owned(),
                    urls: vec![url.clone()],
                }),
            }
        }
    }
    merged
}

fn previous_key(sealed: Option<Vec<u8>>, until: Option<DateTime<Utc>>) -> Option<v1::PreviousKey> {
    let (sealed, until) = sealed.zip(until)?;
    Some(v1::PreviousKey { sealed: sealed.into(), until: Some(until.into()) })
}

fn alert(setting: AlertSetting) -> v1::AlertSetting {
    let (channel, url, emails) = match setting.destination {
        AlertDestination::Webhook { url } => (v1::Channel::Webhook, url, Vec::new()),
        AlertDestination::Email { emails } => (v1::Channel::Email, String::new(), emails),
    };
    v1::AlertSetting {
        setting_id: setting.setting_id.to_string(),
        generation: unsigned(setting.generation),
        event_type: setting.event_type,
        channel: channel.into(),
        url,
        emails,
        disabled_at: setting.disabled_at.map(Into::into),
    }
}

/// Versions and generations, which the database keeps above zero.
fn unsigned(number: i64) -> u64 {
    number.try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(event_type: &str, urls: &[&str]) -> DomainWebhook {
        DomainWebhook {
            event_type: event_type.to_owned(),
            urls: urls.iter().map(|url| (*url).to_owned()).collect(),
        }
    }

    #[test]
    fn older_ids_add_their_urls_to_the_type_they_stand_for() {
        let stored = [
            webhook("bounce", &["https://a.example", "https://b.example"]),
            webhook("drop", &["https://c.example"]),
            webhook("open", &["https://d.example"]),
            webhook("permanent_fail", &["https://b.example"]),
        ];
        let merged: Vec<_> = by_event_type(&stored)
            .into_iter()
            .map(|webhook| (webhook.event_type, webhook.urls.join(" ")))
            .collect();
        let expected = [
            ("permanent_fail", "https://b.example https://a.example https://c.example"),
            ("opened", "https://d.example"),
        ];
        assert_eq!(merged, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
