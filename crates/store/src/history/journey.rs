//! Everything that is known of one event: when it was accepted, what was decided,
//! what was tried, how it ended.
//!
//! All of it is read by the event's key and by the deliveries that are found with it,
//! which lead the primary keys: one probe for each day, however many rows there are.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::{PgExecutor, Postgres, Transaction};

use super::routings::DecisionColumns;
use super::{AttemptRow, NamedEvent, RoutedRow, Uuid};
use crate::{Store, StoreError};

/// Rows of one table that are read for one event. Only an event that thousands of
/// URLs hear of has more.
const MOST_ROWS: i64 = 20_000;

/// An acceptance of an event.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "as in EventRow")]
pub struct AcceptedRow {
    pub event_key: Uuid,
    pub account_id: String,
    pub domain_id: Option<Uuid>,
    pub event_type: String,
    pub event_id: String,
    pub occurred_at: DateTime<Utc>,
    pub accepted_at: DateTime<Utc>,
    pub caller: String,
    /// A `postrider.v1.Event`.
    pub event: Vec<u8>,
}

/// The end of a delivery, and what has become of its body since.
#[derive(Clone, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "as in EndRow")]
pub struct KnownEnd {
    pub event_key: Uuid,
    pub delivery_id: Uuid,
    pub target_id: Option<Uuid>,
    pub generation: u32,
    pub outcome: String,
    pub reason: String,
    pub ended_at: DateTime<Utc>,
    pub attempts: i64,
    pub last_status: Option<i32>,
    /// Whether its body is still kept, so that it can be sent again.
    pub is_body_kept: bool,
    /// When it was sent again, as the next generation.
    pub sent_again_at: Option<DateTime<Utc>>,
}

impl KnownEnd {
    /// The delivery that it was sent again as, if it was.
    pub fn sent_again_as(&self) -> Option<Uuid> {
        self.sent_again_at.and_then(|_| self.next_delivery_id())
    }

    /// The delivery that a resend of this one makes: its id follows from this one's.
    pub fn next_delivery_id(&self) -> Option<Uuid> {
        let target_id = self.target_id?;
        next_delivery_id(self.delivery_id, self.event_key, target_id, self.generation)
    }
}

/// The delivery that a resend of this one makes.
pub fn next_delivery_id(
    delivery_id: Uuid,
    event_key: Uuid,
    target_id: Uuid,
    generation: u32,
) -> Option<Uuid> {
    let [delivery_id, event_key, target_id] =
        [delivery_id, event_key, target_id].map(|id| id.simple().to_string());
    super::id(&model::next_delivery_id(&delivery_id, &event_key, &target_id, generation)?)
}

/// What has become of an event since it was accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Journey {
    /// In the order of time; one for each acceptance of the event.
    pub routings: Vec<RoutedRow>,
    /// In the order of time.
    pub attempts: Vec<AttemptRow>,
    /// Of one delivery the earliest end alone. Those of deliveries that decisions, tries or
    /// earlier ends tell of.
    pub ends: Vec<KnownEnd>,
    /// Whether all of it is here.
    pub is_whole: bool,
}

/// As the database has it.
struct EndColumns {
    event_key: Uuid,
    delivery_id: Uuid,
    target_id: Option<Uuid>,
    generation: i64,
    outcome: String,
    reason: String,
    ended_at: DateTime<Utc>,
    attempts: i64,
    last_status: Option<i32>,
    is_body_kept: bool,
    sent_again_at: Option<DateTime<Utc>>,
}

impl From<EndColumns> for KnownEnd {
    fn from(row: EndColumns) -> Self {
        Self {
            event_key: row.event_key,
            delivery_id: row.delivery_id,
            target_id: row.target_id,
            generation: number(row.generation),
            outcome: row.outcome,
            reason: row.reason,
            ended_at: row.ended_at,
            attempts: row.attempts,
            last_status: row.last_status,
            is_body_kept: row.is_body_kept,
            sent_again_at: row.sent_again_at,
        }
    }
}

