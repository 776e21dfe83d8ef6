//! How a list is gone through.
//!
//! A range that is over is gone through by time: from behind one event to the
//! next, which loses and repeats nothing whatever is inserted meanwhile.
//!
//! A range that ascends and reaches beyond the present is **open**: whoever
//! follows it is to get what comes later too, and by time would miss the late
//! ones, which are inserted behind the place where the client is. So:
//!
//! 1. The first page notes the position up to which all events are visible. Up to
//!    there the range is gone through by time. It is complete: at or below that
//!    position nothing will ever come.
//! 2. From that position on the range is gone through by arrival, in which nothing
//!    comes behind what was seen. The events of one page are then in the order of
//!    time; a late one is on the page of those with which it came.
//!
//! So each event of the range is on exactly one page. That positions become
//! visible in their order is archive's part (`store/src/history/events.rs`).

use chrono::{DateTime, Utc};
use model::event_filter::{EventFilter, FilterField, parse};
use serde::{Deserialize, Serialize};
use store::history::{
    EventPlace, EventScope, EventSearch, FoundEvent,
    Order::{self, Ascending, Descending},
    PAGE_BYTES, Uuid,
};
use store::{Store, StoreError};

use crate::error::ApiError;

/// A whole list. In links, so its names are short.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Walk {
    /// Not earlier than this.
    #[serde(rename = "f", with = "micros")]
    pub(crate) from: Option<DateTime<Utc>>,
    /// Not later than this.
    #[serde(rename = "t", with = "micros")]
    pub(crate) to: Option<DateTime<Utc>>,
    #[serde(rename = "a")]
    pub(crate) ascending: bool,
    /// Ascending, and reaching beyond the present when it was begun.
    #[serde(rename = "o")]
    pub(crate) is_open: bool,
    #[serde(rename = "l")]
    pub(crate) limit: i64,
    /// Parameter and expression.
    #[serde(rename = "q")]
    pub(crate) filters: Vec<(String, String)>,
}

/// A place in a list. "Behind" is in the list's own direction.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) enum Cursor {
    /// The first page.
    #[serde(rename = "s")]
    Start,
    /// The last page.
    #[serde(rename = "l")]
    Last,
    /// By time, behind this event; of an open list, up to this position.
    #[serde(rename = "a")]
    After(Place, Option<i64>),
    /// By time, before this event, backwards.
    #[serde(rename = "b")]
    Before(Place, Option<i64>),
    /// By arrival, above this position. The second one is where the list
    /// went over from time to arrival.
    #[serde(rename = "n")]
    Arrived(i64, i64),
    /// By arrival, up to this position, backwards.
    #[serde(rename = "p")]
    ArrivedBefore(i64, i64),
}

/// Microseconds since the epoch, and position.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Place(i64, i64);

/// A page, and where its neighbours are.
pub(crate) struct Page {
    pub(crate) events: Vec<FoundEvent>,
    pub(crate) next: Cursor,
    pub(crate) previous: Cursor,
}

impl Walk {
    /// The filters as one condition.
    pub(crate) fn filter(&self) -> Result<EventFilter, ApiError> {
        filter(&self.filters)
    }

    pub(crate) fn search(&self, scope: EventScope) -> Result<EventSearch, ApiError> {
        Ok(EventSearch { scope, from: self.from, to: self.to, filter: self.filter()? })
    }

    fn order(&self) -> Order {
        if self.ascending { Ascending } else { Descending }
    }

    /// Whether there may be more: the page has all the rows or all the bytes that it may have.
    fn is_full(&self, events: &[FoundEvent]) -> bool {
        let bytes = events.iter().map(|found| found.event.len()).sum::<usize>();
        bytes >= PAGE_BYTES || i64::try_from(events.len()).is_ok_and(|count| count >= self.limit)
    }
}

/// Parameters with their expressions, as one condition.
fn filter(filters: &[(String, String)]) -> Result<EventFilter, ApiError> {
    let all = filters.iter().map(|(name, text)| {
        let known = FilterField::ALL.iter().find(|(field, _)| field == name);
        let (_, field) = known.ok_or_else(|| ApiError::bad_request("Invalid page"))?;
        parse(*field, text).map_err(|error| {
            ApiError::bad_request(format!("the filter '{name}' cannot be read: {error}"))
        })
    });
    all.collect::<Result<_, _>>().map(EventFilter::All)
}

impl From<EventPlace> for Place {
    fn from(place: EventPlace) -> Self {
        Self(place.occurred_at.timestamp_micros(), place.position)
    }
}

impl From<Place> for EventPlace {
    fn from(Place(micros, position): Place) -> Self {
        let occurred_at = DateTime::from_timestamp_micros(micros).unwrap_or_default();
        Self { occurred_at, position }
    }
}

fn opposite(order: Order) -> Order {
    match order {
        Ascending => Descending,
        Descending => Ascending,
    }
}

