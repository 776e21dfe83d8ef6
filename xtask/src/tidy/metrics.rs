//! docs/metrics.md has every metric of the product, with its kind and its labels.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::docs::files;
use crate::workspace::Metadata;

pub(crate) const PAGE: &str = "docs/metrics.md";

/// Of the crates that count nothing of their own.
const TOOLS: [&str; 4] = ["bench", "dev-servers", "testkit", "xtask"];

/// A metric's kind, and its labels in the order of the alphabet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Metric {
    pub(crate) kind: String,
    pub(crate) labels: Vec<String>,
}

type Metrics = BTreeMap<String, Metric>;

pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let mut counted = Metrics::new();
    let mut problems = Vec::new();
    for package in metadata.packages().filter(|package| !TOOLS.contains(&package.name())) {
        for file in files(&package.directory().join("src"), "rs")? {
            let source = fs::read_to_string(&file)?;
            for (name, metric) in in_source(&source) {
                let other = counted.insert(name.clone(), metric.clone());
                if other.is_some_and(|other| other != metric) {
                    problems.push(format!("{name} is counted with two kinds or sets of labels"));
                }
            }
        }
    }
    problems.extend(differences(&counted, &read(root)?));
    Ok(problems)
}

/// The metrics that the page lists.
pub(crate) fn read(root: &Path) -> Result<Metrics> {
    let page = fs::read_to_string(root.join(PAGE));
    Ok(on_page(&page.with_context(|| format!("cannot read {PAGE}"))?))
}

fn differences(counted: &Metrics, listed: &Metrics) -> Vec<String> {
    let missing = counted.keys().filter(|name| !listed.contains_key(*name));
    let missing = missing.map(|name| format!("{PAGE}: {name} is not there"));
    let gone = listed.keys().filter(|name| !counted.contains_key(*name));
    let gone = gone.map(|name| format!("{PAGE}: nothing counts {name}"));
    let wrong = counted.iter().filter_map(|(name, metric)| {
        let Metric { kind, labels } = metric;
        let is_wrong = listed.get(name).is_some_and(|listed| listed != metric);
        is_wrong.then(|| format!("{PAGE}: {name} is a {kind} with the labels {labels:?}"))
    });
    missing.chain(gone).chain(wrong).collect()
}

/// What the macros of this source count.
fn in_source(source: &str) -> impl Iterator<Item = (String, Metric)> {
    let calls = source.split("metrics::").skip(1);
    calls.filter_map(|call| {
        let (kind, rest) = call.split_once("!(")?;
        if !["counter", "gauge", "histogram"].contains(&kind) {
            return None;
        }
        let inside = inside(rest)?;
        let name = inside.split('"').nth(1)?.to_owned();
        // A label is a string before an arrow; its value may be one, too.
        let parts: Vec<&str> = inside.split("=>").collect();
        let before_arrows = &parts[..parts.len().saturating_sub(1)];
        let mut labels: Vec<String> = before_arrows
            .iter()
            .filter_map(|part| part.rsplit('"').nth(1).map(str::to_owned))
            .collect();
        labels.sort();
        Some((name, Metric { kind: kind.to_owned(), labels }))
    })
}

/// What stands before the bracket that closes one that was opened before.
fn inside(rest: &str) -> Option<&str> {
    let mut depth = 1;
    let end = rest.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    })?;
    Some(&rest[..end])
}

/// The rows of the page's tables.
fn on_page(page: &str) -> Metrics {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let metrics = rows.filter_map(|row| {
        let mut cells = row.split('|').map(str::trim);
        let name = cells.next()?.strip_suffix('`')?;
        let kind = cells.next()?.to_owned();
        let mut labels: Vec<String> =
            cells.next()?.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        labels.sort();
        Some((name.to_owned(), Metric { kind, labels }))
    });
    metrics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
        metrics::counter!("postrider_tries_total", "outcome" => outcome.as_str(), "family" => "alert").increment(1);
        metrics::gauge!(
            "postrider_waiting",
        ).set(1.0);
        use metrics::Counter;
    "#;
    const PAGE: &str = "| metric | kind | labels | is |\n| --- | --- | --- | --- |\n\
        | `postrider_tries_total` | counter | `family`, `outcome` | tries, `ok` or not |\n\
        | `postrider_waiting` | gauge | | what waits |\n";

    #[test]
    fn the_list_and_the_code_are_compared_by_name_kind_and_labels() {
        let counted: Metrics = in_source(SOURCE).collect();
        assert_eq!(counted.len(), 2);
        assert_eq!(differences(&counted, &on_page(PAGE)), [""; 0]);
        for (from, to) in [
            ("postrider_waiting", "postrider_other"),
            ("| gauge |", "| counter |"),
            ("`family`, ", ""),
        ] {
            let page = PAGE.replace(from, to);
            assert!(!differences(&counted, &on_page(&page)).is_empty(), "{from} -> {to}");
        }
    }
}
