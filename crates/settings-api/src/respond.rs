//! Answers in Mailgun's form (reference §1.5): compact JSON and one newline.

use axum::http::header::{self, HeaderName, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde::Serialize;

/// Seconds for which a browser that called over TLS does not call without.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// Headers that every answer has, errors included.
const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
    (header::STRICT_TRANSPORT_SECURITY, HSTS),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_XSS_PROTECTION, HeaderValue::from_static("1; mode=block")),
];

/// A JSON answer.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let mut body = match serde_json::to_vec(value) {
        Ok(body) => body,
        // Our answers are strings, numbers and lists of them: nothing that JSON cannot hold.
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    body.push(b'\n');
    let content_type = HeaderValue::from_static("application/json; charset=utf-8");
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// Appends JSON to a body that is put together of parts.
pub(crate) fn append_json(body: &mut Vec<u8>, value: &impl Serialize) {
    // Strings, numbers and lists of them can be written to memory.
    if let Err(error) = serde_json::to_writer(body, value) {
        tracing::error!(%error, "a part of an answer cannot be written as JSON");
    }
}

/// An answer with status 200 of JSON that is written already.
pub(crate) fn ok_bytes(mut body: Vec<u8>) -> Response {
    body.push(b'\n');
    let content_type = HeaderValue::from_static("application/json; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], body).into_response()
}

/// A JSON answer with status 200.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// An answer that says nothing but that it is done.
pub(crate) fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// Adds the headers that every answer has.
pub(crate) async fn add_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, value);
    }
    response
}
