//! The answers of the HTTP door.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use bus::Stored;
use chassis::door::Unauthenticated;
use model::validate::Invalid;
use protocol::v1::publish_error::Code;
use serde::Serialize;

use crate::acceptor::Answer;
use crate::error::Refusal;
use crate::grpc::over_quota;
use crate::json::Malformed;

/// A request that was refused as a whole; nothing of it was stored.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: &'a str,
    field: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct ResultBody {
    id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<ResultError>,
}

#[derive(Serialize)]
struct ResultError {
    code: &'static str,
    field: String,
    message: String,
    /// All that is wrong with the event, where that is more than one thing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<Violation>,
}

#[derive(Serialize)]
struct Violation {
    field: String,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The body is not what was expected.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        Self::malformed(malformed.to_string())
    }
}

impl From<Unauthenticated> for Problem {
    fn from(error: Unauthenticated) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.to_string())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge.as_str_name(),
            // No event is refused with this, so that it is none of their codes.
            StatusCode::UNAUTHORIZED => "UNAUTHENTICATED",
            _ => Code::Invalid.as_str_name(),
        };
        let error = ErrorBody { code, field: "", message: &self.message };
        let answer = (self.status, Json(serde_json::json!({ "error": error })));
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 6750, 3.
            return ([(WWW_AUTHENTICATE, "Bearer")], answer).into_response();
        }
        answer.into_response()
    }
}

/// The answer to a request with one event.
pub(super) fn single(answer: Answer) -> Response {
    let refusal = match answer.outcome {
        Ok(stored) => {
            let body = ResultBody { id: answer.id, status: word(stored), error: None };
            return Json(body).into_response();
        }
        Err(refusal) => refusal,
    };
    let mut body = serde_json::json!({ "error": ResultError::from(&refusal) });
    if refusal.is_passing() && !answer.id.is_empty() {
        // Whoever left the id to us needs it in order to send the same event again.
        body["id"] = answer.id.into();
    }
    let response = (refusal.http_status(), Json(body)).into_response();
    with_retry_after(response, refusal.retry_after_seconds())
}

/// The answer to a request with several events.
pub(super) fn several(answers: Vec<Answer>) -> Response {
    let refusals = || answers.iter().filter_map(|answer| answer.outcome.as_ref().err());
    let retry_after = refusals().filter_map(Refusal::retry_after_seconds).max();
    let status = if refusals().any(Refusal::is_brokers) {
        StatusCode::SERVICE_UNAVAILABLE
    } else if over_quota(&answers).is_some() {
        StatusCode::TOO_MANY_REQUESTS
    } else if refusals().next().is_some() {
        StatusCode::MULTI_STATUS
    } else {
        StatusCode::OK
    };
    let results: Vec<ResultBody> = answers.into_iter().map(ResultBody::from).collect();
    let response = (status, Json(serde_json::json!({ "results": results }))).into_response();
    with_retry_after(response, retry_after)
}

fn with_retry_after(mut response: Response, seconds: Option<u32>) -> Response {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn word(stored: Stored) -> &'static str {
    match stored {
        Stored::New => "stored",
        Stored::Duplicate => "duplicate",
    }
}

impl From<Answer> for ResultBody {
    fn from(answer: Answer) -> Self {
        let (status, error) = match &answer.outcome {
            Ok(stored) => (word(*stored), None),
            Err(refusal) if refusal.is_passing() => ("unavailable", Some(refusal.into())),
            Err(refusal) => ("rejected", Some(refusal.into())),
        };
        Self { id: answer.id, status, error }
    }
}

impl From<&Refusal> for ResultError {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code().as_str_name(),
            field: refusal.field().to_owned(),
            message: refusal.to_string(),
            violations: match refusal.violations() {
                [_] => Vec::new(),
                found => found.iter().cloned().map(Violation::from).collect(),
            },
        }
    }
}

impl From<Invalid> for Violation {
    fn from(Invalid { field, message }: Invalid) -> Self {
        Self { field, message }
    }
}
