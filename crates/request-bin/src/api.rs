//! The JSON API: for tests and for other programs.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use signing::SigningKey;

use crate::RequestBin;
use crate::answer::Answer;
use crate::bins::{Bin, Captured, ViewName};
use crate::signatures::{Check, checks};

/// Of what a caller sends here.
const MOST_BYTES: usize = 256 * 1_024;
/// Keys of one bin.
pub(crate) const MOST_KEYS: usize = 10;
const LONGEST_KEY_BYTES: usize = 256;

pub(crate) fn routes() -> Router<RequestBin> {
    Router::new()
        .route("/api/bins", post(create))
        .route("/api/bins/{name}", get(show).put(change).delete(delete))
        .route("/api/bins/{name}/requests", get(requests).delete(clear))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
}

/// What a bin is to be. What is left out stays as it is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    /// By which the bin is looked at: 32 random hexadecimal digits, for whoever
    /// wants the same URL after a restart. Only when it is made.
    name: Option<String>,
    answer: Option<Answer>,
    /// Replace those that the bin has. Never shown again.
    signing_keys: Option<Vec<String>>,
}

impl Wish {
    fn read(body: &[u8]) -> Result<Self, String> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let wish: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        if wish.name.as_ref().is_some_and(|name| !ViewName::is_well_formed(name)) {
            return Err("name: expected 32 hexadecimal digits in lower case".to_owned());
        }
        let wrong = wish.answer.as_ref().and_then(Answer::problem);
        let keys = wish.signing_keys.as_deref().unwrap_or_default();
        match wrong.or_else(|| problem_of_keys(keys.iter().map(String::as_str))) {
            Some(problem) => Err(problem),
            None => Ok(wish),
        }
    }

    fn keys(&self) -> Option<Vec<SigningKey>> {
        Some(self.signing_keys.as_ref()?.iter().map(SigningKey::new).collect())
    }
}

/// What is wrong with these signing keys.
pub(crate) fn problem_of_keys<'a>(keys: impl Iterator<Item = &'a str>) -> Option<String> {
    let keys: Vec<&str> = keys.collect();
    if keys.len() > MOST_KEYS {
        return Some(format!("signing_keys: expected at most {MOST_KEYS}"));
    }
    let is_wrong = |key: &&str| !(1..=LONGEST_KEY_BYTES).contains(&key.len());
    keys.iter()
        .any(is_wrong)
        .then(|| format!("signing_keys: each has 1 to {LONGEST_KEY_BYTES} bytes"))
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    /// Where to send to.
    url: String,
    /// Where to look. Secret: whoever has it can read what came.
    view_url: String,
    name: &'a str,
    expires_at: DateTime<Utc>,
    answer: &'a Answer,
    signing_keys: usize,
    received: u64,
    kept: usize,
}

impl<'a> Shown<'a> {
    fn of(state: &RequestBin, name: &'a ViewName, bin: &'a Bin) -> Self {
        Self {
            url: format!("{}/{}", state.url, bin.id),
            view_url: format!("{}/bins/{}", state.url, name.as_str()),
            name: name.as_str(),
            expires_at: bin.expires_at,
            answer: &bin.answer,
            signing_keys: bin.keys.len(),
            received: bin.received,
            kept: bin.requests.len(),
        }
    }
}

async fn create(State(state): State<RequestBin>, body: Bytes) -> Response<Body> {
    let wish = match Wish::read(&body) {
        Ok(wish) => wish,
        Err(problem) => return message(StatusCode::BAD_REQUEST, &problem),
    };
    let keys = wish.keys().unwrap_or_default();
    let name = wish.name.as_deref().map(ViewName::of);
    match state.bins.create(name, wish.answer.unwrap_or_default(), keys) {
        Some((name, bin)) => json(StatusCode::CREATED, &Shown::of(&state, &name, &bin)),
        None => message(StatusCode::SERVICE_UNAVAILABLE, "There are as many bins as there may be"),
    }
}

async fn show(State(state): State<RequestBin>, Path(name): Path<String>) -> Response<Body> {
    let name = ViewName::of(&name);
    match state.bins.look(&name) {
        Some(bin) => json(StatusCode::OK, &Shown::of(&state, &name, &bin)),
        None => no_such_bin(),
    }
}

async fn change(
    State(state): State<RequestBin>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response<Body> {
    let name = ViewName::of(&name);
    let wish = match Wish::read(&body) {
        Ok(wish) => wish,
        Err(problem) => return message(StatusCode::BAD_REQUEST, &problem),
    };
    let changed = state.bins.change(&name, |bin| {
        if let Some(keys) = wish.keys() {
            bin.keys = keys;
        }
        if let Some(answer) = wish.answer {
            bin.answer = answer;
        }
        bin.clone()
    });
    match changed {
        Some(bin) => json(StatusCode::OK, &Shown::of(&state, &name, &bin)),
        None => no_such_bin(),
    }
}

async fn delete(State(state): State<RequestBin>, Path(name): Path<String>) -> Response<Body> {
    match state.bins.delete(&ViewName::of(&name)) {
        true => message(StatusCode::OK, "The bin is gone"),
        false => no_such_bin(),
    }
}

async fn clear(State(state): State<RequestBin>, Path(name): Path<String>) -> Response<Body> {
    match state.bins.clear(&ViewName::of(&name)) {
        true => message(StatusCode::OK, "The bin is empty"),
        false => no_such_bin(),
    }
}

#[derive(Debug, Deserialize)]
struct After {
    /// Requests with a higher number.
    #[serde(default)]
    after: u64,
}

#[derive(Debug, Serialize)]
struct ShownRequest<'a> {
    number: u64,
    at: DateTime<Utc>,
    method: &'a str,
    path: &'a str,
    headers: &'a [(String, String)],
    /// Where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
    /// Where it is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    body_bytes: usize,
    is_cut: bool,
    answered: Option<u16>,
    signatures: Vec<Check>,
}

/// Requests of one answer: as many as have so many bytes, and one.
const PAGE_BYTES: usize = 1024 * 1024;

async fn requests(
    State(state): State<RequestBin>,
    Path(name): Path<String>,
    Query(After { after }): Query<After>,
) -> Response<Body> {
    let Some(bin) = state.bins.look(&ViewName::of(&name)) else { return no_such_bin() };
    let shown = |request: &'_ Captured| -> serde_json::Value {
        let body = std::str::from_utf8(&request.body).ok();
        let shown = ShownRequest {
            number: request.number,
            at: request.at,
            method: &request.method,
            path: &request.path,
            headers: &request.headers,
            body,
            body_base64: body.is_none().then(|| STANDARD.encode(&request.body)),
            body_bytes: request.body_bytes,
            is_cut: request.is_cut(),
            answered: request.answered,
            signatures: checks(request, &bin.keys),
        };
        serde_json::json!(shown)
    };
    let mut newer = bin.requests.iter().filter(|request| request.number > after);
    let (mut list, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES
        && let Some(request) = newer.next()
    {
        bytes += request.cost();
        list.push(shown(request));
    }
    let has_more = newer.next().is_some();
    json(StatusCode::OK, &serde_json::json!({ "requests": list, "has_more": has_more }))
}

fn no_such_bin() -> Response<Body> {
    message(StatusCode::NOT_FOUND, "There is no such bin")
}

fn message(status: StatusCode, text: &str) -> Response<Body> {
    json(status, &serde_json::json!({ "message": text }))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, text).into_response()
}
