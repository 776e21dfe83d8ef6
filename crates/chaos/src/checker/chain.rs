//! One delivery after the other: its tries, in their order, and its end.

use std::collections::BTreeMap;

use super::Violation;
use super::known::{Arrival, Known};

/// A millisecond on each side is lost to rounding.
const ROUNDING_MS: u64 = 2;
/// What a process still does after the broker has handed its work to another.
const LATE_MS: u64 = 1_000;
/// Within this a dispatcher has a connection again after a fault, and has stored what it has to
/// tell: it asks for one each 3.2 s, and a write that went down is given up after 1.5 s.
const TOLD_MS: u64 = 5_000;

pub(super) fn check(known: &Known, violations: &mut Vec<Violation>) {
    let mailed = known.mailed();
    for delivery in known.deliveries() {
        let posts = known.posts.get(delivery).map(Vec::as_slice).unwrap_or_default();
        let mut tell = |invariant, what: String| {
            let what = format!("{delivery}: {what}; {}", story(known, delivery));
            violations.push(Violation { invariant, what });
        };
        ends_once(known, delivery, &mut tell);
        counts_up(known, posts, &mut tell);
        is_never_early(known, posts, &mut tell);
        if mailed.contains(delivery.as_str()) {
            is_one_mail(known, delivery, &mut tell);
            continue;
        }
        stops_at_its_end(known, delivery, posts, &mut tell);
        has_its_tries_in_history(known, delivery, posts, &mut tell);
    }
    resends_are_single(known, violations);
    stands_in_one_place(known, violations);
}

/// What is known of a delivery, for people.
fn story(known: &Known, delivery: &str) -> String {
    let posts = known.posts.get(delivery).map(Vec::as_slice).unwrap_or_default();
    let tries: Vec<String> = posts
        .iter()
        .map(|post| format!("({}, {}) at {}", post.number, post.status, post.t))
        .collect();
    let ends = known.ends.get(delivery).map(Vec::as_slice).unwrap_or_default();
    let ends: Vec<String> = ends
        .iter()
        .map(|end| format!("{} {} after {} at {}", end.outcome, end.reason, end.attempts, end.t))
        .collect();
    let url = posts.first().map(|post| post.url.as_str()).unwrap_or_default();
    let event = posts.first().map(|post| post.event_id.as_str()).unwrap_or_default();
    format!("{event} to {url}: posts {}; ends {}", tries.join(" "), ends.join(", "))
}

