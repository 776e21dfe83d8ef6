//! Proves what must always hold from what clients and receivers have seen, and from the last
//! state of database and broker.

mod chain;
mod history;
mod known;
mod load;
mod routing;
mod settings;

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::history::{Fact, Line};
use crate::state::State;

pub(crate) use known::Known;

/// Something that must not be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    /// The invariant's name.
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    counts: BTreeMap<&'static str, usize>,
}

impl Verdict {
    pub(crate) fn summary(&self) -> String {
        let counts: Vec<String> =
            self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let mut by_invariant: BTreeMap<&str, usize> = BTreeMap::new();
        for violation in &self.violations {
            *by_invariant.entry(violation.invariant).or_default() += 1;
        }
        let found: Vec<String> =
            by_invariant.iter().map(|(name, count)| format!("{name} {count} times")).collect();
        let found = if found.is_empty() { "no violation".to_owned() } else { found.join(", ") };
        format!("{}: {found}", counts.join(", "))
    }
}

/// Judges one run.
pub(crate) fn check(lines: &[Line], state: &State) -> Result<Verdict> {
    let known = Known::of(lines, state)?;
    let mut violations = Vec::new();
    // I13: once the last fault is over, everything comes to rest by itself.
    for line in lines {
        if let Fact::Rest { is_quiet: false, why } = &line.fact {
            violations.push(Violation { invariant: "I13", what: format!("no rest: {why}") });
        }
    }
    chain::check(&known, &mut violations);
    routing::check(&known, &mut violations);
    settings::check(&known, &mut violations);
    history::check(&known, &mut violations);
    load::check(&known, &mut violations);
    let counts = BTreeMap::from([
        ("events sent", known.sends.len()),
        ("deliveries", known.ends.len()),
        ("posts", known.posts.values().map(Vec::len).sum()),
        ("faults", known.faults.len()),
        ("mails", known.mails.values().map(Vec::len).sum()),
        ("followed", known.followed.values().map(Vec::len).sum()),
        ("changes", known.changes.values().map(Vec::len).sum()),
        ("seconds starved", usize::try_from(known.starved_ms(0, u64::MAX) / 1_000)?),
    ]);
    Ok(Verdict { violations, counts })
}
