//! Alerts, version 1 (reference §9).

mod email;
mod request;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{self, get};
use chrono::{DateTime, SecondsFormat, Utc};
use http::StatusCode;
use model::EventType;
use serde::Serialize;
use signing::Sealed;
use store::{AlertDestination, AlertSetting, NewAlert};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::form::Body;
use crate::path::Segments;
use crate::{SettingsApi, destination, keys, respond};

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    let alert = routing::put(update).delete(delete);
    OpenApiRouter::new()
        .route("/v1/alerts/events", get(event_types))
        .route("/v1/alerts/settings", get(list).post(create))
        .route("/v1/alerts/settings/events", routing::post(create))
        .route("/v1/alerts/settings/events/{id}", alert)
        .route("/v1/alerts/settings/webhooks/signing_key", routing::put(reset_signing_key))
        .route("/v1/alerts/settings/slack", routing::any(slack))
        // Where mailgun-go looks for these three (reference §9.1); the second
        // is `POST /v1/alerts/settings` above.
        .route("/v1/alerts", get(event_types))
        .route("/v1/alerts/settings/{id}", routing::delete(delete))
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// `GET /v1/alerts/events`
pub(crate) async fn event_types() -> Response {
    #[derive(Serialize)]
    struct Events {
        events: [&'static str; EventType::ALERTS.len()],
    }
    respond::ok(&Events { events: EventType::ALERTS.map(EventType::as_str) })
}

/// `GET /v1/alerts/settings`
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result {
    let account_id = caller.account_id.as_str();
    let (settings, sealed) = api.store.alert_settings(account_id).await?;
    let signing_key =
        api.unseal(&sealed, Sealed::AlertsSigningKey(account_id)).map_err(|error| {
            tracing::error!(%error, account.id = account_id, "a signing key cannot be unsealed");
            ApiError::internal()
        })?;
    Ok(respond::ok(&List {
        events: settings.iter().map(Record::of).collect(),
        webhooks: SigningKey { signing_key },
        slack: Slack::default(),
    }))
}

/// `POST /v1/alerts/settings/events`
pub(crate) async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result {
    let new = request::read(&body)?;
    api.check_broker()?;
    check_destination(&api, &new).await?;
    let setting_id = uuid::Builder::from_random_bytes(chassis::entropy::bytes()).into_uuid();
    let now = api.clock.now();
    let key = api
        .store
        .create_alert_setting(&caller.account_id, setting_id, &new, &api.limits.quotas, now)
        .await?;
    api.publish(&key).await?;
    Ok(respond::ok(&Record::new(setting_id, &new)))
}

/// `PUT /v1/alerts/settings/events/{id}`
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
    check_destination(&api, &new).await?;
    let now = api.clock.now();
    let key = api.store.update_alert_setting(&caller.account_id, setting_id, &new, now).await?;
    api.publish(&key).await?;
    let message = "settings updated";
    Ok(respond::ok(&Updated { message, record: Record::new(setting_id, &new) }))
}

/// `DELETE /v1/alerts/settings/events/{id}`
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
    Ok(respond::ok(&Message { message: "settings deleted" }))
}

/// `PUT /v1/alerts/settings/webhooks/signing_key`
pub(crate) async fn reset_signing_key(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result {
    let account_id = caller.account_id.as_str();
    let signing_key = keys::alerts_signing_key();
    let sealed = api.seal(&signing_key, Sealed::AlertsSigningKey(account_id));
    api.check_broker()?;
    let now = api.clock.now();
    let key = api.store.set_alerts_signing_key(account_id, &sealed, now).await?;
    api.publish(&key).await?;
    Ok(respond::ok(&SigningKey { signing_key }))
}

/// Everything under `/v1/alerts/settings/slack`.
pub(crate) async fn slack() -> ApiError {
    slack_not_supported()
}

fn slack_not_supported() -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "slack is not supported")
}

/// The id of a setting. One that is malformed names none.
fn setting_id(id: &str) -> Result<Uuid> {
    Uuid::try_parse(id).map_err(|_| ApiError::not_found("alert setting not found"))
}

/// A URL has to answer a GET with 200 before alerts go there.
async fn check_destination(api: &SettingsApi, new: &NewAlert) -> Result<()> {
    match &new.destination {
        AlertDestination::Webhook { url } => destination::check_answers(&api.egress, url).await,
        AlertDestination::Email { .. } => Ok(()),
    }
}

#[derive(Serialize)]
struct List<'a> {
    events: Vec<Record<'a>>,
    webhooks: SigningKey,
    slack: Slack,
}

#[derive(Serialize)]
struct SigningKey {
    signing_key: String,
}

/// The settings of a channel that is not supported, as they look when unset.
#[derive(Default, Serialize)]
struct Slack {
    token: &'static str,
    team_id: Option<String>,
    team_name: Option<String>,
    scope: Option<String>,
}

#[derive(Serialize)]
struct Message {
    message: &'static str,
}

#[derive(Serialize)]
struct Updated<'a> {
    message: &'static str,
    #[serde(flatten)]
    record: Record<'a>,
}

#[derive(Serialize)]
struct Record<'a> {
    id: String,
    event_type: &'a str,
    channel: &'static str,
    settings: Settings<'a>,
    disabled_at: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Settings<'a> {
    Webhook { url: &'a str },
    Email { emails: &'a [String] },
}

impl<'a> Record<'a> {
    fn of(setting: &'a AlertSetting) -> Self {
        let disabled_at = setting.disabled_at.map(rfc_3339);
        let AlertSetting { setting_id, event_type, destination, .. } = setting;
        Self { disabled_at, ..Self::enabled(*setting_id, event_type, destination) }
    }

    /// As it is once it was saved.
    fn new(setting_id: Uuid, new: &'a NewAlert) -> Self {
        Self::enabled(setting_id, &new.event_type, &new.destination)
    }

    fn enabled(id: Uuid, event_type: &'a str, destination: &'a AlertDestination) -> Self {
        let settings = match destination {
            AlertDestination::Webhook { url } => Settings::Webhook { url },
            AlertDestination::Email { emails } => Settings::Email { emails },
        };
        let id = id.to_string();
        Self { id, event_type, channel: destination.channel(), settings, disabled_at: None }
    }
}

fn rfc_3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
