//! What all pages for people share: the frame that they stand in, the stylesheet,
//! the script, the headers that keep hostile content harmless, and how moments
//! and sizes are written.
//!
//! What must always hold:
//! - a page loads nothing from elsewhere, runs no script but ours, and stands in
//!   nobody's frame;
//! - whatever comes from outside is shown as text: templates escape, and raw
//!   bytes go out as plain text that no browser takes for more.
//!
//! Deliberately absent: what the pages say.

mod assets;
mod compressed;
mod written;

use askama::Template;
use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Response, StatusCode};

pub use assets::{HTMX, ICON, STYLESHEET, assets};
pub use compressed::compressed;
pub use written::{moment, size};

/// No script, style, picture or request but our own, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// A page, or a part of one.
pub fn page(status: StatusCode, template: &impl Template) -> Response<Body> {
    match template.render() {
        Ok(text) => answer(status, "text/html; charset=utf-8", POLICY, text.into()),
        Err(error) => {
            tracing::error!(%error, "a page cannot be written");
            let sorry = Body::from("This page cannot be shown just now.\n");
            answer(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", POLICY, sorry)
        }
    }
}

/// Bytes of whatever origin, to be looked at or kept, but never to be taken for a
/// page, a script or a picture.
pub fn raw(bytes: impl Into<Body>) -> Response<Body> {
    let policy = "default-src 'none'; sandbox";
    let mut response = answer(StatusCode::OK, "text/plain; charset=utf-8", policy, bytes.into());
    let disposition = HeaderValue::from_static("attachment; filename=\"body.txt\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, disposition);
    response
}

fn answer(
    status: StatusCode,
    content_type: &'static str,
    policy: &'static str,
    body: Body,
) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in [
        (CONTENT_TYPE, content_type),
        (CONTENT_SECURITY_POLICY, policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
