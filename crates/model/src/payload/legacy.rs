//! Message events as forms, as Mailgun posted them before 2018 (reference §7.5),
//! for receivers that were written then.

use form_urlencoded::Serializer;
use serde_json::Value;

use super::{PayloadError, SendSignature};
use crate::EventType;

/// The whole body of a legacy webhook: its fields, those of the signature among
/// them, as `application/x-www-form-urlencoded`.
///
/// It is made from what [`super::send_event_data`] made, so that what is redacted
/// there is redacted here. `None` for types that did not exist then: accepted
/// and temporary failures.
///
/// # Errors
/// When `event_data` is not that JSON.
pub fn legacy_body(
    event_type: EventType,
    event_data: &[u8],
    signature: &SendSignature<'_>,
) -> Result<Option<Vec<u8>>, PayloadError> {
    let data: Value = serde_json::from_slice(event_data)?;
    let Some(name) = legacy_name(event_type, &data) else { return Ok(None) };
    let mut fields = Fields { data: &data, form: Serializer::new(String::with_capacity(1_024)) };
    // Receivers of these forms take the last of these when a name comes twice, and the first of
    // others: a variable passes for none of ours.
    fields.user_variables(|name| LAST.contains(&name));
    fields.add("event", name);
    fields.copy("recipient", "/recipient");
    fields.copy("domain", "/domain/name");
    let id =
        data.pointer("/message/headers/message-id").and_then(Value::as_str).unwrap_or_default();
    match name {
        "opened" | "clicked" | "unsubscribed" => {
            fields.add("message-id", id);
            fields.engaged();
        }
        _ => {
            fields.add("Message-Id", &bracketed(id));
        }
    }
    match name {
        "bounced" => {
            fields.copy("code", "/delivery-status/code");
            fields.copy_first("error", &["/delivery-status/message", DESCRIPTION]);
        }
        "dropped" => {
            let is_old = data.pointer("/reason").is_some_and(|reason| reason == "old");
            fields.add("reason", if is_old { "old" } else { "hardfail" });
            fields.copy("code", "/delivery-status/code");
            fields.copy_first("description", &[DESCRIPTION, "/delivery-status/message"]);
        }
        _ => {}
    }
    fields.copy("mailing-list", "/mailing-list/address");
    for tag in data.pointer("/tags").and_then(Value::as_array).into_iter().flatten() {
        fields.add("tag", tag.as_str().unwrap_or_default());
    }
    fields.user_variables(|name| !LAST.contains(&name));
    if !matches!(name, "opened" | "clicked" | "unsubscribed") {
        fields.message_headers();
    }
    fields.add("timestamp", &signature.timestamp.to_string());
    fields.add("token", signature.token);
    fields.add("signature", signature.signature);
    Ok(Some(fields.form.finish().into_bytes()))
}

const DESCRIPTION: &str = "/delivery-status/description";

/// Names whose last value counts, so that ours come behind all others.
const LAST: [&str; 4] = ["message-headers", "timestamp", "token", "signature"];

fn legacy_name(event_type: EventType, data: &Value) -> Option<&'static str> {
    Some(match event_type {
        EventType::Opened => "opened",
        EventType::Clicked => "clicked",
        EventType::Unsubscribed => "unsubscribed",
        EventType::Complained => "complained",
        EventType::Delivered => "delivered",
        EventType::PermanentFail => {
            // What was never handed to the recipient's server was dropped.
            let reason = data.pointer("/reason").and_then(Value::as_str).unwrap_or_default();
            let dropped = reason.starts_with("suppress") || reason == "old";
            if dropped { "dropped" } else { "bounced" }
        }
        _ => return None,
    })
}

struct Fields<'a> {
    data: &'a Value,
    form: Serializer<'static, String>,
}

impl Fields<'_> {
    fn add(&mut self, name: &str, value: &str) {
        self.form.append_pair(name, value);
    }

    /// A field as it stands in the event; left out when it is not there.
    fn copy(&mut self, name: &str, pointer: &str) {
        if let Some(text) = self.data.pointer(pointer).and_then(text) {
            self.add(name, &text);
        }
    }

    fn copy_first(&mut self, name: &str, pointers: &[&str]) {
        let mut found = pointers.iter().filter_map(|p| self.data.pointer(p).and_then(text));
        self.add(name, &found.find(|text| !text.is_empty()).unwrap_or_default());
    }

    fn engaged(&mut self) {
        for (name, pointer) in [
            ("ip", "/ip"),
            ("country", "/geolocation/country"),
            ("region", "/geolocation/region"),
            ("city", "/geolocation/city"),
            ("user-agent", "/client-info/user-agent"),
            ("device-type", "/client-info/device-type"),
            ("client-type", "/client-info/client-type"),
            ("client-name", "/client-info/client-name"),
            ("client-os", "/client-info/client-os"),
            ("url", "/url"),
        ] {
            self.copy(name, pointer);
        }
    }

    /// Pairs, because the names of headers repeat. With the variables, as the message had them.
    fn message_headers(&mut self) {
        let headers = self.data.pointer("/message/headers").and_then(Value::as_object);
        let variables = self.data.pointer("/user-variables").and_then(Value::as_object);
        let variables = variables.filter(|variables| !variables.is_empty());
        let json = variables.and_then(|variables| serde_json::to_string(variables).ok());
        let variables = json.map(|json| ["X-Mailgun-Variables".to_owned(), json]);
        let pairs: Vec<[String; 2]> = headers
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                let value = text(value)?;
                Some(match name.as_str() {
                    "message-id" if value.is_empty() => return None,
                    "message-id" => ["Message-Id".to_owned(), bracketed(&value)],
                    name => [capitalised(name), value],
                })
            })
            .chain(variables)
            .collect();
        if let Ok(json) = serde_json::to_string(&pairs) {
            self.add("message-headers", &json);
        }
    }

    fn user_variables(&mut self, has_place: impl Fn(&str) -> bool) {
        let variables = self.data.pointer("/user-variables").and_then(Value::as_object);
        for (name, value) in variables.into_iter().flatten() {
            if let Some(text) = text(value).filter(|_| has_place(name)) {
                self.add(name, &text);
            }
        }
    }
}

