//! One event: its payload, what was decided about it, every try and what is next.

mod journey;

use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;

use self::journey::Journey;
use crate::api::{ApiError, Payload};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::query::Query;
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route("/console/events/{id}", get(show))
        .route("/console/events/{id}/resend", post(resend))
}

/// Where the page of an event is. With its type, where several share an id.
pub(crate) fn path_of(id: &str, event_type: &str) -> String {
    let query = match event_type {
        "" => Query::default(),
        named => Query::default().with("event_type", named),
    };
    format!("{}/{}{query}", path::EVENTS, path::segment(id))
}

#[derive(Template)]
#[template(path = "event.html")]
struct Page {
    frame: Frame,
    journey: Journey,
    /// Where its forms go.
    resend: String,
    /// What was sent again just now.
    sent: Option<u64>,
    not_sent: u64,
    problem: String,
}

async fn show(
    visitor: Visitor,
    Path(id): Path<String>,
    query: Fields,
) -> Result<Response, Trouble> {
    let sent = query.one("sent").parse().ok();
    let not_sent = query.one("not_sent").parse().unwrap_or(0);
    page(&visitor, &id, query.one("event_type"), (sent, not_sent), None).await
}

async fn page(
    visitor: &Visitor,
    id: &str,
    event_type: &str,
    (sent, not_sent): (Option<u64>, u64),
    problem: Option<(StatusCode, String)>,
) -> Result<Response, Trouble> {
    let journey: Journey = visitor.get(&call(id, "journey", event_type)).await?;
    let (status, problem) = problem.unwrap_or((StatusCode::OK, String::new()));
    let resend = format!("{}/{}/resend", path::EVENTS, path::segment(id));
    let frame = visitor.frame(Section::Events);
    Ok(pages::page(status, &Page { frame, journey, resend, sent, not_sent, problem }))
}

fn call(id: &str, what: &str, event_type: &str) -> String {
    let query = match event_type {
        "" => Query::default(),
        named => Query::default().with("event_type", named),
    };
    format!("/postrider/v1/events/{}/{what}{query}", path::segment(id))
}

/// What was sent again.
#[derive(Deserialize)]
struct Resent {
    sent: Vec<serde_json::Value>,
    not_sent: Vec<serde_json::Value>,
}

/// Sends one delivery again, or the event to all that do not have it, or to all.
async fn resend(
    Path(id): Path<String>,
    Sent { visitor, fields }: Sent,
) -> Result<Response, Trouble> {
    let event_type = fields.one("event_type");
    let delivery = fields.one("delivery_id");
    let done = if delivery.is_empty() {
        let body = Payload::Json(json!({"all": fields.has("all")}));
        let path = call(&id, "resend", event_type);
        let asked = visitor.call::<Resent>(Method::POST, &path, body);
        asked.await.map(|Resent { sent, not_sent }| (sent.len(), not_sent.len()))
    } else {
        let path = format!("/postrider/v1/deliveries/{}/resend", path::segment(delivery));
        let asked = visitor.call::<serde_json::Value>(Method::POST, &path, Payload::Nothing);
        asked.await.map(|_| (1, 0))
    };
    match done {
        Ok((sent, not_sent)) => {
            let there = path_of(&id, event_type);
            let and = if there.contains('?') { '&' } else { '?' };
            Ok(visitor.go(&format!("{there}{and}sent={sent}&not_sent={not_sent}")))
        }
        Err(ApiError::Refused { status, message }) => {
            page(&visitor, &id, event_type, (None, 0), Some((status, message))).await
        }
        Err(error) => Err(error.into()),
    }
}
