//! How often a tenant may do something (reference §1.7). All replicas count together, in the
//! database. What people do in the console is counted apart, so that neither they nor
//! programs stand in each other's way.

use axum::Extension;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use http::{HeaderName, HeaderValue, Method};
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
    let window = match api.store.count_in_window(&caller.primary_id, budget, 1, now).await {
        Ok(window) => window,
        Err(error) => return ApiError::from(error).into_response(),
    };
    let RateWindow { ends_at, count } = window;
    let mut response = if count <= limit {
        next.run(request).await
    } else {
        too_many(ends_at, now, "Too many requests").into_response()
    };
    let reset = ends_at.timestamp() + i64::from(ends_at.timestamp_subsec_nanos() > 0);
    let headers = response.headers_mut();
    headers.insert(LIMIT, HeaderValue::from(limit));
    headers.insert(REMAINING, HeaderValue::from(limit.saturating_sub(count)));
    headers.insert(RESET, HeaderValue::from(reset));
    response
}

/// As [`limit`], of the changes among calls that may look as often as they like.
pub(crate) async fn limit_changes(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    match api.spend(&caller.primary_id, RateBudget::Changes, 1).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

impl SettingsApi {
    /// Counts something that a tenant does. It is counted also when it comes to nothing.
    ///
    /// # Errors
    /// 429 when it was done too often; says when to come back.
    pub(crate) async fn spend(
        &self,
        primary_id: &str,
        budget: RateBudget,
        count: u32,
    ) -> Result<(), ApiError> {
        let Some((limit, refusal)) = self.allowed(budget) else { return Ok(()) };
        let now = self.clock.now();
        let window = self.store.count_in_window(primary_id, budget, count, now).await?;
        if window.count <= limit { Ok(()) } else { Err(too_many(window.ends_at, now, refusal)) }
    }

    /// What a tenant may do of each in its window.
    fn allowed(&self, budget: RateBudget) -> Option<(u32, &'static str)> {
        let calls = self.limits.calls_per_minute;
        match budget {
            // Counted by `limit`, which tells how many are left.
            RateBudget::Api | RateBudget::Console => None,
            RateBudget::Changes => Some((calls.saturating_mul(2), "Too many changes in a minute")),
            RateBudget::Tests => Some((120, "Too many test calls in a minute")),
            RateBudget::TestMails => Some((100, "Too many test mails in an hour")),
            RateBudget::Domains => Some((2_000, "Too many domains were made in a day")),
            RateBudget::ApiKeys => Some((500, "Too many API keys were made in a day")),
            RateBudget::Subaccounts => Some((2_000, "Too many subaccounts were made in a day")),
        }
    }
}

fn too_many(ends_at: DateTime<Utc>, now: DateTime<Utc>, message: &'static str) -> ApiError {
    // Rounded up: who waits this long is let in.
    let retry_seconds = ((ends_at - now).num_milliseconds() + 999).max(1_000) / 1_000;
    ApiError::TooManyRequests { retry_seconds, message }
}
