//! The query of a list (reference §8.1).

use chrono::{DateTime, Utc};
use model::event_filter::FilterField;

use super::time::moment;
use super::walk::Walk;
use crate::error::ApiError;
use crate::form::Form;

/// Events on a page, if the caller does not say.
const DEFAULT_LIMIT: i64 = 100;
/// More are not on a page, whatever the caller says.
const MAX_LIMIT: i64 = 300;
/// All filters together, in bytes. They stand in every link.
const MAX_FILTERS_BYTES: usize = 2_000;

/// Reads a query. Parameters that are not known have no effect, as with all
/// calls: clients send more than is documented.
pub(crate) fn read(query: &Form, now: DateTime<Utc>) -> Result<Walk, ApiError> {
    let limit = match query.first("limit") {
        None => DEFAULT_LIMIT,
        Some(text) => match text.parse::<i64>() {
            Ok(limit) if limit >= 1 => limit.min(MAX_LIMIT),
            _ => return Err(ApiError::bad_request("limit must be a number from 1 to 300")),
        },
    };
    let walk = Walk { limit, filters: filters(query)?, ..range(query, now)? };
    // What is wrong with a filter is to be told now.
    walk.filter()?;
    Ok(walk)
}

/// The filters, by the names of their parameters.
fn filters(query: &Form) -> Result<Vec<(String, String)>, ApiError> {
    let filters: Vec<(String, String)> = FilterField::ALL
        .iter()
        .flat_map(|(name, _)| query.values(name).map(|text| ((*name).to_owned(), text.to_owned())))
        .collect();
    if filters.iter().map(|(_, text)| text.len()).sum::<usize>() > MAX_FILTERS_BYTES {
        let message = format!("the filters are longer than {MAX_FILTERS_BYTES} bytes");
        return Err(ApiError::bad_request(message));
    }
    Ok(filters)
}

/// From where to where, and which way.
fn range(query: &Form, now: DateTime<Utc>) -> Result<Walk, ApiError> {
    let at = |name| {
        query.first(name).map_or(Ok(None), |text| match moment(text) {
            Some(at) => Ok(Some(at)),
            None => Err(ApiError::bad_request(format!(
                "{name} must be an RFC 2822 date or seconds since the epoch"
            ))),
        })
    };
    let (begin, end) = (at("begin")?, at("end")?);
    let ascending = match query.first("ascending") {
        None => None,
        Some("yes" | "true") => Some(true),
        Some("no" | "false") => Some(false),
        Some(_) => return Err(ApiError::bad_request("ascending must be yes or no")),
    };
    let walk = |ascending, from, to: Option<DateTime<Utc>>| Walk {
        from,
        to,
        ascending,
        is_open: ascending && to.is_none_or(|to| to > now),
        limit: DEFAULT_LIMIT,
        filters: Vec::new(),
    };
    match (begin, end, ascending) {
        (Some(begin), Some(end), said) => {
            let ascends = begin < end || (begin == end && said != Some(false));
            if said.is_some_and(|said| said != ascends) {
                let message = "ascending does not agree with the order of begin and end";
                return Err(ApiError::bad_request(message));
            }
            Ok(walk(ascends, Some(begin.min(end)), Some(begin.max(end))))
        }
        (Some(_), None, None) => {
            Err(ApiError::bad_request("ascending must be given when there is begin and no end"))
        }
        (Some(begin), None, Some(true)) => Ok(walk(true, Some(begin), None)),
        (Some(begin), None, Some(false)) => Ok(walk(false, None, Some(begin))),
        // It begins with the oldest, or with the newest.
        (None, Some(end), Some(true)) => Ok(walk(true, None, Some(end))),
        (None, Some(end), _) => Ok(walk(false, Some(end), None)),
        (None, None, ascending) => Ok(walk(ascending == Some(true), None, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(query: &[(&str, &str)]) -> Result<Walk, ApiError> {
        let fields = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let now = DateTime::from_timestamp(1_000, 0).expect("a moment");
        read(&Form::of(fields), now)
    }

    #[test]
    fn the_range_is_read_as_documented() {
        // What is given; from, to, ascending, open.
        for (query, from, to, ascending, is_open) in [
            (&[][..], None, None, false, false),
            (&[("ascending", "no")], None, None, false, false),
            (&[("ascending", "yes")], None, None, true, true),
            (&[("begin", "10"), ("end", "20")], Some(10), Some(20), true, false),
            (&[("begin", "20"), ("end", "10")], Some(10), Some(20), false, false),
            (&[("begin", "10"), ("end", "2000")], Some(10), Some(2000), true, true),
            (&[("begin", "10"), ("ascending", "yes")], Some(10), None, true, true),
            (&[("begin", "10"), ("ascending", "no")], None, Some(10), false, false),
            (&[("end", "10")], Some(10), None, false, false),
            (&[("end", "10"), ("ascending", "yes")], None, Some(10), true, false),
            (
                &[("begin", "10"), ("end", "10"), ("ascending", "no")],
                Some(10),
                Some(10),
                false,
                false,
            ),
        ] {
            let walk = walk(query).expect("a range");
            let seconds = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp());
            assert_eq!(
                (seconds(walk.from), seconds(walk.to), walk.ascending, walk.is_open),
                (from, to, ascending, is_open),
                "{query:?}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_refused() {
        for query in [
            &[("begin", "10")][..],
            &[("begin", "soon"), ("ascending", "yes")],
            &[("begin", "10"), ("end", "20"), ("ascending", "no")],
            &[("begin", "20"), ("end", "10"), ("ascending", "yes")],
            &[("ascending", "perhaps")],
            &[("limit", "0")],
            &[("limit", "many")],
            &[("event", "(failed")],
            &[("size", "big")],
            &[("subject", &"x".repeat(2_001))],
        ] {
            assert!(walk(query).is_err(), "{query:?}");
        }
        assert_eq!(walk(&[("limit", "1000")]).expect("clamped").limit, 300);
    }
}
