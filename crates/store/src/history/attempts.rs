//! Tries at receivers, and returns that were not charged to them.

use std::collections::HashSet;

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::PgConnection;

use super::copy::Rows;
use super::insert::{Keyed, Span, insert};
use super::statistics::Tally;
use super::{Uuid, by_key, clean};
use crate::{Store, StoreError};

/// One try at a receiver, or one return that was not charged to it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    /// Which delivery.
    pub delivery_id: Uuid,
    /// Which write of it.
    pub hop: u32,
    /// The event that it carries.
    pub event_key: Uuid,
    /// Whose it is.
    pub account_id: String,
    /// Whom it is for.
    pub target_id: Option<Uuid>,
    /// 0, or which resend.
    pub generation: u32,
    /// Number of this try, from 1; uncharged, the tries so far.
    pub attempt: u32,
    /// False for what was our own fault.
    pub charged: bool,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u32,
    /// Where it went; empty when it went nowhere.
    pub url: String,
    /// HTTP status; `None` without an answer.
    pub status: Option<u32>,
    /// Short machine name.
    pub reason: String,
    /// For people.
    pub detail: String,
    /// The first bytes of the answer.
    pub response_snippet: String,
    /// When the next try is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// `parent_account`, `account`, `domain` or `alert`: where the subscription stands
    /// that it was made for; `None` where an earlier version has told of it.
    pub level: Option<String>,
    /// Of a try that failed; `None` where an earlier version has told of it.
    pub event: Option<NamedEvent>,
}

/// What failure logs name an event by, and find failures by.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedEvent {
    /// The caller's id of the event.
    pub event_id: String,
    /// As customers subscribe to it.
    pub event_type: String,
    /// `None` for alerts.
    pub domain_id: Option<Uuid>,
}

impl Store {
    /// Inserts those attempts that are not there yet, and counts them: see
    /// statistics.rs.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_attempts(&self, rows: &[AttemptRow]) -> Result<(), StoreError> {
        insert(self, by_key(rows, |row| (row.started_at.date_naive(), row.key()))).await
    }
}

impl Keyed for AttemptRow {
    type Key = (Uuid, Uuid, i64, DateTime<Utc>);

    fn key(&self) -> Self::Key {
        let started_at = self.started_at.trunc_subsecs(6);
        (self.event_key, self.delivery_id, self.hop.into(), started_at)
    }

    fn at(&self) -> DateTime<Utc> {
        self.key().3
    }

    fn account_id(&self) -> &str {
        &self.account_id
    }

    async fn known(
        tx: &mut PgConnection,
        rows: &[&Self],
        (first, last): Span,
    ) -> Result<HashSet<Self::Key>, StoreError> {
        let event_keys: Vec<Uuid> = rows.iter().map(|row| row.event_key).collect();
        let known = sqlx::query!(
            "SELECT event_key, delivery_id, hop, started_at FROM attempts \
             WHERE event_key = ANY($1::uuid[]) AND started_at BETWEEN $2 AND $3",
            &event_keys,
            first,
            last
        )
        .fetch_all(tx)
        .await?;
        let keys = known.into_iter().map(|r| (r.event_key, r.delivery_id, r.hop, r.started_at));
        Ok(keys.collect())
    }

    async fn copy(tx: &mut PgConnection, rows: &[&Self]) -> Result<(), StoreError> {
        let mut copied = Rows::new(
            "attempts (event_key, delivery_id, hop, started_at, account_id, target_id, \
             generation, attempt, charged, duration_ms, url, status, reason, detail, \
             response_snippet, next_attempt_at, named_event_id, named_event_type, \
             named_domain_id, level)",
        );
        let mut tally = Tally::default();
        for row in rows {
            let event = row.event.as_ref();
            copied.push(&[
                &row.event_key,
                &row.delivery_id,
                &row.hop,
                &row.started_at,
                &row.account_id.as_str(),
                &row.target_id,
                &row.generation,
                &row.attempt,
                &row.charged,
                &row.duration_ms,
                &clean(&row.url),
                &status(row.status),
                &clean(&row.reason),
                &clean(&row.detail),
                &clean(&row.response_snippet),
                &row.next_attempt_at,
                &event.map(|event| clean(&event.event_id)),
                &event.map(|event| event.event_type.as_str()),
                &event.and_then(|event| event.domain_id),
                &row.level.as_deref(),
            ]);
            tally.attempt(row);
        }
        copied.send(tx).await?;
        tally.add(tx).await
    }
}

/// An HTTP status as the database has it.
pub(super) fn status(status: Option<u32>) -> Option<i32> {
    status.and_then(|status| status.try_into().ok())
}
