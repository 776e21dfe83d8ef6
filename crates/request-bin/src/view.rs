//! The pages: make a bin, watch it, look at one request.

use askama::Template;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Form, Path, State};
use axum::http::{Response, StatusCode};
use axum::response::{IntoResponse as _, Redirect};
use axum::routing::{get, post};
use pages::page;
use serde::Deserialize;
use signing::SigningKey;

use crate::RequestBin;
use crate::answer::Answer;
use crate::api::problem_of_keys;
use crate::bins::{Bin, Captured, ViewName};
use crate::signatures::{Check, checks};

const MOST_FORM_BYTES: usize = 128 * 1_024;
/// Characters of a body that a page shows.
const MOST_SHOWN: usize = 256 * 1_024;
/// Bytes of a body whose signatures are checked for a list, which is asked for all the time. Those
/// of a larger one stand on its own page.
const MOST_CHECKED_IN_LISTS: usize = 64 * 1_024;

pub(crate) fn routes() -> Router<RequestBin> {
    Router::new()
        .route("/", get(begin))
        .route("/bins", post(create))
        .route("/bins/{name}", get(show))
        .route("/bins/{name}/requests", get(list))
        .route("/bins/{name}/requests/{number}", get(request))
        .route("/bins/{name}/requests/{number}/body", get(body))
        .route("/bins/{name}/answer", post(set_answer))
        .route("/bins/{name}/keys", post(set_keys))
        .route("/bins/{name}/clear", post(clear))
        .route("/bins/{name}/delete", post(delete))
        .layer(DefaultBodyLimit::max(MOST_FORM_BYTES))
}

#[derive(Template)]
#[template(path = "begin.html")]
struct BeginPage {
    lifetime_hours: u64,
}

#[derive(Template)]
#[template(path = "bin.html")]
struct BinPage {
    name: String,
    url: String,
    bin: Bin,
    rows: Vec<Row>,
    problem: Option<String>,
}

/// What changes while one looks: the list alone.
#[derive(Template)]
#[template(path = "list.html")]
struct List {
    name: String,
    bin: Bin,
    rows: Vec<Row>,
}

struct Row {
    number: u64,
    at: String,
    method: String,
    path: String,
    size: String,
    answered: String,
    checks: Vec<Check>,
}

#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage {
    name: String,
    at: String,
    size: String,
    answered: String,
    /// The body as people read it, where that is not as it came.
    pretty: Option<String>,
    plain: String,
    is_shortened: bool,
    checks: Vec<Check>,
    request: std::sync::Arc<Captured>,
}

#[derive(Template)]
#[template(path = "gone.html")]
struct GonePage;

fn gone() -> Response<Body> {
    page(StatusCode::NOT_FOUND, &GonePage)
}

fn rows(bin: &Bin) -> Vec<Row> {
    let row = |request: &std::sync::Arc<Captured>| Row {
        number: request.number,
        at: pages::moment(&request.at),
        method: request.method.clone(),
        path: if request.path.is_empty() { "/".to_owned() } else { request.path.clone() },
        size: pages::size(request.body_bytes),
        answered: answered(request),
        checks: match request.body.len() {
            0..=MOST_CHECKED_IN_LISTS => checks(request, &bin.keys),
            _ => Vec::new(),
        },
    };
    bin.requests.iter().rev().map(row).collect()
}

fn answered(request: &Captured) -> String {
    request.answered.map_or_else(|| "no answer".to_owned(), |status| status.to_string())
}

async fn begin(State(state): State<RequestBin>) -> Response<Body> {
    let lifetime_hours = state.bins.limits().lifetime.as_secs() / 3_600;
    page(StatusCode::OK, &BeginPage { lifetime_hours })
}

async fn create(State(state): State<RequestBin>) -> Response<Body> {
    match state.bins.create(None, Answer::default(), Vec::new()) {
        Some((name, _)) => Redirect::to(&format!("/bins/{}", name.as_str())).into_response(),
        None => gone(),
    }
}

async fn show(State(state): State<RequestBin>, Path(name): Path<String>) -> Response<Body> {
    bin_page(&state, &ViewName::of(&name), None)
}

fn bin_page(state: &RequestBin, name: &ViewName, problem: Option<String>) -> Response<Body> {
    let Some(bin) = state.bins.look(name) else { return gone() };
    let status = if problem.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let url = format!("{}/{}", state.url, bin.id);
    page(status, &BinPage { name: name.as_str().to_owned(), url, rows: rows(&bin), bin, problem })
}

async fn list(State(state): State<RequestBin>, Path(name): Path<String>) -> Response<Body> {
    let Some(bin) = state.bins.look(&ViewName::of(&name)) else { return gone() };
    page(StatusCode::OK, &List { name, rows: rows(&bin), bin })
}

