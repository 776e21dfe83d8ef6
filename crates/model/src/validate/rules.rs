//! What holds for single values, whatever field they stand in.

use std::net::IpAddr;

use protocol::Timestamp;

use super::path::Path;

/// Names, ids and other short text that our side or the account chose.
const NAME_BYTES: usize = 256;
/// RFC 5321 allows 64 octets before the `@` and 255 after it.
const ADDRESS_BYTES: usize = 320;
/// What common browsers and servers still handle.
const URL_BYTES: usize = 8_192;
/// Headers, SMTP answers and user variables.
pub(super) const TEXT_BYTES: usize = 16_384;
/// RFC 1035: a name without its final dot.
const DOMAIN_BYTES: usize = 253;
const YEAR_2000: i64 = 946_684_800;
const YEAR_10000: i64 = 253_402_300_800;

/// Refuses an empty value. `what` says what belongs there.
pub(super) fn required(path: Path<'_>, value: &str, what: &str) {
    if value.is_empty() {
        path.fail(format!("is required: {what}"));
    }
}

/// Short text of one line; may be empty.
pub(super) fn name(path: Path<'_>, value: &str) {
    at_most(path, value, NAME_BYTES);
    printable(path, value)
}

/// Free text; may be empty.
pub(super) fn text(path: Path<'_>, value: &str) {
    at_most(path, value, TEXT_BYTES)
}

/// Free text that we write into messages and mail of our own: tabs and line
/// ends are the only control characters.
pub(super) fn own_text(path: Path<'_>, value: &str) {
    text(path, value);
    if value.chars().any(|c| c.is_control() && !matches!(c, '\t' | '\r' | '\n')) {
        path.fail("control characters other than tab and line ends have no place here");
    }
}

/// A link; may be empty. Its scheme is not looked at.
pub(super) fn link(path: Path<'_>, value: &str) {
    at_most(path, value, URL_BYTES);
    printable(path, value)
}

/// A link that a recipient followed.
pub(super) fn web_link(path: Path<'_>, value: &str) {
    link(path, value);
    let host = ["http://", "https://"].into_iter().find_map(|scheme| {
        let (head, rest) = value.split_at_checked(scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    if host.is_none_or(|host| host.is_empty() || host.starts_with(['/', '?', '#'])) {
        path.fail("is not a web link; http:// or https:// and a host are needed");
    }
}

/// An address of the form local@domain.
pub(super) fn address(path: Path<'_>, value: &str) {
    required(path, value, "one mail address, such as ada@customer.example");
    at_most(path, value, ADDRESS_BYTES);
    printable(path, value);
    let bare = value
        .rsplit_once('@')
        .is_some_and(|(local, domain)| is_atom(domain) && (is_atom(local) || is_quoted(local)));
    if !bare {
        path.fail("is not one bare mail address; the form is local@domain, without a name");
    }
}

/// An IPv4 or IPv6 address; may be empty.
pub(super) fn ip(path: Path<'_>, value: &str) {
    // Mailgun's own sample has a part with zeros in front.
    let is_part = |part: &str| part.len() <= 3 && part.parse::<u8>().is_ok();
    let is_padded = || value.split('.').count() == 4 && value.split('.').all(is_part);
    if !value.is_empty() && value.parse::<IpAddr>().is_err() && !is_padded() {
        path.fail("is not an IP address; right are forms such as 192.0.2.44 or 2001:db8::7");
    }
}

/// A domain name of at least two labels, in ASCII.
pub(super) fn domain_name(path: Path<'_>, value: &str) {
    required(path, value, "a domain name, such as shop.example");
    let plausible = value.len() <= DOMAIN_BYTES
        && value.split('.').count() >= 2
        && value.split('.').all(is_label)
        && value.parse::<IpAddr>().is_err();
    if !plausible {
        path.fail(
            "is not a domain name; right is a name of at least two labels such as shop.example, \
             without a final dot, and in its ASCII form (xn--…) if it is international",
        );
    }
}

/// One of a few words; may be empty.
pub(super) fn one_of(path: Path<'_>, value: &str, words: &[&str]) {
    if !value.is_empty() && !words.contains(&value) {
        path.fail(format!("is none of {}", words.join(", ")));
    }
}

/// A count or a size, which whoever reads it as JavaScript does has exactly.
pub(super) fn number(path: Path<'_>, value: i64) {
    between(path, value, 0, (1 << 53) - 1);
}

/// A number between two others, both included.
pub(super) fn between(path: Path<'_>, value: i64, least: i64, most: i64) {
    if !(least..=most).contains(&value) {
        path.fail(format!("is {value}; a number from {least} to {most} is needed"));
    }
}

/// A duration, in seconds. JSON knows neither NaN nor infinity.
pub(super) fn seconds(path: Path<'_>, value: Option<f64>) {
    if value.is_some_and(|value| !value.is_finite() || value < 0.0) {
        path.fail("is not a number of seconds from 0 up");
    }
}

/// A moment, in seconds since the epoch with a fraction.
pub(super) fn epoch_seconds(path: Path<'_>, value: Option<f64>) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "both ends are far below 2^53, where doubles begin to skip numbers"
    )]
    let years = YEAR_2000 as f64..YEAR_10000 as f64;
    if value.is_some_and(|value| !years.contains(&value)) {
        path.fail("is not a moment in seconds since 1970, in the years 2000 to 9999");
    }
}

/// A moment, in whole seconds since the epoch.
pub(super) fn epoch(path: Path<'_>, seconds: i64) {
    if !(YEAR_2000..YEAR_10000).contains(&seconds) {
        path.fail("is not a moment in seconds since 1970, in the years 2000 to 9999");
    }
}

/// A moment with nanoseconds.
pub(super) fn timestamp(path: Path<'_>, value: &Timestamp) {
    epoch(path.field("seconds"), value.seconds);
    between(path.field("nanos"), value.nanos.into(), 0, 999_999_999)
}

/// How many elements a list may have.
pub(super) fn count(path: Path<'_>, len: usize, most: usize) {
    if len > most {
        path.fail(format!("has {len} elements; at most {most} are taken"));
    }
}

fn at_most(path: Path<'_>, value: &str, bytes: usize) {
    if value.len() > bytes {
        let len = value.len();
        path.fail(format!("is {len} bytes long; at most {bytes} are taken"));
    }
}

fn printable(path: Path<'_>, value: &str) {
    if value.chars().any(char::is_control) {
        path.fail("control characters and line ends have no place here");
    }
}

fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Text that can stand in an address without quotes.
fn is_atom(text: &str) -> bool {
    !text.is_empty() && !text.contains(['@', ' ', '"', '<', '>', ',', ';'])
}

fn is_quoted(text: &str) -> bool {
    text.len() > 2 && text.starts_with('"') && text.ends_with('"')
}
