//! Subaccounts: what they are called, whether they may do anything, and the way
//! into each of them.

use askama::Template;
use axum::Router;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use crate::api::{ApiError, Message, Payload};
use crate::fields::{Fields, Sent};
use crate::frame::{Frame, Section};
use crate::session::Account;
use crate::trouble::Trouble;
use crate::visitor::Visitor;
use crate::{Console, path};

const CALLS: &str = "/v5/accounts/subaccounts";
/// Subaccounts on one page.
const PAGE: usize = 50;

pub(crate) fn routes() -> Router<Console> {
    Router::new().route(path::SUBACCOUNTS, get(show).post(change)).route(path::ACT, post(act))
}

#[derive(Template)]
#[template(path = "subaccounts.html")]
struct Page<'a> {
    frame: Frame,
    list: List,
    skip: usize,
    problem: &'a str,
}

impl Page<'_> {
    fn previous(&self) -> Option<usize> {
        self.skip.checked_sub(PAGE)
    }

    fn next(&self) -> Option<usize> {
        Some(self.skip + PAGE).filter(|next| *next < self.list.total)
    }
}

#[derive(Deserialize)]
struct List {
    subaccounts: Vec<Subaccount>,
    total: usize,
}

#[derive(Deserialize)]
struct Subaccount {
    id: String,
    name: String,
    status: String,
    created_at: String,
}

#[derive(Deserialize)]
struct One {
    subaccount: Subaccount,
}

async fn show(visitor: Visitor, query: Fields) -> Result<Response, Trouble> {
    let skip = query.one("skip").parse().unwrap_or(0);
    page(&visitor, StatusCode::OK, skip, "").await
}

async fn page(
    visitor: &Visitor,
    status: StatusCode,
    skip: usize,
    problem: &str,
) -> Result<Response, Trouble> {
    let list = visitor.get(&format!("{CALLS}?limit={PAGE}&skip={skip}")).await?;
    let frame = visitor.frame(Section::Subaccounts);
    Ok(pages::page(status, &Page { frame, list, skip, problem }))
}

/// Makes, disables, enables or deletes one, whichever button was pressed.
async fn change(Sent { visitor, fields }: Sent) -> Result<Response, Trouble> {
    let changed = if fields.has("create") {
        create(&visitor, fields.one("name")).await
    } else if fields.has("delete") {
        close(&visitor, &fields).await
    } else if let Some(what) = ["disable", "enable"].into_iter().find(|name| fields.has(name)) {
        let path = format!("{CALLS}/{}/{what}", path::segment(fields.one("id")));
        visitor.call::<One>(Method::POST, &path, Payload::Nothing).await.map(drop)
    } else {
        Err(ApiError::no_button())
    };
    match changed {
        Ok(()) => Ok(visitor.go(path::SUBACCOUNTS)),
        Err(ApiError::Refused { status, message }) => page(&visitor, status, 0, &message).await,
        Err(error) => Err(error.into()),
    }
}

async fn create(visitor: &Visitor, name: &str) -> Result<(), ApiError> {
    let made = visitor.call::<One>(Method::POST, CALLS, Payload::form([("name", name)])).await;
    made.map(drop)
}

async fn close(visitor: &Visitor, fields: &Fields) -> Result<(), ApiError> {
    fields.check_sure("a deleted subaccount does not come back")?;
    let id = fields.one("id");
    let there = visitor.within(Account { id: id.to_owned(), name: String::new() });
    there.call::<Message>(Method::DELETE, CALLS, Payload::Nothing).await.map(drop)
}

/// Makes all pages be about a subaccount, or about the key's own account again.
async fn act(Sent { mut visitor, fields }: Sent) -> Result<Response, Trouble> {
    let id = fields.one("id");
    let acting_for = if id.is_empty() {
        None
    } else {
        // Only the key's own account knows its subaccounts.
        visitor.session = visitor.session.acting(None);
        let One { subaccount } = visitor.get(&format!("{CALLS}/{}", path::segment(id))).await?;
        Some(Account { id: subaccount.id, name: subaccount.name })
    };
    visitor.session = visitor.session.acting(acting_for);
    Ok(visitor.go(path::HOME))
}
