//! Filters of events: expressions of customers over the texts of an event.

use std::str::Chars;

use model::event_filter::{
    Comparison, EventFilter, FilterField, InvalidFilter, Match, SEPARATOR, TextField, parse,
    searchable,
};

use crate::bounds::within;

/// Memory, in bytes for each of an expression's.
const MULTIPLE: usize = 200;
/// The longest expression that a call can have, in bytes.
const LONGEST_BYTES: usize = 2_000;

/// A byte for the field and a line with an expression; the lines behind it are the event's texts.
/// A filter that is taken finds an event exactly when a naive reader of the expression does, and
/// is the same filter when it is written again.
pub(crate) fn check(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let mut lines = text.split('\n');
    let Some(expression) = lines.next() else { return };
    let (_, field) = FilterField::ALL[usize::from(*choice) % FilterField::ALL.len()];
    let parsed = within(expression.len(), MULTIPLE, || parse(field, expression));
    if expression.len() > LONGEST_BYTES {
        return;
    }
    let filter = match parsed {
        Ok(filter) => filter,
        Err(InvalidFilter::TooLong | InvalidFilter::TooDeep | InvalidFilter::EmptyQuote) => return,
        Err(_) => {
            let event = Event { texts: Vec::new(), size: None };
            let naive = Naive::read(field, expression, &event);
            assert_eq!(naive, None, "a naive reader takes {expression:?}");
            return;
        }
    };
    let texts: Vec<String> = lines.map(str::to_owned).collect();
    let size = texts.first().and_then(|text| text.parse().ok());
    for event in [Event { texts, size }, Event { texts: Vec::new(), size: None }] {
        let naive = Naive::read(field, expression, &event);
        assert_eq!(Some(event.meets(&filter)), naive, "{expression:?} on {event:?}");
    }
    if !can_be_written(&filter) {
        return;
    }
    let again = written(&filter);
    match parse(field, &again) {
        Ok(same) => assert_eq!(same, filter, "{again}"),
        Err(InvalidFilter::TooDeep | InvalidFilter::TooLong) => {}
        Err(error) => panic!("{again:?}: {error}"),
    }
}

/// The texts that are searched: those of whatever field an expression is about.
#[derive(Debug)]
struct Event {
    texts: Vec<String>,
    size: Option<i64>,
}

const KIND: &str = "failed";
/// All that an event of Mailgun's may be called.
const EVENTS: [&str; 12] = [
    "accepted",
    "rejected",
    "delivered",
    KIND,
    "opened",
    "clicked",
    "unsubscribed",
    "complained",
    "stored",
    "list_uploaded",
    "list_member_uploaded",
    "list_member_upload_error",
];
const SEVERITY: &str = "permanent";

impl Event {
    /// Whether it meets a filter, as the database decides it.
    fn meets(&self, filter: &EventFilter) -> bool {
        match filter {
            EventFilter::All(filters) => filters.iter().all(|filter| self.meets(filter)),
            EventFilter::Any(filters) => filters.iter().any(|filter| self.meets(filter)),
            EventFilter::Not(filter) => !self.meets(filter),
            EventFilter::Event(name) => name == KIND,
            EventFilter::Severity(name) => name == SEVERITY,
            EventFilter::Domain(_) => false,
            EventFilter::Size(comparison, number) => {
                self.size.is_some_and(|size| match comparison {
                    Comparison::Less => size < *number,
                    Comparison::AtMost => size <= *number,
                    Comparison::Equal => size == *number,
                    Comparison::AtLeast => size >= *number,
                    Comparison::Greater => size > *number,
                })
            }
            // As a list, whose elements have something between them that no word has.
            EventFilter::Text(_, how) => {
                let list: String = self
                    .texts
                    .iter()
                    .map(|text| searchable(text) + &SEPARATOR.to_string())
                    .collect();
                let list = format!("{SEPARATOR}{list}");
                match how {
                    Match::Contains(part) => list.contains(part.as_str()),
                    Match::Is(whole) => list.contains(&format!("{SEPARATOR}{whole}{SEPARATOR}")),
                    Match::EndsWith(end) => list.contains(&format!("{end}{SEPARATOR}")),
                }
            }
        }
    }
}

