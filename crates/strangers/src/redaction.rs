//! Texts of strangers in events from which a recipient is to be taken: what a mail server
//! replied, and headers, also the one that names others.

use model::{Redaction, send_event_data, validate};
use protocol::Timestamp;
use protocol::v1::event::Kind;
use protocol::v1::{
    AcceptedEvent, DeliveryStatus, Event, MessageHeaders, MessageInfo, PermanentFail,
};
use serde_json::Value;

use crate::bounds::within;

/// Memory, in bytes for each of the text's: it is looked at as it is, in lower case, and with
/// each of what it may be encoded in taken away.
const MULTIPLE: usize = 400;
/// The longest text that an event may have, in bytes.
const LONGEST_BYTES: usize = 16_384;
const RECIPIENT: &str = "ada+shop@customer.example";

/// A line with a recipient, if ingest takes it for one, then a text. Nothing that is made of it has the
/// recipient in angle brackets, whatever stands around it, and JSON is made of all of it.
pub(crate) fn check(input: &[u8]) {
    let whole = String::from_utf8_lossy(input);
    let (line, text) = whole.split_once('\n').unwrap_or((RECIPIENT, &whole));
    let is_recipient =
        accepted(line, "").event.is_some_and(|event| validate::event(&event).is_ok());
    let recipient = if is_recipient { line } else { RECIPIENT };
    let text = &text[..text.floor_char_boundary(LONGEST_BYTES)];
    let accepted = accepted(recipient, text);
    let body = within(text.len(), MULTIPLE, || send_event_data(&accepted, Redaction::Pii));
    let body = body.unwrap_or_else(|error| panic!("{error}: {accepted:?}"));
    let read: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read["recipient"], "[REDACTED]");

    let named = self::accepted(recipient, &format!("{text}<{recipient}>"));
    let body = send_event_data(&named, Redaction::Pii);
    let body = body.unwrap_or_else(|error| panic!("{error}: {named:?}"));
    let read: Value = serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}"));
    for place in ["/delivery-status/message", "/message/headers/subject"] {
        let shown = read.pointer(place).and_then(Value::as_str).unwrap_or_default();
        let recipient = format!("<{}>", recipient.to_ascii_lowercase());
        assert!(!shown.to_ascii_lowercase().contains(&recipient), "{place}: {shown}");
    }
}

fn accepted(recipient: &str, text: &str) -> AcceptedEvent {
    let subject = text.to_owned();
    let headers = MessageHeaders { to: subject.clone(), subject, ..MessageHeaders::default() };
    let message = MessageInfo { headers: Some(headers), ..MessageInfo::default() };
    let status = DeliveryStatus { message: text.to_owned(), ..DeliveryStatus::default() };
    let event = Event {
        id: "1".to_owned(),
        domain: "mail.demo.example".to_owned(),
        timestamp: Some(Timestamp { seconds: 1_760_000_000, nanos: 0 }),
        kind: Some(Kind::PermanentFail(PermanentFail {
            recipient: recipient.to_owned(),
            reason: "bounce".to_owned(),
            message: Some(message),
            delivery_status: Some(status),
            ..PermanentFail::default()
        })),
        ..Event::default()
    };
    AcceptedEvent { event: Some(event), ..AcceptedEvent::default() }
}
