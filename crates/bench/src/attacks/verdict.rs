//! The outcome of an attack, and whether it is within bounds.

use std::fmt::Write as _;

use serde::Serialize;

use super::arena::Cpu;
use super::attacker::Tally;
use super::kinds::Attack;
use super::victim::{Latency, Look, Phase, Phases, Stream, Victim, percentile};
use crate::report::rounded;

/// The most that the process, and the request bin, may have in RAM.
const RSS_MB: f64 = 400.0;
/// By so much the victim's 99th percentile may grow where that is more than so many times.
/// Two cores run the platform, NATS, PostgreSQL, the victim, its receiver and the attacker:
/// whoever becomes ready while both are taken waits for a time slice or two of the others, of
/// some milliseconds each, at each of the six processes' turns that a delivery needs.
const MORE_MS: f64 = 25.0;
/// A machine on which the victim alone waits for longer has something else to do: what an attack
/// adds cannot be told there.
const CALM_MS: f64 = 100.0;
/// A new target may wait for so long where targets are what is attacked: it shares a quarter of
/// all slots with others that nobody knows yet.
const NEWCOMER_MS: f64 = 30_000.0;
/// How soon an operator's change must come into force.
const DISABLED_WITHIN_S: f64 = 5.0;
/// Addresses that a tenant can have test mails sent to in an hour.
const MAILS: u64 = 100;
/// How many times as long as alone a tenant's resend job may take beside another's, and by
/// how many seconds more where that is more.
const JOB_TIMES: f64 = 1.5;
const JOB_MORE_S: f64 = 2.0;

/// The measurements.
pub(super) struct Facts<'a> {
    pub(super) attack: Attack,
    pub(super) judges_latency: bool,
    pub(super) phases: &'a Phases,
    pub(super) victim: &'a Victim,
    pub(super) everything_arrived: bool,
    pub(super) refused: u64,
    pub(super) cpu: Cpu,
    pub(super) tally: Tally,
    /// Seconds until an operator's change was in force.
    pub(super) disabled_within: Option<f64>,
    pub(super) mails: u64,
    /// How long the victim's resend jobs took: alone, and under attack.
    pub(super) job_seconds: Option<[f64; 2]>,
    pub(super) end_rss_mb: f64,
}

/// One row of the report.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    attack: String,
    says: &'static str,
    /// The victim's deliveries to a receiver that is known: before, during, after.
    steady: [Latency; 3],
    /// Its deliveries to targets that are new.
    newcomers: [Latency; 3],
    /// Calls to ingest that had to be made again.
    publishes_repeated: u64,
    /// The process in RAM: most before, most during, at the end.
    rss_mb: [f64; 3],
    bin_rss_mb: f64,
    seconds_not_ready: usize,
    seconds_not_healthy: usize,
    calls: usize,
    calls_not_answered: usize,
    /// Of those that were answered: median, 99th percentile, largest.
    call_ms: [f64; 3],
    /// Connections and calls that the doors have refused.
    refused: u64,
    cpu_s: Cpu,
    /// The attacker's counts, and its CPU-seconds.
    attacker: Tally,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_within_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mails: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_seconds: Option<[f64; 2]>,
    /// Each second of the attack.
    looks: Vec<Look>,
    passed: bool,
    failures: Vec<String>,
}

