//! Runs the tests, by nextest where it is installed, and counts them.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use dev_servers::{Nats, NatsOptions, Postgres, PostgresOptions, Scratch};

use super::suites::{is_long, selection};
use super::{Count, Options};
use crate::workspace::{cargo, run as run_visibly};

/// What tests read the shared servers' addresses from; see `testkit`.
const NATS_URL: &str = "POSTRIDER_TEST_NATS_URL";
const DATABASE_URL: &str = "POSTRIDER_TEST_DATABASE_URL";

#[derive(Clone, Copy)]
enum Runner {
    Nextest,
    Cargo,
}

impl Runner {
    fn find() -> Self {
        let nextest = cargo().args(["nextest", "--version"]).output();
        match nextest {
            Ok(output) if output.status.success() => Self::Nextest,
            _ => Self::Cargo,
        }
    }

    fn command(self) -> Command {
        let mut command = cargo();
        match self {
            Self::Nextest => command.args(["nextest", "run"]),
            Self::Cargo => command.arg("test"),
        };
        command
    }
}

/// Builds the tests with cargo's own progress on the terminal.
pub(super) fn build(options: &Options) -> Result<()> {
    run_visibly(Runner::find().command().args(selection(options)?).arg("--no-run"))
}

/// Runs them with one NATS and one PostgreSQL for all.
pub(super) fn run(options: &Options) -> Result<Count> {
    let scratch = Scratch::new()?;
    let nats = Nats::start(NatsOptions::new(scratch.path().join("nats")))?;
    let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("postgres")))?;

    let runner = Runner::find();
    let mut command = runner.command();
    command
        .args(selection(options)?)
        .arg("--no-fail-fast")
        .env(NATS_URL, nats.url())
        .env(DATABASE_URL, postgres.admin_url());
    if let Runner::Nextest = runner {
        // Its output goes through a pipe to be counted, which it takes for nobody watching.
        let colour = if io::stderr().is_terminal() { "always" } else { "never" };
        let profile = if is_long(options) { "long" } else { "default" };
        command.args(["--color", colour, "--profile", profile]);
    }
    command.args(&options.filter);

    let count = watch(&mut command)?;
    if count == Count::default() {
        bail!("no test ran");
    }
    Ok(count)
}

/// Passes the output on, and adds up the summaries in it.
fn watch(command: &mut Command) -> Result<Count> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let total = Mutex::new(Count::default());
    let outputs: [Option<Box<dyn Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    thread::scope(|scope| {
        for pipe in outputs.into_iter().flatten() {
            scope.spawn(|| {
                for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line);
                    println!("{line}");
                    if let (Some(count), Ok(mut total)) = (summary(&line), total.lock()) {
                        total.passed += count.passed;
                        total.failed += count.failed;
                    }
                }
            });
        }
    });
    let status = child.wait()?;
    let mut count = total.into_inner().unwrap_or_default();
    // Tests that did not even build, or a runner that was killed.
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}

/// Reads a line in which a runner sums up: one for each test binary from cargo,
/// one for all from nextest.
fn summary(line: &str) -> Option<Count> {
    let line = without_colours(line);
    // Indented, it is what nextest repeats of a test that has failed, which it sums up itself.
    if let Some(rest) = line.strip_prefix("test result: ") {
        return Some(Count {
            passed: number_before(rest, " passed")?,
            failed: number_before(rest, " failed")?,
        });
    }
    let rest = line.trim().strip_prefix("Summary [")?;
    let ran = number_before(rest, " tests run").or_else(|| number_before(rest, " test run"))?;
    // Failures come under several names there: failed, timed out, aborted.
    let passed = number_before(rest, " passed").unwrap_or(0);
    Some(Count { passed, failed: ran.saturating_sub(passed) })
}

/// The number right before this word.
fn number_before(text: &str, word: &str) -> Option<u64> {
    let before = &text[..text.find(word)?];
    let digits = before.rfind(|c: char| !c.is_ascii_digit()).map_or(0, |at| at + 1);
    before[digits..].parse().ok()
}

fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        rest = rest[at..].split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_runners_summaries_are_understood() {
        let cases = [
            ("test result: ok. 6 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out", 6, 0),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", 1, 2),
            ("     Summary [   2.426s] 15 tests run: 15 passed, 0 skipped", 15, 0),
            (
                "     Summary [   2.4s] 15 tests run: 11 passed (1 slow), 3 failed, 1 timed out, 9 skipped",
                11,
                4,
            ),
            ("     Summary [   0.1s] 1 test run: 1 passed, 0 skipped", 1, 0),
            (
                "\u{1b}[31;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m2\u{1b}[0m tests run: \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 1 failed",
                1,
                1,
            ),
        ];
        for (line, passed, failed) in cases {
            assert_eq!(summary(line), Some(Count { passed, failed }), "{line}");
        }
        assert_eq!(summary("        PASS [   0.012s] ( 1/15) bus::retry two tests run"), None);
        assert_eq!(summary("    test result: FAILED. 0 passed; 1 failed; 0 ignored"), None);
    }
}