/// I1: what was decided ends, once.
fn ends_once(known: &Known, delivery: &str, tell: &mut impl FnMut(&'static str, String)) {
    let ends = known.ends.get(delivery).map_or(0, Vec::len);
    if ends != 1 {
        tell("I1", format!("{ends} ends"));
    }
}

/// I4: numbers rise by one. A number comes again only over a fault that explains it, and no
/// more often than there are such faults.
fn counts_up(known: &Known, posts: &[Arrival], tell: &mut impl FnMut(&'static str, String)) {
    let mut highest: Option<&Arrival> = None;
    let mut repeated = 0;
    for post in posts {
        let (before, since) = highest.map_or((0, 0), |last| (last.number, last.t));
        if post.number == before + 1 {
            highest = Some(post);
            repeated = 0;
        } else if post.number == before {
            // A receiver that hangs up without an answer is asked once more at once, over a
            // new connection: it may have hung up on the old one.
            let hung_up = highest.is_some_and(|last| last.status == 0 && last.answered.is_some());
            if hung_up && post.t < since + known.setup.egress_timeout_ms {
                continue;
            }
            repeated += 1;
            let from = since.saturating_sub(LATE_MS);
            // A process without a processor for most of a lease has lost it.
            let is_starved = known.starved_ms(from, post.t) >= known.setup.lease_ms * 2 / 3;
            let excuses = known.excuses("dispatcher", from, post.t)
                + known.excuses("fanout", from, post.t)
                + usize::from(is_starved);
            if excuses < repeated {
                tell(
                    "I4",
                    format!(
                        "try {} came {repeated} times again over {excuses} faults",
                        post.number
                    ),
                );
            }
            highest = Some(post);
        } else {
            tell("I4", format!("try {} comes after try {before}", post.number));
            highest = Some(post);
            repeated = 0;
        }
    }
}

/// I4 and I9, of mail: it comes once, and again only over a fault.
fn is_one_mail(known: &Known, delivery: &str, tell: &mut impl FnMut(&'static str, String)) {
    let mails = known.mails.get(delivery).map(Vec::as_slice).unwrap_or_default();
    for (again, two) in mails.windows(2).enumerate() {
        let from = mails[0].saturating_sub(LATE_MS);
        // The relay had it, and its answer was not read in time: of each time anew.
        if known.starved_ms(two[0].saturating_sub(LATE_MS), two[1]) > 0 {
            continue;
        }
        if known.excuses("dispatcher", from, two[1]) + known.excuses("fanout", from, two[1])
            < again + 1
        {
            tell("I4", format!("a mail came {} times, at {mails:?}", mails.len()));
        }
    }
    let ends = known.ends.get(delivery).map(Vec::as_slice).unwrap_or_default();
    if mails.is_empty() && ends.iter().any(|end| end.outcome == "delivered") {
        tell("I9", "delivered, and no mail came".to_owned());
    }
}

/// I7: a retry is never early.
fn is_never_early(known: &Known, posts: &[Arrival], tell: &mut impl FnMut(&'static str, String)) {
    if known.has_wrong_clocks() {
        return;
    }
    // Of several arrivals of one number, the first answer is the earliest from which the
    // next try may have been planned.
    let mut firsts: BTreeMap<u64, &Arrival> = BTreeMap::new();
    for post in posts {
        firsts.entry(post.number).or_insert(post);
    }
    for (number, first) in &firsts {
        let waits = known.waits_ms(&first.event_type);
        let wait =
            usize::try_from(*number).ok().and_then(|number| waits.get(number.checked_sub(1)?));
        let (Some(next), Some(wait)) = (firsts.get(&(number + 1)), wait) else { continue };
        // Without an answer it had to wait at least for as long as it had come.
        let planned = first.answered.unwrap_or(first.t).min(next.t);
        let from = if first.status == 0 { first.t } else { planned };
        if next.t + ROUNDING_MS < from + wait {
            tell("I7", format!("try {} after {} ms of {wait}", number + 1, next.t - from));
        }
    }
}

/// I5: nothing is sent after the end, and the end says what was.
fn stops_at_its_end(
    known: &Known,
    delivery: &str,
    posts: &[Arrival],
    tell: &mut impl FnMut(&'static str, String),
) {
    let Some([end]) = known.ends.get(delivery).map(Vec::as_slice) else { return };
    // A dispatcher that was hit could not tell of the end before it was back.
    let told = known.excused_until("dispatcher", end.t.saturating_sub(LATE_MS), end.t + LATE_MS);
    let told = told.map_or(end.t, |over| end.t.max(over + TOLD_MS));
    for post in posts {
        if post.number > end.attempts.max(1) && post.t > told + LATE_MS {
            tell("I5", format!("try {} after an end with {} tries", post.number, end.attempts));
            break;
        }
    }
    let taken = posts.iter().find(|post| (200..300).contains(&post.status));
    let excused =
        |from: u64| known.excuses("dispatcher", from.saturating_sub(LATE_MS), from + LATE_MS) > 0;
    match (end.outcome.as_str(), taken) {
        ("delivered", None) => tell("I9", "delivered, and nobody has taken it".to_owned()),
        // It ended otherwise because of a second answer, after nobody could know the first.
        ("exhausted" | "rejected", Some(taken)) if !excused(taken.answered.unwrap_or(taken.t)) => {
            tell("I5", format!("taken at try {}, and ended as {}", taken.number, end.outcome));
        }
        _ => {}
    }
    // I8: within its schedule, and what faults add to it.
    let event_type = posts.first().map(|post| post.event_type.as_str()).unwrap_or_default();
    let (Some(first), false) = (posts.first(), known.has_wrong_clocks()) else { return };
    let schedule: u64 = known.waits_ms(event_type).iter().sum();
    let tries = known.setup.egress_timeout_ms * end.attempts.max(1);
    let latest = first.t + schedule * 11 / 10 + tries + 15_000;
    let latest = latest + known.troubled_ms(first.t, end.t);
    // A receiver in trouble is left alone now and then, and its deliveries are tried ever
    // rarer, until its schedule's time is up: a minute a try besides its waits.
    let in_trouble = ["/busy/", "/hangs/", "/cuts/"].iter().any(|habit| first.url.contains(habit));
    let tries = u64::try_from(known.waits_ms(event_type).len() + 1).unwrap_or_default();
    let latest = latest + if in_trouble { tries * 60_000 } else { 0 };
    if end.t > latest {
        tell("I8", format!("ended {} ms too late", end.t - latest));
    }
}

/// I9 and I17: history has what receivers have seen, and charges nothing else.
fn has_its_tries_in_history(
    known: &Known,
    delivery: &str,
    posts: &[Arrival],
    tell: &mut impl FnMut(&'static str, String),
) {
    let attempts = known.attempts.get(delivery).map(Vec::as_slice).unwrap_or_default();
    for attempt in attempts.iter().filter(|attempt| attempt.charged) {
        let seen = |post: &&Arrival| {
            post.number == attempt.number && (attempt.status == 0 || post.status == attempt.status)
        };
        let Some(post) = posts.iter().find(seen) else {
            tell(
                "I17",
                format!("try {} is charged ({}) and never came", attempt.number, attempt.reason),
            );
            continue;
        };
        // The receiver had answered, in time: it did not fail, we did.
        let in_time =
            post.answered.is_some_and(|at| at < post.t + known.setup.egress_timeout_ms / 2);
        if attempt.status == 0 && post.status != 0 && in_time {
            tell(
                "I17",
                format!(
                    "try {} is charged as {} and was answered in time",
                    attempt.number, attempt.reason
                ),
            );
        }
    }
    for post in posts.iter().filter(|post| post.status != 0) {
        let until = post.answered.unwrap_or(post.t) + LATE_MS;
        let told = attempts.iter().any(|attempt| attempt.number == post.number);
        let excused = known.excuses("dispatcher", post.t.saturating_sub(LATE_MS), until) > 0;
        if !told && !excused {
            tell("I9", format!("try {} is not in history", post.number));
        }
    }
}

/// I6: a delivery is on `due` or on `retry`; on both only until the ack of the older copy has
/// reached the broker.
fn stands_in_one_place(known: &Known, violations: &mut Vec<Violation>) {
    for (delivery, from, to) in &known.twice {
        let excused = known.excuses("dispatcher", from.saturating_sub(LATE_MS), *to) > 0;
        if to - from > known.setup.lease_ms + LATE_MS && !excused {
            let what = format!("{delivery} in two places from {from} to {to}");
            violations.push(Violation { invariant: "I6", what });
        }
    }
}

/// I18: of each acceptance and generation there is one delivery to a target.
fn resends_are_single(known: &Known, violations: &mut Vec<Violation>) {
    let mut accepted: BTreeMap<&str, usize> = BTreeMap::new();
    for acceptance in known.acceptances.values().flatten() {
        *accepted.entry(&acceptance.event_key).or_default() += 1;
    }
    let mut deliveries: BTreeMap<(&str, &str, u64), Vec<&str>> = BTreeMap::new();
    for (delivery, ends) in &known.ends {
        for end in ends.iter().take(1) {
            deliveries
                .entry((&end.event_key, &end.target, end.generation))
                .or_default()
                .push(delivery);
        }
    }
    for ((event_key, target, generation), of) in deliveries {
        let most = accepted.get(event_key).copied().unwrap_or(1);
        if of.len() > most {
            violations.push(Violation {
                invariant: "I18",
                what: format!(
                    "{} deliveries of generation {generation} of event {event_key} to {target}, \
                     which was accepted {most} times: {}",
                    of.len(),
                    of.join(", ")
                ),
            });
        }
    }
}
