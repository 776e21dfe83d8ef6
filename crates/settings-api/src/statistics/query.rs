//! What is asked for.

use chrono::{DateTime, TimeDelta, Utc};
use store::history::{
    LONG_SLOT_SECONDS, SHORT_SLOT_SECONDS, TargetFilter, TargetOrder, Uuid, short_slots_from,
    slot_start,
};

use crate::error::ApiError;
use crate::failures::{moment_of, text};
use crate::form::Form;

/// The range, if the caller does not say.
const DEFAULT_RANGE: TimeDelta = TimeDelta::days(1);
/// The longest range in which targets are compared.
const LONGEST_OF_TARGETS: TimeDelta = TimeDelta::days(31);
/// Targets, if the caller does not say.
const DEFAULT_LIMIT: i64 = 10;
/// More are not told, whatever the caller says.
const MAX_LIMIT: i64 = 100;

/// How long slots are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resolution {
    FiveMinutes,
    Hour,
    Day,
}

impl Resolution {
    const ALL: [Self; 3] = [Self::FiveMinutes, Self::Hour, Self::Day];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::FiveMinutes => "5m",
            Self::Hour => "1h",
            Self::Day => "1d",
        }
    }

    pub(super) const fn seconds(self) -> i32 {
        match self {
            Self::FiveMinutes => SHORT_SLOT_SECONDS,
            Self::Hour => LONG_SLOT_SECONDS,
            Self::Day => 86_400,
        }
    }

    /// So that an answer has some hundred slots, and no more.
    const fn longest_range(self) -> TimeDelta {
        match self {
            Self::FiveMinutes => TimeDelta::days(2),
            Self::Hour => TimeDelta::days(31),
            Self::Day => TimeDelta::days(366),
        }
    }
}

/// A series.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(super) target_id: Option<Uuid>,
    pub(super) resolution: Resolution,
    /// A slot begins here.
    pub(super) from: DateTime<Utc>,
    /// The last slot ends here.
    pub(super) to: DateTime<Utc>,
}

pub(crate) fn series(
    query: &Form,
    account_id: &str,
    now: DateTime<Utc>,
) -> Result<Asked, ApiError> {
    let target_id = target(query, account_id)?;
    let (begin, end) = range(query, now)?;
    let resolution = resolution(query, target_id, begin, end, now)?;
    let (from, to) = whole_slots(begin, end, resolution.seconds());
    Ok(Asked { target_id, resolution, from, to })
}

pub(crate) fn targets(
    query: &Form,
    account_id: &str,
    now: DateTime<Utc>,
) -> Result<TargetFilter, ApiError> {
    let target_id = target(query, account_id)?;
    let (begin, end) = range(query, now)?;
    if end - begin > LONGEST_OF_TARGETS {
        return Err(ApiError::bad_request("end must be at most 31 days after begin"));
    }
    let order = match query.first("order") {
        None | Some("failures") => TargetOrder::Failures,
        Some("success_rate") => TargetOrder::SuccessRate,
        Some(_) => return Err(ApiError::bad_request("order must be failures or success_rate")),
    };
    let limit = match query.first("limit").map(str::parse::<i64>) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if limit >= 1 => limit.min(MAX_LIMIT),
        Some(_) => return Err(ApiError::bad_request("limit must be a number from 1 to 100")),
    };
    let (from, to) = whole_slots(begin, end, LONG_SLOT_SECONDS);
    Ok(TargetFilter { account_id: account_id.to_owned(), target_id, from, to, order, limit })
}

/// The one target that is asked for, by whichever name.
fn target(query: &Form, account_id: &str) -> Result<Option<Uuid>, ApiError> {
    let id = text(query, "target_id")?;
    let url = text(query, "url")?;
    let setting = text(query, "alert_setting_id")?;
    let target_id = match (id, url, setting) {
        (None, None, None) => return Ok(None),
        (Some(id), None, None) => id,
        (None, Some(url), None) => model::message_target_id(account_id, &url),
        (None, None, Some(setting)) => {
            let setting = Uuid::try_parse(&setting)
                .map_err(|_| ApiError::bad_request("alert_setting_id is no UUID"))?;
            model::alert_target_id(&setting.to_string())
        }
        _ => {
            let message = "give target_id, url or alert_setting_id, one of them";
            return Err(ApiError::bad_request(message));
        }
    };
    // The nil UUID stands for all targets, and is none itself.
    match store::history::id(&target_id).filter(|id| !id.is_nil()) {
        Some(id) => Ok(Some(id)),
        None => Err(ApiError::bad_request("target_id must be 32 hex characters")),
    }
}

