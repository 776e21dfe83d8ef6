//! Statistics, and lists that somebody follows.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Violation;
use super::known::Known;

/// Ends that statistics count, each under its own name.
const OUTCOMES: [&str; 7] =
    ["delivered", "rejected", "exhausted", "expired", "suppressed", "held", "poisoned"];

pub(super) fn check(known: &Known, violations: &mut Vec<Violation>) {
    statistics_agree(known, violations);
    followers_got_everything_once(known, violations);
}

/// I9: statistics are sums over history, of each target and of all together.
fn statistics_agree(known: &Known, violations: &mut Vec<Violation>) {
    let mut counted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let account = |row: &'static str| known.state.rows.get(row).into_iter().flatten();
    for end in account("ends") {
        let (account, outcome) = (text(end, "account_id"), text(end, "outcome"));
        *counted.entry((account, outcome)).or_default() += 1;
    }
    for attempt in account("attempts").filter(|attempt| attempt["charged"] == true) {
        let how = if attempt["reason"] == "ok" { "taken" } else { "failed" };
        *counted.entry((text(attempt, "account_id"), how)).or_default() += 1;
    }
    for row in account("statistics") {
        let account = text(row, "account_id");
        for name in OUTCOMES.into_iter().chain(["taken", "failed"]) {
            let there = row[name].as_u64().unwrap_or_default();
            let wanted = counted.get(&(account, name)).copied().unwrap_or_default();
            if there != wanted {
                let of_all = &row["is_of_all"];
                violations.push(Violation {
                    invariant: "I9",
                    what: format!(
                        "statistics of {account} (all targets together: {of_all}) count {there} \
                         times {name}, and history has {wanted}"
                    ),
                });
            }
        }
    }
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

/// I10: who follows a list gets each of its events once, whatever comes late.
fn followers_got_everything_once(known: &Known, violations: &mut Vec<Violation>) {
    let mut tell = |what| violations.push(Violation { invariant: "I10", what });
    for domain in &known.not_followed {
        tell(format!("the list of {domain} has not come to its end"));
    }
    let mut got: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (domain, ids) in &known.followed {
        for id in ids {
            *got.entry((domain, id)).or_default() += 1;
        }
    }
    if known.followed.is_empty() {
        return;
    }
    for event in known.sends.keys().filter(|event| !event.domain.is_empty()) {
        let accepted = known.acceptances.get(&event.id).map_or(0, Vec::len);
        let times = got.remove(&(event.domain.as_str(), event.id.as_str())).unwrap_or(0);
        if times != accepted {
            let (domain, id) = (&event.domain, &event.id);
            tell(format!("{id} of {domain} came {times} times to who follows, of {accepted}"));
        }
    }
    for ((domain, id), times) in got {
        tell(format!("{id} of {domain} came {times} times to who follows, and nobody sent it"));
    }
}
