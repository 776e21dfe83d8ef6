//! One webhook: what it is, a test of it, and its changes.

use askama::Template;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::{AllHealth, CALLS, Draft, Health, List, Webhook, health};
use crate::api::{ApiError, Payload};
use crate::domains::{self, Choice};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

pub(super) fn routes() -> Router<Console> {
    Router::new().route(path::WEBHOOK, get(show).post(change))
}

/// What a receiver said to a test.
#[derive(Deserialize)]
pub(crate) struct Tried {
    pub(crate) status: Option<u16>,
    pub(crate) answer: String,
    pub(crate) reason: Option<String>,
    pub(crate) duration_ms: u64,
}

/// Sends a sample event to a URL.
pub(crate) async fn send_test(
    visitor: &Visitor,
    url: &str,
    event_type: &str,
    domain: Option<&str>,
) -> Result<Tried, ApiError> {
    let trial = json!({"url": url, "event_type": event_type, "domain": domain});
    visitor.call(Method::POST, &format!("{CALLS}/test"), Payload::Json(trial)).await
}

#[derive(Template)]
#[template(path = "webhook.html")]
struct Page<'a> {
    frame: Frame,
    webhook: Webhook,
    health: AllHealth,
    draft: Draft,
    choice: Choice,
    problem: &'a str,
    done: &'static str,
    tried: Option<Tried>,
    /// What was tested last, or is to be tested.
    event_type: &'a str,
}

impl Page<'_> {
    fn health(&self) -> Option<&Health> {
        self.health.of(&self.webhook.target_id)
    }

    /// Where the tries at its URL are that failed.
    fn failures(&self) -> String {
        path::with_query(path::FAILURES, &[("url", &self.webhook.url)])
    }

    /// Whether this type of event is the one to be tested: that of the last test, or
    /// else the first that the webhook hears of.
    fn is_offered(&self, name: &str) -> bool {
        let first = self.webhook.event_types.first().map(String::as_str);
        let offered = if self.event_type.is_empty() { first } else { Some(self.event_type) };
        offered == Some(name)
    }
}

/// Which webhook is meant. Together the texts name one; its URL alone does not.
struct Which<'a> {
    domain: &'a str,
    id: &'a str,
    url: &'a str,
}

impl<'a> Which<'a> {
    fn read(fields: &'a Fields) -> Self {
        Self { domain: fields.one("domain"), id: fields.one("id"), url: fields.one("was") }
    }

    async fn find(&self, visitor: &Visitor) -> Result<Webhook, ApiError> {
        let search = [("domain", self.domain), ("search", self.url), ("limit", "300")];
        let list: List = visitor.get(&path::with_query(CALLS, &search)).await?;
        let found = list.items.into_iter().find(|webhook| {
            webhook.url == self.url
                && webhook.domain.as_deref().unwrap_or_default() == self.domain
                && webhook.webhook_id.as_deref().unwrap_or_default() == self.id
        });
        found.ok_or_else(|| ApiError::Refused {
            status: StatusCode::NOT_FOUND,
            message: "This webhook is not there any more.".to_owned(),
        })
    }
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let which = Which { url: query.one("url"), ..Which::read(&query) };
    let done = [
        ("made", "The webhook is there. Send a test to see whether it is heard."),
        ("saved", "Saved. The next delivery is made like this."),
        ("paused", "Paused. What happens from now on is held, and can be sent later."),
        ("resumed", "Resumed. What was held waits to be sent again, under Failures."),
    ];
    let done = done.into_iter().find(|(name, _)| query.has(name)).map(|(_, text)| text);
    let webhook = which.find(&visitor).await?;
    let draft = Draft::of(&webhook);
    page(&visitor, StatusCode::OK, webhook, draft, Told { done, ..Told::default() }).await
}

/// What a page says besides the webhook.
#[derive(Default)]
struct Told<'a> {
    problem: &'a str,
    done: Option<&'static str>,
    tried: Option<Tried>,
    event_type: &'a str,
}

async fn page(
    visitor: &Visitor,
    status: StatusCode,
    webhook: Webhook,
    draft: Draft,
    told: Told<'_>,
) -> Result<Response, Trouble> {
    let choice = domains::choice(visitor).await?;
    let health = health::read_one(visitor, &webhook.target_id).await;
    let frame = visitor.frame(Section::Webhooks);
    let Told { problem, done, tried, event_type } = told;
    let done = done.unwrap_or_default();
    let page = Page { frame, webhook, health, draft, choice, problem, done, tried, event_type };
    Ok(pages::page(status, &page))
}

/// Saves, pauses, resumes, deletes or tests it, whichever button was pressed.
async fn change(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let which = Which::read(&fields);
    let event_type = fields.one("event_type");
    let (changed, typed) = if fields.has("save") {
        let draft = Draft {
            is_domains: !which.domain.is_empty(),
            domain: which.domain.to_owned(),
            ..Draft::read(&fields)
        };
        (draft.save(&visitor, which.id).await, Some(draft))
    } else if fields.has("delete") {
        (delete(&visitor, &which, &fields).await, None)
    } else if fields.has("test") {
        let domain = [which.domain, fields.one("of")].into_iter().find(|name| !name.is_empty());
        match send_test(&visitor, which.url, event_type, domain).await {
            Ok(tried) => {
                let webhook = which.find(&visitor).await?;
                let draft = Draft::of(&webhook);
                let told = Told { tried: Some(tried), event_type, ..Told::default() };
                return page(&visitor, StatusCode::OK, webhook, draft, told).await;
            }
            Err(error) => (Err(error), None),
        }
    } else if fields.has("pause") || fields.has("resume") {
        (pause(&visitor, &which, fields.has("pause")).await, None)
    } else {
        (Err(ApiError::no_button()), None)
    };
    match changed {
        Ok(to) => Ok(visitor.go(&to)),
        Err(ApiError::Refused { status, message }) => {
            let webhook = which.find(&visitor).await?;
            let draft = typed.unwrap_or_else(|| Draft::of(&webhook));
            let told = Told { problem: &message, event_type, ..Told::default() };
            page(&visitor, status, webhook, draft, told).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn delete(visitor: &Visitor, which: &Which<'_>, fields: &Fields) -> Result<String, ApiError> {
    fields.check_sure("a deleted webhook hears of nothing more")?;
    let path = if which.domain.is_empty() {
        format!("/v1/webhooks/{}", path::segment(which.id))
    } else {
        let path = format!("/v4/domains/{}/webhooks", path::segment(which.domain));
        path::with_query(&path, &[("url", which.url)])
    };
    visitor.call::<Option<IgnoredAny>>(Method::DELETE, &path, Payload::Nothing).await?;
    Ok(format!("{}?deleted", path::WEBHOOKS))
}

async fn pause(visitor: &Visitor, which: &Which<'_>, is_paused: bool) -> Result<String, ApiError> {
    let said = Payload::Json(json!({"url": which.url, "paused": is_paused}));
    visitor.call::<IgnoredAny>(Method::PUT, "/postrider/v1/urls/paused", said).await?;
    let page = super::page_of(which.domain, which.id, which.url);
    Ok(page + if is_paused { "&paused" } else { "&resumed" })
}
