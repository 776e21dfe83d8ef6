//! How a failed try is shown.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use store::history::FailedAttempt;
use utoipa::ToSchema;

use crate::viewer::Viewer;

/// A try at a receiver that failed.
#[derive(Serialize, ToSchema)]
pub(crate) struct Failure<'a> {
    /// When it began.
    timestamp: String,
    /// Which delivery.
    delivery_id: String,
    /// The event's id, as in the payload. Empty when the event is no longer kept.
    event_id: &'a str,
    /// The event's type, as webhooks and alerts are named. Empty as well.
    event_type: &'a str,
    /// Where it went; empty when it went nowhere. A subaccount sees of its parent's
    /// webhooks the host.
    url: String,
    /// Number of this try, from 1. Where it was not the receiver's fault: the
    /// tries so far.
    attempt: i64,
    /// False for what was not the receiver's fault, and costs no try.
    charged: bool,
    /// Why, as a short name.
    reason: &'a str,
    /// Why, for people.
    detail: &'a str,
    /// HTTP status; `null` without an answer.
    status: Option<i32>,
    /// The first bytes of the answer; empty for a subaccount where the webhook is its
    /// parent's.
    response: String,
    duration_ms: i64,
    /// When the next try is due; `null` when this was the last one.
    next_attempt_at: Option<String>,
}

impl<'a> Failure<'a> {
    pub(crate) fn of(viewer: Viewer, found: &'a FailedAttempt) -> Self {
        let level = found.level.as_deref();
        Self {
            timestamp: rfc3339(found.started_at),
            delivery_id: found.delivery_id.simple().to_string(),
            event_id: found.event_id.as_deref().unwrap_or_default(),
            event_type: found.event_type.as_deref().unwrap_or_default(),
            url: viewer.url(level, &found.url),
            attempt: found.attempt,
            charged: found.charged,
            reason: &found.reason,
            detail: &found.detail,
            status: found.status,
            response: viewer.response(level, &found.response_snippet),
            duration_ms: found.duration_ms,
            next_attempt_at: found.next_attempt_at.map(rfc3339),
        }
    }
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
