//! Which call is answered where.

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use chassis::door::is_from_same_origin;
use http::{Method, StatusCode};
use utoipa_axum::router::OpenApiRouter;

use crate::auth::Area;
use crate::error::ApiError;
use crate::{
    SettingsApi, account, account_webhooks, alerts, api_keys, auth, delivery, domain_webhooks,
    domains, drain, events, export, failures, features, journeys, logs, openapi, rate_limit,
    resends, respond, signing_key, statistics, subaccounts, webhooks, why,
};

/// Largest request, in bytes.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The customers' calls. A router that is merged with others keeps its own
/// headers and its own answers to methods that it does not know; what has no
/// route is answered by whoever serves it.
pub fn router(api: SettingsApi) -> Router {
    let only = |area| from_fn_with_state(area, auth::authorize);
    let changes = || from_fn_with_state(api.clone(), rate_limit::limit_changes);
    let limited = OpenApiRouter::new()
        .merge(domain_webhooks::routes())
        .merge(account_webhooks::routes())
        .merge(alerts::routes())
        .route_layer(from_fn_with_state(api.clone(), rate_limit::limit))
        .route_layer(only(Area::Settings));
    let settings = OpenApiRouter::new()
        .merge(signing_key::routes())
        .merge(features::routes())
        .merge(delivery::routes())
        .merge(resends::routes())
        .merge(domains::routes())
        .merge(webhooks::routes())
        .route_layer(changes())
        .route_layer(only(Area::Settings));
    let account = OpenApiRouter::new()
        .merge(account::routes())
        .merge(subaccounts::routes())
        .merge(api_keys::routes())
        .route_layer(changes())
        .route_layer(only(Area::Account));
    let history = OpenApiRouter::new()
        .merge(events::routes())
        .merge(failures::routes())
        .merge(logs::routes())
        .merge(export::routes())
        .merge(journeys::routes())
        .merge(why::routes())
        .merge(statistics::routes())
        .route_layer(only(Area::History));
    let closing =
        subaccounts::closing_routes().route_layer(changes()).route_layer(only(Area::Closing));
    let (calls, mut openapi) = OpenApiRouter::with_openapi(openapi::blank())
        .merge(limited)
        .merge(settings)
        .merge(account)
        .merge(closing)
        .merge(history)
        .split_for_parts();
    openapi::complete(&mut openapi);
    let authenticate = from_fn_with_state(api.clone(), auth::authenticate);
    calls
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(authenticate)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(from_fn(refuse_odd))
        .route_layer(from_fn(count))
        .layer(map_response(respond::add_headers))
        .layer(from_fn(drain::read_to_the_end))
        .with_state(api)
        .merge(openapi::router(openapi))
}

/// The router, with an answer to everything else.
pub(crate) fn whole(api: SettingsApi) -> Router {
    router(api).merge(Router::new().fallback(not_found).layer(map_response(respond::add_headers)))
}

/// Refuses what no client of the API sends: a NUL in the address, for which PostgreSQL has no
/// place, and changes that a page of another site makes with a password that the browser of
/// its visitor remembers.
async fn refuse_odd(request: Request, next: Next) -> Response {
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if is_change && !is_from_same_origin(request.headers()) {
        return ApiError::forbidden("Changes are not taken from pages of other sites")
            .into_response();
    }
    let address = request.uri().path_and_query().map_or("", |address| address.as_str());
    if address.contains("%00") {
        return ApiError::bad_request("the address has a NUL in it").into_response();
    }
    next.run(request).await
}

async fn not_found() -> ApiError {
    ApiError::not_found("Not Found")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A label has few values; a stranger may name methods without end.
fn method_label(method: &Method) -> &'static str {
    let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
    let names = ["GET", "HEAD", "POST", "PUT", "DELETE"];
    let found = known.iter().zip(names).find(|(known, _)| *known == method);
    found.map_or("other", |(_, name)| name)
}

async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = method_label(request.method());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_knows_makes_no_label() {
        assert_eq!(method_label(&Method::PUT), "PUT");
        assert_eq!(method_label(&Method::from_bytes(b"ANYTHING").expect("a token")), "other");
    }
}