/// One page of a domain's events.
pub(crate) async fn page(
    store: &Store,
    search: &EventSearch,
    domain_id: Uuid,
    walk: &Walk,
    cursor: Cursor,
) -> Result<Page, StoreError> {
    match cursor {
        Cursor::Start => {
            let up_to = match walk.is_open {
                true => Some(store.last_event_position(domain_id).await?),
                false => None,
            };
            forward(store, search, walk, None, up_to).await
        }
        Cursor::After(place, up_to) => {
            let page = forward(store, search, walk, Some(place), up_to).await?;
            match page.next {
                // By time there was nothing more, but there may be by arrival.
                Cursor::Arrived(above, floor) if page.events.is_empty() => {
                    arrived(store, search, domain_id, walk, above, floor).await
                }
                _ => Ok(page),
            }
        }
        Cursor::Before(place, up_to) => backward(store, search, walk, Some(place), up_to).await,
        Cursor::Last => {
            let up_to = match walk.is_open {
                true => Some(store.last_event_position(domain_id).await?),
                false => None,
            };
            let page = backward(store, search, walk, None, up_to).await?;
            // What comes later is behind the last page.
            let next = up_to.map_or(page.next, |up_to| Cursor::Arrived(up_to, up_to));
            Ok(Page { next, ..page })
        }
        Cursor::Arrived(above, floor) => {
            arrived(store, search, domain_id, walk, above, floor).await
        }
        Cursor::ArrivedBefore(up_to, floor) => {
            let mut events =
                store.events_by_arrival(search, Descending, floor, up_to, walk.limit).await?;
            if events.is_empty() {
                let page = backward(store, search, walk, None, Some(floor)).await?;
                return Ok(Page { next: Cursor::Arrived(floor, floor), ..page });
            }
            let (lowest, highest) = positions(&events).unwrap_or((up_to, up_to));
            events.sort_by_key(|event| event.place);
            let next = Cursor::Arrived(highest, floor);
            Ok(Page { events, next, previous: Cursor::ArrivedBefore(lowest - 1, floor) })
        }
    }
}

async fn forward(
    store: &Store,
    search: &EventSearch,
    walk: &Walk,
    behind: Option<Place>,
    up_to: Option<i64>,
) -> Result<Page, StoreError> {
    let place = behind.map(EventPlace::from);
    let events = store.events_by_time(search, walk.order(), place, up_to, walk.limit).await?;
    let behind_last = events.last().map(|event| Cursor::After(event.place.into(), up_to));
    let next = match up_to {
        // Nothing is left by time.
        Some(up_to) if !walk.is_full(&events) => Cursor::Arrived(up_to, up_to),
        _ => {
            behind_last.or(behind.map(|place| Cursor::After(place, up_to))).unwrap_or(Cursor::Start)
        }
    };
    let previous = match events.first() {
        Some(first) => Cursor::Before(first.place.into(), up_to),
        None if behind.is_some() => Cursor::Last,
        None => Cursor::Start,
    };
    Ok(Page { events, next, previous })
}

async fn backward(
    store: &Store,
    search: &EventSearch,
    walk: &Walk,
    before: Option<Place>,
    up_to: Option<i64>,
) -> Result<Page, StoreError> {
    let order = opposite(walk.order());
    let place = before.map(EventPlace::from);
    let mut events = store.events_by_time(search, order, place, up_to, walk.limit).await?;
    events.reverse();
    let next = events.last().map(|event| Cursor::After(event.place.into(), up_to));
    let previous = events.first().map(|event| Cursor::Before(event.place.into(), up_to));
    Ok(Page {
        events,
        next: next.unwrap_or(Cursor::Start),
        previous: previous
            .or(before.map(|place| Cursor::Before(place, up_to)))
            .unwrap_or(Cursor::Start),
    })
}

async fn arrived(
    store: &Store,
    search: &EventSearch,
    domain_id: Uuid,
    walk: &Walk,
    above: i64,
    floor: i64,
) -> Result<Page, StoreError> {
    // Read before the page: of what is at or below it the page has everything.
    // It may be lower than before when the newest days were given up.
    let visible = store.last_event_position(domain_id).await?.max(above);
    let mut events = store.events_by_arrival(search, Ascending, above, visible, walk.limit).await?;
    let positions = positions(&events);
    let next = match positions {
        Some((_, highest)) if walk.is_full(&events) => highest,
        // Whatever else there is up to here does not meet the filter.
        _ => visible,
    };
    let previous = positions.map_or(above, |(lowest, _)| lowest - 1);
    events.sort_by_key(|event| event.place);
    Ok(Page {
        events,
        next: Cursor::Arrived(next, floor),
        previous: Cursor::ArrivedBefore(previous, floor),
    })
}

/// The lowest and the highest position.
fn positions(events: &[FoundEvent]) -> Option<(i64, i64)> {
    let all = || events.iter().map(|event| event.place.position);
    all().min().zip(all().max())
}

/// Moments in links, as microseconds since the epoch.
mod micros {
    use chrono::{DateTime, Utc};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        at: &Option<DateTime<Utc>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(|at| at.timestamp_micros()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        let micros = Option::<i64>::deserialize(deserializer)?;
        Ok(micros.and_then(DateTime::from_timestamp_micros))
    }
}
