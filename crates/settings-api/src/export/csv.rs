//! Lines for spreadsheets (RFC 4180).

use serde_json::Value;

use crate::failures::Failure;

/// What a line about an event has.
pub(super) const EVENT_COLUMNS: &[&str] = &[
    "timestamp",
    "event",
    "severity",
    "reason",
    "id",
    "recipient",
    "message-id",
    "from",
    "to",
    "subject",
    "tags",
    "code",
    "message",
    "url",
    "ip",
];

/// What a line about a failed try has.
pub(super) const FAILURE_COLUMNS: &[&str] = &[
    "timestamp",
    "delivery_id",
    "event_id",
    "event_type",
    "url",
    "attempt",
    "charged",
    "reason",
    "detail",
    "status",
    "response",
    "duration_ms",
    "next_attempt_at",
];

/// A line about an event, from its item.
pub(super) fn event(out: &mut Vec<u8>, json: &[u8]) {
    let Ok(item) = serde_json::from_slice::<Value>(json) else { return };
    let cells = [
        "/timestamp",
        "/event",
        "/severity",
        "/reason",
        "/id",
        "/recipient",
        "/message/headers/message-id",
        "/message/headers/from",
        "/message/headers/to",
        "/message/headers/subject",
        "/tags",
        "/delivery-status/code",
        "/delivery-status/message",
        "/url",
        "/ip",
    ];
    line(out, cells.into_iter().map(|pointer| text(item.pointer(pointer))));
}

/// A line about a failed try.
pub(super) fn failure(out: &mut Vec<u8>, failure: &Failure<'_>) {
    let Ok(entry) = serde_json::to_value(failure) else { return };
    line(out, FAILURE_COLUMNS.iter().map(|name| text(entry.get(name))));
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => {
            values.iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    }
}

/// One line. A text that a spreadsheet would take for a formula has an
/// apostrophe in front: texts come from strangers.
pub(super) fn line(out: &mut Vec<u8>, cells: impl Iterator<Item = String>) {
    for (n, cell) in cells.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        let is_formula =
            cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
        let cell = if is_formula { format!("'{cell}") } else { cell };
        if cell.contains([',', '"', '\n', '\r']) {
            out.extend_from_slice(format!("\"{}\"", cell.replace('"', "\"\"")).as_bytes());
        } else {
            out.extend_from_slice(cell.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #[test]
    fn cells_are_quoted_where_they_have_to_be_and_never_formulas() {
        let mut out = Vec::new();
        let cells = ["a", "b,c", "say \"x\"", "=1+1", "-5", "two\nlines", "@x", ""];
        super::line(&mut out, cells.into_iter().map(str::to_owned));
        let line = "a,\"b,c\",\"say \"\"x\"\"\",'=1+1,-5,\"two\nlines\",'@x,\r\n";
        assert_eq!(String::from_utf8(out).expect("text"), line);
    }
}
