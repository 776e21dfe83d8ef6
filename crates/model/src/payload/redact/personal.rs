//! Who is meant by an event, and where a text says so.
//!
//! Found is the recipient's address, whatever its case:
//!
//! - plain, in angle brackets, with its local part quoted or not, with an `@`
//!   of full width, as `(at)` or `at`;
//! - with a tag after a plus, or without the tag that it has;
//! - with its domain in letters or in punycode;
//! - as mail systems pack it into other addresses: `ada=customer.example@…`
//!   (VERP), `…=customer.example=ada@…` (SRS), `ada%customer.example@…`,
//!   `ada#customer.example`, `customer.example!ada`;
//! - encoded for links (up to three times), in quoted-printable, in base64 and
//!   hex (within longer ones, too), as character references of HTML, escaped
//!   for source code or for a regular expression;
//! - in texts about the recipient also the local part alone, as a word. Words
//!   that such texts are made of, names of roles, and what is shorter than
//!   three letters have to stand in quotes or brackets, since "mailbox full"
//!   says nothing about `mailbox@customer.example`.
//!
//! Also found are the recipient's IP address, and plain addresses of the others
//! whom the event names in fields that go as a whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use super::REDACTED;
use super::scan::{
    Sign, begins_with_word, contains_ignoring_case, ends_word, occurrences, sign_at,
};
use super::view::{Folded, Span, View};
use crate::payload::MessageFields;

/// Characters without which a text has no address, unless it has the local part
/// as it is or a long run without any of them.
const SIGNS: &[u8] = b"@=%#!&\\";

/// Names of roles (RFC 2142 and usual ones), and what mail servers answer with.
const WORDS: &[&str] = &[
    "abuse",
    "access",
    "account",
    "address",
    "admin",
    "all",
    "and",
    "billing",
    "blocked",
    "by",
    "closed",
    "contact",
    "delivery",
    "denied",
    "domain",
    "email",
    "error",
    "exist",
    "failed",
    "for",
    "full",
    "found",
    "hello",
    "help",
    "host",
    "hostmaster",
    "info",
    "invalid",
    "mail",
    "mailbox",
    "marketing",
    "message",
    "news",
    "no-reply",
    "noreply",
    "not",
    "office",
    "order",
    "orders",
    "policy",
    "postmaster",
    "quota",
    "recipient",
    "rejected",
    "sales",
    "security",
    "sender",
    "server",
    "service",
    "shop",
    "spam",
    "such",
    "support",
    "test",
    "unknown",
    "user",
    "webmaster",
    "you",
];

/// Where a text stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// Where the local part alone may be any word.
    Anywhere,
    /// Where the local part alone most probably means the recipient.
    AboutRecipient,
}

/// What must not be told. All of it in lower case.
pub(super) struct Personal {
    /// The recipient's local part without quotes, and that without its tag.
    locals: Vec<String>,
    /// The recipient's domain as it is, in punycode and in letters.
    domains: Vec<String>,
    /// By domain, the local parts of others whom the event names.
    others: BTreeMap<String, Locals>,
    ips: Vec<String>,
    /// How long a text is at least that has the address.
    least: usize,
}

impl Personal {
    pub(super) fn of(fields: &MessageFields<'_>) -> Self {
        let (local, domain) = fields.recipient.rsplit_once('@').unwrap_or_default();
        let (locals, domains) = (locals(local), domains(domain));
        let shortest = |texts: &[String]| texts.iter().map(String::len).min().unwrap_or_default();
        let least = shortest(&locals) + 1 + shortest(&domains);
        let ips = [fields.ip, fields.client_info.map_or("", |client| client.ip.as_str())];
        let mut ips: Vec<String> = ips.into_iter().filter(|ip| !ip.is_empty()).map(fold).collect();
        ips.dedup();
        let mut personal = Self { locals, domains, others: BTreeMap::new(), ips, least };
        personal.add_others(fields);
        personal
    }