/// Reads an expression a character at a time, and decides while it reads.
struct Naive<'t> {
    rest: Chars<'t>,
    field: FilterField,
    event: &'t Event,
}

/// A piece of an expression.
#[derive(Debug, Eq, PartialEq)]
enum Piece {
    Sign(char),
    Quoted(String),
    Word(String),
}

impl<'t> Naive<'t> {
    /// Whether the event is found; nothing for what is no expression.
    fn read(field: FilterField, text: &'t str, event: &'t Event) -> Option<bool> {
        let mut reader = Self { rest: text.chars(), field, event };
        let found = reader.any()?;
        reader.peek().is_none().then_some(found)
    }

    fn peek(&self) -> Option<Result<Piece, ()>> {
        Self { rest: self.rest.clone(), ..*self }.take()
    }

    /// The next piece; `Err` for a quote that is not closed, or closed at once.
    fn take(&mut self) -> Option<Result<Piece, ()>> {
        let first = self.rest.find(|c| !c.is_whitespace())?;
        Some(match first {
            '(' | ')' => Ok(Piece::Sign(first)),
            '"' => {
                let text: Vec<char> = self.rest.clone().take_while(|c| *c != '"').collect();
                let is_closed = self.rest.nth(text.len()).is_some();
                let is_right = is_closed && !text.is_empty();
                if is_right { Ok(Piece::Quoted(text.into_iter().collect())) } else { Err(()) }
            }
            _ => {
                let mut word = String::from(first);
                while let Some(c) = self.rest.clone().next()
                    && !c.is_whitespace()
                    && !['(', ')', '"'].contains(&c)
                {
                    word.push(c);
                    self.rest.next();
                }
                Ok(Piece::Word(word))
            }
        })
    }

    fn takes(&mut self, word: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Ok(Piece::Word(found))) if found == word);
        if is_next {
            self.take();
        }
        is_next
    }

    fn any(&mut self) -> Option<bool> {
        let mut found = self.all()?;
        while self.takes("OR") {
            found |= self.all()?;
        }
        Some(found)
    }

    fn all(&mut self) -> Option<bool> {
        let mut found = self.one()?;
        loop {
            if self.takes("AND") {
                found &= self.one()?;
                continue;
            }
            match self.peek() {
                None | Some(Ok(Piece::Sign(')'))) => return Some(found),
                Some(Ok(Piece::Word(word))) if word == "OR" => return Some(found),
                Some(_) => found &= self.one()?,
            }
        }
    }

    fn one(&mut self) -> Option<bool> {
        match self.take()?.ok()? {
            Piece::Sign('(') => {
                let found = self.any()?;
                (self.take()?.ok()? == Piece::Sign(')')).then_some(found)
            }
            Piece::Sign(_) => None,
            Piece::Word(word) if word == "NOT" => self.one().map(|found| !found),
            Piece::Word(word) if ["AND", "OR"].contains(&word.as_str()) => None,
            Piece::Word(word) if self.field == FilterField::Size => self.size(&word),
            Piece::Word(word) => self.is_known(&word).then(|| self.has_word(&word)),
            Piece::Quoted(text) if self.field == FilterField::Size => {
                let number: i64 = text.to_lowercase().parse().ok()?;
                Some(self.event.size == Some(number))
            }
            Piece::Quoted(text) => Some(match self.field {
                FilterField::Text(field) if field != TextField::Tags => {
                    self.event.texts.iter().any(|found| clean(found).contains(&clean(&text)))
                }
                _ if !self.is_known(&text) => return None,
                _ => self.has_word(&text),
            }),
        }
    }

    fn size(&mut self, word: &str) -> Option<bool> {
        let sign_bytes = word.len() - word.trim_start_matches(['<', '>', '=']).len();
        let (sign, number) = match word {
            _ if word.starts_with(">=") || word.starts_with("<=") => word.split_at(2),
            _ if sign_bytes > 0 && !word.starts_with('=') => word.split_at(1),
            _ => ("", word),
        };
        let number: i64 = match number {
            "" => match self.take()?.ok()? {
                Piece::Word(number) => number.parse().ok()?,
                _ => return None,
            },
            number => number.parse().ok()?,
        };
        let Some(size) = self.event.size else { return Some(false) };
        Some(match sign {
            ">" => size > number,
            ">=" => size >= number,
            "<" => size < number,
            "<=" => size <= number,
            _ => size == number,
        })
    }

    /// Whether a field that has a list of values has this one.
    fn is_known(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        match self.field {
            FilterField::Event => EVENTS.contains(&word.as_str()),
            FilterField::Severity => ["temporary", SEVERITY].contains(&word.as_str()),
            FilterField::Size | FilterField::Text(_) => true,
        }
    }

    fn has_word(&self, word: &str) -> bool {
        let field = match self.field {
            FilterField::Event => return word.to_lowercase() == KIND,
            FilterField::Severity => return word.to_lowercase() == SEVERITY,
            FilterField::Size => return false,
            FilterField::Text(field) => field,
        };
        let bare = word.trim_start_matches('<').trim_end_matches('>');
        let bare = if bare.is_empty() { word } else { bare };
        let (word, is_whole) = match field {
            TextField::Tags => (word, true),
            TextField::MessageId => (bare, is_whole(bare)),
            TextField::Recipient | TextField::Recipients | TextField::ListAddress => {
                (word, is_whole(word))
            }
            _ => (word, false),
        };
        // Of what an index holds, the first thousand bytes count.
        let has = |text: &String| {
            let (text, word) = (clean(text), clean(word));
            if !is_whole {
                text.contains(&word)
            } else if field == TextField::Tags {
                text == word
            } else {
                text == cut(&word)
            }
        };
        self.event.texts.iter().any(has)
    }
}

