use proptest::prelude::*;
use protocol::Timestamp;
use protocol::v1::{AcceptedEvent, Event};
use serde_json::Value;

use super::*;
use crate::Family;
use crate::validate::{self, arbitrary};

mod redaction;
mod samples;
mod seeds;

const TIMESTAMP: u64 = 1_760_000_000;
const TOKEN: &str = "4f1c0a9be27d35866d0b3f7a51c2e8904ad6b17c39f2058e6b";

/// An event in the JSON of ingest, as it is stored once it was accepted.
fn stored(json: &str) -> AcceptedEvent {
    let mut event: Event = serde_json::from_str(json).unwrap();
    assert!(validate::event(&event).is_ok(), "{json}");
    event.timestamp.get_or_insert(Timestamp { seconds: 1_760_000_000, nanos: 104_218_999 });
    AcceptedEvent {
        account_id: "65aa0d3c9f21b70011ee4402".to_owned(),
        event: Some(event),
        ..AcceptedEvent::default()
    }
}

fn event_data(json: &str, redaction: Redaction) -> String {
    String::from_utf8(send_event_data(&stored(json), redaction).unwrap()).unwrap()
}

fn alert(json: &str) -> String {
    String::from_utf8(alert_body(&stored(json), TIMESTAMP, TOKEN).unwrap()).unwrap()
}

#[test]
fn an_alert_has_the_bytes_of_the_published_vector() {
    // Reference §9.4; the crate `signing` holds the X-Sign of this line.
    assert_eq!(
        alert(
            r#"{"id":"0d9c1c1e-5b7a-4a53-9d53-2f7f1b0a6c11","account":"demo","timestamp":"2025-10-09T08:53:20.123456Z",
                "ip_listed":{"ip":"192.0.2.44","blocklist":"Example BL"}}"#
        ),
        r#"{"signature":{"timestamp":1760000000,"token":"4f1c0a9be27d35866d0b3f7a51c2e8904ad6b17c39f2058e6b"},"event_data":{"id":"0d9c1c1e-5b7a-4a53-9d53-2f7f1b0a6c11","timestamp":"2025-10-09T08:53:20.123456Z","log_level":"warn","event":"ip_listed","ip":"192.0.2.44","blocklist":"Example BL","message":"IP 192.0.2.44 was blocklisted by Example BL"}}"#
    );
}

#[test]
fn every_alert_is_as_documented() {
    for (kind, least, whole) in samples::ALERTS {
        let bodies = [alert(least), alert(whole)].join("\n");
        insta::assert_snapshot!(kind, bodies);
    }
}

#[test]
fn every_message_event_is_as_documented() {
    for (kind, least, whole) in samples::MESSAGE_EVENTS {
        let bodies = [
            event_data(least, Redaction::None),
            event_data(whole, Redaction::None),
            event_data(whole, Redaction::Pii),
        ]
        .join("\n");
        insta::assert_snapshot!(kind, bodies);
    }
}

#[test]
fn what_is_documented_of_reading_and_complaints_can_be_handed_over() {
    let data = |json: &str| -> Value {
        serde_json::from_str(&event_data(json, Redaction::None)).expect("JSON")
    };
    for (kind, url) in [("opened", ""), ("clicked", r#""url":"https://shop.example/","#)] {
        let read = data(&format!(
            r#"{{"id":"1","domain":"mail.demo.example","{kind}":{{{url}
                "recipient":"ada@customer.example","delivered_at":1760000000.25}}}}"#
        ));
        assert_eq!(read["delivered-at"], 1_760_000_000.25, "{kind}");
    }
    let complained = data(
        r#"{"id":"1","domain":"mail.demo.example","complained":{"recipient":"ada@customer.example",
            "recipient_provider":"Example Mail"}}"#,
    );
    assert_eq!(complained["recipient-domain"], "customer.example");
    assert_eq!(complained["recipient-provider"], "Example Mail");
}

