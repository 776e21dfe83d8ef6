//! What is searched for.

use chrono::DateTime;
use model::EventType;
use serde::{Deserialize, Serialize};
use store::history::{AttemptPlace, FailedAttempt, FailureSearch};

use crate::auth::Caller;
use crate::error::ApiError;
use crate::events::time::moment;
use crate::form::Form;
use crate::viewer::Viewer;
use crate::{SettingsApi, domain_name};

/// Entries on a page, if the caller does not say.
const DEFAULT_LIMIT: i64 = 100;
/// More are not on a page, whatever the caller says.
const MAX_LIMIT: i64 = 300;
/// Longest URL that a webhook can have, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// A search, as links have it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(crate) struct Search {
    /// Microseconds since the epoch.
    from: Option<i64>,
    to: Option<i64>,
    domain: Option<String>,
    url: Option<String>,
    event_type: Option<String>,
    reason: Option<String>,
    status: Option<u16>,
    delivery: Option<String>,
    pub(crate) limit: i64,
}

/// Reads a query.
pub(crate) fn read(query: &Form) -> Result<Search, ApiError> {
    let status = match query.first("status").map(str::parse::<u16>) {
        None => None,
        Some(Ok(status)) if (100..=999).contains(&status) => Some(status),
        Some(_) => return Err(ApiError::bad_request("status must be an HTTP status")),
    };
    let delivery = query.first("delivery_id");
    if delivery.is_some_and(|id| store::history::id(id).is_none()) {
        return Err(ApiError::bad_request("delivery_id must be 32 hex characters"));
    }
    Ok(Search {
        from: moment_of(query, "begin")?,
        to: moment_of(query, "end")?,
        domain: text(query, "domain")?,
        url: text(query, "url")?,
        event_type: event_type(query)?,
        reason: text(query, "reason")?,
        status,
        delivery: delivery.map(str::to_owned),
        limit: limit(query)?,
    })
}

/// A moment, in microseconds since the epoch.
pub(crate) fn moment_of(query: &Form, name: &'static str) -> Result<Option<i64>, ApiError> {
    query.first(name).map_or(Ok(None), |text| match moment(text) {
        Some(at) => Ok(Some(at.timestamp_micros())),
        None => {
            let message =
                format!("{name} must be an RFC 2822 or RFC 3339 date, or seconds since the epoch");
            Err(ApiError::bad_request(message))
        }
    })
}

/// Entries on a page.
pub(crate) fn limit(query: &Form) -> Result<i64, ApiError> {
    match query.first("limit").map(str::parse::<i64>) {
        None => Ok(DEFAULT_LIMIT),
        Some(Ok(limit)) if limit >= 1 => Ok(limit.min(MAX_LIMIT)),
        Some(_) => Err(ApiError::bad_request("limit must be a number from 1 to 300")),
    }
}

/// The name of a type that there is.
pub(crate) fn event_type(query: &Form) -> Result<Option<String>, ApiError> {
    match query.first("event_type") {
        Some(name) if EventType::parse(name).is_none() => {
            Err(ApiError::bad_request("event_type is none that there is"))
        }
        name => Ok(name.map(str::to_owned)),
    }
}

/// A text that may stand in history.
pub(crate) fn text(query: &Form, name: &'static str) -> Result<Option<String>, ApiError> {
    match query.first(name) {
        Some(text) if text.len() > MAX_URL_BYTES || text.contains('\0') => {
            Err(ApiError::bad_request(format!("{name} is too long, or no text")))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

impl Search {
    /// One page of the caller's, from behind a place on.
    pub(crate) async fn find(
        &self,
        api: &SettingsApi,
        caller: &Caller,
        behind: Option<AttemptPlace>,
    ) -> Result<Vec<FailedAttempt>, ApiError> {
        let domain_id = match &self.domain {
            None => None,
            Some(name) => {
                let unknown = || ApiError::not_found("Domain not found");
                let name = domain_name::canonical(name).ok_or_else(unknown)?;
                // Also one that was deleted: what is its account's stays so.
                Some(store::history::id(&model::domain_id(&name)).ok_or_else(unknown)?)
            }
        };
        let search = FailureSearch {
            account_id: caller.account_id.clone(),
            from: self.from.and_then(DateTime::from_timestamp_micros),
            to: self.to.and_then(DateTime::from_timestamp_micros),
            domain_id,
            url: self.url.clone(),
            event_type: self.event_type.clone(),
            reason: self.reason.clone(),
            status: self.status.map(i32::from),
            delivery_id: self.delivery.as_deref().and_then(store::history::id),
            finds_own_urls_alone: !Viewer::of(caller).sees_parent(),
        };
        Ok(api.store.failures(&search, behind, self.limit).await?)
    }
}
