//! What came of a mail, and whose fault it was.

use std::io;
use std::time::Duration;

use super::{MailAddress, RelayReply};

/// The relay has the mail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Accepted {
    /// Those for whom it took it; never empty.
    pub taken: Vec<MailAddress>,
    /// Those for whom it did not. A mail to those that are refused for now may
    /// be sent again.
    pub refused: Vec<Refusal>,
    /// What it said at the end; often its own id of the mail.
    pub reply: RelayReply,
}

/// The relay did not take a mail for one of its recipients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// The recipient.
    pub address: MailAddress,
    /// [`Refused`](MailFailureKind::Refused), [`Deferred`](MailFailureKind::Deferred)
    /// or [`Relay`](MailFailureKind::Relay).
    pub kind: MailFailureKind,
    /// What the relay said.
    pub reply: RelayReply,
}

/// Why nobody gets a mail.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct MailFailure {
    /// What kind of failure it was. With several recipients it is the kindest
    /// of theirs: our fault if it was so for one of them, for now if one was
    /// refused for now.
    pub kind: MailFailureKind,
    /// For people, the customer among them. Holds neither the relay's name nor
    /// its login, but may hold a recipient's address.
    pub detail: String,
    /// The recipients that were refused, if it came to that.
    pub refused: Vec<Refusal>,
}

/// What kept a mail from being taken.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum MailFailureKind {
    /// The recipient or the mail was refused for good (5xx).
    Refused,
    /// The recipient or the mail was refused for now (4xx).
    Deferred,
    /// The relay refuses us, or is in trouble itself.
    Relay,
    /// The relay does not take our user name and password.
    Login,
    /// There is no connection to the relay.
    Connect,
    /// The connection to the relay could not be secured.
    Tls,
    /// The relay was too slow. It may have the mail.
    Timeout,
    /// The relay hung up, or said something that is no SMTP. It may have the mail.
    NoAnswer,
    /// The mail cannot be sent as it is, because nobody is to get it.
    NoRecipient,
}

impl MailFailureKind {
    /// Whether it was our fault or that of our relay, which is never charged to
    /// the recipient.
    pub const fn is_ours(self) -> bool {
        !matches!(self, Self::Refused | Self::Deferred)
    }

    /// Whether the same mail would fail again.
    pub const fn is_permanent(self) -> bool {
        matches!(self, Self::Refused | Self::NoRecipient)
    }

    /// A short name for logs, metrics and failure logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Deferred => "deferred",
            Self::Relay => "relay",
            Self::Login => "login",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::NoAnswer => "no_answer",
            Self::NoRecipient => "no_recipient",
        }
    }

    /// Sorts a refusal of one recipient.
    pub(super) fn of_recipient(reply: &RelayReply) -> Self {
        if is_about_us(reply) {
            return Self::Relay;
        }
        match reply.code {
            ..500 => Self::Deferred,
            // A relay that does not relay for us has lost us from its
            // configuration. Charging that to the recipients would disable the
            // alerts of all customers.
            _ => match reply.status() {
                Some((_, 7, _)) => Self::Relay,
                None if reply.text.to_ascii_lowercase().contains("relay") => Self::Relay,
                _ => Self::Refused,
            },
        }
    }

    /// Sorts a refusal of the whole mail.
    pub(super) fn of_mail(reply: &RelayReply) -> Self {
        match reply.code {
            _ if is_about_us(reply) => Self::Relay,
            ..500 => Self::Deferred,
            _ => Self::Refused,
        }
    }
}

/// Whether a refusal says something of us or of the relay, and nothing of the
/// mail, whatever command it answers.
fn is_about_us(reply: &RelayReply) -> bool {
    // Neither yes nor no, where nothing else makes sense. RFC 5321, 4.2.2:
    // shutting down. RFC 4954, 6: log in, or do so in another
    // way. RFC 3463, 3.4: trouble of the system itself, for now; for good it is
    // about the mail, such as its size.
    matches!(reply.code, ..400 | 421 | 530 | 534 | 535 | 538)
        || matches!(reply.status(), Some((4, 3, _)))
}

