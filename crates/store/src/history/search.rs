//! Pages of events, in either of two orders.
//!
//! **By time**: (`occurred_at`, `position`), which is what customers see. Whoever
//! goes through this order misses what is inserted behind the place where it is:
//! events come with times of their own, some of them late.
//!
//! **By arrival**: `position`, in which nothing is ever inserted behind what is
//! visible (see `events.rs`). Whoever has seen everything up to a position by
//! time, and goes on from that position by arrival, sees everything once.
//!
//! Pages are keyset pages: each begins behind a row, found by an index, and none
//! counts anything. Statements differ with their filters, so that they are
//! planned each time, with their values: that is what leaves out partitions, and
//! finds the partial indexes.

mod condition;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt as _;
use model::event_filter::EventFilter;
use sqlx::{Postgres, QueryBuilder, Row as _};

use super::Uuid;
use crate::{Store, StoreError};

/// A page ends with the event that fills so many bytes of stored events, though it has fewer
/// rows than were asked for.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// No event is stored as later than this after it was accepted.
const NEVER_LATER: TimeDelta = TimeDelta::days(1);
/// The order of an index, in which a limit ends the work early.
const BY_TIME: &str = "occurred_at, position";

/// Whose events are searched.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EventScope {
    /// Message events of one domain, as far as they are this account's: a domain
    /// may have had another owner before.
    Domain {
        /// Whose events.
        account_id: String,
        /// Of which domain.
        domain_id: Uuid,
    },
    /// Message events of these accounts.
    Accounts(Vec<String>),
}

/// Which events are searched.
#[derive(Clone, Debug, PartialEq)]
pub struct EventSearch {
    /// Whose.
    pub scope: EventScope,
    /// Not earlier than this.
    pub from: Option<DateTime<Utc>>,
    /// Not later than this.
    pub to: Option<DateTime<Utc>>,
    /// And meeting this.
    pub filter: EventFilter,
}

/// Which way a page goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Order {
    Ascending,
    Descending,
}

/// A place in the order of time, behind which a page begins.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct EventPlace {
    /// The event's time.
    pub occurred_at: DateTime<Utc>,
    /// Its position among those of the same time.
    pub position: i64,
}

/// An event that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct FoundEvent {
    /// Where it stands in both orders.
    pub place: EventPlace,
    /// Whose it is.
    pub account_id: String,
    /// A `postrider.v1.Event`.
    pub event: Vec<u8>,
}

impl Order {
    const fn keywords(self) -> (&'static str, &'static str) {
        match self {
            Self::Ascending => (">", ""),
            Self::Descending => ("<", " DESC"),
        }
    }
}

impl Store {
    /// Events in the order of time, from behind a place on, that have arrived up
    /// to a position; at most `limit`, and at most [`PAGE_BYTES`] and one event.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn events_by_time(
        &self,
        search: &EventSearch,
        order: Order,
        behind: Option<EventPlace>,
        up_to_position: Option<i64>,
        limit: i64,
    ) -> Result<Vec<FoundEvent>, StoreError> {
        self.found(by_time("", search, order, behind, up_to_position, limit)).await
    }

    /// Events in the order of arrival, with positions above `above` and up to
    /// `up_to`; at most `limit`, and at most [`PAGE_BYTES`] and one event.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn events_by_arrival(
        &self,
        search: &EventSearch,
        order: Order,
        above: i64,
        up_to: i64,
        limit: i64,
    ) -> Result<Vec<FoundEvent>, StoreError> {
        let (_, direction) = order.keywords();
        self.found(page("", search, &format!("position{direction}"), limit, |query| {
            query.push(" AND position > ").push_bind(above);
            query.push(" AND position <= ").push_bind(up_to);
        }))
        .await
    }

    /// The position up to which all events of a domain are visible: none will
    /// ever come at or below it. 0 before the first one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn last_event_position(&self, domain_id: Uuid) -> Result<i64, StoreError> {
        let position = sqlx::query_scalar!(
            "SELECT position FROM events WHERE domain_id = $1 ORDER BY position DESC LIMIT 1",
            domain_id
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(position.unwrap_or(0))
    }

    /// How many events there are, counted up to `most`: nobody waits for a count
    /// over everything.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_events(&self, search: &EventSearch, most: i64) -> Result<i64, StoreError> {
        let mut page = page("SELECT count(*) FROM (", search, BY_TIME, most, |_| ());
        let query = page.push(") AS found");
        Ok(query.build_query_scalar().persistent(false).fetch_one(&self.pool).await?)
    }

    /// How PostgreSQL would go about a page, as text. For tests, which hold the
    /// indexes to what they are for.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn explain_events_by_time(
        &self,
        search: &EventSearch,
        order: Order,
        behind: Option<EventPlace>,
        limit: i64,
    ) -> Result<String, StoreError> {
        let mut query = by_time("EXPLAIN ", search, order, behind, None, limit);
        let lines: Vec<String> =
            query.build_query_scalar().persistent(false).fetch_all(&self.pool).await?;
        Ok(lines.join("\n"))
    }

    async fn found(
        &self,
        mut query: QueryBuilder<Postgres>,
    ) -> Result<Vec<FoundEvent>, StoreError> {
        let mut rows = query.build().persistent(false).fetch(&self.pool);
        let (mut found, mut bytes) = (Vec::new(), 0);
        while (bytes < PAGE_BYTES || chassis::mutant("pages_of_any_size"))
            && let Some(row) = rows.try_next().await?
        {
            let event: Vec<u8> = row.try_get("event")?;
            bytes += event.len();
            let place = EventPlace {
                occurred_at: row.try_get("occurred_at")?,
                position: row.try_get("position")?,
            };
            found.push(FoundEvent { place, account_id: row.try_get("account_id")?, event });
        }
        Ok(found)
    }
}

