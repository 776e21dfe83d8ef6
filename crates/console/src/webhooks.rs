//! Webhooks of every level in one list, and the form for a new one.

mod draft;
mod health;
mod one;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::api::{ApiError, Paging};
use crate::domains::{self, Choice};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

use self::draft::Draft;
use self::health::{AllHealth, Health};
pub(crate) use self::one::{Tried, send_test};

const CALLS: &str = "/postrider/v1/webhooks";
/// Webhooks on one page.
const PAGE: &str = "50";

/// What can be subscribed to, in the order of a message's life, and what it means.
pub(crate) const EVENT_TYPES: [(&str, &str); 8] = [
    ("accepted", "taken, to be sent"),
    ("delivered", "the other server has it"),
    ("opened", "somebody has opened it"),
    ("clicked", "a link was followed"),
    ("unsubscribed", "no more, please"),
    ("complained", "marked as spam"),
    ("temporary_fail", "will be tried again"),
    ("permanent_fail", "will not arrive"),
];

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route(path::WEBHOOKS, get(show))
        .route(path::NEW_WEBHOOK, get(begin).post(create))
        .merge(one::routes())
}

#[derive(Deserialize)]
struct List {
    items: Vec<Webhook>,
    paging: Paging,
}

/// A URL and its event types on one level.
#[derive(Deserialize)]
struct Webhook {
    domain: Option<String>,
    webhook_id: Option<String>,
    description: String,
    url: String,
    target_id: String,
    event_types: Vec<String>,
    paused_at: Option<DateTime<Utc>>,
}

impl Webhook {
    /// Where its page is.
    fn page(&self) -> String {
        let (domain, id) = (self.domain.as_deref(), self.webhook_id.as_deref());
        page_of(domain.unwrap_or_default(), id.unwrap_or_default(), &self.url)
    }
}

fn page_of(domain: &str, id: &str, url: &str) -> String {
    path::with_query(path::WEBHOOK, &[("domain", domain), ("id", id), ("url", url)])
}

#[derive(Template)]
#[template(path = "webhooks.html")]
struct Page<'a> {
    frame: Frame,
    list: List,
    health: AllHealth,
    domain: &'a str,
    search: &'a str,
    is_first: bool,
    done: &'static str,
    /// For the dialog that adds one.
    draft: Draft,
    choice: Choice,
}

impl Page<'_> {
    fn is_filtered(&self) -> bool {
        !(self.domain.is_empty() && self.search.is_empty() && self.is_first)
    }

    fn next(&self) -> Option<String> {
        let page = self.list.paging.next()?;
        let fields = [("domain", self.domain), ("search", self.search), ("page", page.as_str())];
        Some(path::with_query(path::WEBHOOKS, &fields))
    }
}

#[derive(Template)]
#[template(path = "new_webhook.html")]
struct New<'a> {
    frame: Frame,
    draft: Draft,
    choice: Choice,
    problem: &'a str,
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let (domain, search, page) = (query.one("domain"), query.one("search"), query.one("page"));
    let fields = [("domain", domain), ("search", search), ("page", page), ("limit", PAGE)];
    let list = visitor.get(&path::with_query(CALLS, &fields)).await?;
    let health = health::read(&visitor).await;
    let choice = domains::choice(&visitor).await?;
    let done = if query.has("deleted") { "The webhook is deleted." } else { "" };
    let frame = visitor.frame(Section::Webhooks);
    let draft = Draft::new(domain, &choice);
    let is_first = page.is_empty();
    let page = Page { frame, list, health, domain, search, is_first, done, draft, choice };
    Ok(pages::page(StatusCode::OK, &page))
}

async fn begin(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let choice = domains::choice(&visitor).await?;
    let (frame, draft) =
        (visitor.frame(Section::Webhooks), Draft::new(query.one("domain"), &choice));
    Ok(pages::page(StatusCode::OK, &New { frame, draft, choice, problem: "" }))
}

/// Makes one, or shows what is in the way beside what was typed.
async fn create(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let draft = Draft::read(&fields);
    match draft.create(&visitor).await {
        Ok(to) => Ok(visitor.go(&to)),
        Err(ApiError::Refused { status, message }) => {
            let choice = domains::choice(&visitor).await?;
            let frame = visitor.frame(Section::Webhooks);
            Ok(pages::page(status, &New { frame, draft, choice, problem: &message }))
        }
        Err(error) => Err(error.into()),
    }
}
