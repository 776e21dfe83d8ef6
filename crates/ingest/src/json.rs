//! From JSON to events.
//!
//! What cannot be read is refused as a whole, before anything of it is stored;
//! the error says where.

use std::cell::Cell;
use std::fmt;

use protocol::v1::Event;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};

/// What a text holds.
#[derive(Debug)]
pub enum Events {
    /// One JSON object.
    One(Box<Event>),
    /// An array of objects, or several objects one after the other, as in NDJSON.
    Several(Vec<Event>),
}

/// Why a text is no events: which event, where, and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl Events {
    /// All of them, in their order.
    pub fn into_vec(self) -> Vec<Event> {
        match self {
            Self::One(event) => vec![*event],
            Self::Several(events) => events,
        }
    }
}

/// Reads one event, an array of events, or several events one after the other:
/// protobuf's JSON mapping, under the names of the proto files.
///
/// # Errors
/// At the first thing that is wrong, a field that does not exist included; and
/// when there is no event at all.
pub fn parse(text: &[u8]) -> Result<Events, Malformed> {
    parse_at_most(text, usize::MAX)
}

/// The same of at most so many events. An event of two bytes takes some hundred in memory, so
/// that those that are too many are not read.
///
/// # Errors
/// Those of [`parse`]; and when there are more events.
pub fn parse_at_most(text: &[u8], most: usize) -> Result<Events, Malformed> {
    if text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return array(text, most).map(Events::Several);
    }
    let mut events = Vec::new();
    for event in serde_json::Deserializer::from_slice(text).into_iter::<Event>() {
        let event = event.map_err(|error| malformed(events.len(), &error))?;
        if events.len() == most {
            return Err(Malformed(too_many(most)));
        }
        events.push(event);
    }
    match events.len() {
        0 => Err(Malformed("there is no event in it".into())),
        1 => Ok(Events::One(Box::new(events.remove(0)))),
        _ => Ok(Events::Several(events)),
    }
}

fn too_many(most: usize) -> String {
    format!("there are more than {most} events in it")
}

fn array(body: &[u8], most: usize) -> Result<Vec<Event>, Malformed> {
    let read = Cell::new(0);
    let mut json = serde_json::Deserializer::from_slice(body);
    let events = Elements { read: &read, most }.deserialize(&mut json);
    events
        .and_then(|events| json.end().map(|()| events))
        .map_err(|error| malformed(read.get(), &error))
}

/// Reads an array and counts, so that an error can name the element.
struct Elements<'a> {
    read: &'a Cell<usize>,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = Vec<Event>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = Vec<Event>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut events = Vec::new();
        while let Some(event) = elements.next_element()? {
            if events.len() == self.most {
                return Err(serde::de::Error::custom(too_many(self.most)));
            }
            events.push(event);
            self.read.set(events.len());
        }
        Ok(events)
    }
}

/// An error in the event after this many.
fn malformed(read: usize, error: &serde_json::Error) -> Malformed {
    // serde_json puts the position behind its message; it stands in front here.
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&position).unwrap_or(&text);
    Malformed(format!(
        "event {}, line {}, column {}: {what}",
        read + 1,
        error.line(),
        error.column()
    ))
}

#[cfg(test)]
mod tests;
