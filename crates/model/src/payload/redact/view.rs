//! A text as its readers may see it: as it stands, and with what was encoded
//! for links, headers, markup and source code decoded.

use std::collections::HashSet;

/// Encodings within encodings that are followed: a link in a link in a link.
const DEPTH: usize = 3;

/// The longest character reference that is looked at, such as `&#x000040;`.
const LONGEST_REFERENCE: usize = 10;

/// Where in the original something stands, in bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Span {
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Bytes, and where each of them comes from. Those that stand for themselves
/// come from whole characters, so that cutting there cuts no character.
pub(super) struct View {
    bytes: Vec<u8>,
    origins: Vec<Span>,
}

/// A view in lower case.
pub(super) struct Folded {
    pub(super) text: String,
    origins: Vec<Span>,
}

impl View {
    pub(super) fn of(text: &str) -> Self {
        let mut view = Self::with_room_for(text.len());
        for (start, c) in text.char_indices() {
            view.push_char(c, Span { start, end: start + c.len_utf8() });
        }
        view
    }

    /// This one and what it turns into when it is decoded.
    pub(super) fn and_decoded(self) -> Vec<Self> {
        let mut views = vec![self];
        for _ in 0..DEPTH {
            let Some(next) = views.last().and_then(Self::percent_decoded) else { break };
            views.push(next);
        }
        let unescaped: Vec<Self> = views.iter().filter_map(Self::unescaped).collect();
        views.extend(unescaped);
        views
    }

    /// What stands in it in base64 or in hex, if that is at least this long.
    /// Where such a run begins cannot be told, so each beginning is tried. `seen` has those that
    /// other views of the same text have had: a run in which nothing was decoded is the same in all.
    pub(super) fn unpacked(&self, least: usize, seen: &mut HashSet<(usize, Span)>) -> Vec<Self> {
        let of_base64 = |byte: &u8| sextet(*byte).is_some();
        let mut views = Vec::new();
        // The first and the last of its characters may hold bits of others.
        let mut is_new = |beginnings, run: &Span| {
            let origin = self.origin(run.start, run.end);
            // Decoding makes a run shorter than its origin.
            origin.end - origin.start != run.end - run.start || seen.insert((beginnings, origin))
        };
        for run in self.runs(of_base64, (least * 4 / 3).max(1)) {
            if is_new(4, &run) {
                let begun = |skipped| self.decoded_base64(run.start + skipped, run.end);
                views.extend((0..4).map(begun));
            }
        }
        for run in self.runs(u8::is_ascii_hexdigit, (least * 2).max(1)) {
            if is_new(2, &run) {
                let begun = |skipped| self.decoded_hex(run.start + skipped, run.end);
                views.extend((0..2).map(begun));
            }
        }
        views
    }

