//! The texts of an event that are searched.

use protocol::v1::event::Kind;

use crate::payload::MessageFields;

/// Stands before, between and after the elements of a list.
pub const SEPARATOR: char = '\u{1f}';

/// Longest text that an index holds, in bytes; a row of a B-tree has to fit
/// three times on a page. Longer ones are the same when they begin the same.
const KEY_BYTES: usize = 1_000;

/// The texts of an event that are searched, in lower case; empty where the
/// event has none.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct SearchTexts {
    pub recipient: String,
    /// A list.
    pub recipients: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    /// Without angle brackets.
    pub message_id: String,
    pub list_address: String,
    /// A list.
    pub attachments: String,
    /// A list.
    pub tags: String,
    /// `None` where it is not known.
    pub size_bytes: Option<i64>,
}

impl SearchTexts {
    /// Those of an event. Alerts have none.
    pub fn of(kind: &Kind) -> Self {
        let Some(fields) = MessageFields::of(kind) else { return Self::default() };
        let headers = fields.message.and_then(|message| message.headers.as_ref());
        let header = |text: Option<&String>| searchable(text.map_or("", String::as_str));
        let id = headers.map_or("", |headers| headers.message_id.as_str());
        let (labels, message) = (fields.labels, fields.message);
        Self {
            recipient: key(fields.recipient),
            recipients: list(message.into_iter().flat_map(|m| &m.recipients)),
            from: header(headers.map(|headers| &headers.from)),
            to: header(headers.map(|headers| &headers.to)),
            subject: header(headers.map(|headers| &headers.subject)),
            message_id: key(id.trim_start_matches('<').trim_end_matches('>')),
            list_address: labels
                .and_then(|labels| labels.mailing_list.as_ref())
                .map_or_else(String::new, |list| key(&list.address)),
            attachments: list(
                message.into_iter().flat_map(|m| &m.attachments).map(|file| &file.filename),
            ),
            tags: list(labels.into_iter().flat_map(|labels| &labels.tags)),
            size_bytes: message.and_then(|message| message.size),
        }
    }
}

/// Text as it is searched: in lower case, and without what separates the
/// elements of lists.
pub fn searchable(text: &str) -> String {
    let text = text.to_lowercase();
    // PostgreSQL has no place for the character NUL.
    if text.contains([SEPARATOR, '\0']) { text.replace([SEPARATOR, '\0'], " ") } else { text }
}

/// The same for text that an index holds.
pub(super) fn key(text: &str) -> String {
    let mut text = searchable(text);
    text.truncate(text.floor_char_boundary(KEY_BYTES));
    text
}

fn list<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    let mut list = String::new();
    for text in texts {
        if list.is_empty() {
            list.push(SEPARATOR);
        }
        list.push_str(&searchable(text));
        list.push(SEPARATOR);
    }
    list
}
