//! A mail, as it arrived, and how to read it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A mail, as it arrived.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The sender of the envelope.
    pub sender: String,
    /// The recipients of the envelope that were taken.
    pub recipients: Vec<String>,
    /// The user who had logged in.
    pub login: Option<String>,
    /// Whether it came over TLS.
    pub is_secured: bool,
    /// Headers and body, byte for byte, without what only the transport needs.
    pub raw: Vec<u8>,
}

impl Letter {
    /// The header fields in their order, unfolded, not decoded.
    pub fn headers(&self) -> Vec<(String, String)> {
        Part::of(&self.raw).headers
    }

    /// The first header field of this name, decoded (RFC 2047).
    pub fn header(&self, name: &str) -> Option<String> {
        Part::of(&self.raw).header(name).map(decode_words)
    }

    /// The subject, decoded; empty when there is none.
    pub fn subject(&self) -> String {
        self.header("Subject").unwrap_or_default()
    }

    /// The plain text, decoded, with `\n` between lines; empty when there is none.
    pub fn text(&self) -> String {
        self.content("text/plain").unwrap_or_default()
    }

    /// The HTML, decoded, with `\n` between lines.
    pub fn html(&self) -> Option<String> {
        self.content("text/html")
    }

    /// The first part of this type, in a mail of one part or of several.
    fn content(&self, kind: &str) -> Option<String> {
        let whole = Part::of(&self.raw);
        let content_type = whole.header("Content-Type").unwrap_or("text/plain").to_owned();
        let parts = match parameter(&content_type, "boundary") {
            Some(boundary) => whole.split(&boundary),
            None => vec![whole.without_last_break()],
        };
        let is_kind = |part: &&Part| {
            let content_type = part.header("Content-Type").unwrap_or("text/plain");
            content_type.to_ascii_lowercase().starts_with(kind)
        };
        Some(parts.iter().find(is_kind)?.decoded().replace("\r\n", "\n"))
    }
}

struct Part {
    headers: Vec<(String, String)>,
    body: String,
}

impl Part {
    fn of(raw: &[u8]) -> Self {
        let text = String::from_utf8_lossy(raw);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in head.split("\r\n") {
            match (line.starts_with([' ', '\t']), headers.last_mut()) {
                // RFC 5322, 2.2.3: unfolding takes away the line break, not the space.
                (true, Some((_, value))) => value.push_str(line),
                _ => {
                    let (name, value) = line.split_once(':').unwrap_or((line, ""));
                    headers.push((name.to_owned(), value.trim_start().to_owned()));
                }
            }
        }
        Self { headers, body: body.to_owned() }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let is_named = |(known, _): &&(String, String)| known.eq_ignore_ascii_case(name);
        self.headers.iter().find(is_named).map(|(_, value)| value.as_str())
    }

    /// The line break that ends a mail is not part of what was written.
    fn without_last_break(mut self) -> Self {
        let length = self.body.strip_suffix("\r\n").unwrap_or(&self.body).len();
        self.body.truncate(length);
        self
    }

    /// RFC 2046, 5.1.1.
    fn split(&self, boundary: &str) -> Vec<Self> {
        let delimiter = format!("\r\n--{boundary}");
        let body = format!("\r\n{}", self.body);
        let parts = body.split(&delimiter).skip(1).take_while(|part| !part.starts_with("--"));
        parts.map(|part| Self::of(part.strip_prefix("\r\n").unwrap_or(part).as_bytes())).collect()
    }

    fn decoded(&self) -> String {
        let encoding = self.header("Content-Transfer-Encoding").unwrap_or("7bit");
        let bytes = match encoding.to_ascii_lowercase().as_str() {
            "base64" => STANDARD.decode(self.body.replace("\r\n", "")).unwrap_or_default(),
            "quoted-printable" => unquote(&self.body.replace("=\r\n", ""), false),
            _ => return self.body.clone(),
        };
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A parameter of a header field, such as the boundary of a content type.
fn parameter(value: &str, name: &str) -> Option<String> {
    let named = value.split(';').map(str::trim).filter_map(|part| part.split_once('='));
    let mut named = named.filter(|(known, _)| known.eq_ignore_ascii_case(name));
    named.next().map(|(_, value)| value.trim_matches('"').to_owned())
}

/// Decodes the encoded words of a header field (RFC 2047). Only UTF-8 is known.
fn decode_words(value: &str) -> String {
    let mut text = String::new();
    let mut last_was_encoded = false;
    let mut rest = value;
    while !rest.is_empty() {
        let blanks = rest.find(|c| c != ' ' && c != '\t').unwrap_or(rest.len());
        let (spaces, tail) = rest.split_at(blanks);
        let (word, tail) = tail.split_at(tail.find([' ', '\t']).unwrap_or(tail.len()));
        let decoded = decode_word(word);
        // Spaces between two encoded words are not part of the text.
        if !(last_was_encoded && decoded.is_some()) {
            text.push_str(spaces);
        }
        text.push_str(decoded.as_deref().unwrap_or(word));
        last_was_encoded = decoded.is_some();
        rest = tail;
    }
    text
}

fn decode_word(word: &str) -> Option<String> {
    let mut fields = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
    let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    let bytes = match encoding {
        "B" | "b" => STANDARD.decode(text).ok()?,
        "Q" | "q" => unquote(text, true),
        _ => return None,
    };
    String::from_utf8(bytes).ok()
}

/// Undoes `=C3`, and `_` for a space where it stands for one.
fn unquote(text: &str, underscores: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'=', Some(code)) => {
                bytes.push(code);
                rest = &tail[2..];
                continue;
            }
            (b'_', _) if underscores => bytes.push(b' '),
            _ => bytes.push(first),
        }
        rest = tail;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(raw: &str) -> Letter {
        Letter {
            sender: String::new(),
            recipients: Vec::new(),
            login: None,
            is_secured: false,
            raw: raw.replace('\n', "\r\n").into_bytes(),
        }
    }

    #[test]
    fn headers_are_unfolded_and_decoded() {
        let letter = letter(
            "Subject: On =?utf-8?b?w4Q=?=\n =?utf-8?Q?_b=C3=BC?= list\nTo: a@b.example,\n c@d.example\n\nx",
        );
        assert_eq!(letter.subject(), "On Ä bü list");
        assert_eq!(letter.headers()[1], ("To".into(), "a@b.example, c@d.example".into()));
        assert_eq!(letter.header("missing"), None);
    }

    #[test]
    fn parts_are_found_and_decoded() {
        let mixed = letter(
            "Content-Type: multipart/alternative; boundary=\"=_b\"\n\n--=_b\n\
             Content-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: quoted-printable\n\none=C3=\n=A4\n--=_b\n\
             Content-Type: text/html\nContent-Transfer-Encoding: base64\n\nPGI+\n--=_b--\n",
        );
        assert_eq!(mixed.text(), "oneä");
        assert_eq!(mixed.html().as_deref(), Some("<b>"));
        assert_eq!(letter("A: b\n\nplain\n").text(), "plain");
        assert_eq!(letter("A: b\n\nplain\n").html(), None);
    }
}