impl MailFailure {
    pub(super) fn new(kind: MailFailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), refused: Vec::new() }
    }

    pub(super) fn no_recipient(detail: &str) -> Self {
        Self::new(MailFailureKind::NoRecipient, detail)
    }

    pub(super) fn timeout(limit: Duration) -> Self {
        let detail = format!("the mail relay did not answer within {} ms", limit.as_millis());
        Self::new(MailFailureKind::Timeout, detail)
    }

    pub(super) fn unconnected(limit: Duration) -> Self {
        let detail = format!("no connection to the mail relay within {} ms", limit.as_millis());
        Self::new(MailFailureKind::Connect, detail)
    }

    /// Unreachable as long as nobody closes the semaphore, and harmless if it is.
    pub(super) fn stopped() -> Self {
        Self::new(MailFailureKind::Connect, "no connection to the mail relay is free")
    }

    pub(super) fn no_answer(error: &io::Error) -> Self {
        let detail = match error.kind() {
            io::ErrorKind::UnexpectedEof => "the mail relay hung up".to_owned(),
            _ => format!("the connection to the mail relay broke: {error}"),
        };
        Self::new(MailFailureKind::NoAnswer, detail)
    }

    pub(super) fn nonsense(detail: &str) -> Self {
        let detail = format!("the mail relay said something that is no SMTP: {detail}");
        Self::new(MailFailureKind::NoAnswer, detail)
    }

    /// The relay refused what has nothing to do with the recipients.
    pub(super) fn relay(what: &str, reply: &RelayReply) -> Self {
        let detail = format!("the mail relay refused {what}: {reply}");
        Self::new(MailFailureKind::Relay, detail)
    }

    /// Everybody was refused. There is at least one.
    pub(super) fn refused(refused: Vec<Refusal>) -> Self {
        const KINDEST_FIRST: [MailFailureKind; 2] =
            [MailFailureKind::Relay, MailFailureKind::Deferred];
        let is_there = |kind: &MailFailureKind| refused.iter().any(|one| one.kind == *kind);
        let kind = KINDEST_FIRST.into_iter().find(is_there).unwrap_or(MailFailureKind::Refused);
        let told = refused.iter().find(|one| one.kind == kind);
        let reply = told.map(|one| one.reply.to_string()).unwrap_or_default();
        let detail = format!("the mail relay refused the mail: {reply}");
        Self { kind, detail, refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> RelayReply {
        let (code, text) = text.split_once(' ').unwrap();
        RelayReply::new(code.parse().unwrap(), &[text.to_owned()])
    }

    #[test]
    fn refusals_of_recipients_are_sorted() {
        use MailFailureKind::{Deferred, Refused, Relay};
        for (text, expected) in [
            ("550 5.1.1 <a@relay.example>: no such user", Refused),
            ("550 no such user", Refused),
            ("552 5.2.2 mailbox full", Refused),
            ("450 4.7.1 greylisted", Deferred),
            ("452 4.5.3 too many recipients", Deferred),
            ("354 go on", Relay),
            ("421 4.4.2 closing", Relay),
            ("451 4.3.0 lookup failed", Relay),
            ("530 5.7.0 log in first", Relay),
            ("554 5.7.1 <a@b.example>: Relay access denied", Relay),
            ("550 relay not permitted", Relay),
        ] {
            assert_eq!(MailFailureKind::of_recipient(&reply(text)), expected, "{text}");
        }
    }

    #[test]
    fn refusals_of_mails_are_sorted() {
        use MailFailureKind::{Deferred, Refused, Relay};
        for (text, expected) in [
            ("554 5.7.1 looks like spam", Refused),
            ("552 5.3.4 too big", Refused),
            ("451 4.7.0 try later", Deferred),
            ("452 4.3.1 disk full", Relay),
            ("421 shutting down", Relay),
        ] {
            assert_eq!(MailFailureKind::of_mail(&reply(text)), expected, "{text}");
        }
    }

    #[test]
    fn a_failure_for_all_is_as_kind_as_its_kindest() {
        let refusal = |kind| Refusal {
            address: "a@b.example".parse().unwrap(),
            kind,
            reply: reply("550 5.1.1 nobody"),
        };
        use MailFailureKind::{Deferred, Refused, Relay};
        for (kinds, expected) in [
            (vec![Refused], Refused),
            (vec![Refused, Deferred], Deferred),
            (vec![Deferred, Relay, Refused], Relay),
        ] {
            let failure = MailFailure::refused(kinds.into_iter().map(refusal).collect());
            assert_eq!(failure.kind, expected);
            assert!(failure.detail.ends_with("550 5.1.1 nobody"), "{}", failure.detail);
        }
    }

    #[test]
    fn only_what_the_recipient_did_is_charged() {
        use MailFailureKind::*;
        let ours = [Relay, Login, Connect, Tls, Timeout, NoAnswer, NoRecipient];
        assert!(ours.into_iter().all(MailFailureKind::is_ours));
        assert!(!Refused.is_ours() && !Deferred.is_ours());
        assert!(Refused.is_permanent() && !Deferred.is_permanent() && !Login.is_permanent());
    }
}
