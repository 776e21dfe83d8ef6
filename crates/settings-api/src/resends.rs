//! What was not delivered, and sending it again: one delivery or one event at once,
//! or many as a job at a limited rate.

mod event;
pub(crate) mod request;
mod worker;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use prost::Message as _;
use protocol::v1::Delivery;
use protocol::v1::target::Kind as TargetKind;
use serde::Serialize;
use store::{NewResend, Resend, StoreError, Thing};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

pub(crate) use self::event::made_anew;
use self::request::{ChangedResend, ResendForm};
use self::worker::next_generation;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::Body;
use crate::path::Segments;
use crate::viewer::{Viewer, level_name};
use crate::{SettingsApi, respond};

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(undelivered))
        .routes(routes!(list, create))
        .routes(routes!(show, change))
        .routes(routes!(resend_one))
        .merge(event::routes())
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Counts what was not delivered and not sent again, by target and outcome, the
/// oldest first.
#[utoipa::path(
    get,
    path = "/postrider/v1/undelivered",
    operation_id = "count_undelivered",
    tag = "delivery",
    responses((status = 200, description = "At most 1,000 groups", body = UndeliveredList))
)]
async fn undelivered(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result {
    let viewer = Viewer::of(&caller);
    let _place = api.counting.place(&caller.primary_id).await?;
    let groups = api.store.undelivered(&caller.account_id).await?;
    let undelivered = groups.into_iter().map(|group| {
        let delivery = Delivery::decode(group.delivery.as_slice()).unwrap_or_default();
        let level = level_name(delivery.level());
        let (url, alert_setting_id) = match delivery.target.and_then(|target| target.kind) {
            Some(TargetKind::Message(target)) => (Some(viewer.url(level, &target.url)), None),
            Some(TargetKind::Alert(target)) => (None, Some(target.setting_id)),
            None => (None, None),
        };
        Group {
            url,
            alert_setting_id,
            outcome: group.outcome,
            count: group.count,
            oldest: time(group.oldest),
        }
    });
    Ok(respond::ok(&UndeliveredList { undelivered: undelivered.collect() }))
}

/// Lists the newest jobs that send again, the newest first.
#[utoipa::path(
    get,
    path = "/postrider/v1/resends",
    operation_id = "list_resends",
    tag = "delivery",
    responses((status = 200, description = "At most 100 jobs", body = ResendList))
)]
async fn list(State(api): State<SettingsApi>, Extension(caller): Extension<Caller>) -> Result {
    let resends = api.store.resends(&caller.account_id).await?;
    let resends = resends.into_iter().map(|resend| Shown::of(&caller, resend)).collect();
    Ok(respond::ok(&ResendList { resends }))
}

/// Sends again what was not delivered, as a job: to one URL, for one alert
/// setting, or to all; held deliveries, unless it says otherwise.
///
/// It goes on, at its rate, until everything is sent that had ended when it was
/// made. What was set aside because it cannot be read is passed over, and counted.
/// Each delivery is sent as a new one, with a new `X-Postrider-Delivery`
/// and the same event id. What is wanted, the keys and the policy are those of
/// the new attempts: what is still paused or disabled is held again.
#[utoipa::path(
    post,
    path = "/postrider/v1/resends",
    operation_id = "create_resend",
    tag = "delivery",
    request_body = ResendForm,
    responses((status = 200, description = "Begun", body = Shown))
)]
async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result {
    let wanted = request::read(&body, &caller.account_id)?;
    // A subaccount would learn of its parent's URLs, to which its own deliveries go as well.
    if let Some(target_id) = wanted.target_id
        && Viewer::of(&caller).sees_parent()
        && !api.store.has_target(&caller.account_id, target_id, &wanted.target).await?
    {
        return Err(request::of_nobody(&wanted.target));
    }
    let resend_id = uuid::Builder::from_random_bytes(chassis::entropy::bytes()).into_uuid();
    let new = NewResend {
        target_id: wanted.target_id,
        target: &wanted.target,
        named_by: &caller.key_account_id,
        outcomes: &wanted.outcomes,
        since: wanted.since,
        per_second: wanted.per_second,
    };
    api.store.create_resend(&caller.account_id, resend_id, &new, api.clock.now()).await?;
    tracing::info!(account.id = caller.account_id, resend.id = %resend_id, "a resend was made");
    show_one(&api, &caller, resend_id).await
}

/// Shows a job and how far it is.
#[utoipa::path(
    get,
    path = "/postrider/v1/resends/{resend_id}",
    operation_id = "get_resend",
    tag = "delivery",
    params(ResendPath),
    responses((status = 200, description = "The job", body = Shown))
)]
async fn show(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    show_one(&api, &caller, resend_id(&id)?).await
}

