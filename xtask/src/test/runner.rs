//! Runs the tests by the pinned nextest, and counts them.

use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context, Result, bail};
use dev_servers::{Nats, NatsOptions, Postgres, PostgresOptions, Scratch, fetch, pins};

use super::suites::{is_long, selection};
use super::{Count, Options};
use crate::workspace::{cargo_subcommand, run as run_visibly};

/// What tests read the shared servers' addresses from; see `testkit`.
const NATS_URL: &str = "POSTRIDER_TEST_NATS_URL";
const DATABASE_URL: &str = "POSTRIDER_TEST_DATABASE_URL";

/// `cargo nextest run`, by the pinned nextest, whatever is installed: a fresh machine, CI
/// and developers run the same one.
fn nextest() -> Result<Command> {
    let program = fetch(&pins::NEXTEST)?.join("bin/cargo-nextest");
    let mut command = cargo_subcommand(program);
    command.args(["nextest", "run"]);
    Ok(command)
}

/// Builds the tests with cargo's own progress on the terminal.
pub(super) fn build(options: &Options) -> Result<()> {
    run_visibly(nextest()?.args(selection(options)?).arg("--no-run"))
}

/// Exit status of nextest when tests have failed.
const TESTS_FAILED: i32 = 100;

/// One NATS and one PostgreSQL for all tests.
pub(crate) struct Servers {
    nats: Nats,
    postgres: Postgres,
    _scratch: Scratch,
}

impl Servers {
    pub(crate) fn start() -> Result<Self> {
        let scratch = Scratch::new()?;
        let nats = Nats::start(NatsOptions::new(scratch.path().join("nats")))?;
        let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("postgres")))?;
        Ok(Self { nats, postgres, _scratch: scratch })
    }

    /// nextest, told where they are.
    fn nextest(&self, options: &Options) -> Result<Command> {
        let mut command = nextest()?;
        command
            .args(selection(options)?)
            .env(NATS_URL, self.nats.url())
            .env(DATABASE_URL, self.postgres.admin_url());
        Ok(command)
    }

    /// Whether this `crate::test` fails when it is run with this variable. What it prints is
    /// not shown.
    pub(crate) fn fails(&self, test: &str, variable: (&str, &str)) -> Result<bool> {
        let (package, name) = test.split_once("::").context("not the name of a test")?;
        let mut command = self.nextest(&Options::default())?;
        let filter = format!("package({package}) & test(/(^|::){name}$/)");
        command.args(["--filterset", &filter]).env(variable.0, variable.1);
        let output = command.stdin(Stdio::null()).output().context("cannot run nextest")?;
        match output.status.code() {
            Some(0) => Ok(false),
            Some(TESTS_FAILED) => Ok(true),
            _ => bail!("{test} cannot be run: {}", String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Runs them all.
pub(super) fn run(options: &Options) -> Result<Count> {
    let servers = Servers::start()?;
    // Its output goes through a pipe to be counted, which it takes for nobody watching.
    let colour = if io::stderr().is_terminal() { "always" } else { "never" };
    let profile = if is_long(options) { "long" } else { "default" };
    let mut command = servers.nextest(options)?;
    command.arg("--no-fail-fast").args(["--color", colour, "--profile", profile]);
    // Tests wait more than they work: for retries, leases, elections.
    let threads = thread::available_parallelism().map_or(2, |cores| cores.get() + cores.get() / 2);
    command.args(["--test-threads", &threads.to_string()]);
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
        .context("cannot run nextest")?;
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

/// Reads the line in which nextest sums up.
fn summary(line: &str) -> Option<Count> {
    let line = without_colours(line);
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
    fn summaries_of_nextest_are_understood() {
        let cases = [
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
