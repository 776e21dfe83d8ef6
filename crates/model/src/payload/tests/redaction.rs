//! What redaction takes from each event, and that it takes all of it.

use std::collections::BTreeSet;

use serde_json::{Map, json};

use super::*;
use crate::payload::redact::tests::FORMS;

/// As in [`FORMS`].
const RECIPIENT: &str = "Ada.Lovelace+Shop@customer.example";
/// Nothing else in these events has this in it.
const TRACE: &str = "lovelace";
const READER_IP: &str = "198.51.100.90";

/// What stays whatever stands in it: customers and receivers find events by it.
const KEPT: [&str; 6] = [
    "/id",
    "/account",
    "/domain",
    "/message/headers/message-id",
    "/user-variables",
    "/recipient-domain",
];

/// Event, fields of the published table (reference §7.8), and what we add.
const FIELDS: [(&str, &[&str], &[&str]); 8] = [
    (
        "accepted",
        &["/envelope/targets", "/message/headers/to", "/recipient"],
        &["/message/recipients", "/routes/0/expression", "/routes/0/match/recipient"],
    ),
    ("delivered", &["/envelope/targets", "/message/headers/to", "/recipient"], &TRIED),
    ("opened", &["/ip", "/recipient"], &["/client-info/ip"]),
    ("clicked", &["/ip", "/recipient"], &["/client-info/ip", "/url"]),
    ("unsubscribed", &["/ip", "/recipient"], &["/client-info/ip"]),
    (
        "complained",
        &["/message/headers/to", "/recipient"],
        &["/envelope/targets", "/message/recipients"],
    ),
    ("temporary_fail", &["/envelope/targets", "/message/headers/to", "/recipient"], &TRIED),
    ("permanent_fail", &["/envelope/targets", "/message/headers/to", "/recipient"], &TRIED),
];
const TRIED: [&str; 4] = [
    "/delivery-status/description",
    "/delivery-status/last-message",
    "/delivery-status/message",
    "/message/recipients",
];

#[test]
fn each_event_loses_what_the_table_says_and_nothing_else() {
    let samples = samples::MESSAGE_EVENTS.iter().map(|(kind, ..)| *kind);
    assert!(samples.eq(FIELDS.iter().map(|(kind, ..)| *kind)));
    for ((kind, _, whole), (_, documented, added)) in samples::MESSAGE_EVENTS.iter().zip(FIELDS) {
        let open = event_data(whole, Redaction::None);
        let redacted = event_data(whole, Redaction::Pii);
        let (mut expected, actual): (Value, Value) = (parse(&open), parse(&redacted));
        for field in documented {
            put(&mut expected, field, json!("[REDACTED]"));
        }
        for field in added {
            // A list stays a list, and of a text what is not the address stays.
            let text = match expected.pointer(field).expect(field) {
                Value::Array(_) => json!(["[REDACTED]"]),
                Value::String(text) => Value::String(
                    [
                        "ada@customer.example",
                        "ADA@customer.example",
                        "ada%40customer.example",
                        "Ada@customer.example",
                        READER_IP,
                    ]
                    .iter()
                    .fold(text.clone(), |text, address| text.replace(address, "[REDACTED]")),
                ),
                other => panic!("{kind}: {field} is {other}"),
            };
            assert_ne!(expected.pointer(field), Some(&text), "{kind}: {field} has no address");
            put(&mut expected, field, text);
        }
        assert_eq!(actual, expected, "{kind}");
        // The same bytes but for the values: keys keep their order.
        assert_eq!(keys(&open), keys(&redacted), "{kind}");
    }
}

#[test]
fn no_form_of_the_address_is_left_in_any_field_of_any_event() {
    for (kind, _, whole) in samples::MESSAGE_EVENTS {
        for (form, _) in FORMS {
            let event = planted(whole, form);
            let body = event_data(&event.to_string(), Redaction::Pii);
            assert_no_trace(kind, form, &body);
            // The test can fail: the form was there.
            let open = event_data(&event.to_string(), Redaction::None);
            assert!(open.contains(json!(form).to_string().trim_matches('"')), "{kind}: {form}");
        }
        for form in [READER_IP, "?ip=198.51.100.90&x", "198.51.100.90:443"] {
            let has_reader = whole.contains("\"ip\":");
            let body = event_data(&planted(whole, form).to_string(), Redaction::Pii);
            assert!(!has_reader || !without_kept(&body).contains(READER_IP), "{kind}: {body}");
        }
    }
}

