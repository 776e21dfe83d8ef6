//! Settings that were disabled, and what the broker keeps.

use std::collections::BTreeSet;

use super::Violation;
use super::known::Known;

pub(super) fn check(known: &Known, violations: &mut Vec<Violation>) {
    disabled_only_when_exhausted(known, violations);
    within_budgets(known, violations);
    documents_are_the_settings(known, violations);
    nothing_is_left_of_the_erased(known, violations);
}

/// I11: what the broker has of the settings is what PostgreSQL has: of each document the
/// version, and the URLs.
fn documents_are_the_settings(known: &Known, violations: &mut Vec<Violation>) {
    let rows = ["account_settings", "domain_settings"]
        .into_iter()
        .filter_map(|name| known.state.rows.get(name))
        .flatten();
    for row in rows {
        let key = row["key"].as_str().unwrap_or_default();
        let mut tell = |what| {
            let what = format!("{key}: {what}");
            violations.push(Violation { invariant: "I11", what });
        };
        let Some(document) = known.state.documents.get(key).and_then(|hex| bytes(hex)) else {
            tell("not on the broker".to_owned());
            continue;
        };
        let version = row["version"].as_u64();
        if version_of(&document) != version {
            tell(format!("version {:?} instead of {version:?}", version_of(&document)));
        }
        let urls = row["urls"].as_array().into_iter().flatten();
        let wanted: BTreeSet<String> =
            urls.filter_map(|url| url.as_str().map(str::to_owned)).collect();
        let there = urls_in(&document);
        if there != wanted {
            tell(format!("URLs {there:?} instead of {wanted:?}"));
        }
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2).map(std::str::from_utf8);
    digits.map(|pair| u8::from_str_radix(pair.ok()?, 16).ok()).collect()
}

/// Field 2 of a document, which all kinds have: a varint behind field 1, which is text.
fn version_of(document: &[u8]) -> Option<u64> {
    let behind = 2 + usize::from(*document.get(1)?);
    let [0x10, number @ ..] = document.get(behind..)? else { return None };
    let mut version = 0;
    for (at, byte) in number.iter().enumerate().take(9) {
        version |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(version);
        }
    }
    None
}

/// Texts in it that begin as URLs do; each has its length, below 128, before it.
fn urls_in(document: &[u8]) -> BTreeSet<String> {
    let begins = b"http://";
    let starts = document.windows(begins.len()).enumerate().skip(1);
    starts
        .filter(|(_, window)| window == begins)
        .filter_map(|(at, _)| document.get(at..at + usize::from(document[at - 1])))
        .filter_map(|text| String::from_utf8(text.to_vec()).ok())
        .collect()
}

/// I19: of an erased account no row and no message has anything, and nobody hears of it.
fn nothing_is_left_of_the_erased(known: &Known, violations: &mut Vec<Violation>) {
    let mut tell = |what| violations.push(Violation { invariant: "I19", what });
    let Some(erased) = known.erased else {
        // Histories of before somebody was erased have no such fact.
        return;
    };
    for trace in &known.state.traces {
        tell(format!("{trace} of the account that was erased"));
    }
    let until = erased + known.setup.egress_timeout_ms;
    for late in known.erased_posts.iter().filter(|at| **at > until) {
        // A process that hears late of the settings, or was frozen on the way.
        let is_late =
            |fault: &super::known::Fault| fault.from <= *late && fault.to + 1_000 >= erased;
        if !known.faults.iter().any(is_late) {
            tell(format!("posted at {late}, erased at {erased}"));
        }
    }
}

/// I5: what was delivered disables nothing. A setting is disabled by a delivery that ended
/// exhausted, and that its receiver has never taken.
fn disabled_only_when_exhausted(known: &Known, violations: &mut Vec<Violation>) {
    for setting in &known.alert_settings {
        let Some((at, reason)) = &setting.disabled else { continue };
        let exhausted = |(delivery, posts): (&String, &Vec<super::known::Arrival>)| {
            let ends = known.ends.get(delivery).map(Vec::as_slice).unwrap_or_default();
            ends.iter().any(|end| end.outcome == "exhausted")
                && !posts.iter().any(|post| (200..300).contains(&post.status))
        };
        let mut of_it = known.posts.iter().filter(|(_, posts)| {
            posts.first().is_some_and(|post| {
                post.url == setting.url && post.event_type == setting.event_type
            })
        });
        if !of_it.any(exhausted) {
            violations.push(Violation {
                invariant: "I5",
                what: format!(
                    "the alert {} to {} was disabled at {at} ({reason}), and no delivery of it is exhausted",
                    setting.event_type, setting.url
                ),
            });
        }
    }
}

/// I14: streams stay within what they were given.
fn within_budgets(known: &Known, violations: &mut Vec<Violation>) {
    for info in &known.state.streams {
        let name = info["config"]["name"].as_str().unwrap_or_default();
        let bytes = info["state"]["bytes"].as_u64().unwrap_or_default();
        let most = match name {
            name if name.ends_with("_EVENTS") => known.setup.events_max_bytes,
            name if name.ends_with("_OUTCOMES") => known.setup.outcomes_max_bytes,
            _ => continue,
        };
        if bytes > most {
            let what = format!("{name} has {bytes} bytes of {most}");
            violations.push(Violation { invariant: "I14", what });
        }
    }
}