impl Outcome {
    pub(super) fn new(facts: Facts<'_>) -> Self {
        let Facts { attack, phases, victim, .. } = facts;
        let of = [Phase::Quiet, Phase::Attack, Phase::After];
        let steady = of.map(|phase| victim.latency(Stream::Steady, phases, phase));
        let newcomers = of.map(|phase| victim.latency(Stream::Newcomers, phases, phase));
        let looks = victim.looks(phases, Phase::Attack);
        let answered = looks.iter().filter(|look| look.status == 200).map(|look| look.call_ms);
        let mut call_ms: Vec<f64> = answered.collect();
        call_ms.sort_by(f64::total_cmp);
        let [before, _] = victim.peak_mb(phases, Phase::Quiet);
        let [during, bin_rss_mb] = victim.peak_mb(phases, Phase::Attack);
        let mut outcome = Self {
            attack: attack.name(),
            says: attack.says(),
            steady,
            newcomers,
            publishes_repeated: victim.repeated(),
            rss_mb: [before, during, facts.end_rss_mb],
            bin_rss_mb,
            seconds_not_ready: looks.iter().filter(|look| !look.is_ready).count(),
            seconds_not_healthy: looks.iter().filter(|look| !look.is_healthy).count(),
            calls: looks.len(),
            calls_not_answered: looks.len() - call_ms.len(),
            call_ms: [50, 99, 100].map(|percent| rounded(percentile(&call_ms, percent))),
            refused: facts.refused,
            cpu_s: facts.cpu,
            attacker: facts.tally,
            disabled_within_s: facts.disabled_within,
            mails: (attack == Attack::TestMails).then_some(facts.mails),
            job_seconds: facts.job_seconds,
            looks,
            passed: false,
            failures: Vec::new(),
        };
        outcome.judge(attack, facts.judges_latency, facts.everything_arrived);
        outcome
    }

    /// An attack that could not be made.
    pub(super) fn broken(attack: Attack, error: &anyhow::Error) -> Self {
        let why = format!("{error:#}");
        eprintln!("{why}");
        let why = why.lines().next().unwrap_or_default();
        let failures = vec![format!("could not be made: {why}")];
        Self { attack: attack.name(), says: attack.says(), failures, ..Self::default() }
    }

    fn judge(&mut self, attack: Attack, judges_latency: bool, everything_arrived: bool) {
        let mut failures = Vec::new();
        let [_, rss, _] = self.rss_mb;
        for (what, mb) in [("the process", rss), ("the request bin", self.bin_rss_mb)] {
            if mb >= RSS_MB {
                failures.push(format!("{what} had {mb:.0} MB in RAM"));
            }
        }
        for (seconds, what) in
            [(self.seconds_not_ready, "readyz"), (self.seconds_not_healthy, "healthz")]
        {
            if seconds > 0 {
                failures.push(format!("/{what} was not 200 in {seconds} s"));
            }
        }
        if self.calls_not_answered > 0 {
            let Self { calls_not_answered, calls, .. } = self;
            failures.push(format!("{calls_not_answered} of the victim's {calls} calls failed"));
        }
        if !everything_arrived {
            let missing = |all: &[Latency]| all.iter().map(|one| one.missing).sum::<usize>();
            let missing = missing(&self.steady) + missing(&self.newcomers);
            failures.push(format!("{missing} of the victim's deliveries did not arrive"));
        }
        let [quiet, during, _] = self.steady.map(|one| one.p99_ms);
        if judges_latency && quiet > CALM_MS {
            failures.push(format!("latency not judged: the victim's p99 alone was {quiet:.0} ms"));
        } else if judges_latency && during > bound_ms(quiet, attack.times()) {
            failures.push(format!("the victim's p99 was {quiet:.0} ms, and {during:.0} ms"));
        }
        let newcomers = self.newcomers[1].p99_ms;
        if attack.judges_newcomers() && newcomers > NEWCOMER_MS {
            failures.push(format!("a new target's delivery took {newcomers:.0} ms"));
        }
        if let Some(seconds) = self.disabled_within_s.filter(|seconds| *seconds > DISABLED_WITHIN_S)
        {
            failures.push(format!("the account was disabled after {seconds:.1} s"));
        }
        if let Some(mails) = self.mails.filter(|mails| *mails > MAILS) {
            failures.push(format!("test mails went to {mails} addresses"));
        }
        if let Some([alone, beside]) = self.job_seconds
            && beside > (alone * JOB_TIMES).max(alone + JOB_MORE_S)
        {
            failures.push(format!("the victim's job took {alone:.1} s, and {beside:.1} s"));
        }
        self.passed = failures.is_empty();
        self.failures = failures;
    }

