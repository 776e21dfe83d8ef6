//! The cost of an ordinary load, and its remains.

use std::collections::{BTreeMap, BTreeSet};

use super::Violation;
use super::known::Known;

/// Time from the sending of an event to a receiver in no trouble, at most in 99 of 100 cases,
/// while only others are in trouble.
const HEALTHY_MS: u64 = 2_000;
/// How much a process may use more at rest than before the first fault: half as much again,
/// and what a start-up allocates once.
const MORE_KB: u64 = 32 << 10;
const MORE_FILES: u64 = 30;

pub(super) fn check(known: &Known, violations: &mut Vec<Violation>) {
    the_healthy_do_not_wait(known, violations);
    targets_keep_their_limit(known, violations);
    nothing_grows(known, violations);
}

/// I16: before anything is broken, who takes everything at once has it soon.
fn the_healthy_do_not_wait(known: &Known, violations: &mut Vec<Violation>) {
    let until = known.first_fault();
    if known.starved_ms(0, until) > 0 {
        return;
    }
    let sent: BTreeMap<&str, u64> = known
        .sends
        .iter()
        .filter_map(|(event, sends)| match &sends[..] {
            [send] if send.is("stored") && send.sent + HEALTHY_MS < until => {
                Some((event.id.as_str(), send.sent))
            }
            _ => None,
        })
        .collect();
    let firsts = || {
        let firsts = known.posts.values().filter_map(|posts| posts.first());
        firsts.filter_map(|post| Some((post, *sent.get(post.event_id.as_str())?)))
    };
    // A receiver that is sent more at once than it takes at once has a queue.
    let mut at_once: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    for (post, sent) in firsts() {
        *at_once.entry((&post.url, sent)).or_default() += 1;
    }
    let limit = known.setup.target_concurrency;
    let crowded = at_once.into_iter().filter(|(_, count)| limit > 0 && *count > limit);
    let crowded: BTreeSet<&str> = crowded.map(|((url, _), _)| url).collect();
    let mut waits: Vec<u64> = firsts()
        .filter(|(post, _)| post.url.contains("/ok/") && !crowded.contains(post.url.as_str()))
        .map(|(post, sent)| post.t.saturating_sub(sent))
        .collect();
    waits.sort_unstable();
    // One may be late in any case: a minute has less than a hundred of them.
    let at = (waits.len() * 99 / 100).min(waits.len().saturating_sub(2));
    let Some(slow) = waits.get(at) else { return };
    if *slow > HEALTHY_MS {
        let what = format!(
            "of {} deliveries to receivers in no trouble one in a hundred took {slow} ms",
            waits.len()
        );
        violations.push(Violation { invariant: "I16", what });
    }
}

/// I16: before anything is broken, no target has more at once than it may.
fn targets_keep_their_limit(known: &Known, violations: &mut Vec<Violation>) {
    let until = known.first_fault();
    let mut changes: BTreeMap<&str, Vec<(u64, i64)>> = BTreeMap::new();
    for post in known.posts.values().flatten().filter(|post| post.t < until) {
        let at = changes.entry(&post.url).or_default();
        at.push((post.t, 1));
        at.push((post.answered.unwrap_or(until), -1));
    }
    for (url, mut changes) in changes {
        // At one moment, ends come before beginnings.
        changes.sort_unstable();
        let mut now = 0;
        let most = changes.iter().map(|(_, change)| {
            now += change;
            now
        });
        let most = most.max().and_then(|most| u64::try_from(most).ok()).unwrap_or_default();
        if known.setup.target_concurrency > 0 && most > known.setup.target_concurrency {
            let limit = known.setup.target_concurrency;
            let what = format!("{url} had {most} requests at once, of {limit}");
            violations.push(Violation { invariant: "I16", what });
        }
    }
}

/// I15: at rest a process uses what it used before.
fn nothing_grows(known: &Known, violations: &mut Vec<Violation>) {
    let most = |role: &str, of: fn(&super::known::Usage) -> u64| {
        let before = known.usages.iter().filter(|usage| !usage.at_rest);
        before.filter(|usage| usage.process.starts_with(role)).map(of).max()
    };
    for usage in known.usages.iter().filter(|usage| usage.at_rest) {
        let role = usage.process.rsplit_once('-').map_or("", |(role, _)| role);
        let (Some(resident_kb), Some(files)) =
            (most(role, |usage| usage.resident_kb), most(role, |usage| usage.files))
        else {
            continue;
        };
        for (what, before, there, may_be) in [
            ("KiB", resident_kb, usage.resident_kb, resident_kb * 3 / 2 + MORE_KB),
            ("open files", files, usage.files, files + MORE_FILES),
        ] {
            if there > may_be {
                violations.push(Violation {
                    invariant: "I15",
                    what: format!("{} has {there} {what}, and {before} before", usage.process),
                });
            }
        }
    }
}