fn by_time(
    verb: &str,
    search: &EventSearch,
    order: Order,
    behind: Option<EventPlace>,
    up_to_position: Option<i64>,
    limit: i64,
) -> QueryBuilder<Postgres> {
    let (compare, direction) = order.keywords();
    page(verb, search, &format!("occurred_at{direction}, position{direction}"), limit, |query| {
        if let Some(place) = behind {
            query.push(format_args!(" AND (occurred_at, position) {compare} ("));
            query.push_bind(place.occurred_at).push(", ").push_bind(place.position).push(")");
            if order == Order::Ascending {
                not_accepted_before(query, place.occurred_at);
            }
        }
        if let Some(position) = up_to_position {
            query.push(" AND position <= ").push_bind(position);
        }
    })
}

/// The statement of one page. Of several accounts each gives its own first rows,
/// in the order of its index, out of which those of the page are taken: an index
/// that has them in the order of all accounts would cost every event.
fn page(
    verb: &str,
    search: &EventSearch,
    order: &str,
    limit: i64,
    keyset: impl FnOnce(&mut QueryBuilder<Postgres>),
) -> QueryBuilder<Postgres> {
    let mut query = QueryBuilder::new(verb);
    let several = match &search.scope {
        EventScope::Accounts(accounts) if accounts.len() != 1 => Some(accounts),
        _ => None,
    };
    if let Some(accounts) = several {
        query.push("SELECT e.* FROM unnest(").push_bind(accounts.clone());
        query.push("::text[]) AS among (id) CROSS JOIN LATERAL (");
    }
    query.push("SELECT occurred_at, position, account_id, event FROM events WHERE ");
    conditions(&mut query, search);
    keyset(&mut query);
    query.push(format_args!(" ORDER BY {order} LIMIT ")).push_bind(limit);
    if several.is_some() {
        query.push(format_args!(") AS e ORDER BY {order} LIMIT ")).push_bind(limit);
    }
    query
}

fn conditions(query: &mut QueryBuilder<Postgres>, search: &EventSearch) {
    match &search.scope {
        EventScope::Domain { account_id, domain_id } => {
            query.push("domain_id = ").push_bind(*domain_id);
            query.push(" AND account_id = ").push_bind(account_id.clone());
        }
        EventScope::Accounts(accounts) => {
            query.push("domain_id IS NOT NULL AND account_id = ");
            match accounts.as_slice() {
                [account_id] => query.push_bind(account_id.clone()),
                _ => query.push("among.id"),
            };
        }
    }
    if let Some(from) = search.from {
        query.push(" AND occurred_at >= ").push_bind(from);
        not_accepted_before(query, from);
    }
    if let Some(to) = search.to {
        query.push(" AND occurred_at <= ").push_bind(to);
    }
    query.push(" AND ");
    condition::push(query, &search.filter);
}

/// Leaves out the days that have nothing of this moment or later.
pub(super) fn not_accepted_before(query: &mut QueryBuilder<Postgres>, occurred_at: DateTime<Utc>) {
    // The beginning of time has no day before it.
    if let Some(accepted_at) = occurred_at.checked_sub_signed(NEVER_LATER) {
        query.push(" AND accepted_at >= ").push_bind(accepted_at);
    }
}