/// Pauses a job, lets it run on, or cancels it. What it has sent stays sent.
#[utoipa::path(
    put,
    path = "/postrider/v1/resends/{resend_id}",
    operation_id = "change_resend",
    tag = "delivery",
    params(ResendPath),
    request_body = ChangedResend,
    responses(
        (status = 200, description = "The job as it is now", body = Shown),
        (status = 409, description = "It has ended", body = Problem),
    )
)]
async fn change(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
    Body(body): Body,
) -> Result {
    let id = resend_id(&id)?;
    let state = request::state(&body)?;
    api.store.set_resend_state(&caller.account_id, id, state, api.clock.now()).await?;
    if state != "running" {
        api.let_go(id).await?;
    }
    show_one(&api, &caller, id).await
}

/// Sends one delivery again that has ended, whatever its end.
#[utoipa::path(
    post,
    path = "/postrider/v1/deliveries/{delivery_id}/resend",
    operation_id = "resend_delivery",
    tag = "delivery",
    params(DeliveryPath),
    responses(
        (status = 200, description = "It is on its way", body = SentAgain),
        (status = 400, description = "It was set aside unread", body = Problem),
        (status = 409, description = "It was sent again before, or what it was made of is gone", body = Problem),
    )
)]
async fn resend_one(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let missing = StoreError::NotFound(Thing::Delivery);
    let Ok(id) = Uuid::try_parse(&id) else { return Err(missing.into()) };
    let batch = match api.store.take_undelivered(&caller.account_id, id).await {
        Err(StoreError::NotFound(_)) => {
            let delivery_id = api.resend_delivered(&caller, id).await?;
            return Ok(respond::ok(&SentAgain { delivery_id }));
        }
        batch => batch?,
    };
    let kept = batch.deliveries().next();
    let again = kept.and_then(|(_, bytes)| next_generation(bytes, api.clock.now().into()).ok());
    let again = again.ok_or_else(|| {
        ApiError::bad_request("this delivery was set aside unread, and cannot be sent")
    })?;
    api.send_again(std::slice::from_ref(&again)).await?;
    // Dying here sends nothing twice: asked again, it is the same generation.
    batch.sent(&[id], api.clock.now()).await?;
    Ok(respond::ok(&SentAgain { delivery_id: again.delivery_id }))
}

async fn show_one(api: &SettingsApi, caller: &Caller, id: Uuid) -> Result {
    let resend = api.store.resend(&caller.account_id, id).await?;
    Ok(respond::ok(&Shown::of(caller, resend)))
}

fn resend_id(text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| ApiError::not_found("resend not found"))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct ResendPath {
    /// The job.
    resend_id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct DeliveryPath {
    /// As in `X-Postrider-Delivery`.
    delivery_id: String,
}

#[derive(Serialize, ToSchema)]
struct UndeliveredList {
    undelivered: Vec<Group>,
}

/// Deliveries to one target that ended in one way.
#[derive(Serialize, ToSchema)]
#[schema(as = Undelivered)]
struct Group {
    /// Of a webhook; of an alert, its setting is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alert_setting_id: Option<String>,
    /// `rejected`, `exhausted`, `expired`, `suppressed`, `held` or `poisoned`.
    outcome: String,
    count: i64,
    /// When the first of them ended.
    #[schema(format = DateTime)]
    oldest: String,
}

#[derive(Serialize, ToSchema)]
struct ResendList {
    resends: Vec<Shown>,
}

/// A job that sends again.
#[derive(Serialize, ToSchema)]
#[schema(as = Resend)]
struct Shown {
    id: String,
    /// The URL or the alert setting; empty for everything. Of a URL that a parent account
    /// named, its subaccount sees the host.
    target: String,
    outcomes: Vec<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    per_second: i32,
    /// `running`, `paused`, `cancelled` or `done`.
    state: String,
    /// How many were sent so far.
    sent: i64,
    /// How many were left where they are, because they cannot be read.
    passed_over: i64,
    #[schema(format = DateTime)]
    created_at: String,
}

impl Shown {
    fn of(caller: &Caller, resend: Resend) -> Self {
        // The account knows what it has named; the parent may have named what is its own.
        let is_own = resend.named_by.as_ref() == Some(&caller.key_account_id);
        let is_url = Uuid::try_parse(&resend.target).is_err();
        let level = (is_own || !is_url).then_some("account");
        Self {
            id: resend.resend_id.to_string(),
            target: Viewer::of(caller).url(level, &resend.target),
            outcomes: resend.outcomes,
            since: resend.since.map(time),
            per_second: resend.per_second,
            state: resend.state,
            sent: resend.sent,
            passed_over: resend.passed_over,
            created_at: time(resend.created_at),
        }
    }
}

#[derive(Serialize, ToSchema)]
struct SentAgain {
    /// Of the new delivery.
    delivery_id: String,
}
