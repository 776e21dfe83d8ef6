//! Journeys without what differs from run to run: moments, durations, ids, ports.

use serde_json::Value;

/// Numbers that no two runs share, by their names.
const NUMBERS: [&str; 3] = ["duration_ms", "settings_revision", "timestamp"];

/// What stands for what.
pub(super) struct Normal {
    /// Where the receiver is.
    receiver: String,
    /// Ids in the order in which they came up.
    ids: Vec<String>,
}

impl Normal {
    pub(super) fn new(receiver: &str) -> Self {
        Self { receiver: receiver.trim_end_matches('/').to_owned(), ids: Vec::new() }
    }

    /// The same without what differs.
    pub(super) fn of(&mut self, value: Value) -> Value {
        match value {
            Value::Object(fields) => {
                let normal = fields.into_iter().map(|(name, value)| {
                    let is_number = value.is_number() && NUMBERS.contains(&name.as_str());
                    let value = if is_number { "[number]".into() } else { self.of(value) };
                    (name, value)
                });
                Value::Object(normal.collect())
            }
            Value::Array(values) => values.into_iter().map(|value| self.of(value)).collect(),
            Value::String(text) if is_id(&text) => self.label(text).into(),
            Value::String(text) => {
                without_moments(&text.replace(&self.receiver, "http://receiver")).into()
            }
            other => other,
        }
    }

    fn label(&mut self, id: String) -> String {
        let known = self.ids.iter().position(|known| *known == id);
        let number = known.unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        });
        format!("[id {}]", number + 1)
    }
}

/// The forms that ids have: 24 or 32 hex characters, or a UUID.
fn is_id(text: &str) -> bool {
    let hex = text.bytes().filter(u8::is_ascii_hexdigit).count();
    let hyphens = text.bytes().filter(|byte| *byte == b'-').count();
    matches!((hex, hyphens, text.len()), (24, 0, 24) | (32, 0, 32) | (32, 4, 36))
}

/// The text without `2026-11-21T08:00:00.000Z` and the like.
fn without_moments(text: &str) -> String {
    const FORM: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    let is_moment = |bytes: &[u8]| {
        bytes.len() >= FORM.len()
            && bytes.iter().zip(FORM).all(|(byte, form)| match form {
                b'd' => byte.is_ascii_digit(),
                form => byte == form,
            })
    };
    let mut normal = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if is_moment(rest.as_bytes()) {
            normal.push_str("[time]");
            let end = rest.find('Z').map_or(rest.len(), |end| end + 1);
            rest = &rest[end..];
        } else {
            normal.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    normal
}

#[test]
fn what_differs_is_replaced() {
    let mut normal = Normal::new("http://127.0.0.1:4242/");
    let id = "0d".repeat(16);
    let value = serde_json::json!({
        "a": id, "b": [id, "http://127.0.0.1:4242/x"], "duration_ms": 7, "status": 7,
        "text": "at 2026-11-21T08:00:00.123Z, or not"
    });
    let wanted = serde_json::json!({
        "a": "[id 1]", "b": ["[id 1]", "http://receiver/x"], "duration_ms": "[number]",
        "status": 7, "text": "at [time], or not"
    });
    assert_eq!(normal.of(value), wanted);
}
