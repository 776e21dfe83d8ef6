//! What was decided and what happened, in sentences for people.

use std::collections::BTreeMap;

use model::{End, EndReason, Wait};
use protocol::v1::decision::Verdict;
use store::history::{AttemptRow, DecisionRow, Journey, KnownEnd};

use super::answer::rfc3339;
use super::story::Story;

/// Why a subscription got its delivery, or none.
pub(crate) fn verdict(decision: &DecisionRow) -> String {
    let has_delivery = decision.delivery_id.is_some();
    let verdict = Verdict::from_str_name(&decision.verdict.to_ascii_uppercase());
    match verdict.unwrap_or(Verdict::Unspecified) {
        Verdict::Chosen => "A delivery was made.".to_owned(),
        Verdict::Duplicate => {
            "The same URL stands on a higher level, whose webhook gets the event.".to_owned()
        }
        Verdict::Disabled => {
            let since = decision.disabled_at.map(|at| format!(" since {}", rfc3339(at)));
            let since = since.unwrap_or_default();
            format!("The alert setting was disabled{since}: its delivery is held.")
        }
        Verdict::Paused if has_delivery => {
            "Deliveries to this URL were paused: it is held.".to_owned()
        }
        Verdict::Paused => {
            "Deliveries to this URL were paused; another webhook, which was not, has the \
                     same URL and gets the event."
                .to_owned()
        }
        Verdict::AccountNotOpen if decision.level == "parent_account" => {
            "The parent account was disabled or closed.".to_owned()
        }
        Verdict::AccountNotOpen => "The account, or its parent, was disabled or closed.".to_owned(),
        Verdict::DomainDisabled => "The domain was disabled.".to_owned(),
        Verdict::NoSettings => {
            "The settings of the account, or of its parent, were missing on the \
                          delivery path: the event was not routed."
                .to_owned()
        }
        Verdict::UnknownKind => {
            "The delivery path did not know events of this kind yet: it was not routed.".to_owned()
        }
        Verdict::TooManyUnrouted => {
            "Too many events of the account could not be routed: this one did not wait.".to_owned()
        }
        Verdict::TooLarge => {
            "Its delivery was larger than the broker takes, and was given up.".to_owned()
        }
        Verdict::Unspecified => format!("It was decided otherwise: {}.", decision.verdict),
    }
}

/// How a delivery ended.
pub(crate) fn end(end: &KnownEnd) -> String {
    let (reason, name) = (EndReason::parse(&end.reason), end.reason.as_str());
    let too_late = "It had not gone out when its schedule's time was up";
    match (End::parse(&end.outcome), reason) {
        (Some(End::Rejected), _) => match end.last_status {
            Some(status) => {
                format!(
                    "It was answered with status {status}, after which there is no further try."
                )
            }
            None => "All of its recipients were refused for good.".to_owned(),
        },
        (Some(End::Exhausted), Some(EndReason::Schedule)) if end.attempts == 1 => {
            "Its only try failed.".to_owned()
        }
        (Some(End::Exhausted), Some(EndReason::Schedule)) => {
            format!("Each of its {} tries failed.", end.attempts)
        }
        (Some(_), Some(reason)) => reason.explain().to_owned(),
        (Some(End::Delivered), None) => EndReason::Ok.explain().to_owned(),
        (Some(End::Exhausted | End::Expired), None) => match Wait::parse(name) {
            Some(wait) => format!("{too_late}: {}.", wait.explain()),
            None if matches!(name, "resolver" | "local" | "egress_proxy" | "ours") => {
                format!("{too_late}, through a fault of the service ({name}).")
            }
            None => format!("{too_late}: the mail relay was in trouble ({name})."),
        },
        (Some(End::Poisoned), None) => {
            format!("It came back too often through a fault of the service ({name}).")
        }
        (Some(End::Suppressed | End::Held) | None, _) => {
            format!("It ended as {}: {name}.", end.outcome)
        }
    }
}

/// What is next for a delivery that has not ended, and was last heard of with this.
pub(super) fn waiting(last: Option<&AttemptRow>) -> String {
    let Some(last) = last else { return "Its first try is due.".to_owned() };
    let Some(at) = last.next_attempt_at.map(rfc3339) else {
        return "What comes next is not known yet.".to_owned();
    };
    match Wait::parse(&last.reason) {
        Some(wait) => format!("It waits: {}. It asks again from {at} on.", wait.explain()),
        None if last.charged => format!("Try {} is due at {at}.", last.attempt + 1),
        None => format!("The receiver was not to blame; it is tried again at {at}."),
    }
}

/// What may still come after an end.
pub(super) fn after(end: &KnownEnd) -> &'static str {
    let is_unread = matches!(
        EndReason::parse(&end.reason),
        Some(EndReason::UnreadableEvent | EndReason::UnreadableDelivery)
    );
    match End::parse(&end.outcome) {
        _ if end.sent_again_at.is_some() => "It was sent again.",
        Some(End::Delivered) => "Nothing: it has arrived.",
        Some(End::Poisoned) if is_unread => "Nothing: it cannot be sent again.",
        _ if end.is_body_kept => "Nothing, unless it is sent again.",
        _ => "Nothing: its body is kept no longer.",
    }
}

/// The whole journey in one sentence.
pub(super) fn whole(
    event_type: &str,
    domain: Option<&str>,
    journey: &Journey,
    stories: &[Story<'_>],
) -> String {
    if journey.routings.is_empty() && stories.is_empty() {
        return "The event was accepted. No routing of it is known: it is about to be routed, or \
                that is kept no longer."
            .to_owned();
    }
    let is_empty = journey.routings.iter().all(|routing| routing.decisions.is_empty());
    if is_empty && stories.is_empty() {
        return match domain {
            Some(domain) => {
                format!("No match: no webhook was for {event_type} events of {domain}.")
            }
            None => format!("No match: no alert setting was for {event_type}."),
        };
    }
    if stories.is_empty() {
        return "No delivery was made: each decision says why.".to_owned();
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for story in stories {
        let outcome = story.end.map_or("under way", |end| end.outcome.as_str());
        *counts.entry(outcome).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.into_iter().map(|(outcome, count)| format!("{count} {outcome}")).collect();
    let noun = if stories.len() == 1 { "delivery" } else { "deliveries" };
    format!("{} {noun}: {}.", stories.len(), counts.join(", "))
}