fn range(query: &Form, now: DateTime<Utc>) -> Result<(DateTime<Utc>, DateTime<Utc>), ApiError> {
    let at = |name| -> Result<Option<DateTime<Utc>>, ApiError> {
        Ok(moment_of(query, name)?.and_then(DateTime::from_timestamp_micros))
    };
    let end = at("end")?.unwrap_or(now);
    let begin = at("begin")?.unwrap_or(end - DEFAULT_RANGE);
    if begin >= end {
        return Err(ApiError::bad_request("begin must be before end"));
    }
    Ok((begin, end))
}

/// The one that is asked for, or the finest that there is of such a range.
fn resolution(
    query: &Form,
    target_id: Option<Uuid>,
    begin: DateTime<Utc>,
    end: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Resolution, ApiError> {
    let refusal = |resolution: Resolution| match resolution {
        Resolution::FiveMinutes if target_id.is_some() => {
            Some("of one target, resolution must be 1h or 1d".to_owned())
        }
        Resolution::FiveMinutes if begin < short_slots_from(now) => {
            Some("slots of 5m are kept for three days: resolution must be 1h or 1d".to_owned())
        }
        _ if end - begin > resolution.longest_range() => {
            let (name, days) = (resolution.as_str(), resolution.longest_range().num_days());
            Some(format!("with resolution {name}, end must be at most {days} days after begin"))
        }
        _ => None,
    };
    match query.first("resolution") {
        None => match Resolution::ALL.into_iter().find(|one| refusal(*one).is_none()) {
            Some(finest) => Ok(finest),
            None => Err(ApiError::bad_request("end must be at most 366 days after begin")),
        },
        Some(name) => match Resolution::ALL.into_iter().find(|one| one.as_str() == name) {
            Some(known) => refusal(known).map_or(Ok(known), |why| Err(ApiError::bad_request(why))),
            None => Err(ApiError::bad_request("resolution must be 5m, 1h or 1d")),
        },
    }
}

/// The slots that the range touches.
fn whole_slots(
    begin: DateTime<Utc>,
    end: DateTime<Utc>,
    seconds: i32,
) -> (DateTime<Utc>, DateTime<Utc>) {
    let last = slot_start(end - TimeDelta::microseconds(1), seconds);
    (slot_start(begin, seconds), last + TimeDelta::seconds(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2025-10-09T08:53:20Z";

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a moment")
    }

    fn asked(query: &[(&str, &str)]) -> Result<Asked, ApiError> {
        let fields = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        series(&Form::of(fields), "65aa0d3c9f21b70011ee4402", at(NOW))
    }

    #[test]
    fn ranges_become_whole_slots_of_a_fitting_length() {
        let target = ("url", "https://a.example/");
        for (query, resolution, from, to) in [
            (&[][..], "5m", "2025-10-08T08:50:00Z", "2025-10-09T08:55:00Z"),
            (&[target], "1h", "2025-10-08T08:00:00Z", "2025-10-09T09:00:00Z"),
            (&[("resolution", "1d")], "1d", "2025-10-08T00:00:00Z", "2025-10-10T00:00:00Z"),
            (
                &[("begin", "2025-10-07T09:00:00Z"), ("end", "2025-10-09T09:00:00Z")],
                "5m",
                "2025-10-07T09:00:00Z",
                "2025-10-09T09:00:00Z",
            ),
            (
                &[("begin", "2025-10-07T08:59:59Z"), ("end", "2025-10-09T09:00:00Z")],
                "1h",
                "2025-10-07T08:00:00Z",
                "2025-10-09T09:00:00Z",
            ),
            // What is folded is told in hours.
            (
                &[("begin", "2025-10-01T08:00:00Z"), ("end", "2025-10-01T09:00:00Z")],
                "1h",
                "2025-10-01T08:00:00Z",
                "2025-10-01T09:00:00Z",
            ),
            (
                &[("begin", "2025-08-01T08:00:00Z")],
                "1d",
                "2025-08-01T00:00:00Z",
                "2025-10-10T00:00:00Z",
            ),
        ] {
            let asked = asked(query).expect("a range");
            let found = (asked.resolution.as_str(), asked.from, asked.to);
            assert_eq!(found, (resolution, at(from), at(to)), "{query:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for query in [
            &[("begin", NOW)][..],
            &[("begin", "2024-10-01T00:00:00Z")],
            &[("begin", "soon")],
            &[("resolution", "1m")],
            &[("resolution", "5m"), ("begin", "2025-10-07T08:00:00Z")],
            &[
                ("resolution", "5m"),
                ("begin", "2025-10-06T07:59:59Z"),
                ("end", "2025-10-07T00:00:00Z"),
            ],
            &[("resolution", "5m"), ("url", "https://a.example/")],
            &[("resolution", "1h"), ("begin", "2025-09-01T00:00:00Z")],
            &[("target_id", "x")],
            &[("target_id", "00000000000000000000000000000000")],
            &[("alert_setting_id", "x")],
            &[("url", "https://a.example/"), ("target_id", "0123456789abcdef0123456789abcdef")],
        ] {
            assert!(asked(query).is_err(), "{query:?}");
        }
    }
}
