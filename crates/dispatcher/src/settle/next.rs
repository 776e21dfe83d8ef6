//! What comes next for a delivery that was tried: pure decisions.

use chrono::{DateTime, TimeDelta, Utc};
use model::{AfterFailure, Answered, EndReason, after_our_fault};
use protocol::v1::ended::End;
use protocol::v1::{Attempted, Delivery};

use super::{moment, timestamp};
use crate::attempt::{Tried, Work};
use crate::faults::OurFaults;

/// Uncharged returns after which a delivery is set aside that fails alone.
pub(super) const MAX_UNCHARGED_RETURNS: u32 = 20;
/// Most returns that are counted while deliveries fail by faults of ours that are
/// everybody's: enough for the longest wait.
const COMMON_RETURNS: u32 = 6;
/// How long a delivery waits for faults of ours to go away, even if its schedule is shorter.
const OUR_PATIENCE: TimeDelta = TimeDelta::hours(2);

/// What comes next.
#[derive(Debug, PartialEq)]
pub(super) enum Next {
    End { end: End, reason: String },
    Retry { at: DateTime<Utc> },
}

/// The moment of a decision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// By the clock of this process.
    pub(crate) own: DateTime<Utc>,
    /// By this clock or the broker's, whichever is behind: nothing is given up because one
    /// of them is wrong.
    pub(crate) earliest: DateTime<Utc>,
}

/// Decides, and notes whose fault it was. `chance` is a random fraction from 0 to 1.
pub(super) fn next(
    work: &mut Work,
    tried: &Tried,
    attempted: &Attempted,
    faults: &OurFaults,
    now: Now,
    chance: f64,
) -> Next {
    let delivery = &mut work.delivery;
    if !matches!(tried, Tried::Relay) {
        faults.note(&delivery.delivery_id, matches!(tried, Tried::Ours), now.own);
    }
    let first_due = match moment(delivery.first_due.as_ref()) {
        Some(first_due) if !chassis::mutant("give_up_never") => first_due,
        _ => now.earliest,
    };
    let give_up_at = work.policy.give_up_at(first_due);
    match tried {
        Tried::Answered(Answered::Taken) => {
            // Of a mail that some were refused, each refusal stands with its try.
            let in_part = delivery.mail.as_ref().is_some_and(|mail| !mail.refused.is_empty());
            let reason = if in_part { EndReason::InPart } else { EndReason::Ok }.as_str().into();
            Next::End { end: End::Delivered, reason }
        }
        Tried::Answered(Answered::Rejected) => {
            let reason = match attempted.status {
                0 => attempted.reason.clone(),
                status => format!("status_{status}"),
            };
            Next::End { end: End::Rejected, reason }
        }
        Tried::Relay if now.earliest >= give_up_at => {
            Next::End { end: End::Expired, reason: attempted.reason.clone() }
        }
        Tried::Relay => {
            let at = after_our_fault(delivery.uncharged_returns, now.own, chance);
            Next::Retry { at: at.min(give_up_at) }
        }
        Tried::Ours => {
            let give_up_at = give_up_at.max(first_due + OUR_PATIENCE);
            if now.earliest >= give_up_at {
                return Next::End { end: End::Expired, reason: attempted.reason.clone() };
            }
            // A delivery that fails like all the others says nothing of itself, nor does a name that the
            // resolver cannot tell.
            let is_resolver = attempted.reason == egress::FailureKind::DnsOurs.as_str();
            if faults.are_common(now.own) || is_resolver {
                delivery.uncharged_returns = delivery.uncharged_returns.min(COMMON_RETURNS);
                metrics::counter!("postrider_returns_not_counted_total").increment(1);
            }
            if delivery.uncharged_returns >= MAX_UNCHARGED_RETURNS {
                return Next::End { end: End::Poisoned, reason: attempted.reason.clone() };
            }
            let at = after_our_fault(delivery.uncharged_returns, now.own, chance);
            Next::Retry { at: at.min(give_up_at) }
        }
        Tried::Answered(Answered::Failed) | Tried::Theirs => {
            let number = attempted.attempt;
            let after =
                work.policy.after_failure(work.event_type, number, first_due, now.earliest, chance);
            match after {
                AfterFailure::RetryAt(at) => Next::Retry { at: at + (now.own - now.earliest) },
                AfterFailure::Exhausted => {
                    Next::End { end: End::Exhausted, reason: EndReason::Schedule.as_str().into() }
                }
                AfterFailure::TimeIsUp => {
                    Next::End { end: End::Exhausted, reason: EndReason::GiveUpAt.as_str().into() }
                }
            }
        }
    }
}

/// The next hop of a delivery that was tried and comes back at this moment.
pub(super) fn next_hop(delivery: &mut Delivery, charged: bool, at: DateTime<Utc>) {
    delivery.due_again = Some(timestamp(at));
    delivery.hop += 1;
    // From here on the broker tells whether this delivery exists.
    delivery.may_exist = false;
    // Somebody has survived it.
    delivery.deaths = 0;
    delivery.parks = 0;
    if charged {
        delivery.attempt += 1;
        delivery.uncharged_returns = 0;
    } else {
        delivery.uncharged_returns += 1;
    }
}

#[cfg(test)]
mod tests;
