//! Why did this not fire? The events of a time that may have concerned a webhook or
//! an alert setting, what became of each there, and what settings say now.
//!
//! What was decided is history, and stands with each event. What settings said at
//! that time is not kept: where nothing was decided about a URL, because no webhook
//! had it, the answer rests on what settings say now, and says so.

mod answer;
pub(crate) mod query;
mod standing;

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::DateTime;
use http::HeaderMap;
use store::history::{Considered, EventPlace, WhySearch};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::answer::{Fate, ItemView, Page, Paging, Summary};
use self::query::Asked;
use self::standing::Standing;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::events::{links::Origin, token};
use crate::form::Query;
use crate::viewer::Viewer;
use crate::{SettingsApi, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

/// What links are bound to, beside the account.
const LIST: &str = "why";
/// Up to here the events of the range are counted.
const MOST_COUNTED: usize = 10_000;
/// Events that are counted at once.
const COUNTED_AT_ONCE: i64 = 1_000;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(why))
}

/// Tells why a webhook or an alert setting did not fire, or that it did: the events
/// of a time that may have concerned it, the last one first, and what became of
/// each there; how many of them had which fate; and what settings say now. Each
/// page has a link to the next one; the list is at its end when there is none.
#[utoipa::path(
    get,
    path = "/postrider/v1/why",
    operation_id = "why",
    tag = "events",
    params(WhyQuery),
    responses(
        (status = 200, description = "A page of events", body = Page),
        (status = 400, description = "Something in the query is wrong", body = Problem),
        (status = 404, description = "No domain can have this name", body = Problem),
    )
)]
async fn why(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
    headers: HeaderMap,
) -> Result {
    let (asked, behind): (Asked, Option<(i64, i64)>) = match query.first("page") {
        Some(page) => token::open(&api, &caller.account_id, LIST, page)?,
        None => (query::read(&query, api.clock.now())?, None),
    };
    let search = asked.search(&caller.account_id)?;
    let place = api.reading.place(&caller.primary_id).await?;
    let viewer = Viewer::of(&caller);
    let standing = Standing::of(&api, &caller, &search.addressee).await?;
    let found = api.store.considered(&search, behind.and_then(place_of), asked.limit).await?;
    let found = seen_by(viewer, found);
    let summary = match behind {
        None => Some(summary(&api, viewer, &search, &standing).await?),
        Some(_) => None,
    };
    drop(place);

    let next = match found.last() {
        Some(last) if i64::try_from(found.len()).is_ok_and(|count| count >= asked.limit) => {
            let key = (last.place.occurred_at.timestamp_micros(), last.place.position);
            let token = token::seal(&api, &caller.account_id, LIST, &(&asked, Some(key)))?;
            let origin = Origin::of(&headers);
            Some(format!("{origin}/postrider/v1/why?page={token}"))
        }
        _ => None,
    };
    let items = found.iter().map(|event| ItemView::of(viewer, event, &standing)).collect();
    let settings = standing.show(viewer);
    Ok(respond::ok(&Page { settings, summary, items, paging: Paging { next } }))
}

fn place_of((micros, position): (i64, i64)) -> Option<EventPlace> {
    Some(EventPlace { occurred_at: DateTime::from_timestamp_micros(micros)?, position })
}

/// Leaves out what was decided about a parent's webhooks where no webhook of the account's
/// own had the URL. So a subaccount learns nothing by a URL that it guesses.
fn seen_by(viewer: Viewer, mut found: Vec<Considered>) -> Vec<Considered> {
    for event in &mut found {
        if !event.decisions.iter().any(|decision| viewer.sees_level(Some(&decision.level))) {
            event.decisions.clear();
            event.end = None;
        }
    }
    found
}

/// How many events of the range had which fate.
async fn summary(
    api: &SettingsApi,
    viewer: Viewer,
    search: &WhySearch,
    standing: &Standing,
) -> Result<Summary> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let (mut events, mut behind) = (0, None);
    loop {
        let some = api.store.considered(search, behind, COUNTED_AT_ONCE).await?;
        let some = seen_by(viewer, some);
        for event in &some {
            *counts.entry(Fate::of(event, standing).name()).or_default() += 1;
        }
        events += some.len();
        let is_last = i64::try_from(some.len()).is_ok_and(|count| count < COUNTED_AT_ONCE);
        behind = some.last().map(|event: &Considered| event.place);
        if is_last || events >= MOST_COUNTED {
            return Ok(Summary { events, counts, is_whole: is_last });
        }
    }
}

/// What is asked about. Either `url` or `alert_setting_id`.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct WhyQuery {
    /// The URL of a webhook, as a whole.
    #[param(example = "https://hooks.example.net/acc")]
    url: Option<String>,
    /// An alert setting.
    alert_setting_id: Option<String>,
    /// Not before this: an RFC 2822 or RFC 3339 date, or seconds since the epoch; a
    /// day before `end`, if it is not given.
    begin: Option<String>,
    /// Not after this; now, if it is not given.
    end: Option<String>,
    /// Events of this domain alone.
    #[param(example = "mail.demo.example")]
    domain: Option<String>,
    /// Events of this type alone, as webhooks and alerts are named.
    #[param(example = "clicked")]
    event_type: Option<String>,
    /// Events on a page, 1 to 300.
    #[param(default = 100, example = "100")]
    limit: Option<String>,
    /// Where a link leads to. Nothing else has an effect then.
    page: Option<String>,
}
