//! What leaves the payload when an account or a domain wants no personal data
//! in it (reference §7.8).
//!
//! Mailgun's table names the fields that go as a whole. An address that is gone
//! from these and still stands in an SMTP answer or a link has not gone, so it
//! is also looked for in every other text, in the forms in which mail systems,
//! browsers and mailing tools write it; see `redact/personal.rs` for the list.
//!
//! What must always hold: every text of an event passes through a [`Redactor`],
//! but for those by which customers find the event again, which stay as they
//! are **even if the address stands in them**:
//!
//! - the message id and the user variables, as documented;
//! - the event's id, by which receivers recognise what they have already seen,
//!   and the ids and names of account and domain.
//!
//! The domain behind the recipient's `@` stays as well, as `recipient-domain`.
//!
//! Deliberately absent: names of people, and hashes of addresses. Neither can
//! be told from other text by looking at the event.

mod personal;
mod scan;
#[cfg(test)]
pub(super) mod tests;
mod view;

use std::borrow::Cow;

use serde::{Serialize, Serializer};

use self::personal::{Personal, Place};
use super::MessageFields;

/// Whether the outgoing copy names the recipient. Decided at each attempt; the
/// stored event stays whole.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Redaction {
    /// The event as it is.
    #[default]
    None,
    /// Without the recipient's addresses. Message id, user variables and the
    /// recipient's domain stay, since customers match events by them; so do
    /// sender, subject and tags, but for the recipient's address in them.
    Pii,
}

/// What stands where a value was.
const REDACTED: &str = "[REDACTED]";

/// Applies a [`Redaction`] to the fields of one event.
pub(super) struct Redactor(Option<Personal>);

impl Redactor {
    /// Costs nothing without redaction.
    pub(super) fn new(redaction: Redaction, fields: &MessageFields<'_>) -> Self {
        Self(match redaction {
            Redaction::None => None,
            Redaction::Pii => Some(Personal::of(fields)),
        })
    }

    /// A value that is personal as a whole. An empty one tells nothing and stays.
    pub(super) fn value<'t>(&self, value: &'t str) -> &'t str {
        if self.0.is_some() && !value.is_empty() { REDACTED } else { value }
    }

    /// Text in which an address may stand.
    pub(super) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.redacted(text, Place::Anywhere)
    }

    /// Text about the recipient, as that of a mail server, which may name the
    /// mailbox without its domain.
    pub(super) fn about_recipient<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.redacted(text, Place::AboutRecipient)
    }

    /// Texts, each as [`Redactor::text`] leaves it.
    pub(super) fn texts<'t>(&'t self, texts: &'t [String]) -> Texts<'t> {
        Texts { texts, redactor: self }
    }

    /// A list of addresses: one placeholder for all of them.
    pub(super) fn list<'t>(&self, addresses: &'t [String]) -> Addresses<'t> {
        match self.0 {
            Some(_) if !addresses.is_empty() => Addresses::Redacted([REDACTED]),
            _ => Addresses::Whole(addresses),
        }
    }

    fn redacted<'t>(&self, text: &'t str, place: Place) -> Cow<'t, str> {
        match &self.0 {
            Some(personal) => personal.redacted(text, place),
            None => Cow::Borrowed(text),
        }
    }
}

/// Written element by element, so that the list needs no copy.
pub(super) struct Texts<'a> {
    texts: &'a [String],
    redactor: &'a Redactor,
}

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.texts.iter().map(|text| self.redactor.text(text)))
    }
}

/// A list of addresses or what is left of it.
#[derive(Serialize)]
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
