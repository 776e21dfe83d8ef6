//! Events: what was accepted, and who was to hear of it.

use std::collections::BTreeSet;

use super::Violation;
use super::known::{Change, Known, Send};
use crate::history::{Event, Subscription};

/// How much longer than its window the broker may remember an id, and how much sooner it may
/// forget one: it looks every so often.
const WINDOW_SLACK_MS: u64 = 2_000;

pub(super) fn check(known: &Known, violations: &mut Vec<Violation>) {
    for (event, sends) in &known.sends {
        let mut tell = |invariant, what: String| {
            let what = format!("{} of {}: {what}", event.id, event.event_type);
            violations.push(Violation { invariant, what });
        };
        is_accepted_as_told(known, event, sends, &mut tell);
        reaches_who_wanted_it(known, event, sends, &mut tell);
    }
    nobody_else_hears(known, violations);
}

/// I1 and I20: what was answered is what happened.
fn is_accepted_as_told(
    known: &Known,
    event: &Event,
    sends: &[Send],
    tell: &mut impl FnMut(&'static str, String),
) {
    let stored = sends.iter().filter(|send| send.is("stored")).count();
    let unknown = sends.iter().filter(|send| send.is_unknown()).count();
    let accepted = known.acceptances.get(&event.id).map_or(0, Vec::len);
    if accepted < stored {
        tell("I1", format!("stored {stored} times, and history has it {accepted} times"));
    }
    if accepted > stored + unknown {
        tell("I20", format!("in history {accepted} times, stored {stored} and unknown {unknown}"));
    }
    let window = known.setup.events_window_ms;
    for (at, send) in sends.iter().enumerate() {
        let earlier = &sends[..at];
        if send.is("duplicate") {
            let remembered = |before: &Send| {
                // A broker that was started again begins to count a window anew when it
                // stores its next message: what it has read from its disk is as old then.
                let windows = if known.broker_faults(before.sent, send.sent) > 0 { 2 } else { 1 };
                !before.is("duplicate")
                    && before.answer.as_ref().map_or(u64::MAX, |(at, _)| *at)
                        + windows * window
                        + WINDOW_SLACK_MS
                        >= send.sent
            };
            // One without an answer may be stored long after it was sent.
            if !earlier.iter().any(|before| before.is_unknown() || remembered(before)) {
                tell("I20", format!("a duplicate at {} of nothing within the window", send.sent));
            }
        }
        if let (true, Some((answered, _))) = (send.is("stored"), &send.answer) {
            let lately = |before: &&Send| {
                before.is("stored") && before.sent + window > *answered + WINDOW_SLACK_MS
            };
            if let Some(before) = earlier.iter().find(lately) {
                let ago = send.sent - before.sent;
                tell("I20", format!("stored at {} and again {ago} ms later", before.sent));
            }
        }
    }
    if accepted > 0 {
        each_acceptance_is_its_own(known, event, accepted, tell);
    }
}

/// I20: what is accepted again is delivered again, to whoever has wanted it all the time.
fn each_acceptance_is_its_own(
    known: &Known,
    event: &Event,
    accepted: usize,
    tell: &mut impl FnMut(&'static str, String),
) {
    let Some(first) = known.acceptances[&event.id].first() else { return };
    let decisions = known.decisions.get(&first.event_key).map(Vec::as_slice).unwrap_or_default();
    for (subscription, changes) in known.changes.iter().filter(|(who, _)| wants(who, event)) {
        let [Change { on: true, answer: Some((_, 200)), .. }] = &changes[..] else { continue };
        let there = decisions.iter().filter(|decision| decision.url == subscription.url);
        let verdicts: BTreeSet<&str> =
            there.clone().map(|decision| decision.verdict.as_str()).collect();
        let deliveries: BTreeSet<&str> =
            there.map(|decision| decision.delivery.as_str()).filter(|id| !id.is_empty()).collect();
        if verdicts.is_empty() {
            tell("I1", format!("accepted, and nothing was decided for {}", subscription.url));
        } else if !verdicts.contains("duplicate") && deliveries.len() != accepted {
            let count = deliveries.len();
            tell(
                "I20",
                format!(
                    "accepted {accepted} times, and {count} deliveries to {}",
                    subscription.url
                ),
            );
        }
    }
}

fn wants(subscription: &Subscription, event: &Event) -> bool {
    subscription.event_type == event.event_type
        && subscription.account == event.account
        && (subscription.domain.is_empty() || subscription.domain == event.domain)
}

/// What a subscription was at a moment, as far as its owner can know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Was {
    On,
    Off,
    Unknown,
}

/// What it was from `from` to `to`, if it was the same all the time.
fn was(changes: &[Change], from: u64, to: u64) -> Was {
    let mut state = Was::Off;
    for change in changes {
        if change.began > to {
            break;
        }
        let done = change.answer.filter(|(at, status)| *at < from && (200..300).contains(status));
        state = match (done, change.on) {
            (Some(_), true) => Was::On,
            (Some(_), false) => Was::Off,
            // Refused because it is so already, or not known: anything.
            (None, _) => Was::Unknown,
        };
    }
    state
}

/// I3: a decision reflects every change that was answered before the event was sent.
fn reaches_who_wanted_it(
    known: &Known,
    event: &Event,
    sends: &[Send],
    tell: &mut impl FnMut(&'static str, String),
) {
    // Of events that were sent once, it is clear which sending was routed.
    let [send] = sends else { return };
    let Some([acceptance]) = known.acceptances.get(&event.id).map(Vec::as_slice) else { return };
    let decisions =
        known.decisions.get(&acceptance.event_key).map(Vec::as_slice).unwrap_or_default();
    let arrived = |url: &str| {
        let mine = decisions.iter().filter(|decision| decision.url == url);
        let posts = mine.filter_map(|decision| known.posts.get(&decision.delivery));
        posts.flatten().map(|post| post.t).min()
    };
    // When somebody else had it, everything was decided.
    let Some(decided) = decisions.iter().filter_map(|decision| arrived(&decision.url)).min() else {
        return;
    };
    // Somebody who takes over from a fanout that was in trouble decides once more.
    if known.excuses("fanout", send.sent, decided + 3_000) > 0
        || known.has_old_settings(send.sent, decided)
    {
        return;
    }
    for (subscription, changes) in known.changes.iter().filter(|(who, _)| wants(who, event)) {
        let decision = decisions.iter().find(|decision| decision.url == subscription.url);
        match (was(changes, send.sent, decided), decision) {
            (Was::On, None) => tell(
                "I3",
                format!("sent at {} and not decided for {}", send.sent, subscription.url),
            ),
            (Was::Off, Some(decision)) if decision.verdict == "chosen" => tell(
                "I2",
                format!(
                    "sent at {} and decided for {}, which was deleted",
                    send.sent, subscription.url
                ),
            ),
            _ => {}
        }
    }
}

/// I2: no receiver hears of what nobody has sent.
fn nobody_else_hears(known: &Known, violations: &mut Vec<Violation>) {
    let ids: BTreeSet<&str> = known.sends.keys().map(|event| event.id.as_str()).collect();
    for (delivery, posts) in &known.posts {
        for post in posts.iter().take(1) {
            if !ids.contains(post.event_id.as_str()) {
                violations.push(Violation {
                    invariant: "I2",
                    what: format!("{delivery}: {} hears of {:?}", post.url, post.event_id),
                });
            }
        }
    }
}