    /// The text without what must not be told.
    pub(super) fn redacted<'t>(&self, text: &'t str, place: Place) -> Cow<'t, str> {
        if !self.may_stand_in(text) {
            return Cow::Borrowed(text);
        }
        let (mut found, mut seen) = (Vec::new(), HashSet::new());
        for view in View::of(text).and_decoded() {
            let folded = view.folded();
            self.find_addresses(&folded, &mut found);
            self.find_ips(&folded, &mut found);
            if place == Place::AboutRecipient {
                self.find_locals(&folded, &mut found);
            }
            if self.locals.is_empty() {
                continue;
            }
            for inner in view.unpacked(self.least, &mut seen) {
                for inner in inner.and_decoded() {
                    self.find_addresses(&inner.folded(), &mut found);
                }
            }
        }
        replace(text, found)
    }

    fn add_others(&mut self, fields: &MessageFields<'_>) {
        let headers = fields.message.and_then(|message| message.headers.as_ref());
        let lists = [
            headers.map_or("", |headers| headers.to.as_str()),
            fields.envelope.map_or("", |envelope| envelope.targets.as_str()),
        ];
        let recipients = fields.message.map_or(&[][..], |message| &message.recipients);
        let matched = fields.routes.iter().map(|route| route.match_recipient.as_str());
        let texts = lists.into_iter().chain(recipients.iter().map(String::as_str)).chain(matched);
        let ends_word = |c: char| c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';');
        for address in texts.flat_map(|text| text.split(ends_word)) {
            // Mostly it is the recipient again.
            if address.eq_ignore_ascii_case(fields.recipient) {
                continue;
            }
            let Some((local, domain)) = address.rsplit_once('@') else { continue };
            let (local, domain) = (unquoted(&fold(local)), fold(domain));
            if !local.is_empty() && !domain.is_empty() {
                self.others.entry(domain).or_default().add(local);
            }
        }
    }

    /// Most texts can be seen to be innocent at a glance.
    fn may_stand_in(&self, text: &str) -> bool {
        let mut run = 0;
        for byte in text.bytes() {
            if !byte.is_ascii() || SIGNS.contains(&byte) {
                return true;
            }
            run = if byte.is_ascii_alphanumeric() || b"+-/_".contains(&byte) { run + 1 } else { 0 };
            // Base64 takes four letters for three bytes.
            if run >= self.least * 4 / 3 {
                return true;
            }
        }
        // The last is the one without its tag, and within the others.
        let told = self.locals.last().into_iter().chain(&self.ips);
        told.into_iter().any(|told| contains_ignoring_case(text, told))
    }

    fn find_addresses(&self, folded: &Folded, found: &mut Vec<Span>) {
        let text = folded.text.as_str();
        let tagged = self.tagged(text);
        for (at, _) in text.char_indices() {
            let Some((sign, len)) = sign_at(&text[at..]) else { continue };
            let (before, after) = (&text[..at], &text[at + len..]);
            // One space at each side is often put there against robots.
            let before = before.strip_suffix(' ').unwrap_or(before);
            let after = after.strip_prefix(' ').unwrap_or(after);
            let began = text.len() - after.len();
            if let Some(domain) = self.domains.iter().find(|domain| after.starts_with(*domain))
                && let Some(start) = self.local_at_end(before, &tagged)
            {
                found.push(folded.origin(start, began + domain.len()));
            }
            if sign == Sign::EitherWay
                && let Some(domain) = self.domains.iter().find(|domain| before.ends_with(*domain))
                && let Some(local) = self.locals.iter().find(|local| begins_with_word(after, local))
            {
                found.push(folded.origin(before.len() - domain.len(), began + local.len()));
            }
            if let Some((start, end)) = self.other_around(before, after) {
                found.push(folded.origin(start, began + end));
            }
        }
    }

    /// From where to where a word may be the recipient's local part with any tag, in the order
    /// in which they stand.
    fn tagged(&self, text: &str) -> Vec<Range<usize>> {
        let Some(base) = self.locals.last() else { return Vec::new() };
        let (begun, mut end) = (format!("{base}+"), 0);
        let ends_word = |c: char| c.is_whitespace() || "<>()[]\",;:@/?&".contains(c);
        let tagged = occurrences(text, &begun).map(|(start, least)| {
            // All that stand in one word end with it.
            if end <= start {
                end = text[start..].find(ends_word).map_or(text.len(), |len| start + len);
            }
            (start..end, least)
        });
        tagged.filter(|(word, least)| *least <= word.end).map(|(word, _)| word).collect()
    }

    /// Where the recipient's local part begins with which this text ends. `tagged` are those of
    /// a text that this one is the beginning of.
    fn local_at_end(&self, text: &str, tagged: &[Range<usize>]) -> Option<usize> {
        let shortest = self.locals.last()?.len() + 1;
        let within = |text: &str| {
            if let Some(local) = self.locals.iter().find(|local| text.ends_with(*local)) {
                return Some(text.len() - local.len());
            }
            let begun = tagged.partition_point(|word| word.start + shortest <= text.len());
            let word = tagged[..begun].last().filter(|word| text.len() <= word.end)?;
            Some(word.start)
        };
        within(text).or_else(|| {
            let closed = text.strip_suffix(['"', '\'', '>', ')'])?;
            let start = within(closed)?;
            let opened = text[..start].strip_suffix(['"', '\'', '<', '(']);
            Some(opened.map_or(start, str::len))
        })
    }

    /// Somebody else's address whose two halves these are: where it begins in
    /// the one and ends in the other.
    fn other_around(&self, before: &str, after: &str) -> Option<(usize, usize)> {
        if self.others.is_empty() {
            return None;
        }
        let is_over = |c: char| !c.is_alphanumeric() && c != '.' && c != '-';
        let domain = after.split(is_over).next().unwrap_or_default().trim_end_matches('.');
        Some((self.others.get(domain)?.at_end(before)?, domain.len()))
    }

    fn find_ips(&self, folded: &Folded, found: &mut Vec<Span>) {
        for ip in &self.ips {
            for (start, end) in occurrences(&folded.text, ip) {
                let before = folded.text[..start].chars().next_back();
                let after = folded.text[end..].chars().next();
                if !before.into_iter().chain(after).any(char::is_alphanumeric) {
                    found.push(folded.origin(start, end));
                }
            }
        }
    }

    fn find_locals(&self, folded: &Folded, found: &mut Vec<Span>) {
        for local in &self.locals {
            let is_common = local.chars().count() < 3
                || WORDS.contains(&local.as_str())
                || (local.len() == 3 && local.bytes().all(|byte| byte.is_ascii_digit()));
            for (start, end) in occurrences(&folded.text, local) {
                let (before, after) = (&folded.text[..start], &folded.text[end..]);
                let quoted = before.ends_with(['"', '\'', '`', '<', '(', '[', '{'])
                    && after.starts_with(['"', '\'', '`', '>', ')', ']', '}']);
                if quoted
                    || (!is_common && ends_word(before.chars().rev()) && ends_word(after.chars()))
                {
                    found.push(folded.origin(start, end));
                }
            }
        }
    }
}

