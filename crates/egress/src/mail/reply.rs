//! What a relay answers.

use std::fmt::{self, Display, Formatter};

/// Longest text of a reply, in characters.
const TEXT_CHARS: usize = 300;

/// A relay's answer to a command (RFC 5321, 4.2).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RelayReply {
    /// Three digits.
    pub code: u16,
    /// For people: one line without control characters, cut where it is long.
    /// Most often it begins with an enhanced status (RFC 3463), and it may hold
    /// the recipient's address.
    pub text: String,
}

impl RelayReply {
    /// Of the lines' texts.
    pub(super) fn new(code: u16, lines: &[String]) -> Self {
        let text = lines.join(" ");
        let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        Self { code, text: clean.take(TEXT_CHARS).collect::<String>().trim().to_owned() }
    }

    /// Whether it agrees.
    pub(super) fn is_positive(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The enhanced status: class, subject, detail.
    pub(super) fn status(&self) -> Option<(u16, u16, u16)> {
        let word = self.text.split(' ').next()?;
        let mut parts = word.splitn(3, '.').map(|part| part.parse().ok());
        let status = (parts.next()??, parts.next()??, parts.next()??);
        (status.0 == self.code / 100).then_some(status)
    }
}

impl Display for RelayReply {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if self.text.is_empty() { Ok(()) } else { write!(f, " {}", self.text) }
    }
}

/// Parses a line: code, whether it is the last one of the reply, text.
pub(super) fn parse_line(line: &[u8]) -> Option<(u16, bool, String)> {
    let (code, rest) = line.split_at_checked(3)?;
    if !code.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = code.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    let (is_last, text) = match rest {
        [] => (true, rest),
        [b' ', text @ ..] => (true, text),
        [b'-', text @ ..] => (false, text),
        _ => return None,
    };
    let text = String::from_utf8_lossy(text).into_owned();
    (200..600).contains(&code).then_some((code, is_last, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_a_code() {
        assert_eq!(parse_line(b"250 fine"), Some((250, true, "fine".into())));
        assert_eq!(parse_line(b"250-more"), Some((250, false, "more".into())));
        assert_eq!(parse_line(b"354"), Some((354, true, String::new())));
        for line in [&b""[..], b"25", b"2500", b"abc d", b"-25 x", b"100 x", b"999 x", b"HTTP/1.1"]
        {
            assert_eq!(parse_line(line), None);
        }
    }

    #[test]
    fn the_enhanced_status_belongs_to_the_code() {
        let status = |code, text: &str| RelayReply::new(code, &[text.to_owned()]).status();
        assert_eq!(status(550, "5.1.1 nobody"), Some((5, 1, 1)));
        assert_eq!(status(550, "4.1.1 nobody"), None);
        assert_eq!(status(550, "5.1 nobody"), None);
        assert_eq!(status(550, "nobody"), None);
        assert_eq!(status(550, ""), None);
    }

    #[test]
    fn texts_are_short_lines() {
        let reply = RelayReply::new(451, &["4.0.0 a\u{1b}[31m".to_owned(), "b".repeat(999)]);
        assert!(reply.to_string().starts_with("451 4.0.0 a [31m bbb"), "{reply}");
        assert_eq!(reply.text.chars().count(), TEXT_CHARS);
    }
}
