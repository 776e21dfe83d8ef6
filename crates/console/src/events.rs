//! Events of a domain, searched as the Events API is.

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{ApiError, Paging};
use crate::event::path_of;
use crate::fields::Fields;
use crate::frame::{Frame, Section};
use crate::query::{Query, moment};
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

/// Events on a page.
const PAGE: usize = 50;
/// Domains to choose from.
const MOST_DOMAINS: usize = 1_000;
/// Filters that are always seen, and those for which one has to look.
const FILTERS: [&str; 5] = ["event", "severity", "recipient", "subject", "tags"];
const MORE: [(&str, &str); 6] = [
    ("from", "From"),
    ("to", "To"),
    ("message-id", "Message id"),
    ("size", "Size in bytes, as >10000"),
    ("list", "Mailing list"),
    ("attachment", "Name of an attachment"),
];
/// The types that are asked for most.
const TYPES: [&str; 7] =
    ["accepted", "delivered", "failed", "opened", "clicked", "unsubscribed", "complained"];

pub(crate) fn routes() -> Router<Console> {
    Router::new().route(path::EVENTS, get(show))
}

#[derive(Template)]
#[template(path = "events.html")]
struct Page {
    frame: Frame,
    domains: Vec<String>,
    domain: String,
    /// What was asked for, as the form has it.
    asked: Query,
    rows: Vec<Row>,
    previous: Option<String>,
    next: Option<String>,
    problem: String,
}

impl Page {
    fn has_asked(&self, name: &str, value: &str) -> bool {
        self.asked.one(name) == value
    }

    fn is_more_asked(&self) -> bool {
        MORE.iter().any(|(name, _)| !self.asked.one(name).is_empty())
    }
}

/// An event of the list.
struct Row {
    path: String,
    at: String,
    event: String,
    severity: String,
    recipient: String,
    subject: String,
}

#[derive(Deserialize)]
struct Domains {
    items: Vec<Domain>,
}

#[derive(Deserialize)]
struct Domain {
    name: String,
}

#[derive(Default, Deserialize)]
struct List {
    items: Vec<Value>,
    #[serde(default)]
    paging: Paging,
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let id = query.one("id");
    if !id.is_empty() {
        return Ok(Redirect::to(&path_of(id, "")).into_response());
    }
    let domains: Domains = visitor.get(&format!("/v4/domains?limit={MOST_DOMAINS}")).await?;
    let mut domains: Vec<String> = domains.items.into_iter().map(|domain| domain.name).collect();
    domains.sort();
    let domain = match query.one("domain") {
        "" => domains.first().cloned().unwrap_or_default(),
        // One that was deleted still has its events.
        named => named.to_owned(),
    };
    let names: Vec<&str> = ["since", "until"]
        .into_iter()
        .chain(FILTERS)
        .chain(MORE.into_iter().map(|(name, _)| name))
        .collect();
    let asked = Query::of(&query, &names);
    let (status, list, problem) = if domain.is_empty() {
        (StatusCode::OK, List::default(), String::new())
    } else {
        let page = Some(query.one("page")).filter(|page| !page.is_empty());
        match visitor.get(&call(&domain, &asked, page)).await {
            Ok(list) => (StatusCode::OK, list, String::new()),
            Err(ApiError::Refused { status, message }) => (status, List::default(), message),
            Err(error) => return Err(error.into()),
        }
    };
    let link = |page: String| {
        let query = asked.clone().with("domain", &domain).with("page", page);
        format!("{}{query}", path::EVENTS)
    };
    let is_first = query.one("page").is_empty();
    let page = Page {
        frame: visitor.frame(Section::Events),
        previous: list.paging.previous().map(link).filter(|_| !is_first),
        // The APIs always have a next page, so that lists can be followed.
        next: list.paging.next().map(link).filter(|_| list.items.len() >= PAGE),
        rows: list.items.iter().map(Row::of).collect(),
        domains,
        domain,
        asked,
        problem,
    };
    Ok(pages::page(status, &page))
}

/// The call for a page of events, the newest first.
fn call(domain: &str, asked: &Query, page: Option<&str>) -> String {
    let domain = path::segment(domain);
    if let Some(page) = page {
        return format!("/v3/{domain}/events/{}", path::segment(page));
    }
    let (since, until) = (moment(asked.one("since")), moment(asked.one("until")));
    let mut query = Query::default().with("limit", PAGE.to_string());
    // The list goes back in time: it begins with the latest moment.
    query = match (until.is_empty(), since.is_empty()) {
        (true, true) => query,
        (true, false) => query.with("end", since),
        (false, true) => query.with("begin", until).with("ascending", "no"),
        (false, false) => query.with("begin", until).with("end", since).with("ascending", "no"),
    };
    for name in FILTERS.into_iter().chain(MORE.into_iter().map(|(name, _)| name)) {
        let value = asked.one(name);
        if !value.is_empty() {
            query = query.with(name, value);
        }
    }
    format!("/v3/{domain}/events{query}")
}

impl Row {
    fn of(event: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (id, name) = (text(&event["id"]), text(&event["event"]));
        let seconds = event["timestamp"].as_f64().unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, reason = "the APIs have moments of this age")]
        let at = DateTime::<Utc>::from_timestamp_millis((seconds * 1_000.0) as i64);
        Self {
            path: path_of(&id, &name),
            at: crate::words::when(&at),
            severity: text(&event["severity"]),
            recipient: text(&event["recipient"]),
            subject: text(&event["message"]["headers"]["subject"]),
            event: name,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> String {
        let names = ["since", "until", "event", "to"];
        call("a b.example", &Query::of(&Fields::parse(query.as_bytes()), &names), None)
    }

    #[test]
    fn lists_go_back_in_time() {
        let path = "/v3/a%20b%2Eexample/events?limit=50";
        assert_eq!(asked(""), path);
        assert_eq!(asked("event=failed&to=x"), format!("{path}&event=failed&to=x"));
        let since = "2026-11-21T08%3A00%3A00Z";
        assert_eq!(asked("since=2026-11-21T08:00"), format!("{path}&end={since}"));
        assert_eq!(asked("until=2026-11-21T08:00"), format!("{path}&begin={since}&ascending=no"));
        assert_eq!(
            call("a", &Query::default(), Some("A/B")),
            "/v3/a/events/A%2FB",
            "a link holds all of it"
        );
    }
}
