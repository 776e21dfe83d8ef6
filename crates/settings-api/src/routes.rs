//! Which call is answered where.

use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Router, routing};
use http::StatusCode;

use crate::error::ApiError;
use crate::{SettingsApi, alerts, auth, respond, webhooks};

/// Largest request, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The customers' calls. A router that is merged with others keeps its own
/// headers and its own answers to methods that it does not know; what has no
/// route is answered by whoever serves it.
pub fn router(api: SettingsApi) -> Router {
    let alert = put(alerts::update).delete(alerts::delete);
    Router::new()
        .route("/v3/domains/{domain}/webhooks", get(webhooks::list).post(webhooks::create))
        .route(
            "/v3/domains/{domain}/webhooks/{webhook_name}",
            get(webhooks::get).put(webhooks::update).delete(webhooks::delete),
        )
        .route("/v1/alerts/events", get(alerts::event_types))
        .route("/v1/alerts/settings", get(alerts::list).post(alerts::create))
        .route("/v1/alerts/settings/events", post(alerts::create))
        .route("/v1/alerts/settings/events/{id}", alert)
        .route("/v1/alerts/settings/webhooks/signing_key", put(alerts::reset_signing_key))
        .route("/v1/alerts/settings/slack", routing::any(alerts::slack))
        // Where mailgun-go looks for these three (reference §9.1); the second
        // is `POST /v1/alerts/settings` above.
        .route("/v1/alerts", get(alerts::event_types))
        .route("/v1/alerts/settings/{id}", delete(alerts::delete))
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(from_fn_with_state(api.clone(), auth::authenticate))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .route_layer(from_fn(count))
        .layer(map_response(respond::add_headers))
        .with_state(api)
}

/// The router, with an answer to everything else.
pub(crate) fn whole(api: SettingsApi) -> Router {
    router(api).merge(Router::new().fallback(not_found).layer(map_response(respond::add_headers)))
}

async fn not_found() -> ApiError {
    ApiError::not_found("Not Found")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = request.method().to_string();
    let response = next.run(request).await;
    metrics::counter!(
        "postrider_settings_api_requests_total",
        "route" => route.unwrap_or_default(),
        "method" => method,
        "status" => response.status().as_str().to_owned()
    )
    .increment(1);
    response
}