/// A number that was written as this type.
fn number(number: i64) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

impl Store {
    /// The events of these keys that are this account's, the first acceptance
    /// first. One that was accepted again after the broker had forgotten it stands
    /// there twice.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn accepted_events(
        &self,
        account_id: &str,
        event_keys: &[Uuid],
    ) -> Result<Vec<AcceptedRow>, StoreError> {
        let events = sqlx::query_as!(
            AcceptedRow,
            "SELECT event_key, account_id, domain_id, event_type, event_id, occurred_at, \
             accepted_at, caller, event FROM events \
             WHERE event_key = ANY($1) AND account_id = $2 ORDER BY accepted_at LIMIT 100",
            event_keys,
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(events)
    }

    /// What has become of an event of this account, as of one moment. Its deliveries are
    /// those that decisions and tries name, and these, which the caller knows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn journey(
        &self,
        account_id: &str,
        event_key: Uuid,
        deliveries: &[Uuid],
    ) -> Result<Journey, StoreError> {
        let mut tx = self.snapshot().await?;
        let routings = routings(&mut tx, account_id, event_key).await?;
        let attempts = attempts(&mut tx, account_id, event_key).await?;
        let decided = routings.iter().flat_map(|routing| &routing.decisions);
        let decided = decided.filter_map(|decision| decision.delivery_id);
        let tried = attempts.iter().map(|attempt| attempt.delivery_id);
        let deliveries = decided.chain(tried).chain(deliveries.iter().copied()).collect();
        let ends = ends(&mut tx, account_id, deliveries).await?;
        tx.commit().await?;
        let decisions = routings.iter().map(|routing| routing.decisions.len()).sum();
        let is_whole = [routings.len(), decisions, attempts.len()]
            .into_iter()
            .all(|rows| i64::try_from(rows).is_ok_and(|rows| rows < MOST_ROWS));
        Ok(Journey { routings, attempts, ends, is_whole })
    }

    /// The event that a delivery of this account carries. `None` for one that
    /// history does not know: nobody has it, or it has neither been tried nor ended.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn event_of_delivery(
        &self,
        account_id: &str,
        delivery_id: Uuid,
    ) -> Result<Option<Uuid>, StoreError> {
        let ended = sqlx::query_scalar!(
            "SELECT event_key AS \"event_key!\" FROM ends \
             WHERE delivery_id = $1 AND account_id = $2 AND event_key IS NOT NULL LIMIT 1",
            delivery_id,
            account_id
        )
        .fetch_optional(&self.pool)
        .await?;
        if ended.is_some() {
            return Ok(ended);
        }
        let tried = sqlx::query_scalar!(
            "SELECT event_key FROM attempts \
             WHERE delivery_id = $1 AND account_id = $2 AND reason <> 'ok' LIMIT 1",
            delivery_id,
            account_id
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(tried)
    }
}

type Tx = Transaction<'static, Postgres>;

async fn routings(
    tx: &mut Tx,
    account_id: &str,
    event_key: Uuid,
) -> Result<Vec<RoutedRow>, StoreError> {
    let rows = sqlx::query_as!(
        DecisionColumns,
        "SELECT event_key, routed_at, settings_revision, verdict, level, subscription_id, \
         target_id, url, delivery_id, duplicate_of, disabled_at FROM routing_decisions \
         WHERE event_key = $1 AND account_id = $2 ORDER BY routed_at, position LIMIT $3",
        event_key,
        account_id,
        MOST_ROWS
    )
    .fetch_all(&mut **tx)
    .await?;
    let mut routings: Vec<RoutedRow> = Vec::new();
    for row in rows {
        if routings.last().is_none_or(|last| last.routed_at != row.routed_at) {
            routings.push(RoutedRow {
                event_key,
                account_id: account_id.to_owned(),
                routed_at: row.routed_at,
                settings_revision: row.settings_revision.try_into().unwrap_or(u64::MAX),
                decisions: Vec::new(),
            });
        }
        if let Some(routing) = routings.last_mut() {
            routing.decisions.extend(row.decision());
        }
    }
    Ok(routings)
}

