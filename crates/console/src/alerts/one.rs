//! One alert setting: where it goes, a test of it, and its changes.

use askama::Template;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde::de::IgnoredAny;
use serde_json::json;

use super::{Alert, CALLS, Draft, List};
use crate::api::{ApiError, Message, Payload};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::webhooks::{Tried, send_test};
use crate::{Console, path};

pub(super) fn routes() -> Router<Console> {
    Router::new().route(path::ALERT, get(show).post(change))
}

/// What came of a test.
enum Outcome {
    Webhook(Tried),
    Email(String),
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Page<'a> {
    frame: Frame,
    alert: Alert,
    draft: Draft,
    problem: &'a str,
    done: &'static str,
    outcome: Option<Outcome>,
}

async fn find(visitor: &Visitor, id: &str) -> Result<Alert, ApiError> {
    let list: List = visitor.get(CALLS).await?;
    let found = list.events.into_iter().find(|alert| alert.id == id);
    found.ok_or_else(|| ApiError::Refused {
        status: StatusCode::NOT_FOUND,
        message: "This alert is not there any more.".to_owned(),
    })
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let done = [
        ("made", "The alert is there. Send a test to see whether it arrives."),
        ("saved", "Saved, and enabled."),
    ];
    let done = done.into_iter().find(|(name, _)| query.has(name));
    let done = done.map(|(_, text)| text).unwrap_or_default();
    let alert = find(&visitor, query.one("id")).await?;
    let (frame, draft) = (visitor.frame(Section::Alerts), Draft::of(&alert));
    let page = Page { frame, alert, draft, problem: "", done, outcome: None };
    Ok(pages::page(StatusCode::OK, &page))
}

/// Saves, enables, deletes or tests it, whichever button was pressed.
async fn change(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let id = fields.one("id");
    let mut typed = None;
    let changed = if fields.has("save") {
        let draft = typed.insert(Draft::read(&fields));
        let page = path::with_query(path::ALERT, &[("id", id)]);
        draft.save(&visitor, id).await.map(|()| page + "&saved")
    } else if fields.has("enable") {
        let alert = find(&visitor, id).await?;
        let saved = Draft::of(&alert).save(&visitor, id).await;
        saved.map(|()| format!("{}?enabled", path::ALERTS))
    } else if fields.has("delete") {
        delete(&visitor, id, &fields).await
    } else if fields.has("test") {
        let alert = find(&visitor, id).await?;
        match test(&visitor, &alert).await {
            Ok(outcome) => {
                let (frame, draft) = (visitor.frame(Section::Alerts), Draft::of(&alert));
                let outcome = Some(outcome);
                let page = Page { frame, alert, draft, problem: "", done: "", outcome };
                return Ok(pages::page(StatusCode::OK, &page));
            }
            Err(error) => Err(error),
        }
    } else {
        Err(ApiError::no_button())
    };
    match changed {
        Ok(to) => Ok(visitor.go(&to)),
        Err(ApiError::Refused { status, message }) => {
            let alert = find(&visitor, id).await?;
            let draft = typed.unwrap_or_else(|| Draft::of(&alert));
            let frame = visitor.frame(Section::Alerts);
            let page = Page { frame, alert, draft, problem: &message, done: "", outcome: None };
            Ok(pages::page(status, &page))
        }
        Err(error) => Err(error.into()),
    }
}

async fn test(visitor: &Visitor, alert: &Alert) -> Result<Outcome, ApiError> {
    if let Some(url) = &alert.settings.url {
        return Ok(Outcome::Webhook(send_test(visitor, url, &alert.event_type, None).await?));
    }
    let trial = json!({"event_type": alert.event_type, "emails": alert.settings.emails});
    let path = "/v1/alerts/email/test";
    let Message { message } = visitor.call(Method::POST, path, Payload::Json(trial)).await?;
    Ok(Outcome::Email(message))
}

async fn delete(visitor: &Visitor, id: &str, fields: &Fields) -> Result<String, ApiError> {
    fields.check_sure("nobody is alerted there any more")?;
    let path = format!("{CALLS}/events/{}", path::segment(id));
    visitor.call::<IgnoredAny>(Method::DELETE, &path, Payload::Nothing).await?;
    Ok(format!("{}?deleted", path::ALERTS))
}
