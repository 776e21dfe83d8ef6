//! Answers, so that two of them can be compared.

use serde_json::Value;
use testkit::http::Response;

use super::callers::Caller;

/// Headers that say when, who asks, or how long a body is that has other names in it.
const LEFT_OUT: [&str; 5] =
    ["date", "content-length", "retry-after", "x-mailgun-key-id", "x-ratelimit-remaining"];
/// A shorter value stands in many places by chance.
const SHORTEST_SENT: usize = 4;

/// An answer as a caller sees it.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    headers: Vec<String>,
    body: String,
}

impl Seen {
    pub(super) fn of(answer: &Response) -> Self {
        let mut headers: Vec<String> = answer
            .headers
            .iter()
            .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        headers.sort();
        Self { status: answer.status, headers, body: answer.text() }
    }

    /// All of it, but for what was sent.
    pub(super) fn without(&self, sent: &[Value]) -> String {
        let whole = format!("{}\n{}", self.headers.join("\n"), self.body);
        sent.iter().fold(whole, |text, sent| masked(&text, sent))
    }

    /// The part that depends neither on the caller, nor on what was sent, nor on the moment.
    pub(super) fn comparable(&self, caller: &Caller, sent: &[Value]) -> (u16, String) {
        // Jobs end when they do, one with nothing to send before it can be paused.
        let mut text = self.without(sent).replace("\"running\"", "\"done\"");
        text = text.replace("\"state\":\"paused\"", "\"state\":\"done\"");
        for own in caller.ids.all() {
            text = text.replace(own, "<own>");
        }
        for own in [&caller.account_id, &caller.name] {
            text = text.replace(own.as_str(), "<own>");
        }
        (self.status, without_ids(&text))
    }
}

/// A text without a value that was sent, however it is written there.
fn masked(text: &str, sent: &Value) -> String {
    match sent {
        Value::String(sent) => {
            let encoded: String = url::form_urlencoded::byte_serialize(sent.as_bytes()).collect();
            [sent.clone(), encoded]
                .iter()
                .filter(|sent| sent.len() >= SHORTEST_SENT)
                .fold(text.to_owned(), |text, sent| text.replace(sent, "<sent>"))
        }
        Value::Array(values) => {
            values.iter().fold(text.to_owned(), |text, value| masked(&text, value))
        }
        Value::Object(values) => {
            values.values().fold(text.to_owned(), |text, value| masked(&text, value))
        }
        _ => text.to_owned(),
    }
}

/// A text without what is made anew by each call: ids, keys, moments and durations.
fn without_ids(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-:.".contains(c);
    let mut out = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (before, from) = rest.split_at(begin);
        let end = from.find(|c: char| !is_part(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        out.push_str(before);
        let is_duration = out.ends_with("duration_ms\":");
        out.push_str(if is_id(word) || is_duration { "<id>" } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_id(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let is_hex = || word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    (word.len() >= 16 && is_hex())
        || (word.len() >= 8 && digits >= 3)
        || (word.len() >= 24 && digits >= 1)
}

#[test]
fn ids_moments_and_durations_are_left_out_and_names_and_counts_are_not() {
    for (text, left) in [
        (r#"{"id":"66f0c1de9a7b4e0012ab34cd","count":12}"#, r#"{"id":"<id>","count":12}"#),
        (r#"{"at":"2025-10-09T08:53:20Z"}"#, r#"{"at":"<id>"}"#),
        (r#"{"duration_ms":7,"status":200}"#, r#"{"duration_ms":<id>,"status":200}"#),
        ("Domain not found: mail.nobody.example", "Domain not found: mail.nobody.example"),
    ] {
        assert_eq!(without_ids(text), left);
    }
}