    pub(super) fn folded(&self) -> Folded {
        let len = self.bytes.len();
        let mut folded =
            Folded { text: String::with_capacity(len), origins: Vec::with_capacity(len) };
        let mut at = 0;
        for chunk in self.bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                let last = at + c.len_utf8();
                folded.push(c, self.origin(at, last));
                at = last;
            }
            if !chunk.invalid().is_empty() {
                let last = at + chunk.invalid().len();
                folded.push(char::REPLACEMENT_CHARACTER, self.origin(at, last));
                at = last;
            }
        }
        folded
    }

    fn with_room_for(len: usize) -> Self {
        Self { bytes: Vec::with_capacity(len), origins: Vec::with_capacity(len) }
    }

    fn push(&mut self, byte: u8, origin: Span) {
        self.bytes.push(byte);
        self.origins.push(origin);
    }

    fn push_char(&mut self, c: char, origin: Span) {
        for byte in c.encode_utf8(&mut [0; 4]).bytes() {
            self.push(byte, origin);
        }
    }

    /// Where the bytes from `start` to before `end` come from; there is at least one.
    fn origin(&self, start: usize, end: usize) -> Span {
        Span { start: self.origins[start].start, end: self.origins[end - 1].end }
    }

    /// Every escape replaced by what it stands for; `None` when there is none.
    /// `escape` is given what follows and says what it stands for, if anything,
    /// and how long the escape is.
    fn decoded(&self, escape: impl Fn(&[u8]) -> Option<(Escaped, usize)>) -> Option<Self> {
        let mut view = Self::with_room_for(self.bytes.len());
        let mut at = 0;
        while at < self.bytes.len() {
            let found = escape(&self.bytes[at..]);
            let taken = found.as_ref().map_or(1, |(_, taken)| *taken);
            let origin = self.origin(at, at + taken);
            match found.map(|(escaped, _)| escaped) {
                None => view.push(self.bytes[at], origin),
                Some(Escaped::Nothing) => {}
                Some(Escaped::Byte(byte)) => view.push(byte, origin),
                Some(Escaped::Char(c)) => view.push_char(c, origin),
            }
            at += taken;
        }
        (view.bytes.len() < self.bytes.len()).then_some(view)
    }

    fn percent_decoded(&self) -> Option<Self> {
        self.decoded(|rest| match rest {
            [b'%', high, low, ..] => Some((Escaped::Byte(hex_byte(*high, *low)?), 3)),
            _ => None,
        })
    }

    /// Quoted-printable, character references of markup, escapes of source code
    /// and of regular expressions.
    fn unescaped(&self) -> Option<Self> {
        self.decoded(|rest| match rest {
            [b'=', b'\r', b'\n', ..] => Some((Escaped::Nothing, 3)),
            [b'=', b'\n', ..] => Some((Escaped::Nothing, 2)),
            // RFC 2045 has capitals only; `=ada` is no escape and a name.
            [b'=', high, low, ..] if !high.is_ascii_lowercase() && !low.is_ascii_lowercase() => {
                Some((Escaped::Byte(hex_byte(*high, *low)?), 3))
            }
            [b'&', rest @ ..] => {
                let len = rest.iter().take(LONGEST_REFERENCE).position(|byte| *byte == b';')?;
                Some((Escaped::Char(referred(&rest[..len])?), len + 2))
            }
            [b'\\', b'u', digits @ ..] => Some((Escaped::Char(char_of(digits.get(..4)?, 16)?), 6)),
            [b'\\', b'x', high, low, ..] => Some((Escaped::Byte(hex_byte(*high, *low)?), 4)),
            [b'\\', next, ..] if next.is_ascii_punctuation() => Some((Escaped::Byte(*next), 2)),
            _ => None,
        })
    }

    fn runs(&self, is_in: impl Fn(&u8) -> bool, least: usize) -> Vec<Span> {
        let mut runs = Vec::new();
        let mut start = 0;
        for (at, byte) in self.bytes.iter().enumerate() {
            if !is_in(byte) {
                runs.push(Span { start, end: at });
                start = at + 1;
            }
        }
        runs.push(Span { start, end: self.bytes.len() });
        runs.retain(|run| run.end - run.start >= least);
        runs
    }

    fn decoded_base64(&self, start: usize, end: usize) -> Self {
        let mut view = Self::with_room_for(end.saturating_sub(start));
        for at in start..end {
            // Each character but the first of four completes a byte.
            let (Some(low), Some(high)) =
                (sextet(self.bytes[at]), at.checked_sub(1).and_then(|at| sextet(self.bytes[at])))
            else {
                continue;
            };
            let byte = match (at - start) % 4 {
                1 => high << 2 | low >> 4,
                2 => high << 4 | low >> 2,
                3 => high << 6 | low,
                _ => continue,
            };
            view.push(byte, self.origin(at - 1, at + 1));
        }
        view
    }

    fn decoded_hex(&self, start: usize, end: usize) -> Self {
        let mut view = Self::with_room_for(end.saturating_sub(start) / 2);
        for at in (start..end.saturating_sub(1)).step_by(2) {
            if let Some(byte) = hex_byte(self.bytes[at], self.bytes[at + 1]) {
                view.push(byte, self.origin(at, at + 2));
            }
        }
        view
    }
}

impl Folded {
    fn push(&mut self, c: char, origin: Span) {
        for lower in c.to_lowercase() {
            self.text.push(lower);
            self.origins.extend(std::iter::repeat_n(origin, lower.len_utf8()));
        }
    }

    /// Where the text from `start` to before `end` comes from; it is not empty.
    pub(super) fn origin(&self, start: usize, end: usize) -> Span {
        Span { start: self.origins[start].start, end: self.origins[end - 1].end }
    }
}

/// What an escape stands for.
enum Escaped {
    Nothing,
    Byte(u8),
    Char(char),
}

fn hex_byte(high: u8, low: u8) -> Option<u8> {
    Some(hex_digit(high)? << 4 | hex_digit(low)?)
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Of both alphabets of RFC 4648.
fn sextet(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

/// What a character reference of HTML stands for, if that can be in an address.
fn referred(name: &[u8]) -> Option<char> {
    Some(match name {
        [b'#', b'x' | b'X', digits @ ..] => char_of(digits, 16)?,
        [b'#', digits @ ..] => char_of(digits, 10)?,
        b"amp" => '&',
        b"apos" => '\'',
        b"commat" => '@',
        b"equals" => '=',
        b"gt" => '>',
        b"lowbar" => '_',
        b"lt" => '<',
        b"num" => '#',
        b"percnt" => '%',
        b"period" => '.',
        b"plus" => '+',
        b"quot" => '"',
        _ => return None,
    })
}

fn char_of(digits: &[u8], radix: u32) -> Option<char> {
    char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()?)
}
