//! Events, as internal callers hand them over.

use ingest::json::{self, Events};
use model::event_filter::SearchTexts;
use model::{
    EventType, Family, MailFrame, MailReason, Redaction, SendSignature, alert_body, alert_mail,
    legacy_body, send_body, send_event_data, validate,
};
use prost::Message as _;
use protocol::Timestamp;
use protocol::door::{MOST_EVENTS, PublishRequest};
use protocol::v1::{AcceptedEvent, Event};
use serde_json::Value;

use crate::bounds::within;

/// Memory of JSON, in bytes for each of its own.
const JSON_MULTIPLE: usize = 100;

/// The same of protobuf, when it is found where events stand, and when one is decoded: the
/// smallest of what there may be many of is two bytes.
const REQUEST_MULTIPLE: usize = 32;
const EVENT_MULTIPLE: usize = 200;

/// One event, an array, or lines. What is read and written again is the same; what passes the
/// checks of ingest has a payload.
pub(crate) fn json(input: &[u8]) {
    let lines = within(input.len(), JSON_MULTIPLE, || json::find_lines(input, MOST_EVENTS));
    let found = match within(input.len(), JSON_MULTIPLE, || json::find(input, MOST_EVENTS)) {
        Ok(Events::One(written)) => vec![written],
        Ok(Events::Several(written)) => written,
        // A line that is no JSON hides no other one.
        Err(_) => lines.unwrap_or_default(),
    };
    assert!(found.len() <= MOST_EVENTS);
    // All are alike to what comes now.
    for written in found.iter().take(8) {
        let event = match within(written.len(), JSON_MULTIPLE, || written.read()) {
            Ok(event) => event,
            Err(misread) => {
                assert!(misread.message.starts_with("event "), "{misread}");
                continue;
            }
        };
        let text = serde_json::to_vec(&event).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        let again = json::parse(&text).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        // JSON has no NaN, which is read from a text and refused by the checks.
        if text.windows(5).any(|five| five == b":null") {
            assert!(validate::event(&event).is_err(), "{event:?}");
            continue;
        }
        let again: Vec<Vec<u8>> = again.iter().map(Event::encode_to_vec).collect();
        assert_eq!(again, [event.encode_to_vec()], "{event:?}");
        whole(event);
    }
}

/// A request. What is read and written again is the same; what passes the checks of ingest has a
/// payload, and is the same in JSON.
pub(crate) fn protobuf(input: &[u8]) {
    let decoded = within(input.len(), REQUEST_MULTIPLE, || PublishRequest::decode(input));
    let Ok(request) = decoded else { return };
    assert!(request.events.len() <= MOST_EVENTS && request.events.len() <= request.count);
    for bytes in request.events.into_iter().take(8) {
        let event = within(bytes.len(), EVENT_MULTIPLE, || Event::decode(bytes.clone()));
        let Ok(event) = event else { continue };
        let again = Event::decode(event.encode_to_vec().as_slice());
        assert_eq!(again.map(|again| again.encode_to_vec()), Ok(event.encode_to_vec()));
        if validate::event(&event).is_ok() {
            let text = serde_json::to_vec(&event).unwrap_or_else(|error| panic!("{error}"));
            let again = json::parse(&text);
            let again = again.unwrap_or_else(|error| panic!("{error}: {event:?}"));
            assert_eq!(again, std::slice::from_ref(&event));
        }
        whole(event);
    }
}

/// An event that passes the checks can be turned into everything that is made of it later.
fn whole(mut event: Event) {
    let bytes = event.encoded_len();
    validate::normalise(&mut event);
    let normal = event.clone();
    validate::normalise(&mut event);
    assert_eq!(event, normal, "once is enough");
    let event_type = match within(bytes, 1, || validate::event(&event)) {
        Ok(event_type) => event_type,
        Err(found) => {
            assert!(!found.is_empty() && found.len() <= 20, "{found:?}");
            assert!(found.iter().all(|invalid| invalid.to_string().len() < 1_000), "{found:?}");
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
        assert_eq!(signed.last().map(|(_, value)| value).as_deref(), Some("signature"));
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
