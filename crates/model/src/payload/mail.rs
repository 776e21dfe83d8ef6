//! The mail of an alert: what a person reads.
//!
//! The subject is made from the fields alone, so that all mails of one kind
//! look alike in a list. Texts of internal callers are set on one line each:
//! none of them can look like a line of ours.

mod html;

use std::fmt::Write as _;

use protocol::v1::event::Kind;
use protocol::v1::{AcceptedEvent, BulkValidationJob, Event};

use super::alert::Message;
use super::time::moment;
use super::{PayloadError, whole};
use crate::EventType;

/// Longest subject, in characters. Longer ones are cut in lists of mails anyway.
const MAX_SUBJECT_CHARS: usize = 150;

/// What a mail says, without whom it is from and for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AlertMail {
    /// One line.
    pub subject: String,
    /// Plain text, with `\n` between lines and at the end.
    pub text: String,
    /// The same as a page, whole in itself: it loads nothing from anywhere.
    pub html: String,
}

/// What a mail says beside the alert.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct MailFrame<'a> {
    /// Why it is sent, and so how to end it.
    pub reason: MailReason<'a>,
    /// Where the customer looks further, `http` or `https`.
    pub console_url: Option<&'a str>,
}

/// Why a mail is sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MailReason<'a> {
    /// The alert setting with this id names the mailbox.
    Setting(&'a str),
    /// Somebody asked for a test. Nobody must take it for the real thing.
    Test,
}

/// An alert in a person's words, with nothing in it that breaks a line.
struct Story {
    event_type: EventType,
    account: String,
    headline: String,
    /// What the caller says beyond that.
    remark: Option<String>,
    meaning: Option<&'static str>,
    facts: Vec<Fact>,
    /// What support asks for.
    ids: Vec<Fact>,
}

struct Fact {
    name: &'static str,
    value: String,
}

/// The mail that tells of an alert, for its account's mailboxes.
///
/// # Errors
/// When the event is not a whole alert.
pub fn alert_mail(
    accepted: &AcceptedEvent,
    frame: &MailFrame<'_>,
) -> Result<AlertMail, PayloadError> {
    let story = Story::of(accepted)?;
    let subject: String = story.headline.chars().take(MAX_SUBJECT_CHARS).collect();
    let subject = match frame.reason {
        MailReason::Setting(_) => subject,
        MailReason::Test => format!("[Test] {subject}"),
    };
    let html = html::page(&subject, &story, frame);
    Ok(AlertMail { subject, text: story.text(frame), html })
}

impl Story {
    fn of(accepted: &AcceptedEvent) -> Result<Self, PayloadError> {
        let (event, kind) = whole(accepted)?;
        let event_type = EventType::of(kind);
        let made = Message::made(event, kind).ok_or(PayloadError::OtherFamily(event_type))?;
        let headline = one_line(&made.to_string());
        let (given, facts) = match kind {
            Kind::IpListed(change) | Kind::IpDelisted(change) => {
                let facts = [
                    ("IP address", change.ip.clone()),
                    ("Blocklist", change.blocklist.clone()),
                    ("Since", time(event)?),
                ];
                (&change.message, facts.to_vec())
            }
            Kind::DomainListed(change) | Kind::DomainDelisted(change) => {
                let facts = [
                    ("Domain", change.domain.clone()),
                    ("Blocklist", change.blocklist.clone()),
                    ("Since", time(event)?),
                ];
                (&change.message, facts.to_vec())
            }
            Kind::ValidationJob(job) => {
                (&job.message, job_facts(event, job.bulk_validation_job.as_ref())?)
            }
            Kind::ValidationPreview(preview) => {
                (&preview.message, job_facts(event, preview.bulk_validation_job.as_ref())?)
            }
            _ => return Err(PayloadError::OtherFamily(event_type)),
        };
        let remark = one_line(given);
        let ids = vec![
            ("Account", event.account.clone()),
            ("Alert", event_type.as_str().to_owned()),
            ("Event", event.id.clone()),
        ];
        Ok(Self {
            event_type,
            account: one_line(&event.account),
            remark: (!remark.is_empty() && remark != headline).then_some(remark),
            headline,
            meaning: meaning(event_type),
            facts: clean(facts),
            ids: clean(ids),
        })
    }