/// The id of a message as its header has it; a message without one has none.
fn bracketed(id: &str) -> String {
    if id.is_empty() { String::new() } else { format!("<{id}>") }
}

/// A text as it is, a number as digits; nothing else is a field.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + chars.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Redaction, send_event_data};
    use super::*;

    const SIGNATURE: SendSignature<'_> = SendSignature {
        timestamp: 1_760_003_600,
        token: "token",
        signature: "signature",
        parent_signature: None,
        previous_signature: None,
        previous_parent_signature: None,
    };

    fn fields(event_type: EventType, redaction: Redaction) -> Option<BTreeMap<String, String>> {
        let timestamp = protocol::Timestamp { seconds: 1_760_003_600, nanos: 0 };
        let event = crate::sample(event_type, "id", timestamp, "demo", "mail.demo.example");
        let accepted = protocol::v1::AcceptedEvent {
            event: Some(event),
            ..protocol::v1::AcceptedEvent::default()
        };
        let data = send_event_data(&accepted, redaction).expect("a message event");
        let body = legacy_body(event_type, &data, &SIGNATURE).expect("our own JSON")?;
        Some(form_urlencoded::parse(&body).into_owned().collect())
    }

    #[test]
    fn each_type_that_there_was_has_its_fields() {
        for (event_type, name, others) in [
            (EventType::Opened, "opened", &["message-id", "ip", "country", "user-agent"][..]),
            (EventType::Clicked, "clicked", &["message-id", "ip", "url"]),
            (EventType::Unsubscribed, "unsubscribed", &["message-id", "ip"]),
            (EventType::Complained, "complained", &["Message-Id", "message-headers"]),
            (EventType::Delivered, "delivered", &["Message-Id", "message-headers"]),
            (
                EventType::PermanentFail,
                "bounced",
                &["Message-Id", "message-headers", "code", "error"],
            ),
        ] {
            let fields = fields(event_type, Redaction::None).expect("it was there");
            assert_eq!(fields["event"], name);
            assert_eq!(fields["domain"], "mail.demo.example");
            assert_eq!(fields["timestamp"], "1760003600");
            assert_eq!((&*fields["token"], &*fields["signature"]), ("token", "signature"));
            for other in others {
                assert!(fields.contains_key(*other), "{name}: no {other} in {fields:?}");
            }
        }
        assert_eq!(fields(EventType::Accepted, Redaction::None), None);
        assert_eq!(fields(EventType::TemporaryFail, Redaction::None), None);
    }

    #[test]
    fn what_is_redacted_is_redacted_here_too() {
        let shown = fields(EventType::Clicked, Redaction::None).expect("it was there");
        let hidden = fields(EventType::Clicked, Redaction::Pii).expect("it was there");
        let recipient = &shown["recipient"];
        assert!(hidden.values().all(|value| !value.contains(recipient.as_str())), "{hidden:?}");
    }

    #[test]
    fn a_variable_does_not_pass_for_a_field_of_ours() {
        let data = br#"{"recipient":"ada@x","user-variables":
            {"token":"forged","order":"7","event":"party","recipient":"bob@x","Message-Id":"mine",
             "message-headers":"[]"}}"#;
        let pairs = |event_type| -> Vec<(String, String)> {
            let body = legacy_body(event_type, data, &SIGNATURE).expect("JSON").expect("a form");
            form_urlencoded::parse(&body).into_owned().collect()
        };
        let all = |pairs: &[(String, String)], name: &str| -> Vec<String> {
            pairs.iter().filter(|(n, _)| n == name).map(|(_, value)| value.clone()).collect()
        };
        let opened = pairs(EventType::Opened);
        for (name, values) in [
            // The last counts.
            ("token", &["forged", "token"][..]),
            // The first counts.
            ("event", &["opened", "party"]),
            ("recipient", &["ada@x", "bob@x"]),
            ("order", &["7"]),
            ("message-id", &[""]),
        ] {
            assert_eq!(all(&opened, name), values, "{name}");
        }
        let bounced = pairs(EventType::PermanentFail);
        assert_eq!(all(&bounced, "Message-Id"), ["", "mine"], "there is none");
        assert_eq!(all(&bounced, "error"), [""], "it is there, also where nothing was said");
        let headers: Vec<[String; 2]> =
            serde_json::from_str(&all(&bounced, "message-headers")[1]).expect("pairs");
        let [[name, variables]] = headers.as_slice() else { panic!("{headers:?}") };
        assert_eq!(name, "X-Mailgun-Variables");
        let variables: Value = serde_json::from_str(variables).expect("JSON");
        assert_eq!(variables["recipient"], "bob@x");
    }
}
