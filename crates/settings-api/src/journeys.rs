//! Journeys: what has become of one event, or of one delivery, and what is next.
//!
//! The calls are ours; nothing of the kind is Mailgun's. An event is found by what
//! its customer has in hand: the `id` of its payload, and the type where several
//! types share that id. So everything is read by keys, and no list is searched.

mod answer;
mod story;
pub(crate) mod words;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use model::EventType;
use store::history::{AcceptedRow, Journey, Uuid};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::answer::{DecisionView, EndView, EventName, hex, rfc3339};
use self::answer::{DeliveryView, JourneyView, OneDelivery};
pub(crate) use self::story::{Story, stories};
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Form, Query};
use crate::path::Segments;
use crate::viewer::Viewer;
use crate::{SettingsApi, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(show)).routes(routes!(show_delivery))
}

/// Tells everything that has become of an event: when it was accepted and from
/// whom, what was decided about each webhook or alert setting, every try, how it
/// ended, and what is next.
#[utoipa::path(
    get,
    path = "/postrider/v1/events/{event_id}/journey",
    operation_id = "get_journey",
    tag = "events",
    params(EventPath, EventTypeQuery),
    responses(
        (status = 200, description = "The journey so far", body = JourneyView),
        (status = 400, description = "There is no such type", body = Problem),
        (status = 409, description = "Several events have this id", body = Problem),
    )
)]
async fn show(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(event_id): Segments<String>,
    Query(query): Query,
) -> Result {
    let _place = api.counting.place(&caller.primary_id).await?;
    let accepted = find(&api, &caller, &event_id, &query).await?;
    let (event, journey) = travelled(&api, &caller, &accepted, &[]).await?;
    let stories = stories(&journey);
    let viewer = Viewer::of(&caller);
    Ok(respond::ok(&JourneyView::of(viewer, &accepted, event, &journey, &stories)))
}

/// Tells what has become of a delivery: every try, and how it ended. It is known
/// once it was tried or has ended.
#[utoipa::path(
    get,
    path = "/postrider/v1/deliveries/{delivery_id}",
    operation_id = "get_delivery",
    tag = "events",
    params(DeliveryPath),
    responses((status = 200, description = "The delivery", body = OneDelivery))
)]
async fn show_delivery(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let missing = || ApiError::not_found("delivery not found");
    let id = store::history::id(&id).ok_or_else(missing)?;
    let _place = api.counting.place(&caller.primary_id).await?;
    let event_key = api.store.event_of_delivery(&caller.account_id, id).await?;
    let event_key = event_key.ok_or_else(missing)?;
    let accepted = api.store.accepted_events(&caller.account_id, &[event_key]).await?;
    let journey = api.store.journey(&caller.account_id, event_key, &[id]).await?;
    let stories = stories(&journey);
    let story = stories.iter().find(|story| story.id == id).ok_or_else(missing)?;
    Ok(respond::ok(&OneDelivery {
        event: accepted.first().map(EventName::of),
        delivery: DeliveryView::of(Viewer::of(&caller), story),
    }))
}

/// The acceptances of the one event of the caller's that has this id.
pub(crate) async fn find(
    api: &SettingsApi,
    caller: &Caller,
    event_id: &str,
    query: &Form,
) -> Result<Vec<AcceptedRow>> {
    let all = || EventType::ALERTS.into_iter().chain(EventType::WEBHOOKS);
    let types: Vec<EventType> = match query.first("event_type") {
        None => all().collect(),
        // Payloads have `failed` for both failures.
        Some(name) => {
            all().filter(|kind| kind.as_str() == name || kind.payload_name() == name).collect()
        }
    };
    if types.is_empty() {
        return Err(ApiError::bad_request("event_type is none that there is"));
    }
    let key = |kind| store::history::id(&model::event_key(&caller.account_id, kind, event_id));
    let keys: Vec<Uuid> = types.into_iter().filter_map(key).collect();
    let accepted = api.store.accepted_events(&caller.account_id, &keys).await?;
    let mut found: Vec<&str> = accepted.iter().map(|row| row.event_type.as_str()).collect();
    found.sort_unstable();
    found.dedup();
    match found.as_slice() {
        [] => Err(ApiError::not_found("event not found")),
        [_] => Ok(accepted),
        several => {
            let several = several.join(", ");
            let message = format!("several events have this id; give event_type: {several}");
            Err(ApiError::new(StatusCode::CONFLICT, message))
        }
    }
}

/// Its first acceptance, and its journey, with these deliveries of it that are known.
pub(crate) async fn travelled<'a>(
    api: &SettingsApi,
    caller: &Caller,
    accepted: &'a [AcceptedRow],
    deliveries: &[Uuid],
) -> Result<(&'a AcceptedRow, Journey)> {
    let event = accepted.first().ok_or_else(|| ApiError::not_found("event not found"))?;
    let journey = api.store.journey(&caller.account_id, event.event_key, deliveries).await?;
    Ok((event, journey))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
pub(crate) struct EventPath {
    /// The `id` of the event, as in its payload and in the Events API.
    #[param(example = "CPgfbmQMTCKtHW6uIWtuVe")]
    event_id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub(crate) struct EventTypeQuery {
    /// Type of the event, as webhooks and alerts are named, or as `event` in the
    /// payload. Needed where several events have the same id.
    #[param(example = "clicked")]
    event_type: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct DeliveryPath {
    /// As in `X-Postrider-Delivery`.
    delivery_id: String,
}
