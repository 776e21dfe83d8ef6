//! What became of the events of a time at one target: for the question why
//! something did not fire.
//!
//! The events are a page of an index, by account and time. What was decided and how
//! it ended is then looked up by their keys, some hundred at a time, and for this
//! one target: nothing else of the day is read.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder, Row as _};

use super::journey::ends_of;
use super::routings::DecisionColumns;
use super::search::{EventPlace, not_accepted_before};
use super::{DecisionRow, KnownEnd, Uuid};
use crate::{Store, StoreError};

/// Events whose decisions are looked up at once.
const AT_ONCE: usize = 500;

/// Whom something was to be sent to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Addressee {
    /// A URL of webhooks, which hears of message events.
    Url(String),
    /// An alert setting, which hears of alerts.
    AlertSetting(String),
}

/// Which events are asked about; everything that is given has to hold.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct WhySearch {
    pub account_id: String,
    pub addressee: Addressee,
    /// Not earlier than this.
    pub from: DateTime<Utc>,
    /// Not later than this.
    pub to: DateTime<Utc>,
    pub domain_id: Option<Uuid>,
    /// As customers subscribe to it.
    pub event_type: Option<String>,
}

/// An event, and what became of it at the one target.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "as in EventRow")]
pub struct Considered {
    pub place: EventPlace,
    pub event_key: Uuid,
    pub event_type: String,
    pub event_id: String,
    pub domain_id: Option<Uuid>,
    pub accepted_at: DateTime<Utc>,
    /// A `postrider.v1.Event`.
    pub event: Vec<u8>,
    /// Whether history knows of a routing.
    pub is_routed: bool,
    /// Those about this target, in the order of levels.
    pub decisions: Vec<DecisionRow>,
    /// Of the newest generation that has ended.
    pub end: Option<KnownEnd>,
}

impl Addressee {
    /// The id of the target that events of this account have there.
    fn target_id(&self, account_id: &str) -> Option<Uuid> {
        let id = match self {
            Self::Url(url) => model::message_target_id(account_id, url),
            Self::AlertSetting(setting_id) => model::alert_target_id(setting_id),
        };
        super::id(&id)
    }
}

impl Store {
    /// Events that may have concerned a target, the last one first, from behind a
    /// place on; at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn considered(
        &self,
        search: &WhySearch,
        behind: Option<EventPlace>,
        limit: i64,
    ) -> Result<Vec<Considered>, StoreError> {
        let mut query = page(search, behind, limit);
        let rows = query.build().persistent(false).fetch_all(&self.pool).await?;
        let rows = rows.into_iter().map(|row| {
            Ok(Considered {
                place: EventPlace {
                    occurred_at: row.try_get("occurred_at")?,
                    position: row.try_get("position")?,
                },
                event_key: row.try_get("event_key")?,
                event_type: row.try_get("event_type")?,
                event_id: row.try_get("event_id")?,
                domain_id: row.try_get("domain_id")?,
                accepted_at: row.try_get("accepted_at")?,
                event: row.try_get("event")?,
                is_routed: false,
                decisions: Vec::new(),
                end: None,
            })
        });
        let mut found = rows.collect::<Result<Vec<Considered>, sqlx::Error>>()?;
        for some in found.chunks_mut(AT_ONCE) {
            self.look_up(search, some).await?;
        }
        Ok(found)
    }

    /// Adds what was decided about these events, and how it ended.
    async fn look_up(&self, search: &WhySearch, some: &mut [Considered]) -> Result<(), StoreError> {
        let keys: Vec<Uuid> = some.iter().map(|event| event.event_key).collect();
        let (url, setting_id) = match &search.addressee {
            Addressee::Url(url) => (Some(url), None),
            Addressee::AlertSetting(setting_id) => (None, Some(setting_id)),
        };
        let routed = sqlx::query_scalar!(
            "SELECT DISTINCT event_key FROM routing_decisions \
             WHERE event_key = ANY($1) AND position = 0",
            &keys
        )
        .fetch_all(&self.pool)
        .await?;
        let decisions = sqlx::query_as!(
            DecisionColumns,
            "SELECT event_key, routed_at, settings_revision, verdict, level, subscription_id, \
             target_id, url, delivery_id, duplicate_of, disabled_at FROM routing_decisions \
             WHERE event_key = ANY($1) \
             AND ($2::text IS NULL OR url = $2) AND ($3::text IS NULL OR subscription_id = $3) \
             ORDER BY event_key, routed_at, position",
            &keys,
            url,
            setting_id
        )
        .fetch_all(&self.pool)
        .await?;
        // An event that was accepted twice stands there twice, and has all of it twice.
        let routed: HashSet<Uuid> = routed.into_iter().collect();
        let mut decided: HashMap<Uuid, Vec<DecisionRow>> = HashMap::new();
        for row in decisions {
            decided.entry(row.event_key).or_default().extend(row.decision());
        }
        let target_id = search.addressee.target_id(&search.account_id);
        let mut next: Vec<Uuid> =
            decided.values().flatten().filter_map(|decision| decision.delivery_id).collect();
        // Of each event the last that is found: resends come after what they are resends of.
        let mut ended: HashMap<Uuid, KnownEnd> = HashMap::new();
        while !next.is_empty() {
            let mut found = ends_of(&self.pool, &search.account_id, &next).await?;
            found.retain(|end| end.target_id == target_id);
            next = found.iter().filter_map(KnownEnd::next_delivery_id).collect();
            // An event that was accepted twice has two of each generation.
            found.sort_by_key(|end| end.ended_at);
            ended.extend(found.into_iter().map(|end| (end.event_key, end)));
        }
        for event in some {
            event.is_routed = routed.contains(&event.event_key);
            event.decisions = decided.get(&event.event_key).cloned().unwrap_or_default();
            event.end = ended.get(&event.event_key).cloned();
        }
        Ok(())
    }
}

fn page(search: &WhySearch, behind: Option<EventPlace>, limit: i64) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(
        "SELECT event_key, event_type, event_id, domain_id, occurred_at, accepted_at, position, \
         event FROM events WHERE account_id = ",
    );
    query.push_bind(search.account_id.clone());
    match (&search.addressee, search.domain_id) {
        (Addressee::AlertSetting(_), _) => {
            query.push(" AND domain_id IS NULL");
        }
        (Addressee::Url(_), None) => {
            query.push(" AND domain_id IS NOT NULL");
        }
        (Addressee::Url(_), Some(domain_id)) => {
            query.push(" AND domain_id = ").push_bind(domain_id);
        }
    }
    if let Some(event_type) = &search.event_type {
        query.push(" AND event_type = ").push_bind(event_type.clone());
    }
    query.push(" AND occurred_at >= ").push_bind(search.from);
    not_accepted_before(&mut query, search.from);
    query.push(" AND occurred_at <= ").push_bind(search.to);
    if let Some(place) = behind {
        query.push(" AND (occurred_at, position) < (").push_bind(place.occurred_at);
        query.push(", ").push_bind(place.position).push(")");
    }
    query.push(" ORDER BY occurred_at DESC, position DESC LIMIT ").push_bind(limit);
    query
}
