//! Events, as internal callers hand them over.

use model::event_filter::SearchTexts;
use model::{
    EventType, Family, MailFrame, MailReason, Redaction, SendSignature, alert_body, alert_mail,
    legacy_body, send_body, send_event_data, validate,
};
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::{AcceptedEvent, Event, PublishRequest};
use serde_json::Value;

use crate::bounds::{within, within_room};

/// Events of one request, as at the door.
const MOST_EVENTS: usize = 1_000;

/// Memory of JSON, in bytes for each of its own, and for the events that it may have at most:
/// while their list grows, it is there twice.
const JSON_MULTIPLE: usize = 100;
const EVENTS_BYTES: usize = 3 * MOST_EVENTS * size_of::<Event>();

/// The same of protobuf, where the number is known when all are read: an empty event is two bytes,
/// and the list is there twice while it grows.
const PROTOBUF_MULTIPLE: usize = 2 * size_of::<Event>();

/// One event, an array, or lines. What is read and written again is the same; what passes the
/// checks of ingest has a payload.
pub(crate) fn json(input: &[u8]) {
    let parsed = within_room(input.len(), JSON_MULTIPLE, EVENTS_BYTES, || {
        ingest::json::parse_at_most(input, MOST_EVENTS)
    });
    let Ok(events) = parsed else { return };
    let events = events.into_vec();
    assert!(events.len() <= MOST_EVENTS);
    // All are alike to what comes now.
    for event in events.into_iter().take(8) {
        let text = serde_json::to_vec(&event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        let again = ingest::json::parse(&text).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        // JSON has no NaN, which is read from a text and refused by the checks.
        if text.windows(5).any(|five| five == b":null") {
            assert!(validate::event(&event).is_err(), "{event:?}");
            continue;
        }
        let again: Vec<Vec<u8>> = again.into_vec().iter().map(Event::encode_to_vec).collect();
        assert_eq!(again, [event.encode_to_vec()], "{event:?}");
        whole(event);
    }
}

/// A request. What is read and written again is the same; what passes the checks of ingest has a
/// payload, and is the same in JSON.
pub(crate) fn protobuf(input: &[u8]) {
    let decoded = within(input.len(), PROTOBUF_MULTIPLE, || PublishRequest::decode(input));
    let Ok(request) = decoded else { return };
    let bytes = request.encode_to_vec();
    let again = PublishRequest::decode(bytes.as_slice()).map(|again| again.encode_to_vec());
    assert_eq!(again.as_ref(), Ok(&bytes));
    for event in request.events.into_iter().take(8) {
        if validate::event(&event).is_ok() {
            let text = serde_json::to_vec(&event).unwrap_or_else(|error| panic!("{error}"));
            let again = ingest::json::parse(&text).map(|events| events.into_vec());
            let again = again.unwrap_or_else(|error| panic!("{error}: {event:?}"));
            assert_eq!(again, std::slice::from_ref(&event));
        }
        whole(event);
    }
}

/// An event that passes the checks can be turned into everything that is made of it later.
fn whole(mut event: Event) {
    let bytes = event.encoded_len();
    let event_type = match within(bytes, 1, || validate::event(&event)) {
        Ok(event_type) => event_type,
        Err(invalid) => {
            assert!(invalid.to_string().len() < 1_000, "{invalid}");
            return;
        }
    };
    event.timestamp.get_or_insert(Timestamp { seconds: 1_760_000_000, nanos: 0 });
    let kind = event.kind.clone();
    let accepted = AcceptedEvent {
        account_id: "65aa0d3c9f21b70011ee4402".to_owned(),
        event: Some(event),
        ..AcceptedEvent::default()
    };
    match event_type.family() {
        Family::Message => message(&accepted, event_type),
        Family::Alert => alert(&accepted),
    }
    let texts = kind.as_ref().map(SearchTexts::of).unwrap_or_default();
    for text in [&texts.recipient, &texts.recipients, &texts.subject, &texts.message_id] {
        assert!(!text.contains('\0'), "the database has no place for {text:?}");
    }
}

fn message(accepted: &AcceptedEvent, event_type: EventType) {
    let signature = SendSignature {
        timestamp: 1_760_000_000,
        token: "token",
        signature: "signature",
        parent_signature: None,
        previous_signature: None,
        previous_parent_signature: None,
    };
    let bytes = accepted.encoded_len();
    let made = |redaction| {
        // Text in which every character is escaped is six times as long.
        within(bytes, 64, || send_event_data(accepted, redaction))
            .unwrap_or_else(|error| panic!("{error}: {accepted:?}"))
    };
    let read = |body: &[u8]| -> Value {
        serde_json::from_slice(body).unwrap_or_else(|error| panic!("{error}: {accepted:?}"))
    };
    let (open, redacted) = (made(Redaction::None), made(Redaction::Pii));
    let body = read(&send_body(&open, &signature));
    assert_eq!(body["event-data"], read(&open));
    assert_eq!(read(&redacted)["recipient"], "[REDACTED]");
    for kept in ["/id", "/timestamp", "/event", "/message/headers/message-id", "/user-variables"] {
        assert_eq!(read(&open).pointer(kept), read(&redacted).pointer(kept), "{kept}");
    }
    for data in [open, redacted] {
        let form = legacy_body(event_type, &data, &signature);
        let form = form.unwrap_or_else(|error| panic!("{error}: {accepted:?}"));
        let Some(form) = form else { continue };
        let signed = form_urlencoded::parse(&form).filter(|(name, _)| name == "signature");
        assert_eq!(signed.map(|(_, value)| value).collect::<Vec<_>>(), ["signature"]);
    }
}

fn alert(accepted: &AcceptedEvent) {
    let body = alert_body(accepted, 1_760_000_000, "token");
    let body = body.unwrap_or_else(|error| panic!("{error}: {accepted:?}"));
    assert!(serde_json::from_slice::<Value>(&body).is_ok(), "{accepted:?}");
    let frame = MailFrame { reason: MailReason::Test, console_url: None };
    let mail = alert_mail(accepted, &frame);
    let mail = mail.unwrap_or_else(|error| panic!("{error}: {accepted:?}"));
    assert!(!mail.subject.contains(char::is_control), "{:?}", mail.subject);
    assert!(!mail.html.contains("<script"), "{}", mail.html);
}