    fn text(&self, frame: &MailFrame<'_>) -> String {
        let mut text = match frame.reason {
            MailReason::Setting(_) => String::new(),
            MailReason::Test => format!(
                "This is a test, which somebody with access to account {} has asked for.\n\
                 Nothing has happened. A real alert reads like this:\n\n",
                self.account
            ),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}\n", self.headline);
        let further = [self.remark.as_deref(), self.meaning];
        for paragraph in further.into_iter().flatten() {
            let _ = writeln!(text, "{paragraph}\n");
        }
        for Fact { name, value } in self.facts.iter().chain(&self.ids) {
            let name = format!("{name}:");
            let _ = writeln!(text, "{name:<12} {value}");
        }
        if let Some(url) = frame.console_url {
            let _ = write!(text, "\nLook further in the console:\n{url}\n");
        }
        let [why, how] = self.ending(frame.reason);
        let _ = write!(text, "\n-- \n{why}\n{how}\n");
        if let MailReason::Setting(id) = frame.reason {
            let _ = writeln!(text, "{}", one_line(id));
        }
        text
    }

    /// Why it is sent, and how to end it. What follows a colon is the setting's id.
    fn ending(&self, reason: MailReason<'_>) -> [String; 2] {
        let Self { account, event_type, .. } = self;
        match reason {
            MailReason::Setting(_) => [
                format!(
                    "You get this mail because an alert setting of account {account} names \
                     your address for {event_type}."
                ),
                "To stop these mails, have your address taken out of this setting:".to_owned(),
            ],
            MailReason::Test => [
                format!(
                    "You get this mail because a test call of account {account} names your \
                     address."
                ),
                "There is nothing to stop: it was sent once.".to_owned(),
            ],
        }
    }
}

/// What it comes to, for those who do not see such mails every day.
const fn meaning(event_type: EventType) -> Option<&'static str> {
    match event_type {
        EventType::IpListed => Some(
            "Receivers that use this blocklist may refuse mail from this IP address until it is removed from the list.",
        ),
        EventType::DomainListed => Some(
            "Receivers that use this blocklist may refuse mail from this domain, or with links to it, until it is removed from the list.",
        ),
        EventType::IpDelisted | EventType::DomainDelisted => {
            Some("This blocklist is no longer a reason for anybody to refuse your mail.")
        }
        _ => None,
    }
}

fn job_facts(
    event: &Event,
    job: Option<&BulkValidationJob>,
) -> Result<Vec<(&'static str, String)>, PayloadError> {
    let Some(job) = job else { return Ok(vec![("Time", time(event)?)]) };
    let mut facts = vec![("List", job.list_id.clone()), ("Status", job.status.clone())];
    let processed = job.processed.map(|n| format!(", {n} of them processed")).unwrap_or_default();
    facts.push(("Addresses", format!("{}{processed}", job.quantity)));
    if let Some(result) = job.summary.and_then(|summary| summary.result) {
        let result = format!(
            "{} deliverable, {} undeliverable, {} catch-all, {} unknown",
            result.deliverable, result.undeliverable, result.catch_all, result.unknown
        );
        facts.push(("Result", result));
    }
    if let Some(risk) = job.summary.and_then(|summary| summary.risk) {
        let risk = format!(
            "{} high, {} medium, {} low, {} unknown",
            risk.high, risk.medium, risk.low, risk.unknown
        );
        facts.push(("Risk", risk));
    }
    facts.push(("Time", time(event)?));
    if let Some(urls) = &job.download_urls {
        facts.push(("CSV", urls.csv.clone()));
        facts.push(("JSON", urls.json.clone()));
    }
    Ok(facts)
}

fn time(event: &Event) -> Result<String, PayloadError> {
    let at = moment(event.timestamp.as_ref())?;
    Ok(at.format("%-d %B %Y, %H:%M:%S UTC").to_string())
}

/// What is there, a line each.
fn clean(facts: Vec<(&'static str, String)>) -> Vec<Fact> {
    let facts = facts.into_iter().map(|(name, value)| Fact { name, value: one_line(&value) });
    facts.filter(|fact| !fact.value.is_empty()).collect()
}

/// The same text without line breaks and other controls, those among them that
/// would have it read from right to left.
fn one_line(text: &str) -> String {
    let is_break = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
    };
    let words = text.split(|c: char| is_break(c) || c == ' ').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
