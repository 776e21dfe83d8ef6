//! Who has a mail, who is still to get it, and what a try came to.

use egress::mail::{Accepted, MailAddress, MailFailure, MailFailureKind, Refusal};
use model::{Answered, EndReason};
use protocol::v1::MailProgress;
use protocol::v1::ended::End;

use crate::attempt::Tried;

/// Longest account of a try, in characters.
const DETAIL_CHARS: usize = 2_000;
/// Most addresses that stand in the place of a URL.
const SHOWN_ADDRESSES: usize = 5;

/// Those whom a mail is still for, by the settings of this moment.
#[derive(Debug)]
pub(super) struct Recipients {
    to: Vec<MailAddress>,
    /// What stands in the setting, and is no address.
    malformed: Vec<String>,
    /// What came of the tries before.
    before: MailProgress,
}

/// What a try came to.
pub(super) struct Try {
    pub(super) tried: Tried,
    pub(super) progress: MailProgress,
    /// A short machine name.
    pub(super) reason: &'static str,
    /// For people. Addresses are masked.
    pub(super) detail: String,
    /// What the relay said in the end, addresses masked.
    pub(super) reply: String,
}

impl Recipients {
    /// Before its first try, a mail is for everybody whom the setting names;
    /// afterwards for those of them who remain.
    pub(super) fn of(progress: Option<&MailProgress>, named: &[String]) -> Self {
        let mut recipients =
            Self { to: Vec::new(), malformed: Vec::new(), before: MailProgress::default() };
        let Some(progress) = progress else {
            named.iter().for_each(|text| recipients.add(text));
            return recipients;
        };
        let named: Vec<MailAddress> = named.iter().filter_map(|text| text.parse().ok()).collect();
        let is_named = |text: &str| text.parse().is_ok_and(|address| named.contains(&address));
        progress
            .remaining
            .iter()
            .filter(|text| is_named(text))
            .for_each(|text| recipients.add(text));
        recipients.before = MailProgress { remaining: Vec::new(), ..progress.clone() };
        recipients
    }

    fn add(&mut self, text: &str) {
        match text.parse::<MailAddress>() {
            Ok(address) if self.to.contains(&address) => {}
            Ok(address) => self.to.push(address),
            Err(_) => self.malformed.push(text.to_owned()),
        }
    }

    /// Those to ask the relay for.
    pub(super) fn to(&self) -> &[MailAddress] {
        &self.to
    }

    /// Whether nobody is left to be told of.
    pub(super) fn is_empty(&self) -> bool {
        self.to.is_empty() && self.malformed.is_empty()
    }

    /// How a delivery ends of which nobody is left, because those who remained
    /// were taken out of the setting.
    pub(super) fn end(&self) -> (End, &'static str) {
        match &self.before {
            MailProgress { taken: 1.., .. } => {
                (End::Delivered, EndReason::RecipientsRemoved.as_str())
            }
            MailProgress { refused, .. } if !refused.is_empty() => {
                (End::Rejected, MailFailureKind::Refused.as_str())
            }
            _ => (End::Suppressed, EndReason::RecipientsRemoved.as_str()),
        }
    }

    /// What stands in history in the place of a URL: enough for those who know
    /// the addresses.
    pub(super) fn url(&self) -> String {
        let shown = self.to.iter().take(SHOWN_ADDRESSES).map(MailAddress::masked);
        let mut url = format!("mailto:{}", shown.collect::<Vec<_>>().join(","));
        if self.to.len() > SHOWN_ADDRESSES {
            url.push_str(",…");
        }
        url
    }

    /// What the relay's answer means; `None` when it was not asked, because there
    /// was nobody to ask for.
    pub(super) fn after(self, sent: Option<&Result<Accepted, MailFailure>>) -> Try {
        let (taken, refusals, failure) = match sent {
            None => (0, &[][..], None),
            Some(Ok(accepted)) => (accepted.taken.len(), &accepted.refused[..], None),
            Some(Err(failure)) => (0, &failure.refused[..], Some(failure)),
        };
        let asked = self.to.len();
        let reply = match sent {
            Some(Ok(accepted)) => self.masked(&accepted.reply.to_string()),
            Some(Err(_)) => self.masked(&refusals.last().map(said).unwrap_or_default()),
            None => String::new(),
        };
        let mut progress = self.before.clone();
        progress.taken += u32::try_from(taken).unwrap_or(u32::MAX);
        progress.refused.extend(self.malformed.iter().cloned());
        let in_trouble = failure.filter(|failure| failure.refused.is_empty());
        if let Some(failure) = in_trouble {
            // Nobody was told of: all of them remain.
            progress.remaining = self.to.iter().map(ToString::to_string).collect();
            let tried = match failure.kind {
                MailFailureKind::Relay
                | MailFailureKind::Login
                | MailFailureKind::Connect
                | MailFailureKind::Tls => Tried::Relay,
                // It may have the mail, and it may be this mail that it cannot
                // bear: not to be tried for hours on end.
                _ => Tried::Ours,
            };
            let (reason, detail) = (failure.kind.as_str(), cut(&failure.detail));
            return Try { tried, progress, reason, detail, reply };
        }
        for Refusal { address, kind, .. } in refusals {
            let kept =
                if kind.is_permanent() { &mut progress.refused } else { &mut progress.remaining };
            kept.push(address.to_string());
        }
        let is_left = |ours: bool| {
            let left = |one: &&Refusal| !one.kind.is_permanent() && one.kind.is_ours() == ours;
            refusals.iter().any(|one| left(&one))
        };
        let (tried, reason) = if is_left(true) {
            // With the others, who were put off, a little sooner than they asked for.
            (Tried::Ours, MailFailureKind::Relay)
        } else if is_left(false) {
            (Tried::Theirs, MailFailureKind::Deferred)
        } else if progress.taken > 0 {
            (Tried::Answered(Answered::Taken), MailFailureKind::Refused)
        } else {
            (Tried::Answered(Answered::Rejected), MailFailureKind::Refused)
        };
        let nobody_refused = refusals.is_empty() && self.malformed.is_empty();
        let reason = if nobody_refused { "ok" } else { reason.as_str() };
        let detail =
            if nobody_refused { String::new() } else { self.detail(taken, asked, refusals) };
        Try { tried, progress, reason, detail, reply }
    }

    fn detail(&self, taken: usize, asked: usize, refusals: &[Refusal]) -> String {
        let refused = refusals.iter().map(|one| format!("{}: {}", one.address.masked(), said(one)));
        let malformed =
            self.malformed.iter().map(|_| "what the setting names is no address".into());
        let each: Vec<String> = refused.chain(malformed).collect();
        let detail = format!("taken for {taken} of {asked}; refused {}", each.join("; "));
        cut(&self.masked(&detail))
    }

    fn masked(&self, text: &str) -> String {
        self.to.iter().fold(text.to_owned(), |text, address| address.masked_in(&text))
    }
}

fn said(refusal: &Refusal) -> String {
    refusal.reply.to_string()
}

fn cut(text: &str) -> String {
    text.chars().take(DETAIL_CHARS).collect()
}

#[cfg(test)]
mod tests;