    /// With the attack's name before each.
    pub(super) fn named_failures(&self) -> impl Iterator<Item = String> + '_ {
        self.failures.iter().map(|failure| format!("{}: {failure}", self.attack))
    }

    /// A row of the table.
    pub(super) fn line(&self) -> String {
        let [before, during, end] = self.rss_mb;
        let [quiet, attacked, after] = self.steady.map(|one| one.p99_ms);
        format!(
            "| {} | {before:.0} → {during:.0} → {end:.0} | {} / {} | {:.0} ({:.0}), {} failed | \
             {quiet:.0} → {attacked:.0} → {after:.0} | {:.0} → {:.0} | {} | {:.1} / {:.1} | {} |",
            self.attack,
            self.seconds_not_ready,
            self.seconds_not_healthy,
            self.call_ms[0],
            self.call_ms[2],
            self.calls_not_answered,
            self.newcomers[0].p99_ms,
            self.newcomers[1].p99_ms,
            self.refused,
            self.cpu_s.platform,
            self.attacker.cpu_s,
            if self.passed { "held".to_owned() } else { self.failures.join("; ") },
        )
    }
}

fn bound_ms(quiet: f64, times: f64) -> f64 {
    (quiet * times).max(quiet + MORE_MS)
}

/// All rows, for the page.
pub(super) fn table(attacks: &[Outcome]) -> String {
    let mut table = String::from(
        "| attack | process in RAM, MB: before → during → end | seconds not ready / not healthy | \
         victim's call, ms: median (largest) | victim's p99, ms: before → during → after | new \
         targets' p99, ms: before → during | refused at doors | CPU-seconds: process / attacker | \
         verdict |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for outcome in attacks {
        // Writing to a string does not fail.
        let _ = writeln!(table, "{}", outcome.line());
    }
    table
}

/// The bounds that held, in words.
pub(super) fn bounds() -> String {
    format!(
        "RSS below {RSS_MB} MB; /readyz and /healthz 200 within 2 s in every second; every call of \
         the victim's answered with 200 within 10 s; every delivery of the victim's arrives; their \
         p99 at most the greater of 1.5 times (settings-writes: 1.2 times) and {MORE_MS} ms more \
         than before, on a machine where that is at most {CALM_MS} ms; where targets attack, new targets' p99 at most {NEWCOMER_MS} ms; a disabled \
         account's events refused after {DISABLED_WITHIN_S} s; at most {MAILS} test mails; the \
         victim's resend job at most the greater of {JOB_TIMES} times and {JOB_MORE_S} s more"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(change: impl FnOnce(&mut Outcome)) -> Vec<String> {
        let latency = |p99_ms| Latency { sent: 100, p99_ms, ..Latency::default() };
        let mut outcome = Outcome {
            steady: [latency(10.0), latency(30.0), latency(10.0)],
            rss_mb: [60.0, 200.0, 100.0],
            calls: 60,
            ..Outcome::default()
        };
        change(&mut outcome);
        outcome.judge(Attack::SettingsWrites, true, true);
        assert_eq!(outcome.passed, outcome.failures.is_empty());
        outcome.failures
    }

    #[test]
    fn each_bound_can_be_broken_alone() {
        assert_eq!(judged(|_| ()), Vec::<String>::new());
        for change in [
            (|outcome| outcome.rss_mb[1] = 400.0) as fn(&mut Outcome),
            |outcome| outcome.bin_rss_mb = 400.0,
            |outcome| outcome.seconds_not_ready = 1,
            |outcome| outcome.seconds_not_healthy = 1,
            |outcome| outcome.calls_not_answered = 1,
            |outcome| outcome.steady[1].p99_ms = 35.1,
            |outcome| outcome.steady[0].p99_ms = 100.1,
            |outcome| outcome.disabled_within_s = Some(5.1),
            |outcome| outcome.mails = Some(101),
            |outcome| outcome.job_seconds = Some([4.0, 6.1]),
        ] {
            assert_eq!(judged(change).len(), 1);
        }
    }

    #[test]
    fn the_bound_is_the_greater_of_the_two() {
        assert_eq!(bound_ms(10.0, 1.5), 35.0);
        assert_eq!(bound_ms(100.0, 1.5), 150.0);
        assert_eq!(bound_ms(200.0, 1.2), 240.0);
    }
}
