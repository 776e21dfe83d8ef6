//! What leaves the payload when an account or a domain wants no personal data
//! in it (reference §7.8).

use std::borrow::Cow;

/// Whether the outgoing copy names the recipient. Decided at each attempt; the
/// stored event stays whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Redaction {
    /// The event as it is.
    #[default]
    None,
    /// Without the recipient's addresses. Message id, sender, subject, user
    /// variables, tags and the recipient's domain stay, since customers match
    /// events by them.
    Pii,
}

/// What stands where a value was.
pub(super) const REDACTED: &str = "[REDACTED]";

/// Applies a [`Redaction`] to the fields of one event.
#[derive(Clone, Copy)]
pub(super) struct Redactor<'a> {
    redaction: Redaction,
    recipient: &'a str,
}

impl<'a> Redactor<'a> {
    pub(super) fn new(redaction: Redaction, recipient: &'a str) -> Self {
        Self { redaction, recipient }
    }

    /// A value that is personal as a whole. An empty one tells nothing and stays.
    pub(super) fn value(&self, value: &'a str) -> &'a str {
        match self.redaction {
            Redaction::Pii if !value.is_empty() => REDACTED,
            _ => value,
        }
    }

    /// Text in which the recipient's address may stand, in whatever case.
    pub(super) fn text(&self, text: &'a str) -> Cow<'a, str> {
        match self.redaction {
            Redaction::None => Cow::Borrowed(text),
            Redaction::Pii => replace(Cow::Borrowed(text), self.recipient),
        }
    }

    /// A link in which the recipient's address may stand, percent-encoded as
    /// mail systems and browsers do it.
    pub(super) fn link(&self, link: &'a str) -> Cow<'a, str> {
        let text = self.text(link);
        if self.redaction == Redaction::None || !text.contains('%') {
            return text;
        }
        let at_encoded = self.recipient.replace('@', "%40");
        let all_encoded = at_encoded.replace('+', "%2B");
        let plus_encoded = self.recipient.replace('+', "%2B");
        [at_encoded, all_encoded, plus_encoded]
            .iter()
            .fold(text, |text, address| replace(text, address))
    }

    /// A list of addresses: one placeholder for all of them.
    pub(super) fn list(&self, addresses: &'a [String]) -> Addresses<'a> {
        match self.redaction {
            Redaction::Pii if !addresses.is_empty() => Addresses::Redacted([REDACTED]),
            _ => Addresses::Whole(addresses),
        }
    }
}

/// A list of addresses or what is left of it.
#[derive(serde::Serialize)]
#[serde(untagged)]
pub(super) enum Addresses<'a> {
    Whole(&'a [String]),
    Redacted([&'static str; 1]),
}

impl Addresses<'_> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Whole([]))
    }
}

/// Every occurrence of `address`, compared without ASCII case, is replaced.
fn replace<'a>(text: Cow<'a, str>, address: &str) -> Cow<'a, str> {
    if address.is_empty() || find(&text, address).is_none() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = find(rest, address) {
        out.push_str(&rest[..at]);
        out.push_str(REDACTED);
        rest = &rest[at + address.len()..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where `needle` begins. Both of its ends are at character boundaries: bytes
/// that match without ASCII case are the same beyond ASCII, and the needle
/// begins and ends with whole characters.
fn find(text: &str, needle: &str) -> Option<usize> {
    text.as_bytes()
        .windows(needle.len())
        .position(|window| window.eq_ignore_ascii_case(needle.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pii(recipient: &str) -> Redactor<'_> {
        Redactor::new(Redaction::Pii, recipient)
    }

    #[test]
    fn every_occurrence_goes_whatever_its_case() {
        let redactor = pii("Ada@customer.example");
        assert_eq!(
            redactor.text("<ada@CUSTOMER.example> unknown; ADA@customer.example"),
            "<[REDACTED]> unknown; [REDACTED]"
        );
        assert_eq!(redactor.text("mailbox full"), "mailbox full");
        assert_eq!(redactor.text(""), "");
    }

    #[test]
    fn letters_beyond_ascii_are_never_cut() {
        assert_eq!(pii("é@x.example").text("öé@x.exampleö"), "ö[REDACTED]ö");
        assert_eq!(pii("@").text("ö@ö"), "ö[REDACTED]ö");
    }

    #[test]
    fn links_lose_the_address_in_all_its_encodings() {
        let redactor = pii("ada+shop@customer.example");
        for address in [
            "ada+shop@customer.example",
            "ada+shop%40customer.example",
            "ada%2bshop%40customer.example",
            "ada%2Bshop@customer.example",
        ] {
            assert_eq!(
                redactor.link(&format!("https://shop.example/?u={address}&p=10%25")),
                "https://shop.example/?u=[REDACTED]&p=10%25"
            );
        }
    }

    #[test]
    fn nothing_changes_without_redaction() {
        let redactor = Redactor::new(Redaction::None, "ada@customer.example");
        assert_eq!(redactor.value("ada@customer.example"), "ada@customer.example");
        assert_eq!(redactor.link("x?ada%40customer.example"), "x?ada%40customer.example");
        assert!(!redactor.list(&["a".to_owned()]).is_empty());
        assert!(redactor.list(&[]).is_empty());
    }
}
