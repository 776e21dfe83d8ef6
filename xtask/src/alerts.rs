//! Alerts and the dashboard: that they are right, fire when they should, ask for
//! what there is, and lead to a page that says what to do.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use dev_servers::{Scratch, tools};
use serde_json::Value;

use crate::tidy::metrics;
use crate::workspace::{self, run};

const RULES: &str = "deploy/helm/postrider/rules/postrider.yaml";
const TESTS: &str = "deploy/rules/tests.yaml";
const DASHBOARD: &str = "deploy/helm/postrider/dashboards/postrider.json";
const RUNBOOKS: &str = "docs/runbooks";

/// What a histogram is scraped as.
const SERIES: [&str; 3] = ["_bucket", "_sum", "_count"];

pub(crate) fn alerts() -> Result<()> {
    let root = workspace::root();
    let read = |file: &str| {
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let (rules, tests) = (read(RULES)?, read(TESTS)?);
    let queries = queries(&serde_json::from_str(&read(DASHBOARD)?)?);
    let known: BTreeSet<String> = metrics::read(root)?
        .into_iter()
        .flat_map(|(name, metric)| match metric.kind.as_str() {
            "histogram" => SERIES.map(|series| format!("{name}{series}")).to_vec(),
            _ => vec![name],
        })
        .collect();

    let mut problems = untested(&rules, &tests);
    problems.extend(without_page(&rules, &pages(&root.join(RUNBOOKS))?));
    problems.extend(unknown(RULES, &rules, &known));
    problems.extend(unknown(DASHBOARD, &queries.join("\n"), &known));
    if queries.is_empty() {
        problems.push(format!("{DASHBOARD}: asks for nothing"));
    }
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        bail!("{} problem(s) with alerts and the dashboard", problems.len());
    }

    let promtool = tools::prometheus()?.promtool;
    let promtool = || {
        let mut command = Command::new(&promtool);
        command.current_dir(root);
        command
    };
    run(promtool().args(["check", "rules", RULES]))?;
    run(promtool().args(["test", "rules", TESTS]))?;
    let scratch = Scratch::new()?;
    let as_rules = scratch.path().join("dashboard.yaml");
    fs::write(&as_rules, rules_of(&queries))?;
    run(promtool().args(["check", "rules"]).arg(as_rules))
}

/// The names of all alerts.
fn names(rules: &str) -> impl Iterator<Item = &str> {
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "))
}

/// Each alert is fired by one test at least, and by one it is not.
fn untested(rules: &str, tests: &str) -> Vec<String> {
    let mut fired = BTreeSet::new();
    let mut quiet = BTreeSet::new();
    for case in tests.split("alertname: ").skip(1) {
        let name = case.lines().next().unwrap_or_default().trim();
        let expects_none = case.lines().take(3).any(|line| line.trim() == "exp_alerts: []");
        if expects_none {
            quiet.insert(name)
        } else {
            fired.insert(name)
        };
    }
    let mut problems = Vec::new();
    for name in names(rules) {
        if !fired.contains(name) {
            problems.push(format!("{TESTS}: nothing fires {name}"));
        }
        if !quiet.contains(name) {
            problems.push(format!("{TESTS}: nothing shows when {name} is quiet"));
        }
    }
    problems
}

/// The names of the pages on alerts.
fn pages(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {RUNBOOKS}"))?;
    let mut names = BTreeSet::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if name != "README" {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Each alert names its page, and each page is some alert's.
fn without_page(rules: &str, pages: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for name in names(rules) {
        let named = format!("runbook: {RUNBOOKS}/{name}.md");
        if !pages.contains(name) || !rules.lines().any(|line| line.trim() == named) {
            problems.push(format!("{RULES}: {name} does not lead to {RUNBOOKS}/{name}.md"));
        }
    }
    let alerts: BTreeSet<&str> = names(rules).collect();
    let left = pages.iter().filter(|page| !alerts.contains(page.as_str()));
    problems.extend(left.map(|page| format!("{RUNBOOKS}/{page}.md: there is no such alert")));
    problems
}

/// What is asked for, and nobody counts.
fn unknown(file: &str, text: &str, known: &BTreeSet<String>) -> Vec<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("postrider_")).collect();
    let unknown = asked.into_iter().filter(|word| !known.contains(*word));
    unknown.map(|word| format!("{file}: nothing counts {word}")).collect()
}

/// All queries of a dashboard.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    targets.filter_map(|target| target["expr"].as_str().map(str::to_owned)).collect()
}

/// The queries as recording rules, which can be checked without a server.
fn rules_of(queries: &[String]) -> String {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, query) in queries.iter().enumerate() {
        let query = query.replace("$__rate_interval", "5m").replace("$namespace", ".*");
        // Writing to a string does not fail; JSON's strings are YAML's.
        let _ =
            writeln!(rules, "      - {{record: \"query:{number}\", expr: {}}}", Value::from(query));
    }
    rules
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const RULES: &str = "
      - alert: PostriderLate
        expr: max(postrider_lag_seconds) > 60
        annotations:
          runbook: docs/runbooks/PostriderLate.md
    ";

    #[test]
    fn an_alert_is_tested_both_ways() {
        let fires = "- alertname: PostriderLate\n  eval_time: 5m\n  exp_alerts:\n    - x\n";
        let quiet = "- alertname: PostriderLate\n  eval_time: 5m\n  exp_alerts: []\n";
        assert_eq!(untested(RULES, &format!("{fires}{quiet}")), [""; 0]);
        assert_eq!(untested(RULES, fires).len(), 1);
        assert_eq!(untested(RULES, quiet).len(), 1);
        assert_eq!(untested(RULES, "").len(), 2);
    }

    #[test]
    fn an_alert_has_a_page_and_a_page_an_alert() {
        let pages = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(without_page(RULES, &pages(&["PostriderLate"])), [""; 0]);
        assert_eq!(without_page(RULES, &pages(&[])).len(), 1);
        assert_eq!(without_page(RULES, &pages(&["PostriderLate", "PostriderGone"])).len(), 1);
        let other = RULES.replace("PostriderLate.md", "Other.md");
        assert_eq!(without_page(&other, &pages(&["PostriderLate"])).len(), 1);
    }

    #[test]
    fn what_nobody_counts_is_not_asked_for() {
        let known = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(unknown("a", RULES, &known("postrider_lag_seconds")), [""; 0]);
        assert_eq!(unknown("a", RULES, &known("postrider_other")).len(), 1);
    }

    #[test]
    fn queries_become_rules() {
        let query = r#"rate(postrider_x{namespace=~"$namespace"}[$__rate_interval])"#;
        let dashboard = json!({"panels": [{"type": "row"}, {"targets": [{"expr": query}]}]});
        let rules = rules_of(&queries(&dashboard));
        assert!(rules.contains(r#"expr: "rate(postrider_x{namespace=~\".*\"}[5m])""#), "{rules}");
    }
}
