//! The wait that an answer asks for.

use std::time::Duration;

use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

/// RFC 9110, 10.2.3: seconds, or a date. A date is measured against the
/// answer's own `Date`, so that neither our clock nor theirs has to be right.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    let now = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    // A date that has passed means: at once.
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(http::HeaderName, &str)]) -> Option<Duration> {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        retry_after(&pairs.collect())
    }

    #[test]
    fn seconds_and_dates_are_understood() {
        const NOON: &str = "Thu, 09 Oct 2025 12:00:00 GMT";
        const LATER: &str = "Thu, 09 Oct 2025 12:02:00 GMT";
        assert_eq!(of(&[(RETRY_AFTER, " 120")]), Some(Duration::from_secs(120)));
        assert_eq!(of(&[(RETRY_AFTER, LATER), (DATE, NOON)]), Some(Duration::from_secs(120)));
        assert_eq!(of(&[(RETRY_AFTER, NOON), (DATE, LATER)]), Some(Duration::ZERO));
    }

    #[test]
    fn anything_else_asks_for_nothing() {
        assert_eq!(of(&[]), None);
        for text in ["", "-1", "1.5", "soon", "99999999999999"] {
            assert_eq!(of(&[(RETRY_AFTER, text)]), None, "{text}");
        }
        assert_eq!(of(&[(RETRY_AFTER, "Thu, 09 Oct 2025 12:00:00 GMT")]), None);
    }
}
