//! The parsers that strangers reach, for `strangers`, which fuzzes them. None has a public
//! door of its own: a handler needs a broker and a database. No part of the product calls
//! this, and nothing here decides anything.
//!
//! A refusal is given as the status of its answer.

use axum::extract::{FromRequest as _, Request};
use axum::response::IntoResponse as _;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use model::event_filter::EventFilter;
use signing::SecretKey;

use crate::error::ApiError;
use crate::events::walk::{Cursor, Walk};
use crate::form::{Form, WithQuery};

/// Names and values, in their order.
pub type Pairs = Vec<(String, String)>;

fn status(error: ApiError) -> u16 {
    error.into_response().status().as_u16()
}

/// The fields of a request, as handlers have them.
#[derive(Debug)]
pub struct Fields(Form);

impl Fields {
    /// Of these names and values.
    pub fn of(pairs: Pairs) -> Self {
        Self(Form::of(pairs.into_iter()))
    }

    /// Names and values, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.pairs()
    }
}

/// The fields of a request.
///
/// # Errors
/// With the status of the refusal.
pub async fn form(request: Request) -> Result<Fields, u16> {
    Form::from_request(request, &()).await.map(Fields).map_err(status)
}

/// The fields of a request, and those of its query behind them.
///
/// # Errors
/// With the status of the refusal.
pub async fn form_with_query(request: Request) -> Result<Fields, u16> {
    let form = WithQuery::from_request(request, &()).await;
    form.map(|WithQuery(form)| Fields(form)).map_err(status)
}

/// The API key of a call.
pub fn api_key(headers: &HeaderMap) -> Option<String> {
    crate::auth::api_key(headers)
}

/// The beginning of links in answers.
pub fn origin(headers: &HeaderMap) -> String {
    crate::events::links::Origin::of(headers).to_string()
}

/// A domain name in its canonical form.
pub fn domain_name(name: &str) -> Option<String> {
    crate::domain_name::canonical(name)
}

/// A moment as customers write it.
pub fn moment(text: &str) -> Option<DateTime<Utc>> {
    crate::events::time::moment(text)
}

/// A length of time as customers write it.
pub fn duration(text: &str) -> Option<TimeDelta> {
    crate::events::time::duration(text)
}

/// Checks a URL before it is stored.
///
/// # Errors
/// Why it is not.
pub fn check_url(egress: &egress::Client, url: &str) -> Result<(), String> {
    crate::destination::check_url(egress, url)
}

/// Reads the query of a list of events. Returns the search as links have it, and its filter.
///
/// # Errors
/// With the status of the refusal.
pub fn events_query(query: Pairs, now: DateTime<Utc>) -> Result<(String, EventFilter), u16> {
    let walk = crate::events::read_query(&Form::of(query.into_iter()), now).map_err(status)?;
    let filter = walk.filter().map_err(status)?;
    Ok((serde_json::to_string(&walk).unwrap_or_default(), filter))
}

/// Reads the queries of all other lists. Returns how many of them take it.
///
/// # Errors
/// With the first status that is no refusal of a client.
pub fn other_queries(query: Pairs, now: DateTime<Utc>) -> Result<usize, u16> {
    const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
    let form = Form::of(query.clone().into_iter());
    let text = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
    let read = [
        crate::failures::read_query(&form).map(drop),
        crate::why::query::read(&form, now).and_then(|asked| asked.search(ACCOUNT)).map(drop),
        crate::statistics::query::series(&form, ACCOUNT, now).map(drop),
        crate::statistics::query::targets(&form, ACCOUNT, now).map(drop),
        crate::subaccounts::query::read(&form).map(drop),
        crate::account_webhooks::request::filter(Some(&text)).map(drop),
        crate::account_webhooks::request::meant(Some(&text)).map(drop),
        crate::features::changes(&form).map(drop),
    ];
    let mut taken = 0;
    for result in read {
        match result.map_err(status) {
            Ok(()) => taken += 1,
            Err(400..=499) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(taken)
}

/// Reads an account's webhook.
///
/// # Errors
/// With the status of the refusal.
pub fn account_webhook(egress: &egress::Client, form: &Fields) -> Result<(), u16> {
    let webhook = crate::account_webhooks::request::read(egress, String::new(), &form.0);
    webhook.map(drop).map_err(status)
}

/// Reads the URLs of a domain's webhook. Returns how many there are.
///
/// # Errors
/// With the status of the refusal.
pub fn domain_webhook(form: &Fields) -> Result<usize, u16> {
    let id = model::WebhookId::ALL[0];
    crate::domain_webhooks::request::urls(id, &form.0).map(|urls| urls.len()).map_err(status)
}

/// Reads a body of each call that takes JSON. Returns how many of them take it.
///
/// # Errors
/// With the first status that is no refusal of a client.
pub fn json_bodies(body: &[u8], now: DateTime<Utc>) -> Result<usize, u16> {
    const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
    let read = [
        crate::alerts::request::read(body).map(drop),
        crate::alerts::request::webhook_trial(body).map(drop),
        crate::alerts::request::email_trial(body).map(drop),
        crate::logs::request::read(body, now)
            .and_then(|asked| crate::logs::filter::condition(&asked.events, &asked.tests))
            .map(drop),
        crate::resends::request::read(body, ACCOUNT).map(drop),
        crate::resends::request::state(body).map(drop),
        crate::delivery::policies::read(body).map(drop),
    ];
    let mut taken = 0;
    for result in read {
        match result.map_err(status) {
            Ok(()) => taken += 1,
            // Slack is out of scope, and its calls say so.
            Err(400..=499 | 501) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(taken)
}

/// Opens a link of a list of events. Returns what it holds, written again.
pub fn open_page(key: &SecretKey, account_id: &str, list: &str, token: &str) -> Option<String> {
    let opened: (Walk, Cursor) = crate::events::token::open_with(key, account_id, list, token)?;
    serde_json::to_string(&opened).ok()
}
