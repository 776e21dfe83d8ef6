//! Clients whose tools few machines have, by what they have sent and read once.
//!
//! The files in `tests/clients/recorded` were written by a proxy between the client, as
//! published, and Postrider. They are data: neither PHP nor Ruby runs here.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use protocol::v1::Event;
use serde::Deserialize;
use serde_json::Value;
use testkit::{eventually, http};

use crate::clients::{account, folder, is_documented, start};
use crate::system::{SOON, example};

/// Requests of a client for PHP or Ruby, and the values that it has read of the answers.
#[derive(Deserialize)]
struct Recorded {
    client: String,
    version: String,
    exchanges: Vec<Exchange>,
}

/// Names in braces stand for the account's domain, another one, and what was saved.
#[derive(Deserialize)]
struct Exchange {
    call: String,
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
    status: u16,
    /// By their JSON pointers.
    reads: BTreeMap<String, Value>,
    /// Of the answer, for the exchanges behind it: a name, and the JSON pointer of its text.
    #[serde(default)]
    saves: BTreeMap<String, String>,
}

/// A text with what its names stand for; `{next:path}` is a link without its query.
fn filled(text: &str, known: &BTreeMap<String, String>) -> String {
    known.iter().fold(text.to_owned(), |text, (name, value)| {
        let path = value.split('?').next().unwrap_or_default();
        text.replace(&format!("{{{name}}}"), value).replace(&format!("{{{name}:path}}"), path)
    })
}

/// Whether this is what the client has read: a value, or one of a type, or none.
fn is_read(found: Option<&Value>, wanted: &Value, known: &BTreeMap<String, String>) -> bool {
    if wanted["absent"] == true {
        return found.is_none();
    }
    let Some(found) = found else { return false };
    match wanted["type"].as_str() {
        Some("string") => found.is_string(),
        Some("number") => found.is_number(),
        Some("boolean") => found.is_boolean(),
        Some("array") => found.is_array(),
        Some("object") => found.is_object(),
        Some("null") => found.is_null(),
        Some(other) => panic!("{other} is no type of JSON"),
        None => serde_json::from_str(&filled(&wanted.to_string(), known))
            .is_ok_and(|wanted: Value| *found == wanted),
    }
}

/// Sends everything as it was sent, and reads what was read.
async fn replay(name: &str) {
    let (system, _mailbox) = start().await;
    let (key, domain) = account(&system, name).await;
    let kinds = ["clicked", "opened", "delivered", "permanent_fail", "complained"];
    for kind in kinds {
        let event = Event { domain: domain.clone(), id: format!("{name}-{kind}"), ..example(kind) };
        system.publish(event).await;
    }
    eventually(SOON, "history", || async {
        let count = format!("SELECT count(*) FROM events WHERE event_id LIKE '{name}-%'");
        (system.sql(&count).trim() == kinds.len().to_string()).then_some(())
    })
    .await;
    let file = std::fs::read_to_string(folder("recorded").join(format!("{name}.json")));
    let recorded: Recorded = serde_json::from_str(&file.expect("a file")).expect("exchanges");
    let mut known = BTreeMap::from([("other".to_owned(), format!("other.{domain}"))]);
    known.insert("domain".to_owned(), domain);
    let mut printed = String::new();
    for (number, exchange) in recorded.exchanges.into_iter().enumerate() {
        let Exchange { call, method, path, headers, body, status, reads, saves } = exchange;
        let call = format!("{call} ({})", number + 1);
        let path = filled(&path, &known);
        let url = if path.starts_with('/') { system.url(&path) } else { path };
        let request = match method.as_str() {
            "GET" => http::get(url),
            "POST" => http::post(url),
            "PUT" => http::put(url),
            "DELETE" => http::delete(url),
            other => panic!("{other} is not recorded"),
        };
        let mut request = request.basic_auth("api", &key);
        for (name, value) in headers.iter().filter(|(name, _)| *name != "content-type") {
            request = request.header(name, &filled(value, &known));
        }
        if let Some(content_type) = headers.get("content-type") {
            request = request.body(content_type, filled(&body, &known));
        }
        let answer = request.send().await.expect("an answer").expect_status(status);
        let answer: Value =
            serde_json::from_slice(&answer.body).unwrap_or_else(|_| answer.text().into());
        for (pointer, wanted) in reads {
            let found = answer.pointer(&pointer);
            let is_read = is_read(found, &wanted, &known);
            assert!(is_read, "{call} reads {wanted} at {pointer}\n{answer:#}");
            // Writing to a string does not fail.
            let _ = writeln!(printed, "ok {call} {pointer}");
        }
        for (name, pointer) in saves {
            let text = answer.pointer(&pointer).and_then(Value::as_str).expect("a text");
            known.insert(name, text.to_owned());
        }
    }
    is_documented(&system, &recorded.client, &recorded.version, &printed).await;
}

#[tokio::test]
async fn what_the_client_for_php_has_sent_is_answered_as_it_reads_it() {
    replay("mailgun-php").await;
}

#[tokio::test]
async fn what_the_client_for_ruby_has_sent_is_answered_as_it_reads_it() {
    replay("mailgun-ruby").await;
}
