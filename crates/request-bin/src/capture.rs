//! The bins' own URLs: every method, every path below.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, COOKIE};
use axum::http::{HeaderMap, HeaderName, Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::any;
use bytes::BytesMut;
use futures_util::StreamExt as _;

use crate::RequestBin;
use crate::answer::{Answer, HANGS_FOR};
use crate::bins::Captured;

/// Whoever sends more is cut off.
const MOST_BODY_BYTES: usize = 32 * 1_024 * 1_024;
/// Characters of a header's value, and of a path, that are kept.
const MOST_TEXT: usize = 8 * 1_024;
const MOST_HEADERS: usize = 200;

pub(crate) fn routes() -> Router<RequestBin> {
    Router::new().route("/{id}", any(take)).route("/{id}/{*rest}", any(take_below))
}

async fn take(
    state: State<RequestBin>,
    Path(id): Path<String>,
    request: Request,
) -> Response<Body> {
    capture(state, id, request).await
}

async fn take_below(
    state: State<RequestBin>,
    Path((id, _rest)): Path<(String, String)>,
    request: Request,
) -> Response<Body> {
    capture(state, id, request).await
}

async fn capture(State(state): State<RequestBin>, id: String, request: Request) -> Response<Body> {
    let Some(answer) = state.bins.next_answer(&id) else {
        return json(StatusCode::NOT_FOUND, "{\"message\":\"There is no such bin\"}\n".to_owned());
    };
    let at = state.clock.now();
    let (parts, body) = request.into_parts();
    let whole = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let path = whole.trim_start_matches('/').strip_prefix(&id).unwrap_or_default();
    let Some((body, body_bytes)) = read(body, state.bins.limits().body_bytes).await else {
        return json(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{{\"message\":\"A bin takes at most {MOST_BODY_BYTES} bytes\"}}\n"),
        );
    };
    state.bins.keep(
        &id,
        Captured {
            number: 0,
            at,
            method: parts.method.to_string(),
            path: cut(path),
            headers: headers(&parts.headers),
            body: body.freeze(),
            body_bytes,
            answered: (!answer.hangs).then(|| answer.status()),
        },
    );
    respond(&state, answer).await
}

/// What is kept of a body, and how long it was; `None` when it broke off, or was
/// beyond all measure.
async fn read(body: Body, most_kept: usize) -> Option<(BytesMut, usize)> {
    let mut chunks = body.into_data_stream();
    let (mut kept, mut total) = (BytesMut::new(), 0);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.ok()?;
        total += chunk.len();
        if total > MOST_BODY_BYTES {
            return None;
        }
        kept.extend_from_slice(&chunk[..chunk.len().min(most_kept - kept.len())]);
    }
    Some((kept, total))
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| cut(&String::from_utf8_lossy(value));
    let all = headers.iter().take(MOST_HEADERS);
    // A browser sends along what belongs to others of this host: cookies know no ports.
    let kept = |name: &HeaderName, value: &[u8]| {
        if name == COOKIE { "(not kept)".to_owned() } else { text(value) }
    };
    all.map(|(name, value)| (name.to_string(), kept(name, value.as_bytes()))).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(MOST_TEXT).collect()
}

async fn respond(state: &RequestBin, answer: Answer) -> Response<Body> {
    if answer.hangs || answer.delay_seconds > 0 {
        let Ok(_delayed) = state.delayed.try_acquire() else {
            let message = "{\"message\":\"Too many requests are waiting here\"}\n";
            return json(StatusCode::SERVICE_UNAVAILABLE, message.to_owned());
        };
        let delay = std::time::Duration::from_secs(answer.delay_seconds);
        state.clock.sleep(if answer.hangs { HANGS_FOR } else { delay }).await;
    }
    let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::OK);
    json(status, answer.text())
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}