/// Local parts of one domain. Few lengths are among however many of them.
#[derive(Default)]
struct Locals {
    all: HashSet<String>,
    lengths: BTreeSet<usize>,
}

impl Locals {
    fn add(&mut self, local: String) {
        self.lengths.insert(local.len());
        self.all.insert(local);
    }

    /// Where the longest of them begins with which this text ends.
    fn at_end(&self, text: &str) -> Option<usize> {
        let starts = self.lengths.iter().rev().filter_map(|len| text.len().checked_sub(*len));
        starts
            .into_iter()
            .find(|start| text.get(*start..).is_some_and(|local| self.all.contains(local)))
    }
}

fn fold(text: &str) -> String {
    // Letter by letter, as views are: `str::to_lowercase` looks at neighbours.
    text.chars().flat_map(char::to_lowercase).collect()
}

fn locals(local: &str) -> Vec<String> {
    let whole = unquoted(&fold(local));
    let base = whole.split_once('+').map(|(base, _)| base.to_owned());
    let mut locals = vec![whole];
    locals.extend(base);
    locals.retain(|local| !local.is_empty());
    locals
}

fn unquoted(local: &str) -> String {
    let Some(inner) = local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return local.to_owned();
    };
    let mut chars = inner.chars();
    let mut out = String::with_capacity(inner.len());
    while let Some(c) = chars.next() {
        out.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    out
}

fn domains(domain: &str) -> Vec<String> {
    let mut domains = vec![fold(domain)];
    let is_international = |domain: &str| !domain.is_ascii() || domain.contains("xn--");
    if is_international(&domains[0]) {
        domains.extend(idna::domain_to_ascii(domain));
        domains.push(fold(&idna::domain_to_unicode(domain).0));
    }
    domains.retain(|domain| !domain.is_empty());
    domains
}

/// Puts one placeholder where something was found, however often.
fn replace(text: &str, mut found: Vec<Span>) -> Cow<'_, str> {
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_unstable();
    let mut out = String::with_capacity(text.len());
    let mut end = 0;
    for span in found {
        if span.start >= end {
            out.push_str(&text[end..span.start]);
            out.push_str(REDACTED);
        }
        end = end.max(span.end);
    }
    out.push_str(&text[end..]);
    Cow::Owned(out)
}