#[test]
fn there_is_a_sample_of_every_kind() {
    let alerts = samples::ALERTS.iter().map(|(kind, ..)| *kind);
    let events = samples::MESSAGE_EVENTS.iter().map(|(kind, ..)| *kind);
    assert!(alerts.eq(EventType::ALERTS.map(EventType::as_str)));
    assert!(events.eq(EventType::WEBHOOKS.map(EventType::as_str)));
}

#[test]
fn a_send_body_is_the_signature_and_the_event_as_it_was_made() {
    let event_data = br#"{"event":"opened","order":"b then a"}"#;
    let signature = SendSignature {
        timestamp: TIMESTAMP,
        token: TOKEN,
        signature: "59977de5",
        parent_signature: None,
        previous_signature: None,
        previous_parent_signature: None,
    };
    let body = send_body(event_data, &signature);
    assert_eq!(
        String::from_utf8(body).unwrap(),
        r#"{"signature":{"timestamp":"1760000000","token":"4f1c0a9be27d35866d0b3f7a51c2e8904ad6b17c39f2058e6b","signature":"59977de5"},"event-data":{"event":"opened","order":"b then a"}}"#
    );

    let of_subaccount =
        SendSignature { timestamp: u64::MAX, parent_signature: Some("11ed919c"), ..signature };
    let body = send_body(event_data, &of_subaccount);
    assert_eq!(body.len(), body.capacity(), "one allocation of the right size");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["signature"]["parent-signature"], "11ed919c");
    assert_eq!(body["signature"]["timestamp"], u64::MAX.to_string());

    let while_keys_change = SendSignature {
        parent_signature: Some("11ed919c"),
        previous_signature: Some("aaaa"),
        previous_parent_signature: Some("bbbb"),
        ..signature
    };
    let body = String::from_utf8(send_body(event_data, &while_keys_change)).unwrap();
    let added = r#""signature":"59977de5","parent-signature":"11ed919c","previous-signature":"aaaa","previous-parent-signature":"bbbb"},"#;
    assert!(body.contains(added), "{body}");
}

#[test]
fn text_stands_in_an_alert_as_parsers_print_it_again() {
    let body = alert(
        r#"{"id":"1","account":"demo","ip_listed":{"ip":"192.0.2.44","blocklist":"</a>&/é𝄞\u2028\"\\","message":"a\tb\r\nc"}}"#,
    );
    let tail = "\"blocklist\":\"</a>&/é𝄞\u{2028}\\\"\\\\\",\"message\":\"a\\tb\\r\\nc\"}}";
    assert!(body.ends_with(tail), "{body}");
}

#[test]
fn the_other_family_and_broken_events_are_errors() {
    let opened = stored(samples::MESSAGE_EVENTS[2].1);
    let listed = stored(samples::ALERTS[0].1);
    assert!(matches!(
        alert_body(&opened, TIMESTAMP, TOKEN),
        Err(PayloadError::OtherFamily(EventType::Opened))
    ));
    assert!(matches!(
        send_event_data(&listed, Redaction::None),
        Err(PayloadError::OtherFamily(EventType::IpListed))
    ));
    let mut timeless = listed;
    timeless.event.as_mut().unwrap().timestamp = None;
    assert!(matches!(alert_body(&timeless, TIMESTAMP, TOKEN), Err(PayloadError::Timestamp)));
    assert!(matches!(
        send_event_data(&AcceptedEvent::default(), Redaction::Pii),
        Err(PayloadError::NoKind)
    ));
}

proptest! {
    #[test]
    fn what_is_made_of_any_event_is_json_without_null(event in arbitrary::event()) {
        let family = event.kind.as_ref().map(|kind| EventType::of(kind).family());
        let valid = validate::event(&event).is_ok() && event.timestamp.is_some();
        let accepted = AcceptedEvent { event: Some(event), ..AcceptedEvent::default() };
        let made = match family {
            Some(Family::Alert) => alert_body(&accepted, TIMESTAMP, TOKEN),
            _ => send_event_data(&accepted, Redaction::Pii),
        };
        prop_assert!(made.is_ok() || !valid);
        if let Ok(body) = made {
            let value: Value = serde_json::from_slice(&body).unwrap();
            prop_assert!(!has_null(&value), "{value}");
        }
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}