fn is_whole(word: &str) -> bool {
    let word = word.to_lowercase();
    let Some(at) = word.find('@') else { return false };
    at > 0 && word[at + 1..].contains('.') && !word.ends_with('.')
}

fn clean(text: &str) -> String {
    text.to_lowercase().replace(['\u{1f}', '\0'], " ")
}

fn cut(word: &str) -> &str {
    &word[..word.floor_char_boundary(1_000)]
}

/// Whether a whole address can be written as a word again: not where something in it has become
/// a space, or its end was cut off.
fn can_be_written(filter: &EventFilter) -> bool {
    match filter {
        EventFilter::All(filters) | EventFilter::Any(filters) => filters.iter().all(can_be_written),
        EventFilter::Not(filter) => can_be_written(filter),
        EventFilter::Text(_, Match::Is(text)) => {
            !text.contains(char::is_whitespace) && text.len() < 990
        }
        _ => true,
    }
}

/// An expression that means a filter.
fn written(filter: &EventFilter) -> String {
    let joined = |filters: &[EventFilter], between: &str| {
        let parts: Vec<String> = filters.iter().map(written).collect();
        format!("({})", parts.join(between))
    };
    match filter {
        EventFilter::All(filters) => joined(filters, " AND "),
        EventFilter::Any(filters) => joined(filters, " OR "),
        EventFilter::Not(filter) => format!("NOT {}", written(filter)),
        EventFilter::Event(text) | EventFilter::Severity(text) => format!("\"{text}\""),
        EventFilter::Text(TextField::Tags, Match::Is(text)) => format!("\"{text}\""),
        EventFilter::Text(_, Match::Is(text)) => text.clone(),
        EventFilter::Text(_, Match::Contains(text) | Match::EndsWith(text)) => {
            format!("\"{text}\"")
        }
        EventFilter::Size(comparison, number) => match comparison {
            Comparison::Less => format!("<{number}"),
            Comparison::AtMost => format!("<={number}"),
            Comparison::Equal => format!("{number}"),
            Comparison::AtLeast => format!(">={number}"),
            Comparison::Greater => format!(">{number}"),
        },
        EventFilter::Domain(_) => unreachable!("no expression names a domain"),
    }
}
