//! From JSON to events: first where each of them stands, then each for itself, so that one that
//! is wrong is refused alone and says where.

use std::fmt;

use protocol::v1::Event;
use serde::Deserialize;
use serde::de::{Deserializer as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Fields of an event beside its kind.
const COMMON: [&str; 4] = ["id", "account", "domain", "timestamp"];

/// What a text holds.
#[derive(Debug)]
pub enum Events<'t> {
    /// One JSON object.
    One(Written<'t>),
    /// An array of objects, or several objects one after the other, as in NDJSON.
    Several(Vec<Written<'t>>),
}

/// Why a text is no events: where, and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

/// Why a part of a text is no event.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Misread {
    /// The event's id, if that much can be read.
    pub id: String,
    /// Path of the field; empty where that is not known.
    pub field: String,
    /// Which event, where, what is wrong, and what would be right.
    pub message: String,
}

/// An event as it is written, not yet read.
#[derive(Clone, Copy, Debug)]
pub struct Written<'t> {
    text: &'t [u8],
    /// Which of them, from 0 on.
    index: usize,
    begin: Place,
}

/// A line, from 1 on, and the bytes in front of it there.
#[derive(Clone, Copy, Debug)]
struct Place {
    line: usize,
    column: usize,
}

/// Goes through a text once, however many events stand in it.
struct Places<'t> {
    whole: &'t [u8],
    at: usize,
    place: Place,
}

impl<'t> Places<'t> {
    fn of(whole: &'t [u8]) -> Self {
        Self { whole, at: 0, place: Place { line: 1, column: 0 } }
    }

    /// The event between two places, of which the first is not before the one of the last call.
    fn written(&mut self, index: usize, begin: usize, end: usize) -> Written<'t> {
        let passed = &self.whole[self.at..begin];
        let lines = passed.iter().filter(|byte| **byte == b'\n').count();
        let in_line = passed.iter().rev().take_while(|byte| **byte != b'\n').count();
        let column = if lines == 0 { self.place.column + in_line } else { in_line };
        self.place = Place { line: self.place.line + lines, column };
        self.at = begin;
        Written { text: &self.whole[begin..end], index, begin: self.place }
    }
}

/// Reads one event, an array of events, or several events one after the other:
/// protobuf's JSON mapping, under the names of the proto files.
///
/// # Errors
/// At the first thing that is wrong, a field that does not exist included; and
/// when there is no event at all.
pub fn parse(text: &[u8]) -> Result<Vec<Event>, Malformed> {
    let written = match find(text, usize::MAX)? {
        Events::One(written) => vec![written],
        Events::Several(written) => written,
    };
    let read = written.iter().map(Written::read);
    read.map(|event| event.map_err(|misread| Malformed(misread.message))).collect()
}

/// Finds where events stand, at most so many: one, an array, or several one after the other.
///
/// # Errors
/// At the first place that is no JSON; when there are more events, or none at all.
pub fn find(text: &[u8], most: usize) -> Result<Events<'_>, Malformed> {
    let text = without_mark(text);
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return array(text, most).map(Events::Several);
    }
    let (mut found, mut places) = (Vec::new(), Places::of(text));
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    while let Some(value) = values.next() {
        let value = value.map_err(|error| malformed(found.len(), &error))?;
        if found.len() == most {
            return Err(too_many(most));
        }
        let end = values.byte_offset();
        found.push(places.written(found.len(), end - value.get().len(), end));
    }
    match found.as_slice() {
        [] => Err(Malformed("there is no event in it".into())),
        [one] => Ok(Events::One(*one)),
        _ => Ok(Events::Several(found)),
    }
}

/// Finds where events stand, at most so many, of which each has a line: a line that is no JSON
/// hides no other one. An event may also stand in several lines where all is JSON.
///
/// # Errors
/// When there are more events, or none at all.
pub fn find_lines(text: &[u8], most: usize) -> Result<Vec<Written<'_>>, Malformed> {
    match find(text, most) {
        Ok(Events::One(written)) => return Ok(vec![written]),
        Ok(Events::Several(written)) => return Ok(written),
        Err(_) => {}
    }
    let text = without_mark(text);
    let (mut found, mut places) = (Vec::new(), Places::of(text));
    let mut begin = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let end = begin + line.trim_ascii_end().len();
        if begin < end {
            if found.len() == most {
                return Err(too_many(most));
            }
            found.push(places.written(found.len(), begin, end));
        }
        begin += line.len();
    }
    if found.is_empty() {
        return Err(Malformed("there is no event in it".into()));
    }
    Ok(found)
}