async fn attempts(
    tx: &mut Tx,
    account_id: &str,
    event_key: Uuid,
) -> Result<Vec<AttemptRow>, StoreError> {
    let rows = sqlx::query!(
        "SELECT delivery_id, hop, target_id, generation, attempt, charged, started_at, \
         duration_ms, url, status, reason, detail, response_snippet, next_attempt_at, \
         named_event_id, named_event_type, named_domain_id, level FROM attempts \
         WHERE event_key = $1 AND account_id = $2 ORDER BY started_at, hop LIMIT $3",
        event_key,
        account_id,
        MOST_ROWS
    )
    .fetch_all(&mut **tx)
    .await?;
    let rows = rows.into_iter().map(|row| AttemptRow {
        delivery_id: row.delivery_id,
        hop: number(row.hop),
        event_key,
        account_id: account_id.to_owned(),
        target_id: row.target_id,
        generation: number(row.generation),
        attempt: number(row.attempt),
        charged: row.charged,
        started_at: row.started_at,
        duration_ms: number(row.duration_ms),
        level: row.level,
        url: row.url,
        status: row.status.and_then(|status| status.try_into().ok()),
        reason: row.reason,
        detail: row.detail,
        response_snippet: row.response_snippet,
        next_attempt_at: row.next_attempt_at,
        event: row.named_event_id.zip(row.named_event_type).map(|(event_id, event_type)| {
            NamedEvent { event_id, event_type, domain_id: row.named_domain_id }
        }),
    });
    Ok(rows.collect())
}

/// The ends of these deliveries, and of what they may have been sent again as.
async fn ends(
    tx: &mut Tx,
    account_id: &str,
    mut next: BTreeSet<Uuid>,
) -> Result<Vec<KnownEnd>, StoreError> {
    let mut asked = BTreeSet::new();
    let mut ends: Vec<KnownEnd> = Vec::new();
    while !next.is_empty() {
        let deliveries: Vec<Uuid> = next.iter().copied().collect();
        asked.append(&mut next);
        let found = ends_of(&mut **tx, account_id, &deliveries).await?;
        next = found.iter().filter_map(KnownEnd::next_delivery_id).collect();
        next.retain(|delivery_id| !asked.contains(delivery_id));
        ends.extend(found);
    }
    Ok(ends)
}

/// The ends of these deliveries, of each the earliest alone: it may have been reported to
/// have ended twice.
pub(super) async fn ends_of(
    connection: impl PgExecutor<'_>,
    account_id: &str,
    deliveries: &[Uuid],
) -> Result<Vec<KnownEnd>, StoreError> {
    // Bodies are looked up one by one, and never read from end to end.
    let rows = sqlx::query_as!(
        EndColumns,
        "SELECT DISTINCT ON (e.delivery_id) e.event_key AS \"event_key!\", e.delivery_id, \
         e.target_id, e.generation, e.outcome, e.reason, e.ended_at, e.attempts, e.last_status, \
         u.delivery_id IS NOT NULL AS \"is_body_kept!\", \
         coalesce(u.sent_again_at, e.sent_again_at) AS sent_again_at FROM ends e \
         LEFT JOIN LATERAL (SELECT delivery_id, sent_again_at FROM undelivered \
         WHERE e.outcome <> 'delivered' AND delivery_id = e.delivery_id \
         AND ended_at = e.ended_at LIMIT 1) u ON true \
         WHERE e.delivery_id = ANY($1) AND e.account_id = $2 AND e.event_key IS NOT NULL \
         ORDER BY e.delivery_id, e.ended_at",
        deliveries,
        account_id
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(KnownEnd::from).collect())
}
