//! How numbers, moments and outcomes are written for people.

use std::borrow::Borrow;

use chrono::{DateTime, Utc};
use model::End;

/// A count, such as `12,345`.
pub(crate) fn count(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count that may be a bound.
pub(crate) fn at_least(number: impl Borrow<u64>, is_whole: &bool) -> String {
    let more = if *is_whole { "" } else { "+" };
    format!("{}{more}", count(number))
}

/// A part of one, such as `99.87 %`.
pub(crate) fn percent(rate: &Option<f64>) -> String {
    rate.map_or_else(
        || "–".to_owned(),
        |rate| {
            let text = format!("{:.2}", rate * 100.0);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            format!("{text} %")
        },
    )
}

/// A time, such as `85 ms` or `1.5 s`.
pub(crate) fn duration(ms: &u32) -> String {
    if *ms < 1_000 {
        return format!("{ms} ms");
    }
    let text = format!("{:.1}", f64::from(*ms) / 1_000.0);
    format!("{} s", text.strip_suffix(".0").unwrap_or(&text))
}

/// The same of what may not be known.
pub(crate) fn latency(ms: &Option<u32>) -> String {
    ms.as_ref().map_or_else(|| "–".to_owned(), duration)
}

/// A moment; nothing where there is none.
pub(crate) fn when(at: &Option<DateTime<Utc>>) -> String {
    at.as_ref().map(pages::moment).unwrap_or_default()
}

/// The class of a tag: what this end, type or reason is like.
pub(crate) fn mood(what: &str) -> &'static str {
    match End::parse(what) {
        Some(End::Delivered) => return "good",
        Some(End::Held | End::Suppressed) => return "wait",
        Some(End::Rejected | End::Exhausted | End::Expired | End::Poisoned) => return "bad",
        None => {}
    }
    match what {
        "ok" | "chosen" | "opened" | "clicked" | "done" => "good",
        "paused" | "waiting" | "due" | "disabled" | "running" => "wait",
        "failed" | "complained" | "temporary_fail" | "permanent_fail" => "bad",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_at_a_glance() {
        let counts = [0, 999, 1_000, 12_345, 1_234_567].map(|number: u64| count(number));
        assert_eq!(counts, ["0", "999", "1,000", "12,345", "1,234,567"]);
        assert_eq!(at_least(10_000, &false), "10,000+");
        let rates =
            [None, Some(1.0), Some(0.9987), Some(0.5), Some(0.0)].map(|rate| percent(&rate));
        assert_eq!(rates, ["–", "100 %", "99.87 %", "50 %", "0 %"]);
        let durations = [0, 999, 1_000, 1_540, 60_000].map(|ms| duration(&ms));
        assert_eq!(durations, ["0 ms", "999 ms", "1 s", "1.5 s", "60 s"]);
    }
}