impl Written<'_> {
    /// How long it is, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether nothing is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Reads the event.
    ///
    /// # Errors
    /// At the first thing that is wrong, a field that does not exist included.
    pub fn read(&self) -> Result<Event, Misread> {
        let mut json = serde_json::Deserializer::from_slice(self.text);
        let mut track = serde_path_to_error::Track::new();
        let event = serde_path_to_error::Deserializer::new(&mut json, &mut track);
        let error = match Event::deserialize(event).and_then(|event| json.end().map(|()| event)) {
            Ok(event) => return Ok(event),
            Err(error) => error,
        };
        let path = track.path().to_string();
        let field = if path == "." || !error.is_data() { String::new() } else { path };
        let what = right(&field, what(&error));
        let message = format!("{}: {what}", place(self.index, self.begin, &error));
        Err(Misread { id: self.id(), message, field })
    }

    fn id(&self) -> String {
        #[derive(Default, Deserialize)]
        struct Id {
            #[serde(default)]
            id: String,
        }
        serde_json::from_slice::<Id>(self.text).unwrap_or_default().id
    }
}

/// RFC 8259, 8.1: a mark of the order of bytes may be there, and says nothing.
fn without_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text)
}

fn too_many(most: usize) -> Malformed {
    Malformed(format!("there are more than {most} events in it"))
}

fn array(whole: &[u8], most: usize) -> Result<Vec<Written<'_>>, Malformed> {
    let mut found = Vec::new();
    let mut json = serde_json::Deserializer::from_slice(whole);
    let places = Places::of(whole);
    let elements = json.deserialize_seq(Elements { places, most, found: &mut found });
    let result = elements.and_then(|()| json.end());
    result.map_err(|error| malformed(found.len(), &error))?;
    if found.len() > most {
        return Err(too_many(most));
    }
    Ok(found)
}

/// Finds the elements of an array, and one more than there may be at most.
struct Elements<'a, 't> {
    places: Places<'t>,
    most: usize,
    found: &'a mut Vec<Written<'t>>,
}

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let Self { mut places, most, found } = self;
        while let Some(element) = elements.next_element::<&'de RawValue>()? {
            if found.len() > most {
                continue;
            }
            let text = element.get();
            let begin = text.as_ptr().addr() - places.whole.as_ptr().addr();
            found.push(places.written(found.len(), begin, begin + text.len()));
        }
        Ok(())
    }
}

fn malformed(found: usize, error: &serde_json::Error) -> Malformed {
    let begin = Place { line: 1, column: 0 };
    Malformed(format!("{}: {}", place(found, begin, error), what(error)))
}

/// Which event, the line and the column in the whole, where what was read began at this place.
fn place(index: usize, begin: Place, error: &serde_json::Error) -> String {
    let column = error.column() + if error.line() <= 1 { begin.column } else { 0 };
    let line = begin.line + error.line().max(1) - 1;
    format!("event {}, line {line}, column {column}", index + 1)
}

/// The library's words for the fault, without the place.
fn what(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).unwrap_or(&text).to_owned()
}

/// The same with what would be right, where the library does not say it.
fn right(field: &str, what: String) -> String {
    if field == "timestamp" {
        return format!("{what}; expected a moment as in RFC 3339: \"2025-10-09T08:53:20.5Z\"");
    }
    if field.contains("user_variables") {
        return format!("{what}; a variable is a text, in which others can stand as JSON");
    }
    if what.contains("untagged enum") {
        return "expected a number".to_owned();
    }
    let twice = what.strip_prefix("duplicate field `").and_then(|name| name.strip_suffix('`'));
    match twice.map(as_in_proto) {
        Some(name) if field.is_empty() && !COMMON.contains(&name.as_str()) => {
            format!("`{name}` is one more kind, and an event has exactly one")
        }
        _ => what,
    }
}

/// The library tells some fields by the names that protobuf's JSON has for them: `ipListed`.
fn as_in_proto(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

#[cfg(test)]
mod tests;
