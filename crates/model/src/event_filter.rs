//! What the Events API filters by (reference §8.1): conditions over the fields
//! of message events, read from the expressions of customers.
//!
//! Case never matters: terms are in lower case here, as the searched texts are
//! in [`SearchTexts`]. A field that an event does not have is empty, so that
//! every condition is either met or not, and its `NOT` is the opposite.

mod parse;
mod texts;

pub use self::parse::{InvalidFilter, parse};
pub use self::texts::{SEPARATOR, SearchTexts, searchable};

/// A condition that an event meets or not.
#[derive(Clone, Debug, PartialEq)]
pub enum EventFilter {
    /// All of these; of none, every event.
    All(Vec<Self>),
    /// At least one of these; of none, no event.
    Any(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
    /// The text or list of this field is this, or has this in it.
    Text(TextField, Match),
    /// The event's name in payloads is this: `failed` for both kinds of failure.
    Event(String),
    /// It is of the domain with this id.
    Domain([u8; 16]),
    /// A failure that is `temporary` or `permanent`.
    Severity(String),
    /// The message's size in bytes compares so. Of an unknown size nothing is true.
    Size(Comparison, i64),
}

/// A field with text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum TextField {
    Recipient,
    /// All of the message's, that of the event among them.
    Recipients,
    From,
    To,
    Subject,
    MessageId,
    /// Of the mailing list.
    ListAddress,
    /// Names of files.
    Attachments,
    Tags,
}

/// How a field is compared. Texts are in lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Match {
    /// It has this somewhere; in a list, an element has.
    Contains(String),
    /// It is this; in a list, an element is.
    Is(String),
    /// It ends with this. Not for lists.
    EndsWith(String),
}

/// How a number is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Less,
    AtMost,
    Equal,
    AtLeast,
    Greater,
}

/// A parameter of the Events API that holds a filter expression.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FilterField {
    /// Compared as a whole.
    Event,
    /// Compared as a whole.
    Severity,
    /// A number.
    Size,
    /// Everything else.
    Text(TextField),
}

impl FilterField {
    /// The parameters, by their names.
    pub const ALL: [(&'static str, Self); 12] = [
        ("event", Self::Event),
        ("list", Self::Text(TextField::ListAddress)),
        ("attachment", Self::Text(TextField::Attachments)),
        ("from", Self::Text(TextField::From)),
        ("message-id", Self::Text(TextField::MessageId)),
        ("subject", Self::Text(TextField::Subject)),
        ("to", Self::Text(TextField::To)),
        ("size", Self::Size),
        ("recipient", Self::Text(TextField::Recipient)),
        ("recipients", Self::Text(TextField::Recipients)),
        ("tags", Self::Text(TextField::Tags)),
        ("severity", Self::Severity),
    ];

    /// The condition that one word of an expression stands for.
    ///
    /// # Errors
    /// When the word can be none of this field's values.
    pub fn term(self, term: &str) -> Result<EventFilter, InvalidFilter> {
        let term = term.to_lowercase();
        Ok(match self {
            Self::Event => {
                check_event(&term)?;
                EventFilter::Event(term)
            }
            Self::Severity if ["temporary", "permanent"].contains(&term.as_str()) => {
                EventFilter::Severity(term)
            }
            Self::Severity => return Err(InvalidFilter::NotASeverity(term)),
            Self::Size => match term.parse() {
                Ok(size) => EventFilter::Size(Comparison::Equal, size),
                Err(_) => return Err(InvalidFilter::NotANumber(term)),
            },
            Self::Text(field) => EventFilter::Text(field, field.word(term)),
        })
    }

    /// The condition that a quoted text stands for.
    ///
    /// # Errors
    /// Those of [`Self::term`].
    pub fn quoted(self, text: &str) -> Result<EventFilter, InvalidFilter> {
        match self {
            Self::Text(field) if field != TextField::Tags => {
                Ok(EventFilter::Text(field, Match::Contains(searchable(text))))
            }
            _ => self.term(text),
        }
    }
}

/// The events of Mailgun, by the names in payloads (reference §8.1): those that never occur here
/// among them.
const EVENTS: [&str; 12] = [
    "accepted",
    "delivered",
    "failed",
    "opened",
    "clicked",
    "unsubscribed",
    "complained",
    "rejected",
    "stored",
    "list_member_uploaded",
    "list_member_upload_error",
    "list_uploaded",
];

/// Looks whether an event has this name, in lower case.
///
/// # Errors
/// When none has: the text says which there are.
pub fn check_event(name: &str) -> Result<(), InvalidFilter> {
    if EVENTS.contains(&name) { Ok(()) } else { Err(InvalidFilter::NotAnEvent(name.to_owned())) }
}

impl TextField {
    /// A whole address or message id is compared as a whole, for which there is
    /// an index; a part of one is looked for.
    fn word(self, term: String) -> Match {
        let is_whole = |text: &str| {
            text.split_once('@').is_some_and(|(local, domain)| {
                !local.is_empty() && domain.contains('.') && !domain.ends_with('.')
            })
        };
        match self {
            Self::Tags => Match::Is(searchable(&term)),
            Self::MessageId => {
                let id = term.trim_start_matches('<').trim_end_matches('>');
                // An id of nothing but brackets is looked for as it is.
                let id = if id.is_empty() { term.as_str() } else { id };
                if is_whole(id) {
                    Match::Is(texts::key(id))
                } else {
                    Match::Contains(searchable(id))
                }
            }
            Self::Recipient | Self::Recipients | Self::ListAddress if is_whole(&term) => {
                Match::Is(texts::key(&term))
            }
            _ => Match::Contains(searchable(&term)),
        }
    }
}

#[cfg(test)]
mod tests;
