//! The logs (reference §8.4): the same events, for an account and its
//! subaccounts, with a search in JSON.
//!
//! A list is a range that is over, gone through by time. `total` is counted up to
//! a limit, and only when it is asked for.

pub(crate) mod filter;
mod item;
pub(crate) mod request;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use store::history::{EventPlace, EventScope, EventSearch, FoundEvent, Order, PAGE_BYTES};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::item::Shown;
use self::request::{Asked, LogsQuery};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::events::token;
use crate::form::Body;
use crate::{SettingsApi, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

/// What links are bound to, beside the account.
const LIST: &str = "logs";
/// Up to here `total` is counted.
const MOST_COUNTED: i64 = 10_000;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Lists the events of the account. For the next page, the same search is sent
/// with that page's token.
#[utoipa::path(
    post,
    path = "/v1/analytics/logs",
    operation_id = "list_logs",
    tag = "events",
    request_body = LogsQuery,
    responses((status = 200, description = "A page of events", body = LogsPage))
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result {
    let asked = request::read(&body, api.clock.now())?;
    let cursor = match &asked.token {
        Some(token) => token::open(&api, &caller.account_id, LIST, token)?,
        None => Cursor { from: micros(asked.from), to: micros(asked.to), at: At::Start },
    };
    // First, because it bounds the values that accounts are compared with.
    let filter = filter::condition(&asked.events, &asked.tests)?;
    let place = api.reading.place(&caller.primary_id).await?;
    let accounts = Accounts::of(&api, &caller, asked.include_subaccounts).await?;
    let search = EventSearch {
        scope: EventScope::Accounts(filter::accounts(&asked.tests, accounts.ids())?),
        from: DateTime::from_timestamp_micros(cursor.from),
        to: DateTime::from_timestamp_micros(cursor.to),
        filter,
    };
    let page = page(&api, &search, &asked, cursor).await?;
    let total = match asked.include_totals {
        true => api.store.count_events(&search, MOST_COUNTED).await?,
        false => 0,
    };
    drop(place);

    let seal = |at| token::seal(&api, &caller.account_id, LIST, &Cursor { at, ..cursor });
    let sealed = |at: Option<At>| at.map(seal).transpose();
    let has_others = page.previous.is_some() || page.next.is_some();
    Ok(respond::ok(&LogsPage {
        start: search.from.map(item::rfc2822).unwrap_or_default(),
        end: search.to.map(item::rfc2822).unwrap_or_default(),
        items: page.events.iter().filter_map(|event| item::show(event, &accounts)).collect(),
        pagination: Pagination {
            previous: sealed(page.previous)?,
            next: sealed(page.next)?,
            first: sealed(has_others.then_some(At::Start))?,
            last: sealed(has_others.then_some(At::Last))?,
            total: asked.include_totals.then_some(total),
        },
        aggregates: serde_json::Map::new(),
    }))
}

/// The accounts whose events are listed.
pub(crate) struct Accounts {
    own: String,
    /// Of the account itself, where it is a subaccount.
    parent: Option<String>,
    subaccounts: Vec<String>,
}

impl Accounts {
    async fn of(api: &SettingsApi, caller: &Caller, with_subaccounts: bool) -> Result<Self> {
        let family = api.store.account_family(&caller.account_id).await?;
        let (parent, subaccounts) = (family.parent_id, family.subaccount_ids);
        let subaccounts = if with_subaccounts { subaccounts } else { Vec::new() };
        Ok(Self { own: caller.account_id.clone(), parent, subaccounts })
    }

    fn ids(&self) -> Vec<String> {
        std::iter::once(&self.own).chain(&self.subaccounts).cloned().collect()
    }

    /// The parent of one of these, where it has one.
    fn parent_of(&self, account_id: &str) -> Option<&str> {
        if account_id == self.own { self.parent.as_deref() } else { Some(&self.own) }
    }
}

/// A range, and a place in it. Micros since the epoch.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Cursor {
    #[serde(rename = "f")]
    from: i64,
    #[serde(rename = "t")]
    to: i64,
    #[serde(rename = "a")]
    at: At,
}

/// Moment and position.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
enum At {
    #[serde(rename = "s")]
    Start,
    #[serde(rename = "l")]
    Last,
    #[serde(rename = "a")]
    After(i64, i64),
    #[serde(rename = "b")]
    Before(i64, i64),
}

struct Page {
    events: Vec<FoundEvent>,
    /// Of the pages before and behind it, where there may be any.
    previous: Option<At>,
    next: Option<At>,
}

async fn page(
    api: &SettingsApi,
    search: &EventSearch,
    asked: &Asked,
    cursor: Cursor,
) -> Result<Page> {
    let (order, opposite) = match asked.ascending {
        true => (Order::Ascending, Order::Descending),
        false => (Order::Descending, Order::Ascending),
    };
    let place = |micros, position| EventPlace {
        occurred_at: DateTime::from_timestamp_micros(micros).unwrap_or_default(),
        position,
    };
    let (order, behind, is_backward) = match cursor.at {
        At::Start => (order, None, false),
        At::Last => (opposite, None, true),
        At::After(micros, position) => (order, Some(place(micros, position)), false),
        At::Before(micros, position) => (opposite, Some(place(micros, position)), true),
    };
    let mut events = api.store.events_by_time(search, order, behind, None, asked.limit).await?;
    if is_backward {
        events.reverse();
    }
    // The range is over: behind a page that is not full there is nothing, and whoever goes on
    // as long as there is a token comes to an end.
    let bytes: usize = events.iter().map(|event| event.event.len()).sum();
    let is_full =
        bytes >= PAGE_BYTES || i64::try_from(events.len()).is_ok_and(|count| count >= asked.limit);
    let at = |event: &FoundEvent| (micros(event.place.occurred_at), event.place.position);
    let next = events.last().map(at).map(|(micros, position)| At::After(micros, position));
    let previous = events.first().map(at).map(|(micros, position)| At::Before(micros, position));
    let (has_previous, has_next) = match cursor.at {
        At::Start => (false, is_full),
        At::Last => (is_full, false),
        At::After(..) => (true, is_full),
        At::Before(..) => (is_full, true),
    };
    // An empty page stands where it was looked for.
    Ok(Page {
        events,
        previous: has_previous.then(|| previous.unwrap_or(At::Last)),
        next: has_next.then(|| next.unwrap_or(At::Start)),
    })
}

fn micros(at: DateTime<Utc>) -> i64 {
    at.timestamp_micros()
}

/// A page of events.
#[derive(Serialize, ToSchema)]
struct LogsPage {
    /// Where the range begins, as an RFC 2822 date.
    start: String,
    end: String,
    #[schema(value_type = Vec<serde_json::Map<String, serde_json::Value>>)]
    items: Vec<Shown>,
    pagination: Pagination,
    /// Always empty.
    aggregates: serde_json::Map<String, serde_json::Value>,
}

/// Tokens of pages; of those alone that there may be.
#[derive(Serialize, ToSchema)]
#[schema(as = LogsPagination)]
struct Pagination {
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    /// With `include_totals`, how many there are, counted up to 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<i64>,
}
