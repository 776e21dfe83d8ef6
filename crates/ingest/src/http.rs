//! The HTTP/JSON door: `POST /v1/events`, one event, an array, or NDJSON.

mod reply;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use chassis::Door;
use chassis::door::{Caller, Peer};
use protocol::door::MOST_EVENTS;

use self::reply::{Problem, several, single};
use crate::acceptor::{Acceptor, Origin};
use crate::json::{self, Events};

/// The routes of this door.
pub(crate) fn router(acceptor: Acceptor, door: Door, max_request_bytes: usize) -> Router {
    Router::new()
        .route("/v1/events", post(publish))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(max_request_bytes))
        .layer(from_fn_with_state(door, admit))
        .with_state(acceptor)
}

/// Lets a request in, with the name of its caller, or refuses it unread.
async fn admit(
    State(door): State<Door>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    // Callers are programs. A page could send events for whoever looks at it.
    if [ORIGIN.as_str(), "sec-fetch-site"].iter().any(|name| request.headers().contains_key(*name))
    {
        let message = "events are not taken from web pages";
        return Err(Problem::new(StatusCode::FORBIDDEN, message));
    }
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let caller = door.admit(Some(&peer), header)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

/// What the caller says that it sends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Format {
    Json,
    Lines,
}

impl Format {
    /// From the header `Content-Type`.
    fn of(content_type: Option<&str>) -> Result<Self, Problem> {
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Self::Lines),
            _ => Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "expected Content-Type application/json (one event or an array) or \
                 application/x-ndjson (one event a line)",
            )),
        }
    }
}

/// From the header `Content-Encoding`: bodies are read as they come.
fn refuse_encoded(encoding: Option<&str>) -> Result<(), Problem> {
    if encoding.is_none_or(|encoding| encoding.trim().eq_ignore_ascii_case("identity")) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "bodies are read without Content-Encoding; send the events as they are, or over gRPC, \
         which takes gzip",
    ))
}

async fn publish(
    State(acceptor): State<Acceptor>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let given = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let format = Format::of(given(CONTENT_TYPE.as_str()))?;
    refuse_encoded(given(CONTENT_ENCODING.as_str()))?;
    let body = body?;
    let events = match format {
        Format::Json => json::find(&body, MOST_EVENTS)?,
        // Who sends lines gets a list, also for a single line.
        Format::Lines => Events::Several(json::find_lines(&body, MOST_EVENTS)?),
    };
    let origin = Origin::of(&caller, given);
    match events {
        Events::One(event) => {
            let event = std::iter::once(acceptor.read(event));
            let answers = acceptor.accept_all(event, &origin).await;
            Ok(answers
                .into_iter()
                .next()
                .map_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response(), single))
        }
        Events::Several(events) if events.is_empty() => Err(Problem::malformed(format!(
            "expected 1 to {MOST_EVENTS} events in a request, found none"
        ))),
        Events::Several(events) => {
            let events = events.into_iter().map(|event| acceptor.read(event));
            Ok(several(acceptor.accept_all(events, &origin).await))
        }
    }
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        format!("there is nothing at {}; events go to POST /v1/events", uri.path()),
    )
}

async fn method_not_allowed(method: Method) -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} does nothing here; events go to POST /v1/events"),
    )
}

#[cfg(test)]
mod tests {
    use super::Format;

    #[test]
    fn other_content_types_are_refused() {
        for fits in ["application/json", "Application/JSON; charset=utf-8"] {
            assert_eq!(Format::of(Some(fits)).ok(), Some(Format::Json));
        }
        assert!(Format::of(None).is_err());
        assert_eq!(Format::of(Some("application/x-ndjson")).ok(), Some(Format::Lines));
        for other in ["text/plain", "application/x-www-form-urlencoded", ""] {
            assert!(Format::of(Some(other)).is_err(), "{other}");
        }
    }
}
