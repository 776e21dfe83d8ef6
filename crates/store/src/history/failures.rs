//! Tries that failed, newest first.
//!
//! A try that failed names its event. Where an earlier version has told of it, it does
//! not: then the event is looked up by its key, in the days in which it nearly always is,
//! and where it is not there, in all others.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder, Row as _};

use super::Uuid;
use crate::{Store, StoreError};

/// What is searched for; everything that is given has to hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct FailureSearch {
    pub account_id: String,
    /// Not begun before this.
    pub from: Option<DateTime<Utc>>,
    /// Not begun after this.
    pub to: Option<DateTime<Utc>>,
    pub domain_id: Option<Uuid>,
    /// As a whole.
    pub url: Option<String>,
    /// As customers subscribe to it.
    pub event_type: Option<String>,
    pub reason: Option<String>,
    pub status: Option<i32>,
    pub delivery_id: Option<Uuid>,
    /// Whether a URL finds only what was tried for the account's own webhooks and alert
    /// settings, and not what was tried for its parent's.
    pub finds_own_urls_alone: bool,
}

/// A place in the list, behind which a page begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct AttemptPlace {
    pub started_at: DateTime<Utc>,
    pub delivery_id: Uuid,
    pub hop: u32,
}

/// A try that failed.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "as in AttemptRow")]
pub struct FailedAttempt {
    pub started_at: DateTime<Utc>,
    pub delivery_id: Uuid,
    pub hop: u32,
    pub attempt: i64,
    pub charged: bool,
    pub duration_ms: i64,
    pub url: String,
    pub status: Option<i32>,
    pub reason: String,
    pub detail: String,
    pub response_snippet: String,
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// `None` when an earlier version has told of it, and the event is no longer there.
    pub event_id: Option<String>,
    pub event_type: Option<String>,
    /// As in `AttemptRow`.
    pub level: Option<String>,
}

impl FailedAttempt {
    /// Its place in the list.
    pub fn place(&self) -> AttemptPlace {
        let Self { started_at, delivery_id, hop, .. } = *self;
        AttemptPlace { started_at, delivery_id, hop }
    }
}

impl Store {
    /// Failed tries of an account, the last one first, from behind a place on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn failures(
        &self,
        search: &FailureSearch,
        behind: Option<AttemptPlace>,
        limit: i64,
    ) -> Result<Vec<FailedAttempt>, StoreError> {
        let mut query = statement("", search, behind, limit);
        let rows = query.build().persistent(false).fetch_all(&self.pool).await?;
        let found = rows.into_iter().map(|row| {
            Ok(FailedAttempt {
                started_at: row.try_get("started_at")?,
                delivery_id: row.try_get("delivery_id")?,
                hop: row.try_get::<i64, _>("hop")?.try_into().unwrap_or(u32::MAX),
                attempt: row.try_get("attempt")?,
                charged: row.try_get("charged")?,
                duration_ms: row.try_get("duration_ms")?,
                url: row.try_get("url")?,
                status: row.try_get("status")?,
                reason: row.try_get("reason")?,
                detail: row.try_get("detail")?,
                response_snippet: row.try_get("response_snippet")?,
                next_attempt_at: row.try_get("next_attempt_at")?,
                event_id: row.try_get("event_id")?,
                event_type: row.try_get("event_type")?,
                level: row.try_get("level")?,
            })
        });
        Ok(found.collect::<Result<_, sqlx::Error>>()?)
    }

    /// How PostgreSQL would go about a page, as text. For tests.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn explain_failures(
        &self,
        search: &FailureSearch,
        behind: Option<AttemptPlace>,
        limit: i64,
    ) -> Result<String, StoreError> {
        let mut query = statement("EXPLAIN ", search, behind, limit);
        let lines: Vec<String> =
            query.build_query_scalar().persistent(false).fetch_all(&self.pool).await?;
        Ok(lines.join("\n"))
    }
}

fn statement(
    verb: &str,
    search: &FailureSearch,
    behind: Option<AttemptPlace>,
    limit: i64,
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(verb);
    let looks_at_events = search.domain_id.is_some() || search.event_type.is_some();
    query.push(
        "SELECT a.started_at, a.delivery_id, a.hop, a.attempt, a.charged, a.duration_ms, a.url, \
         a.status, a.reason, a.detail, a.response_snippet, a.next_attempt_at, a.level, \
         e.event_id, e.event_type FROM attempts a ",
    );
    query.push(if looks_at_events { "JOIN" } else { "LEFT JOIN" });
    // The first of these that there is: the name that stands with the try, or else one event,
    // should it have been accepted twice, of the days in which it nearly always is, or of any.
    // What is filtered by comes from here too, and not from columns of attempts: PostgreSQL
    // would take a type or a domain for rarer than it is, and sort all failures for a page.
    query.push(
        " LATERAL (SELECT a.named_event_id AS event_id, a.named_event_type AS event_type, \
         a.named_domain_id AS domain_id WHERE a.named_event_id IS NOT NULL \
         UNION ALL SELECT event_id, event_type, domain_id FROM events \
         WHERE a.named_event_id IS NULL \
         AND events.event_key = a.event_key AND events.account_id = a.account_id \
         AND events.accepted_at BETWEEN a.started_at - interval '1 day' \
         AND a.started_at + interval '1 hour' \
         UNION ALL SELECT event_id, event_type, domain_id FROM events WHERE a.named_event_id IS NULL \
         AND events.event_key = a.event_key AND events.account_id = a.account_id LIMIT 1) AS e ON true \
         WHERE a.reason <> 'ok' AND a.account_id = ",
    );
    query.push_bind(search.account_id.clone());
    if let Some(from) = search.from {
        query.push(" AND a.started_at >= ").push_bind(from);
    }
    if let Some(to) = search.to {
        query.push(" AND a.started_at <= ").push_bind(to);
    }
    if let Some(place) = behind {
        // The first condition is one of the index.
        query.push(" AND a.started_at <= ").push_bind(place.started_at);
        query.push(" AND (a.started_at, a.delivery_id, a.hop) < (");
        query.push_bind(place.started_at).push(", ").push_bind(place.delivery_id);
        query.push(", ").push_bind(i64::from(place.hop)).push(")");
    }
    if let Some(url) = &search.url {
        query.push(" AND a.url = ").push_bind(url.clone());
        if search.finds_own_urls_alone {
            // Where no level stands, it may have been the parent's.
            query.push(" AND a.level IN ('account', 'domain', 'alert')");
        }
    }
    if let Some(reason) = &search.reason {
        query.push(" AND a.reason = ").push_bind(reason.clone());
    }
    if let Some(status) = search.status {
        query.push(" AND a.status = ").push_bind(status);
    }
    if let Some(delivery_id) = search.delivery_id {
        query.push(" AND a.delivery_id = ").push_bind(delivery_id);
    }
    if let Some(domain_id) = search.domain_id {
        query.push(" AND e.domain_id = ").push_bind(domain_id);
    }
    if let Some(event_type) = &search.event_type {
        query.push(" AND e.event_type = ").push_bind(event_type.clone());
    }
    query.push(" ORDER BY a.started_at DESC, a.delivery_id DESC, a.hop DESC LIMIT ");
    query.push_bind(limit);
    query
}
