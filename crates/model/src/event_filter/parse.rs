//! From an expression to a condition:
//!
//! ```text
//! or     = and { "OR" and }
//! and    = not { [ "AND" ] not }
//! not    = "NOT" not | atom
//! atom   = "(" or ")" | quoted | range | word
//! quoted = '"' text '"'
//! range  = ( ">" | ">=" | "<" | "<=" ) number     where numbers are compared
//! word   = characters without spaces, parentheses and quotes
//! ```
//!
//! `AND`, `OR` and `NOT` are operators in capitals alone.

use super::{Comparison, EVENTS, EventFilter, FilterField};

/// Words of one expression at most. Each is a comparison for every event that is
/// looked at.
const MAX_WORDS: usize = 100;
/// Parentheses and `NOT`s inside each other at most.
const MAX_DEPTH: usize = 32;

/// Why text is no filter expression.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum InvalidFilter {
    #[error("a closing quote is missing")]
    OpenQuote,
    #[error("there is nothing between the quotes")]
    EmptyQuote,
    #[error("a closing parenthesis is missing")]
    OpenParenthesis,
    #[error("a word is missing at the end")]
    EndsEarly,
    #[error("'{0}' is not expected there")]
    Unexpected(String),
    #[error("'{0}' is not a whole number")]
    NotANumber(String),
    #[error("there is no event '{0}'; expected {events}", events = EVENTS.join(", "))]
    NotAnEvent(String),
    #[error("there is no severity '{0}'; expected temporary or permanent")]
    NotASeverity(String),
    #[error("it has more than {MAX_WORDS} words")]
    TooLong,
    #[error("more than {MAX_DEPTH} parentheses are inside each other")]
    TooDeep,
}

/// Reads an expression over one field.
///
/// # Errors
/// When it is not one, or one that would be too much work.
pub fn parse(field: FilterField, text: &str) -> Result<EventFilter, InvalidFilter> {
    let tokens = tokens(text)?;
    if tokens.len() > 4 * MAX_WORDS
        || tokens.iter().filter(|token| token.is_word()).count() > MAX_WORDS
    {
        return Err(InvalidFilter::TooLong);
    }
    let mut parser = Parser { field, tokens: &tokens, depth: 0 };
    let filter = parser.or()?;
    match parser.tokens.first() {
        None => Ok(filter),
        Some(token) => Err(token.unexpected()),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token<'t> {
    Open,
    Close,
    Quoted(&'t str),
    Word(&'t str),
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        matches!(self, Self::Quoted(_) | Self::Word(_))
    }

    fn unexpected(&self) -> InvalidFilter {
        InvalidFilter::Unexpected(match self {
            Self::Open => "(".to_owned(),
            Self::Close => ")".to_owned(),
            Self::Quoted(text) | Self::Word(text) => (*text).to_owned(),
        })
    }
}

fn tokens(mut text: &str) -> Result<Vec<Token<'_>>, InvalidFilter> {
    let mut tokens = Vec::new();
    loop {
        text = text.trim_start();
        let Some(first) = text.chars().next() else { return Ok(tokens) };
        let (token, rest) = match first {
            '(' => (Token::Open, &text[1..]),
            ')' => (Token::Close, &text[1..]),
            '"' => {
                let (quoted, rest) = text[1..].split_once('"').ok_or(InvalidFilter::OpenQuote)?;
                if quoted.is_empty() {
                    return Err(InvalidFilter::EmptyQuote);
                }
                (Token::Quoted(quoted), rest)
            }
            _ => {
                let end = text
                    .find(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '"'))
                    .unwrap_or(text.len());
                (Token::Word(&text[..end]), &text[end..])
            }
        };
        tokens.push(token);
        text = rest;
    }
}

struct Parser<'t> {
    field: FilterField,
    /// What is still to be read.
    tokens: &'t [Token<'t>],
    depth: usize,
}

impl<'t> Parser<'t> {
    fn next(&mut self) -> Option<&'t Token<'t>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn take(&mut self, operator: &str) -> bool {
        let found = matches!(self.tokens.first(), Some(Token::Word(word)) if *word == operator);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn or(&mut self) -> Result<EventFilter, InvalidFilter> {
        let mut any = vec![self.and()?];
        while self.take("OR") {
            any.push(self.and()?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { EventFilter::Any(any) })
    }

    fn and(&mut self) -> Result<EventFilter, InvalidFilter> {
        let mut all = vec![self.not()?];
        loop {
            let said = self.take("AND");
            match self.tokens.first() {
                _ if said => {}
                None | Some(Token::Close | Token::Word("OR")) => break,
                Some(_) => {}
            }
            all.push(self.not()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { EventFilter::All(all) })
    }

    fn not(&mut self) -> Result<EventFilter, InvalidFilter> {
        if !self.take("NOT") {
            return self.atom();
        }
        self.deeper(|parser| Ok(EventFilter::Not(Box::new(parser.not()?))))
    }

    fn atom(&mut self) -> Result<EventFilter, InvalidFilter> {
        let token = self.next().ok_or(InvalidFilter::EndsEarly)?;
        match token {
            Token::Open => self.deeper(|parser| {
                let inner = parser.or()?;
                match parser.next() {
                    Some(Token::Close) => Ok(inner),
                    Some(token) => Err(token.unexpected()),
                    None => Err(InvalidFilter::OpenParenthesis),
                }
            }),
            Token::Close | Token::Word("AND" | "OR") => Err(token.unexpected()),
            Token::Quoted(text) => self.field.quoted(text),
            Token::Word(word) if self.field == FilterField::Size => self.size(word),
            Token::Word(word) => self.field.term(word),
        }
    }

    /// A number, or a range of numbers. A space may stand behind the sign.
    fn size(&mut self, word: &'t str) -> Result<EventFilter, InvalidFilter> {
        let signs = [
            (">=", Comparison::AtLeast),
            ("<=", Comparison::AtMost),
            (">", Comparison::Greater),
            ("<", Comparison::Less),
        ];
        let found = signs.into_iter().find_map(|(sign, comparison)| {
            word.strip_prefix(sign).map(|number| (comparison, number))
        });
        let (comparison, number) = match found {
            None => (Comparison::Equal, word),
            Some((comparison, "")) => match self.next() {
                Some(Token::Word(number)) => (comparison, *number),
                Some(token) => return Err(token.unexpected()),
                None => return Err(InvalidFilter::EndsEarly),
            },
            Some(found) => found,
        };
        let number = number.parse().map_err(|_| not_a_number(number))?;
        Ok(EventFilter::Size(comparison, number))
    }

    fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<EventFilter, InvalidFilter>,
    ) -> Result<EventFilter, InvalidFilter> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(InvalidFilter::TooDeep);
        }
        let filter = read(self);
        self.depth -= 1;
        filter
    }
}

fn not_a_number(text: &str) -> InvalidFilter {
    InvalidFilter::NotANumber(text.to_owned())
}
