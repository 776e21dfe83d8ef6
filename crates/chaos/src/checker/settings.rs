//! Settings that were disabled, and what the broker keeps.

use super::Violation;
use super::known::Known;

pub(super) fn check(known: &Known, violations: &mut Vec<Violation>) {
    disabled_only_when_exhausted(known, violations);
    within_budgets(known, violations);
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
    for info in &known.streams {
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
