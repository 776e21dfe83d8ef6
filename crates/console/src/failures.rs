//! Failure logs: every try that failed, why, and what is next.

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::api::{ApiError, Paging};
use crate::event::path_of;
use crate::fields::Fields;
use crate::frame::{Frame, Section};
use crate::query::{Query, moment};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

const CALL: &str = "/postrider/v1/failures";
/// Tries on a page.
const PAGE: &str = "50";
/// What the form asks for, by the names that the APIs have.
const FILTERS: [&str; 8] =
    ["begin", "end", "domain", "url", "event_type", "reason", "status", "delivery_id"];

pub(crate) fn routes() -> Router<Console> {
    Router::new().route(path::FAILURES, get(show))
}

#[derive(Template)]
#[template(path = "failures.html")]
struct Page {
    frame: Frame,
    asked: Query,
    items: Vec<Failure>,
    next: Option<String>,
    is_first: bool,
    problem: String,
}

#[derive(Default, Deserialize)]
struct List {
    items: Vec<Failure>,
    #[serde(default)]
    paging: Paging,
}

#[derive(Deserialize)]
struct Failure {
    timestamp: DateTime<Utc>,
    delivery_id: String,
    event_id: String,
    event_type: String,
    url: String,
    attempt: u32,
    charged: bool,
    reason: String,
    detail: String,
    status: Option<u16>,
    response: String,
    duration_ms: u32,
    next_attempt_at: Option<DateTime<Utc>>,
}

impl Failure {
    /// The page of its event; `None` when that is kept no longer.
    fn event(&self) -> Option<String> {
        (!self.event_id.is_empty()).then(|| path_of(&self.event_id, &self.event_type))
    }

    fn resend(&self) -> String {
        format!("{}/{}/resend", path::EVENTS, path::segment(&self.event_id))
    }

    fn mood(&self) -> &'static str {
        if self.charged { "bad" } else { "wait" }
    }
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let asked = Query::of(&query, &FILTERS);
    let page = query.one("page");
    let call = if page.is_empty() {
        let mut call = Query::default().with("limit", PAGE);
        for name in FILTERS {
            match asked.one(name) {
                "" => {}
                value if matches!(name, "begin" | "end") => call = call.with(name, moment(value)),
                value => call = call.with(name, value),
            }
        }
        call
    } else {
        Query::default().with("page", page)
    };
    let (status, list, problem) = match visitor.get::<List>(&format!("{CALL}{call}")).await {
        Ok(list) => (StatusCode::OK, list, String::new()),
        Err(ApiError::Refused { status, message }) => (status, List::default(), message),
        Err(error) => return Err(error.into()),
    };
    let next = list
        .paging
        .next()
        .map(|page| format!("{}{}", path::FAILURES, asked.clone().with("page", page)));
    let frame = visitor.frame(Section::Failures);
    let is_first = page.is_empty();
    Ok(pages::page(status, &Page { frame, asked, items: list.items, next, is_first, problem }))
}
