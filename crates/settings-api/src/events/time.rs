//! Moments as customers write them (reference §8.1).

use chrono::{DateTime, TimeDelta, Utc};

/// An RFC 2822 or RFC 3339 date, or seconds since the epoch with or without a
/// fraction. `None` for what is neither, or no year of four digits.
///
/// The day of the week says nothing: five dates in the manuals of Mailgun's clients have a wrong one.
pub(crate) fn moment(text: &str) -> Option<DateTime<Utc>> {
    const YEAR_10000: f64 = 253_402_300_800.0;

    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        if !(0.0..YEAR_10000).contains(&seconds) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "in range, and microseconds are enough"
        )]
        let micros = (seconds * 1e6).round() as i64;
        return DateTime::from_timestamp_micros(micros);
    }
    let date = |text: &str| {
        let dated = without_weekday(text);
        DateTime::parse_from_rfc2822(dated)
            .or_else(|_| DateTime::parse_from_rfc3339(text))
            .or_else(|_| DateTime::parse_from_str(dated, "%d %b %Y %H:%M:%S%.f %z"))
            .ok()
    };
    // As Go's `time.RFC1123` names the zone.
    let numbered = text.strip_suffix("UTC").map(|rest| rest.to_owned() + "+0000");
    let text = numbered.as_deref().unwrap_or(text);
    // A plus that nobody has encoded arrives as a space.
    let plus = || {
        let (rest, zone) = text.rsplit_once(' ')?;
        date(&format!("{}+{zone}", rest.trim_end().to_owned() + " "))
            .or_else(|| date(&format!("{}+{zone}", rest.trim_end())))
    };
    let moment = date(text).or_else(plus)?.to_utc();
    (0.0..YEAR_10000).contains(&(moment.timestamp() as f64)).then_some(moment)
}

fn without_weekday(text: &str) -> &str {
    match text.split_once(',') {
        Some((day, date)) if day.chars().all(char::is_alphabetic) => date.trim_start(),
        _ => text,
    }
}

/// A length of time, as `12h`, `1d`, `2w` or `1m` of thirty days.
pub(crate) fn duration(text: &str) -> Option<TimeDelta> {
    let (number, unit) = text.trim().split_at_checked(text.trim().len().checked_sub(1)?)?;
    let number: i64 = number.parse().ok().filter(|number| (1..=10_000).contains(number))?;
    Some(match unit {
        "h" => TimeDelta::hours(number),
        "d" => TimeDelta::days(number),
        "w" => TimeDelta::weeks(number),
        "m" => TimeDelta::days(30 * number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_to_write_a_moment_are_read() {
        for text in [
            "1760000000",
            "1760000000.0",
            " 1760000000 ",
            "Thu, 09 Oct 2025 08:53:20 GMT",
            "Thu, 9 Oct 2025 08:53:20 -0000",
            "9 Oct 2025 10:53:20 +0200",
            "Mon, 09 Oct 2025 08:53:20 +0000",
            "Thursday, 09 Oct 2025 08:53:20 +0000",
            "Thu, 09 Oct 2025 08:53:20 UTC",
            "Thu, 09 Oct 2025 8:53:20 -0000",
            "Thu, 09 Oct 2025 8:53:20 UTC",
            "Thu, 09 Oct 2025 08:53:20 +00:00",
            "Thu, 09 Oct 2025 03:53:20 EST",
            "9 Oct 2025 10:53:20  0200",
            "2025-10-09T08:53:20Z",
            "2025-10-09T10:53:20 02:00",
        ] {
            assert_eq!(moment(text).map(|at| at.timestamp()), Some(1_760_000_000), "{text}");
        }
        for text in ["1760000000.25", "Thu, 09 Oct 2025 08:53:20.25 +0000"] {
            assert_eq!(
                moment(text).map(|at| at.timestamp_subsec_micros()),
                Some(250_000),
                "{text}"
            );
        }
        for wrong in
            ["", "yesterday", "-1", "nan", "inf", "1e300", "Thu, 09 Oct 12025 08:53:20 GMT"]
        {
            assert_eq!(moment(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(duration("2d"), Some(TimeDelta::hours(48)));
        assert_eq!(duration("1m"), Some(TimeDelta::days(30)));
        for wrong in ["", "d", "0d", "-1d", "1", "1y", "99999999999h", "1é"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
