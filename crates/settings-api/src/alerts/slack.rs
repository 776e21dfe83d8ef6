//! Slack (reference §9.1): its calls are known, and do nothing.

use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::SettingsApi;
use crate::error::{ApiError, Problem};

/// The calls of this module.
pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(update, delete))
        .routes(routes!(revoke))
        .routes(routes!(channels))
        .routes(routes!(channel))
        .routes(routes!(test))
}

/// What everything about Slack is answered with.
pub(super) fn not_supported() -> ApiError {
    let message = "slack is not supported: use the channels webhook and email";
    ApiError::new(StatusCode::NOT_IMPLEMENTED, message)
}

/// Not supported: would set the token for Slack.
#[utoipa::path(
    put,
    path = "/v1/alerts/settings/slack",
    operation_id = "update_slack_settings",
    tag = "alerts",
    responses((status = 501, description = "Slack is not supported", body = Problem))
)]
async fn update() -> ApiError {
    not_supported()
}

/// Not supported: would remove all settings of Slack.
#[utoipa::path(
    delete,
    path = "/v1/alerts/settings/slack",
    operation_id = "delete_slack_settings",
    tag = "alerts",
    responses((status = 501, description = "Slack is not supported", body = Problem))
)]
async fn delete() -> ApiError {
    not_supported()
}

/// Not supported: would revoke the token for Slack.
#[utoipa::path(
    delete,
    path = "/v1/alerts/slack/oauth",
    operation_id = "revoke_slack_token",
    tag = "alerts",
    responses((status = 501, description = "Slack is not supported", body = Problem))
)]
async fn revoke() -> ApiError {
    not_supported()
}

/// Not supported: would list the channels of Slack.
#[utoipa::path(
    get,
    path = "/v1/alerts/slack/channels",
    operation_id = "list_slack_channels",
    tag = "alerts",
    responses((status = 501, description = "Slack is not supported", body = Problem))
)]
async fn channels() -> ApiError {
    not_supported()
}

/// Not supported: would show a channel of Slack.
#[utoipa::path(
    get,
    path = "/v1/alerts/slack/channels/{id}",
    operation_id = "get_slack_channel",
    tag = "alerts",
    params(("id" = String, Path, description = "Id of the channel")),
    responses((status = 501, description = "Slack is not supported", body = Problem))
)]
async fn channel() -> ApiError {
    not_supported()
}

/// Not supported: would send a test alert to Slack.
#[utoipa::path(
    post,
    path = "/v1/alerts/slack/test",
    operation_id = "test_slack",
    tag = "alerts",
    responses((status = 501, description = "Slack is not supported", body = Problem))
)]
async fn test() -> ApiError {
    not_supported()
}
