//! Forms of the APIs, in every encoding.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::Request;
use form_urlencoded::Serializer;
use futures_util::FutureExt as _;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use settings_api::parsers::{self, Fields};

use crate::bounds::{within, within_room};
use crate::urls::client;

/// Memory of a form, in bytes for each of its own. The most costly one is a list of numbers in
/// JSON: two bytes become a value in JSON, a shared name and a text.
const MULTIPLE: usize = 100;
/// The reader of parts has a buffer of 64 KiB, however small the body is.
const BUFFER_BYTES: usize = 64 * 1_024;

const ENCODINGS: [&str; 4] =
    ["application/x-www-form-urlencoded", "application/json", "multipart/form-data", "text/xml"];

type Pairs = Vec<(String, String)>;

/// A byte for the encoding, then the body. What is taken and written again in the same encoding
/// is the same; and an encoded form is what a naive reader finds in it.
pub(crate) fn encoded(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let encoding = ENCODINGS[usize::from(*choice) % ENCODINGS.len()];
    let fields = read(encoding, body);
    if !body.is_empty() && encoding == ENCODINGS[0] {
        assert_eq!(fields, naive(body), "a naive reader finds something else");
    }
    let Some(fields) = fields else { return };
    if encoding == "application/json" {
        let mut lists: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &fields {
            lists.entry(name).or_default().push(value);
        }
        let again = read(encoding, Value::from_iter(lists.clone()).to_string().as_bytes());
        let again = again.unwrap_or_else(|| panic!("{fields:?} is not taken again"));
        let mut lists_again: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &again {
            lists_again.entry(name).or_default().push(value);
        }
        assert_eq!(lists_again, lists);
    } else if !fields.is_empty() {
        let again = Serializer::new(String::new()).extend_pairs(&fields).finish();
        assert_eq!(read(ENCODINGS[0], again.as_bytes()), Some(fields));
    }
}

/// A line with the boundary, then the body. What is taken and written again in parts is the same.
pub(crate) fn multipart(input: &[u8]) {
    let (boundary, body) = match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], &input[at + 1..]),
        None => return,
    };
    let content_type = [b"multipart/form-data; boundary=", boundary].concat();
    let Ok(content_type) = String::from_utf8(content_type) else { return };
    let Some(fields) = read(&content_type, body) else { return };
    if fields.is_empty() || !fields.iter().all(|(name, _)| is_plain(name)) {
        return;
    }
    let boundary = (0..)
        .map(|n| format!("again-{n}"))
        .find(|boundary| fields.iter().all(|(_, value)| !value.contains(boundary.as_str())))
        .unwrap_or_default();
    let mut again = String::new();
    for (name, value) in &fields {
        again += &format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
    }
    again += &format!("--{boundary}--\r\n");
    let content_type = format!("multipart/form-data; boundary={boundary}");
    assert_eq!(read(&content_type, again.as_bytes()), Some(fields));
}

/// Whether a name can stand between quotes as it is.
fn is_plain(name: &str) -> bool {
    !name.contains(|c: char| c.is_control() || matches!(c, '"' | '\\'))
}

/// The fields of a request, or nothing where it is refused. Every refusal is the client's fault.
fn read(content_type: &str, body: &[u8]) -> Option<Pairs> {
    let room_bytes = if content_type.starts_with("multipart/") { BUFFER_BYTES } else { 0 };
    let mut fields = None;
    for with_query in [false, true] {
        let request = Request::post("/").header(CONTENT_TYPE, content_type);
        let request = request.body(Body::from(body.to_vec())).ok()?;
        let read = within_room(body.len(), MULTIPLE, room_bytes, || {
            if with_query {
                parsers::form_with_query(request).now_or_never()
            } else {
                parsers::form(request).now_or_never()
            }
        });
        match read.expect("it waits for nothing, because all of the body is there") {
            Ok(read) => {
                handled(body.len(), &read);
                fields = Some(pairs(&read));
            }
            Err(status) => assert!((400..500).contains(&status), "{status}"),
        }
    }
    fields
}

/// Runs what handlers make of it before they ask anything of anybody.
fn handled(bytes: usize, fields: &Fields) {
    for taken in [
        within(bytes, 4, || parsers::domain_webhook(fields)).map(drop),
        within(bytes, 64, || parsers::account_webhook(client(), fields)),
    ] {
        assert!(taken.is_ok() || taken.is_err_and(|status| (400..500).contains(&status)));
    }
}

fn pairs(fields: &Fields) -> Pairs {
    fields.pairs().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// An encoded form as the standard has it, read the long way.
fn naive(form: &[u8]) -> Option<Pairs> {
    let mut pairs = Vec::new();
    for part in form.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
        let at = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let value = part.get(at + 1..).unwrap_or_default();
        pairs.push((decoded(&part[..at])?, decoded(value)?));
    }
    pairs.iter().all(|(_, value)| !value.contains('\0')).then_some(pairs)
}

fn decoded(text: &[u8]) -> Option<String> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16);
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(16 * high + low).ok()?);
                at += 2;
            }
            (b'+', ..) => bytes.push(b' '),
            (byte, ..) => bytes.push(byte),
        }
        at += 1;
    }
    String::from_utf8(bytes).ok()
}