async fn request(
    State(state): State<RequestBin>,
    Path((name, number)): Path<(String, u64)>,
) -> Response<Body> {
    let Some((bin, request)) = find(&state, &name, number) else { return gone() };
    let text = String::from_utf8_lossy(&request.body);
    let plain: String = text.chars().take(MOST_SHOWN).collect();
    let is_shortened = request.is_cut() || plain.len() < text.len();
    page(
        StatusCode::OK,
        &RequestPage {
            name,
            at: pages::moment(&request.at),
            size: pages::size(request.body_bytes),
            answered: answered(&request),
            pretty: pretty(&request),
            plain,
            is_shortened,
            checks: checks(&request, &bin.keys),
            request,
        },
    )
}

/// JSON with its lines indented, a form with a field a line.
fn pretty(request: &Captured) -> Option<String> {
    let text = match serde_json::from_slice::<serde_json::Value>(&request.body) {
        Ok(value) => serde_json::to_string_pretty(&value).ok()?,
        Err(_) => {
            let content_type = request.header("content-type")?;
            if !content_type.starts_with("application/x-www-form-urlencoded") {
                return None;
            }
            let pairs = form_urlencoded::parse(&request.body);
            let lines: Vec<String> =
                pairs.map(|(name, value)| format!("{name} = {value}")).collect();
            lines.join("\n")
        }
    };
    Some(text.chars().take(MOST_SHOWN).collect())
}

async fn body(
    State(state): State<RequestBin>,
    Path((name, number)): Path<(String, u64)>,
) -> Response<Body> {
    match find(&state, &name, number) {
        Some((_, request)) => pages::raw(request.body.clone()),
        None => gone(),
    }
}

fn find(state: &RequestBin, name: &str, number: u64) -> Option<(Bin, std::sync::Arc<Captured>)> {
    let bin = state.bins.look(&ViewName::of(name))?;
    let request = bin.requests.iter().find(|request| request.number == number)?.clone();
    Some((bin, request))
}

#[derive(Debug, Deserialize)]
struct AnswerForm {
    #[serde(default)]
    status: String,
    #[serde(default)]
    delay_seconds: String,
    #[serde(default)]
    times: String,
    hangs: Option<String>,
    #[serde(default)]
    body: String,
}

impl AnswerForm {
    fn read(self) -> Result<Answer, String> {
        let number = |field: &str, text: &str| match text.trim() {
            "" => Ok(None),
            text => {
                let wrong = |_| format!("{field}: expected a number, found {text}");
                text.parse::<u64>().map(Some).map_err(wrong)
            }
        };
        let status = number("status", &self.status)?;
        let answer = Answer {
            status: status.map(|status| u16::try_from(status).unwrap_or(u16::MAX)),
            delay_seconds: number("delay", &self.delay_seconds)?.unwrap_or_default(),
            times: number("times", &self.times)?,
            hangs: self.hangs.is_some(),
            body: (!self.body.is_empty()).then_some(self.body),
        };
        answer.problem().map_or(Ok(answer), Err)
    }
}

async fn set_answer(
    State(state): State<RequestBin>,
    Path(name): Path<String>,
    Form(form): Form<AnswerForm>,
) -> Response<Body> {
    let name = ViewName::of(&name);
    match form.read() {
        Ok(answer) => changed(&name, state.bins.change(&name, |bin| bin.answer = answer).is_some()),
        Err(problem) => bin_page(&state, &name, Some(problem)),
    }
}

#[derive(Debug, Deserialize)]
struct KeysForm {
    /// One a line.
    #[serde(default)]
    keys: String,
}

async fn set_keys(
    State(state): State<RequestBin>,
    Path(name): Path<String>,
    Form(form): Form<KeysForm>,
) -> Response<Body> {
    let name = ViewName::of(&name);
    let keys = || form.keys.lines().map(str::trim).filter(|key| !key.is_empty());
    if let Some(problem) = problem_of_keys(keys()) {
        return bin_page(&state, &name, Some(problem));
    }
    let keys: Vec<SigningKey> = keys().map(SigningKey::new).collect();
    changed(&name, state.bins.change(&name, |bin| bin.keys = keys).is_some())
}

async fn clear(State(state): State<RequestBin>, Path(name): Path<String>) -> Response<Body> {
    let name = ViewName::of(&name);
    changed(&name, state.bins.clear(&name))
}

async fn delete(State(state): State<RequestBin>, Path(name): Path<String>) -> Response<Body> {
    match state.bins.delete(&ViewName::of(&name)) {
        true => Redirect::to("/").into_response(),
        false => gone(),
    }
}

fn changed(name: &ViewName, is_there: bool) -> Response<Body> {
    match is_there {
        true => Redirect::to(&format!("/bins/{}", name.as_str())).into_response(),
        false => gone(),
    }
}
