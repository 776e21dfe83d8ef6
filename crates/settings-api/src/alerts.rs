//! Alerts, version 1 (reference §9).

mod answer;
pub(crate) mod request;
mod slack;
mod trial;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use axum::routing;
use model::EventType;
use signing::Sealed;
use store::{AlertDestination, NewAlert, SigningKeyKind};
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use self::answer::{AlertSettings, EventTypes, Message, Record, SigningKey, Slack, Updated};
use self::request::AlertForm;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Body, WithQuery};
use crate::path::Segments;
use crate::signing_key::{Overlap, OverlapQuery, overlap_until};
use crate::{SettingsApi, destination, keys, respond};

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(event_types))
        .routes(routes!(list))
        .routes(routes!(create))
        .routes(routes!(update, delete))
        .routes(routes!(reset_signing_key))
        .merge(trial::routes())
        .merge(slack::routes())
        // Where mailgun-go looks for these three (reference §9.1). They are
        // not part of the description: nobody is to write new code for them.
        .route("/v1/alerts", routing::get(event_types))
        .route("/v1/alerts/settings", routing::post(create))
        .route("/v1/alerts/settings/{id}", routing::delete(delete))
        // Where the Python client looks, which puts a slash for each underscore.
        .route("/v1/alerts/settings/webhooks/signing/key", routing::put(reset_signing_key))
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Lists the kinds of alert that there are.
#[utoipa::path(
    get,
    path = "/v1/alerts/events",
    operation_id = "list_alert_event_types",
    tag = "alerts",
    responses((status = 200, description = "All kinds of alert", body = EventTypes))
)]
pub(crate) async fn event_types() -> Response {
    respond::ok(&EventTypes { events: EventType::ALERTS.map(EventType::as_str) })
}

/// Lists the account's alert settings, oldest first, with the key that signs alerts.
#[utoipa::path(
    get,
    path = "/v1/alerts/settings",
    operation_id = "list_alert_settings",
    tag = "alerts",
    responses((status = 200, description = "All settings", body = AlertSettings<'_>))
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result {
    let account_id = caller.account_id.as_str();
    let (settings, sealed) = api.store.alert_settings(account_id).await?;
    let signing_key = if caller.sees_secrets() {
        api.unseal(&sealed, Sealed::AlertsSigningKey(account_id)).map_err(|error| {
            tracing::error!(%error, account.id = account_id, "a signing key cannot be unsealed");
            ApiError::internal()
        })?
    } else {
        String::new()
    };
    Ok(respond::ok(&AlertSettings {
        events: settings.iter().map(Record::of).collect(),
        webhooks: SigningKey { signing_key },
        slack: Slack::default(),
    }))
}

/// Makes an alert setting. A URL has to answer a GET with 200 first; for email,
/// the server needs a mail relay.
#[utoipa::path(
    post,
    path = "/v1/alerts/settings/events",
    operation_id = "create_alert_setting",
    tag = "alerts",
    request_body = AlertForm,
    responses(
        (status = 200, description = "Made", body = Record<'_>),
        (status = 409, description = "This alert goes there already", body = Problem),
        (status = 501, description = "The channel is `slack`", body = Problem),
    )
)]
pub(crate) async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result {
    let new = request::read(&body)?;
    api.check_broker()?;
    check_destination(&api, &caller, &new).await?;
    let setting_id = uuid::Builder::from_random_bytes(chassis::entropy::bytes()).into_uuid();
    let now = api.clock.now();
    let key = api
        .store
        .create_alert_setting(&caller.account_id, setting_id, &new, &api.limits.quotas, now)
        .await?;
    api.publish(&key).await?;
    Ok(respond::ok(&Record::new(setting_id, &new)))
}

/// Replaces an alert setting, and enables it. A URL has to answer a GET with
/// 200 first; for email, the server needs a mail relay.
#[utoipa::path(
    put,
    path = "/v1/alerts/settings/events/{id}",
    operation_id = "update_alert_setting",
    tag = "alerts",
    params(SettingPath),
    request_body = AlertForm,
    responses(
        (status = 200, description = "Replaced", body = Updated<'_>),
        (status = 409, description = "Another setting has this alert go there", body = Problem),
        (status = 501, description = "The channel is `slack`", body = Problem),
    )
)]
pub(crate) async fn update(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
    Body(body): Body,
) -> Result {
    let setting_id = setting_id(&id)?;
    let new = request::read(&body)?;
    // Before the receiver is called: nobody is called for a setting that is not there.
    api.store.alert_setting(&caller.account_id, setting_id).await?;
    api.check_broker()?;
    check_destination(&api, &caller, &new).await?;
    let now = api.clock.now();
    let key = api.store.update_alert_setting(&caller.account_id, setting_id, &new, now).await?;
    api.publish(&key).await?;
    let message = "settings updated";
    Ok(respond::ok(&Updated { message, record: Record::new(setting_id, &new) }))
}

/// Removes an alert setting.
#[utoipa::path(
    delete,
    path = "/v1/alerts/settings/events/{id}",
    operation_id = "delete_alert_setting",
    tag = "alerts",
    params(SettingPath),
    responses((status = 200, description = "Removed", body = Message))
)]
pub(crate) async fn delete(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let setting_id = setting_id(&id)?;
    api.check_broker()?;
    let now = api.clock.now();
    let key = api.store.delete_alert_setting(&caller.account_id, setting_id, now).await?;
    api.publish(&key).await?;
    Ok(respond::ok(&Message { message: "settings deleted".into() }))
}

/// Replaces the key that signs alerts. The one that it replaces can also sign
/// for a while, in the header `X-Sign-Previous`.
#[utoipa::path(
    put,
    path = "/v1/alerts/settings/webhooks/signing_key",
    operation_id = "reset_alerts_signing_key",
    tag = "alerts",
    params(OverlapQuery),
    request_body(content = Option<Overlap>),
    responses((status = 200, description = "The new key", body = SigningKey))
)]
pub(crate) async fn reset_signing_key(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    WithQuery(form): WithQuery,
) -> Result {
    let now = api.clock.now();
    let until = overlap_until(&api, form.first("overlap_seconds"), now)?;
    let account_id = caller.account_id.as_str();
    let signing_key = keys::alerts_signing_key();
    let sealed = api.seal(&signing_key, Sealed::AlertsSigningKey(account_id));
    api.check_broker()?;
    let replaced =
        api.store.replace_signing_key(account_id, SigningKeyKind::Alerts, &sealed, until, now);
    api.publish(&replaced.await?).await?;
    Ok(respond::ok(&SigningKey { signing_key }))
}

/// The id of a setting. One that is malformed names none.
fn setting_id(id: &str) -> Result<Uuid> {
    Uuid::try_parse(id).map_err(|_| ApiError::not_found("alert setting not found"))
}

/// A URL has to answer a GET with 200 before alerts go there, and no mail is
/// promised where none can be sent.
async fn check_destination(api: &SettingsApi, caller: &Caller, new: &NewAlert) -> Result<()> {
    match &new.destination {
        AlertDestination::Webhook { url } => {
            let _place = api.outbound.place(&caller.primary_id).await?;
            destination::check_answers(&api.egress, url).await
        }
        AlertDestination::Email { .. } if api.mailer.is_none() => {
            let message = "email alerts cannot be saved: this server has no mail relay configured";
            Err(ApiError::bad_request(message))
        }
        AlertDestination::Email { .. } => Ok(()),
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct SettingPath {
    /// Id of the setting.
    #[param(format = "uuid", example = "5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21")]
    id: String,
}
