//! How many calls an account may make in a minute (reference §1.7). All
//! replicas count together, in the database. What people do in the console is
//! counted apart, so that neither they nor programs stand in each other's way.

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderName, HeaderValue};
use signing::{CONSOLE_CALL_HEADER, verify_console_call};
use store::{RateBudget, RateWindow};

use crate::SettingsApi;
use crate::auth::Caller;
use crate::error::ApiError;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Counts a call, and answers it here when it is one too many.
pub(crate) async fn limit(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    let (now, secret_key) = (api.clock.now(), api.secret_key());
    let said = request.headers().get(CONSOLE_CALL_HEADER).map(HeaderValue::as_bytes);
    let is_console =
        said.is_some_and(|said| verify_console_call(secret_key, said, api.clock.epoch_seconds()));
    let (budget, limit) = if is_console {
        (RateBudget::Console, api.limits.console_calls_per_minute)
    } else {
        (RateBudget::Api, api.limits.calls_per_minute)
    };
    let window = match api.store.count_call(&caller.account_id, budget, now).await {
        Ok(window) => window,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let RateWindow { ends_at, calls } = window;
    let mut response = if calls <= limit {
        next.run(request).await
    } else {
        // Rounded up: who waits this long is let in.
        let retry_seconds = ((ends_at - now).num_milliseconds() + 999).max(1_000) / 1_000;
        ApiError::TooManyRequests { retry_seconds, message: "Too many requests" }.into_response()
    };
    let reset = ends_at.timestamp() + i64::from(ends_at.timestamp_subsec_nanos() > 0);
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(limit.saturating_sub(calls)));
    headers.insert(RESET, HeaderValue::from(reset));
    response
}
