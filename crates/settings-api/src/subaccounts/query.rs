//! Which subaccounts a call wants to see.

use std::str::FromStr;

use store::{AccountStatus, SubaccountQuery};
use utoipa::IntoParams;

use crate::error::ApiError;
use crate::form::Form;

const DEFAULT_LIMIT: u32 = 10;
const MAX_LIMIT: u32 = 1000;

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub(super) struct ListQuery {
    /// How many to list; 10 when absent.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// How many to pass over.
    #[param(minimum = 0, maximum = 2_147_483_647)]
    skip: Option<u32>,
    /// Order of the names: `asc` or `desc`; `asc` when absent.
    #[param(pattern = "^(asc|desc)$")]
    sort: Option<String>,
    /// Only those whose name has this in it, in whatever case.
    filter: Option<String>,
    /// `true`: only enabled ones; `false`: only disabled ones.
    enabled: Option<bool>,
    /// `true`: closed ones; with `enabled`, both.
    closed: Option<bool>,
}

pub(crate) fn read(form: &Form) -> Result<SubaccountQuery, ApiError> {
    let limit = number(form, "limit", 1..=MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let skip = number(form, "skip", 0..=u32::MAX >> 1)?.unwrap_or_default();
    let descending = match form.first("sort") {
        None => false,
        Some(text) if text.eq_ignore_ascii_case("asc") => false,
        Some(text) if text.eq_ignore_ascii_case("desc") => true,
        Some(_) => return Err(ApiError::bad_request("sort must be asc or desc")),
    };
    let label_contains = form.first("filter").unwrap_or_default().to_owned();
    if label_contains.contains('\0') {
        return Err(ApiError::bad_request("filter must not contain control characters"));
    }
    let closed = flag(form, "closed")?.unwrap_or_default();
    let (open, disabled) = match flag(form, "enabled")? {
        Some(enabled) => (enabled, !enabled),
        // Who asks for closed ones alone gets no others.
        None => (!closed, !closed),
    };
    let statuses = [
        (open, AccountStatus::Open),
        (disabled, AccountStatus::Disabled),
        (closed, AccountStatus::Closed),
    ];
    let statuses =
        statuses.into_iter().filter(|(wanted, _)| *wanted).map(|(_, status)| status).collect();
    Ok(SubaccountQuery { statuses, label_contains, descending, skip, limit })
}

fn number(
    form: &Form,
    name: &'static str,
    range: std::ops::RangeInclusive<u32>,
) -> Result<Option<u32>, ApiError> {
    let Some(text) = form.first(name) else { return Ok(None) };
    let number = u32::from_str(text).ok().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| {
        let (from, to) = (range.start(), range.end());
        ApiError::bad_request(format!("{name} must be a whole number from {from} to {to}"))
    })
}

fn flag(form: &Form, name: &'static str) -> Result<Option<bool>, ApiError> {
    match form.first(name).map(str::to_ascii_lowercase).as_deref() {
        None => Ok(None),
        Some("true" | "1" | "yes") => Ok(Some(true)),
        Some("false" | "0" | "no") => Ok(Some(false)),
        Some(_) => Err(ApiError::bad_request(format!("{name} must be true or false"))),
    }
}
