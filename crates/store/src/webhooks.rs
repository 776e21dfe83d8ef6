//! All webhooks that an account has, whichever level they stand on.

use chrono::{DateTime, Utc};

use crate::{Store, StoreError};

/// A URL and its event types, of the account or of one of its domains.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AnyWebhook {
    /// Name of the domain; empty at the account's level.
    pub domain: String,
    /// Where its events go.
    pub url: String,
    /// 24 hex characters; empty at a domain's level, where the URL is the name.
    pub webhook_id: String,
    /// The customer's words; may be empty.
    pub description: String,
    /// Webhook ids, those from before 2018 among them.
    pub event_types: Vec<String>,
    /// Since when deliveries to the URL are held.
    pub paused_at: Option<DateTime<Utc>>,
}

/// Which webhooks are listed.
#[derive(Clone, Debug)]
pub struct WebhookPage {
    /// At most this many.
    pub limit: i64,
    /// Only those of this domain.
    pub domain: Option<String>,
    /// Only those that have this in their URL, description or domain, in lower case.
    pub search: Option<String>,
    /// Behind the webhook of this domain, URL and id.
    pub behind: Option<(String, String, String)>,
}

impl Store {
    /// Webhooks of an account and of its domains: the account's own first, then by
    /// name of the domain, and by URL.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn webhooks(
        &self,
        account_id: &str,
        page: &WebhookPage,
    ) -> Result<Vec<AnyWebhook>, StoreError> {
        // Domains are gone through by name, each with its own few rows, until there are
        // enough: what another account has does not count.
        // No name, URL or id is before the empty text, and no URL is empty.
        let (domain, url, webhook_id) = page.behind.clone().unwrap_or_default();
        let webhooks = sqlx::query_as!(
            AnyWebhook,
            "SELECT w.domain AS \"domain!\", w.url AS \"url!\", w.webhook_id AS \"webhook_id!\", \
             w.description AS \"description!\", w.event_types AS \"event_types!\", o.paused_at \
             FROM ((SELECT '' AS domain, a.url, a.webhook_id, a.description, \
             ARRAY(SELECT e.event_type FROM account_webhook_events e \
             WHERE e.webhook_id = a.webhook_id ORDER BY e.position, e.event_type) AS event_types \
             FROM account_webhooks a WHERE a.account_id = $1 AND $2 = '' AND $5::text IS NULL \
             AND (a.url COLLATE \"C\", a.webhook_id COLLATE \"C\") > ($3, $4) \
             AND ($6::text IS NULL OR strpos(lower(a.url), $6) > 0 \
             OR strpos(lower(a.description), $6) > 0)) \
             UNION ALL \
             (SELECT d.name, u.url, '', '', u.event_types FROM domains d CROSS JOIN LATERAL \
             (SELECT t.url, array_agg(t.event_type ORDER BY t.event_type) AS event_types \
             FROM domain_webhooks t WHERE t.domain_id = d.domain_id GROUP BY t.url) u \
             WHERE d.account_id = $1 AND d.deleted_at IS NULL AND d.name COLLATE \"C\" >= $2 \
             AND (d.name COLLATE \"C\", u.url COLLATE \"C\") > ($2, $3) \
             AND ($5::text IS NULL OR d.name = $5) \
             AND ($6::text IS NULL OR strpos(lower(u.url), $6) > 0 OR strpos(d.name, $6) > 0) \
             ORDER BY d.name COLLATE \"C\", u.url COLLATE \"C\" LIMIT $7)) AS w \
             LEFT JOIN url_options o ON o.account_id = $1 AND o.url = w.url \
             ORDER BY w.domain COLLATE \"C\", w.url COLLATE \"C\", w.webhook_id COLLATE \"C\" \
             LIMIT $7",
            account_id,
            domain,
            url,
            webhook_id,
            page.domain,
            page.search,
            page.limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(webhooks)
    }
}