#[test]
fn what_customers_find_messages_by_stays_even_with_the_address_in_it() {
    for (kind, _, whole) in samples::MESSAGE_EVENTS {
        let mut event = parse(whole);
        event["id"] = json!(RECIPIENT);
        let of_kind = event[kind].as_object_mut().expect("an event");
        of_kind.insert("recipient".to_owned(), json!(RECIPIENT));
        of_kind["message"]["headers"]["message_id"] = json!(format!("1.{RECIPIENT}"));
        of_kind["labels"]["user_variables"] = json!({RECIPIENT: RECIPIENT, "n": READER_IP});
        let body = parse(&event_data(&event.to_string(), Redaction::Pii));
        assert_eq!(body["id"], RECIPIENT, "{kind}");
        assert_eq!(body["message"]["headers"]["message-id"], format!("1.{RECIPIENT}"), "{kind}");
        assert_eq!(body["user-variables"], json!({RECIPIENT: RECIPIENT, "n": READER_IP}), "{kind}");
    }
}

#[test]
fn an_answer_that_names_the_mailbox_without_its_domain_names_nobody() {
    for kind in ["delivered", "temporary_fail", "permanent_fail"] {
        let (_, _, whole) = samples::MESSAGE_EVENTS.iter().find(|(k, ..)| *k == kind).expect(kind);
        let mut event = parse(whole);
        event[kind]["recipient"] = json!(RECIPIENT);
        let status = &mut event[kind]["delivery_status"];
        status["message"] = json!("550 5.1.1 unknown user: \"ada.lovelace+shop\"");
        status["description"] = json!("no Ada.Lovelace at mx1.customer.example");
        status["last_message"] = json!("<ada.lovelace+shop> is over quota");
        let body = event_data(&event.to_string(), Redaction::Pii);
        assert_no_trace(kind, "the mailbox alone", &body);
        assert!(body.contains(r#"unknown user: \"[REDACTED]\""#), "{body}");
    }
}

proptest! {
    #[test]
    fn no_recipient_survives_redaction(mut event in arbitrary::event_of(&text_with_address())) {
        let Some(recipient) = event.kind.as_mut().and_then(recipient_of) else { return Ok(()) };
        RECIPIENT.clone_into(recipient);
        event.timestamp = Some(Timestamp { seconds: 1_760_000_000, nanos: 0 });
        let accepted = AcceptedEvent { event: Some(event), ..AcceptedEvent::default() };
        let body = |redaction| {
            let body = send_event_data(&accepted, redaction).expect("a payload");
            String::from_utf8(body).expect("JSON")
        };
        let (open, redacted) = (body(Redaction::None), body(Redaction::Pii));
        let left = without_kept(&redacted);
        prop_assert!(!left.contains(TRACE), "{left}");
        for (form, _) in FORMS {
            let form = json!(form).to_string().to_lowercase();
            prop_assert!(!left.contains(form.trim_matches('"')), "{form}: {left}");
        }
        let (open, redacted) = (parse(&open), parse(&redacted));
        for kept in KEPT {
            prop_assert_eq!(open.pointer(kept), redacted.pointer(kept));
        }
    }
}

/// Any text with one of [`FORMS`] in it, as if people and programs had put it there.
fn text_with_address() -> BoxedStrategy<String> {
    let some = || "[a-zA-Z0-9 .:/?&=%+<>@é€𝄞\"\\\\-]{0,12}";
    let before = prop::sample::select(vec![" ", "<", "/", "?u=", "(", "'", "+", "-", ": ", "ä"]);
    let after = prop::sample::select(vec![" ", ">", "&x=1", "\"", ";", ". ", "/", ")", "#", "ä"]);
    let form = prop::sample::select(FORMS.map(|(form, _)| form).to_vec());
    let with = (some(), before, form, after, some())
        .prop_map(|(head, before, form, after, tail)| [&head, before, form, after, &tail].concat());
    prop_oneof![4 => with, 1 => some().prop_map(String::from), 1 => Just(String::new())].boxed()
}

fn recipient_of(kind: &mut Kind) -> Option<&mut String> {
    Some(match kind {
        Kind::Accepted(event) => &mut event.recipient,
        Kind::Delivered(event) => &mut event.recipient,
        Kind::TemporaryFail(event) => &mut event.recipient,
        Kind::PermanentFail(event) => &mut event.recipient,
        Kind::Opened(event) => &mut event.recipient,
        Kind::Clicked(event) => &mut event.recipient,
        Kind::Unsubscribed(event) => &mut event.recipient,
        Kind::Complained(event) => &mut event.recipient,
        Kind::IpListed(_)
        | Kind::IpDelisted(_)
        | Kind::DomainListed(_)
        | Kind::DomainDelisted(_)
        | Kind::ValidationJob(_)
        | Kind::ValidationPreview(_) => return None,
    })
}

/// The sample with this in each of its texts that may have any text.
fn planted(sample: &str, form: &str) -> Value {
    let mut event = parse(sample);
    for (kind, value) in event.as_object_mut().expect("an event") {
        if let Value::Object(fields) = value {
            assert!(EventType::WEBHOOKS.iter().any(|event_type| event_type.as_str() == kind));
            plant(fields, form);
            fields.insert("recipient".to_owned(), json!(RECIPIENT));
        }
    }
    event
}

fn plant(fields: &mut Map<String, Value>, form: &str) {
    // Numbers, addresses, words of a short list, and what stays.
    const ELSE: [&str; 14] = [
        "recipient",
        "recipients",
        "message_id",
        "user_variables",
        "ip",
        "originating_ip",
        "sending_ip",
        "method",
        "transport",
        "bounce_type",
        "size",
        "retry_seconds",
        "code",
        "last_code",
    ];
    for (name, value) in fields {
        match value {
            _ if ELSE.contains(&name.as_str()) => {}
            // Names and links have no line ends; ingest refuses them.
            Value::String(text) if form.contains('\n') && !is_free(name) => text.push('x'),
            Value::String(text) => *text = format!("{text} {form}, {form};"),
            Value::Object(fields) => plant(fields, form),
            Value::Array(values) => {
                for value in values {
                    match value {
                        Value::Object(fields) => plant(fields, form),
                        Value::String(text) if !form.contains('\n') => {
                            *text = format!("{text}/{form}");
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether a field may have several lines.
fn is_free(name: &str) -> bool {
    ["subject", "from", "to", "message", "description", "last_message", "user_agent"]
        .contains(&name)
}

#[track_caller]
fn assert_no_trace(kind: &str, form: &str, body: &str) {
    let left = without_kept(body);
    assert!(!left.contains(TRACE), "{kind}, {form}: {left}");
    let form = json!(form).to_string().to_lowercase();
    assert!(!left.contains(form.trim_matches('"')), "{kind}, {form}: {left}");
}

/// The body in lower case, but for what stays.
fn without_kept(body: &str) -> String {
    let mut data = parse(body);
    for kept in KEPT {
        if data.pointer(kept).is_some() {
            put(&mut data, kept, json!("kept"));
        }
    }
    data.to_string().to_lowercase()
}

fn put(data: &mut Value, field: &str, value: Value) {
    *data.pointer_mut(field).unwrap_or_else(|| panic!("{field} is missing")) = value;
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).expect("JSON")
}

/// The names in the order in which they stand.
fn keys(body: &str) -> Vec<&str> {
    let names: Vec<&str> = body.split('"').filter(|text| !text.is_empty()).collect();
    let known: BTreeSet<&str> =
        names.windows(2).filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0]).collect();
    names.into_iter().filter(|name| known.contains(name)).collect()
}
