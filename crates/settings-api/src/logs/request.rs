//! The search of a call.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::events::time::{duration, moment};
use crate::form::check_no_nul;

/// Events on a page, if the caller does not say.
const DEFAULT_LIMIT: i64 = 100;
/// More are not on a page, whatever the caller says.
const MAX_LIMIT: i64 = 100;
/// The range, if the caller does not say.
const DEFAULT_RANGE: TimeDelta = TimeDelta::days(1);

/// What is searched for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogsQuery {
    /// Where the range begins: an RFC 2822 date; a day before its end, if it is not given.
    #[schema(example = "Thu, 09 Oct 2025 08:53:20 +0000")]
    start: Option<String>,
    /// Where it ends; now, if it is not given.
    end: Option<String>,
    /// The length of the range up to its end, in place of its start: a number
    /// and `h`, `d`, `w` or `m`.
    #[schema(example = "2d")]
    duration: Option<String>,
    /// Kinds of events, as `delivered` and `failed`; all, if none is given.
    events: Option<Vec<String>>,
    /// More kinds of events.
    metric_events: Option<Vec<String>>,
    filter: Option<LogsFilter>,
    /// With the events of the account's subaccounts.
    include_subaccounts: Option<bool>,
    /// With the number of events.
    include_totals: Option<bool>,
    /// There are none: refused when it is true.
    include_aggregates: Option<bool>,
    pagination: Option<LogsPaging>,
}

/// Conditions that all have to hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogsFilter {
    #[serde(rename = "AND")]
    and: Vec<LogsCondition>,
}

/// A condition on one attribute.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogsCondition {
    /// `event`, `severity`, `domain`, `subaccount`, `recipient`,
    /// `recipient_domain`, `recipients`, `from`, `to`, `subject`, `message_id`,
    /// `mailing_list_address`, `attachment_filename`, `tag` or `size`.
    #[schema(example = "recipient_domain")]
    pub(super) attribute: String,
    /// `=`, `!=`, `contains`, `not contains`, and for `size` also `<`, `<=`, `>`, `>=`.
    #[schema(example = "=")]
    pub(super) comparator: String,
    /// Of which one has to hold, or none of the negated ones.
    pub(super) values: Vec<LogsValue>,
}

/// A value that is compared.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct LogsValue {
    /// Has no effect.
    #[expect(dead_code, reason = "clients send it")]
    label: Option<String>,
    pub(super) value: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LogsPaging {
    /// `timestamp:asc` or `timestamp:desc`.
    #[schema(example = "timestamp:asc")]
    sort: Option<String>,
    /// Of a page.
    token: Option<String>,
    /// Events on a page, 1 to 100.
    #[schema(example = 100)]
    limit: Option<i64>,
}

/// A search that is whole.
pub(crate) struct Asked {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(crate) events: Vec<String>,
    pub(crate) tests: Vec<LogsCondition>,
    pub(super) include_subaccounts: bool,
    pub(super) include_totals: bool,
    pub(super) ascending: bool,
    pub(super) token: Option<String>,
    pub(super) limit: i64,
}

/// Reads a search. An empty body asks for everything of the last day.
pub(crate) fn read(body: &[u8], now: DateTime<Utc>) -> Result<Asked, ApiError> {
    let body = if body.is_empty() { b"{}" } else { body };
    check_no_nul(body)?;
    let query: LogsQuery = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request(format!("the body is not valid: {error}")))?;
    if query.include_aggregates == Some(true) {
        let message = "include_aggregates must be false: there are no aggregates here";
        return Err(ApiError::bad_request(message));
    }
    let at = |name, text: Option<String>| {
        text.filter(|text| !text.is_empty()).map_or(Ok(None), |text| match moment(&text) {
            Some(at) => Ok(Some(at)),
            None => Err(ApiError::bad_request(format!("{name} must be an RFC 2822 date"))),
        })
    };
    let to = at("end", query.end)?.unwrap_or(now);
    let from = match query.duration.filter(|text| !text.is_empty()) {
        Some(text) => match duration(&text) {
            Some(length) => to.checked_sub_signed(length),
            None => {
                let message = "duration must be a number and one of h, d, w and m";
                return Err(ApiError::bad_request(message));
            }
        },
        None => at("start", query.start)?.or_else(|| to.checked_sub_signed(DEFAULT_RANGE)),
    };
    let from = from.unwrap_or(DateTime::UNIX_EPOCH);
    if from > to {
        return Err(ApiError::bad_request("start must be before end"));
    }
    let paging = query.pagination.unwrap_or(LogsPaging { sort: None, token: None, limit: None });
    let ascending = match paging.sort.as_deref().filter(|sort| !sort.is_empty()) {
        None | Some("timestamp:desc") => false,
        Some("timestamp:asc") => true,
        Some(_) => {
            let message = "pagination.sort must be timestamp:asc or timestamp:desc";
            return Err(ApiError::bad_request(message));
        }
    };
    let limit = match paging.limit {
        None | Some(0) => DEFAULT_LIMIT,
        Some(limit) if limit > 0 => limit.min(MAX_LIMIT),
        Some(_) => {
            return Err(ApiError::bad_request("pagination.limit must be a number from 1 to 100"));
        }
    };
    Ok(Asked {
        from,
        to,
        events: [query.events, query.metric_events].into_iter().flatten().flatten().collect(),
        tests: query.filter.map(|filter| filter.and).unwrap_or_default(),
        include_subaccounts: query.include_subaccounts.unwrap_or_default(),
        include_totals: query.include_totals.unwrap_or_default(),
        ascending,
        token: paging.token.filter(|token| !token.is_empty()),
        limit,
    })
}
