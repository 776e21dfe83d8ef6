//! Failure logs: every try at a receiver that did not succeed, newest first.
//!
//! The calls are ours; Mailgun shows such a list on its pages alone (reference
//! §7.7).

mod answer;
mod query;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use store::history::AttemptPlace;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::answer::Failure;
pub(crate) use self::query::{Search, event_type, limit, moment_of, read as read_query, text};
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::events::{links::Origin, token};
use crate::form::Query;
use crate::viewer::Viewer;
use crate::{SettingsApi, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

/// What links are bound to, beside the account.
const LIST: &str = "failures";

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Lists the tries at receivers that failed, the last one first. Each page has a
/// link to the next one; the list is at its end when there is none.
#[utoipa::path(
    get,
    path = "/postrider/v1/failures",
    operation_id = "list_failures",
    tag = "events",
    params(FailuresQuery),
    responses(
        (status = 200, description = "A page of failed tries", body = Page<'_>),
        (status = 400, description = "Something in the query is wrong", body = Problem),
        (status = 404, description = "No domain can have this name", body = Problem),
    )
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
    headers: HeaderMap,
) -> Result {
    let (search, behind): (Search, Option<(i64, String, u32)>) = match query.first("page") {
        Some(page) => token::open(&api, &caller.account_id, LIST, page)?,
        None => (read_query(&query)?, None),
    };
    let place = api.reading.place(&caller.primary_id).await?;
    let behind = behind.and_then(place_of);
    let found = search.find(&api, &caller, behind).await?;
    drop(place);

    let next = match found.last() {
        Some(last) if i64::try_from(found.len()).is_ok_and(|count| count >= search.limit) => {
            let place = last.place();
            let key =
                (place.started_at.timestamp_micros(), place.delivery_id.to_string(), place.hop);
            let token = token::seal(&api, &caller.account_id, LIST, &(&search, Some(key)))?;
            let origin = Origin::of(&headers);
            Some(format!("{origin}/postrider/v1/failures?page={token}"))
        }
        _ => None,
    };
    let viewer = Viewer::of(&caller);
    let items = found.iter().map(|failure| Failure::of(viewer, failure)).collect();
    Ok(respond::ok(&Page { items, paging: Paging { next } }))
}

fn place_of((micros, delivery_id, hop): (i64, String, u32)) -> Option<AttemptPlace> {
    Some(AttemptPlace {
        started_at: chrono::DateTime::from_timestamp_micros(micros)?,
        delivery_id: delivery_id.parse().ok()?,
        hop,
    })
}

/// What is searched for. All that is given has to hold.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub(crate) struct FailuresQuery {
    /// Not before this: an RFC 2822 or RFC 3339 date, or seconds since the epoch.
    begin: Option<String>,
    /// Not after this.
    end: Option<String>,
    /// Name of a domain, whose events failed to arrive.
    #[param(example = "mail.demo.example")]
    domain: Option<String>,
    /// The URL of the receiver, as failures have it. A subaccount finds none of its parent's
    /// by it.
    #[param(example = "https://hooks.example.net/acc")]
    url: Option<String>,
    /// Type of the event, as webhooks and alerts are named.
    #[param(example = "clicked")]
    event_type: Option<String>,
    /// Why it failed, as `timeout`.
    #[param(example = "status")]
    reason: Option<String>,
    /// HTTP status of the answer.
    #[param(example = "503")]
    status: Option<String>,
    /// Id of a delivery.
    delivery_id: Option<String>,
    /// Entries on a page, 1 to 300.
    #[param(default = 100, example = "100")]
    limit: Option<String>,
    /// Where a link leads to. Nothing else has an effect then.
    page: Option<String>,
}

#[derive(serde::Serialize, ToSchema)]
#[schema(as = FailuresPage)]
struct Page<'a> {
    items: Vec<Failure<'a>>,
    paging: Paging,
}

#[derive(serde::Serialize, ToSchema)]
#[schema(as = FailuresPaging)]
struct Paging {
    /// The next page; `null` on the last one.
    next: Option<String>,
}
