//! Alert settings, and whom to write to when one does not arrive.

mod draft;
mod one;

use askama::Template;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use model::EndReason;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::{ApiError, Payload};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

use self::draft::Draft;

const CALLS: &str = "/v1/alerts/settings";
const ACCOUNT: &str = "/postrider/v1/account";

/// The kinds of alert, and what they mean.
pub(crate) const KINDS: [(&str, &str); 6] = [
    ("ip_listed", "an IP address is on a blocklist"),
    ("ip_delisted", "an IP address is off a blocklist"),
    ("domain_listed", "a domain is on a blocklist"),
    ("domain_delisted", "a domain is off a blocklist"),
    ("validation_job", "a validation is done"),
    ("validation_preview", "a validation has a preview"),
];

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route(path::ALERTS, get(show))
        .route(path::NEW_ALERT, get(begin).post(create))
        .route(path::CONTACT, post(set_contact))
        .merge(one::routes())
}

#[derive(Deserialize)]
struct List {
    events: Vec<Alert>,
}

/// Where one kind of alert goes.
#[derive(Deserialize)]
struct Alert {
    id: String,
    event_type: String,
    channel: String,
    settings: Destination,
    disabled_at: Option<DateTime<Utc>>,
    disabled_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Destination {
    url: Option<String>,
    #[serde(default)]
    emails: Vec<String>,
}

impl Alert {
    fn page(&self) -> String {
        path::with_query(path::ALERT, &[("id", &self.id)])
    }

    /// Why nothing goes there, in words.
    fn why(&self) -> &str {
        match self.disabled_reason.as_deref() {
            None => "no try of a delivery was taken, until its schedule was over",
            Some(reason) => EndReason::parse(reason)
                .map_or(reason, |reason| reason.explain().trim_end_matches('.')),
        }
    }
}

#[derive(Deserialize)]
struct Account {
    contact_email: Option<String>,
}

#[derive(Template)]
#[template(path = "alerts.html")]
struct Page<'a> {
    frame: Frame,
    list: List,
    draft: Draft,
    contact: &'a str,
    problem: &'a str,
    done: &'static str,
}

#[derive(Template)]
#[template(path = "new_alert.html")]
struct New<'a> {
    frame: Frame,
    draft: Draft,
    problem: &'a str,
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let done = [
        ("deleted", "The alert is deleted."),
        ("enabled", "Enabled again: its URL was asked, and has answered."),
        ("contact", "Saved."),
    ];
    let done = done.into_iter().find(|(name, _)| query.has(name));
    let done = done.map(|(_, text)| text).unwrap_or_default();
    page(&visitor, StatusCode::OK, None, "", done).await
}

async fn page(
    visitor: &Visitor,
    status: StatusCode,
    contact: Option<&str>,
    problem: &str,
    done: &'static str,
) -> Result<Response, Trouble> {
    let list = visitor.get(CALLS).await?;
    let account: Account = visitor.get(ACCOUNT).await?;
    let known = account.contact_email.unwrap_or_default();
    let (frame, draft) = (visitor.frame(Section::Alerts), Draft::default());
    let contact = contact.unwrap_or(&known);
    Ok(pages::page(status, &Page { frame, list, draft, contact, problem, done }))
}

async fn begin(visitor: Visitor) -> Response {
    let (frame, draft) = (visitor.frame(Section::Alerts), Draft::default());
    pages::page(StatusCode::OK, &New { frame, draft, problem: "" })
}

/// Makes one, or shows what is in the way beside what was typed.
async fn create(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let draft = Draft::read(&fields);
    match draft.create(&visitor).await {
        Ok(to) => Ok(visitor.go(&to)),
        Err(ApiError::Refused { status, message }) => {
            let frame = visitor.frame(Section::Alerts);
            Ok(pages::page(status, &New { frame, draft, problem: &message }))
        }
        Err(error) => Err(error.into()),
    }
}

async fn set_contact(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let address = fields.one("contact_email");
    let form = Payload::form([("contact_email", address)]);
    match visitor.call::<IgnoredAny>(Method::PUT, ACCOUNT, form).await {
        Ok(_) => Ok(visitor.go(&format!("{}?contact", path::ALERTS))),
        Err(ApiError::Refused { status, message }) => {
            page(&visitor, status, Some(address), &message, "").await
        }
        Err(error) => Err(error.into()),
    }
}
