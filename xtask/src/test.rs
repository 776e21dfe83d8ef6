//! What CI runs: the checks, then the tests, with servers of their own.

mod runner;
mod suites;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

pub(crate) use runner::Servers;

use crate::{
    alerts, bench, chaos, config_docs, deny, deploy, fuzz, lint, mutants, powercut, sqlx, tidy,
};

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Only the tests of this package or test target, without the checks
    #[arg(long)]
    suite: Option<String>,
    /// Also what takes many minutes: test targets named long_…, and the measurements that can fail
    #[arg(long)]
    long: bool,
    /// Only the tests with this in their name, without the checks
    filter: Option<String>,
}

/// How many tests went which way; a check counts as one.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// A part of the run. Past its budget it is not failed but pointed out: slow
/// checks are checks that people stop running.
struct Step {
    name: &'static str,
    budget: Duration,
    run: fn(&Options) -> Result<Count>,
}

const CHECKS: [Step; 6] = [
    Step { name: "fmt", budget: secs(5), run: |_| check(lint::fmt(true)) },
    Step { name: "tidy", budget: secs(5), run: |_| check(tidy::tidy()) },
    // The first time, Helm and Kubernetes' schemas are fetched.
    Step { name: "chart", budget: secs(60), run: |_| check(deploy::chart()) },
    Step { name: "alerts", budget: secs(30), run: |_| check(alerts::alerts()) },
    Step { name: "lint", budget: secs(240), run: |_| check(lint::clippy()) },
    Step { name: "sqlx", budget: secs(60), run: |_| check(sqlx::sqlx(true)) },
];

const TESTS: [Step; 2] = [
    Step { name: "build", budget: secs(480), run: |options| check(runner::build(options)) },
    Step { name: "tests", budget: secs(1200), run: runner::run },
];

/// After the build of the tests, whose binary they use or at least share.
const LATE_CHECKS: [Step; 4] = [
    Step { name: "mutants", budget: secs(120), run: |_| check(mutants::by_turns()) },
    Step { name: "chaos", budget: secs(480), run: |_| check(short_chaos()) },
    Step { name: "config-docs", budget: secs(60), run: |_| check(config_docs::config_docs(true)) },
    Step { name: "deny", budget: secs(30), run: |_| check(deny::deny(false)) },
];

/// With --long: what takes a machine of its own to say anything, and what takes hours.
const MEASUREMENTS: [Step; 11] = [
    Step { name: "all mutants", budget: secs(1200), run: |_| check(mutants::all()) },
    Step { name: "long chaos", budget: secs(3600), run: |_| check(long_chaos()) },
    Step {
        name: "soak",
        budget: secs(7500),
        run: |_| check(chaos::soak(&chaos::SoakOptions::default())),
    },
    Step { name: "powercut", budget: secs(1200), run: |_| check(powercut::every_set_up()) },
    // The first time, all of it is built once more.
    Step { name: "fuzz", budget: secs(2400), run: |_| check(fuzz::a_minute_each()) },
    Step { name: "noisy", budget: secs(2700), run: |_| check(bench::noisy()) },
    Step { name: "backlog", budget: secs(3000), run: |_| check(bench::long_backlog()) },
    Step { name: "resend", budget: secs(600), run: |_| check(bench::long_resend()) },
    Step { name: "attacks", budget: secs(3000), run: |_| check(bench::attacks()) },
    Step { name: "projection", budget: secs(600), run: |_| check(bench::projection()) },
    Step { name: "history", budget: secs(3600), run: |_| check(bench::long_history()) },
];

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn test(options: &Options) -> Result<()> {
    let only_tests = options.suite.is_some() || options.filter.is_some();
    let steps = if only_tests {
        TESTS.iter().collect::<Vec<_>>()
    } else {
        let measurements = if options.long { &MEASUREMENTS[..] } else { &[] };
        CHECKS.iter().chain(&TESTS).chain(&LATE_CHECKS).chain(measurements).collect()
    };

    let mut total = Count::default();
    let mut failed = Vec::new();
    let mut report = String::new();
    for step in steps {
        eprintln!("\n==> {}", step.name);
        let began = Instant::now();
        // A failed step does not hide what the later ones find.
        let count = (step.run)(options).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            Count { passed: 0, failed: 1 }
        });
        total.passed += count.passed;
        total.failed += count.failed;
        if count.failed > 0 {
            failed.push(step.name);
        }
        report.push_str(&line(step, began.elapsed(), count.failed > 0));
    }

    println!("\n{report}\n{} passed, {} failed", total.passed, total.failed);
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn line(step: &Step, took: Duration, failed: bool) -> String {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        line,
        "{:<12} {:>6.1} s of {:>3} s{}{}",
        step.name,
        took.as_secs_f64(),
        step.budget.as_secs(),
        if took > step.budget { "  over its budget" } else { "" },
        if failed { "  FAILED" } else { "" },
    );
    line
}

/// Runs with fresh seeds, and two mutants that have to be found.
fn short_chaos() -> Result<()> {
    chaos::for_a_while(secs(100), &chaos::mutants_by_turns())
}

/// An hour, and every mutant that a run finds.
fn long_chaos() -> Result<()> {
    chaos::for_a_while(secs(3600), &chaos::QUICK_MUTANTS)
}

fn check(result: Result<()>) -> Result<Count> {
    result.map(|()| Count { passed: 1, failed: 0 })
}
