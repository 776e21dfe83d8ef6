//! The request bin: all of it is there for strangers.

use std::sync::OnceLock;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use chassis::{Clock, Env};
use futures_util::FutureExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::BodyExt as _;
use request_bin::{RequestBinConfig, router};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::bounds::within_room;
use crate::queries::now;

/// Memory of a request, in bytes for each of its own.
const MULTIPLE: usize = 64;
/// The rest of a page, and of what the bin keeps.
const PAGE_BYTES: usize = 8 * 1_024 * 1_024;

/// The name by which the bin is looked at, and its URL's.
const NAME: &str = "00000000000000000000000000000007";

/// Requests, with a line of dashes between: a line `METHOD PATH`, in which `NAME` and `ID` stand
/// for those of a bin, lines with fields, an empty line, a body. None of them is an error of
/// ours, and what senders put in is in no page as anything but text.
pub(crate) fn check(input: &[u8]) {
    let _runtime = runtime().enter();
    let bins = bins();
    let id = id(&bins);
    let text = String::from_utf8_lossy(input);
    for part in text.split("\n---\n").take(16) {
        if let Some(request) = request(part, &id) {
            send(&bins, request, part.len());
        }
    }
    for path in
        ["/bins/NAME", "/bins/NAME/requests", "/bins/NAME/requests/1", "/api/bins/NAME/requests"]
    {
        let Some(request) = request(&format!("GET {path}"), &id) else { continue };
        let Some((status, _)) = send(&bins, request, input.len()) else { continue };
        assert!(status == StatusCode::OK || status == StatusCode::NOT_FOUND, "{path}: {status}");
    }
}

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap_or_else(|error| panic!("{error}"))
    })
}

fn bins() -> Router {
    let mut config = RequestBinConfig::read(&mut Env::from_pairs([]));
    config.limits.bins = 3;
    config.limits.requests_per_bin = 5;
    config.limits.body_bytes = 32 * 1_024;
    config.limits.memory_bytes = 128 * 1_024;
    router(&config, Clock::fixed(now()))
}

/// Makes the bin. Returns the name in its URL.
fn id(bins: &Router) -> String {
    let wish = format!("{{\"name\":\"{NAME}\",\"signing_keys\":[\"key\"]}}");
    let request = Request::post("/api/bins").body(Body::from(wish));
    let made = request.ok().and_then(|request| send(bins, request, 0));
    let (_, body) = made.unwrap_or_else(|| panic!("no bin"));
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let url = body["url"].as_str().unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

fn request(text: &str, id: &str) -> Option<Request> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let path = path.replace("NAME", NAME).replace("ID", id);
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let mut request = Request::builder().method(method).uri(path);
    for line in lines.take(20) {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    let is_typed = request.headers_ref().is_some_and(|fields| fields.contains_key(CONTENT_TYPE));
    if !body.is_empty() && !is_typed {
        request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    }
    request.body(Body::from(body.to_owned())).ok()
}

/// The answer; nothing when the bin was told to be slow.
fn send(bins: &Router, request: Request, bytes: usize) -> Option<(StatusCode, Bytes)> {
    // A bin answers what it was told to, which may be an error.
    let path = request.uri().path().to_owned();
    let is_ours = ["/api/", "/bins/"].iter().any(|ours| path.starts_with(ours));
    let answer = within_room(bytes, MULTIPLE, PAGE_BYTES, || {
        async {
            let response = bins.clone().oneshot(request).await;
            let (parts, body) = response.unwrap_or_else(|never| match never {}).into_parts();
            let body = body.collect().await.unwrap_or_else(|error| panic!("{error}"));
            (parts, body.to_bytes())
        }
        .now_or_never()
    });
    let (parts, body) = answer?;
    assert!(!is_ours || !parts.status.is_server_error(), "{path}: {}: {body:?}", parts.status);
    let is_page = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|found| found.to_str().is_ok_and(|text| text.starts_with("text/html")));
    let is_marked = is_page && String::from_utf8_lossy(&body).contains("<x-mark");
    assert!(!is_marked, "{path}: {body:?}");
    Some((parts.status, body))
}
