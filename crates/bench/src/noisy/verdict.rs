//! What the measurements come to.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Options;
use crate::ends::Ends;
use crate::report::{Machine, median, rounded, spread};
use crate::segment::Segment;

/// A healthy target's p99 may grow to this many times of what it was,
const TIMES: f64 = 1.5;
/// or by this many milliseconds, whichever is more.
const MORE_MS: f64 = 5.0;
/// By how much the load generator may be late: a load that was not kept up
/// proves nothing.
const BEHIND_MS: f64 = 1000.0;

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    machine: Machine,
    load: String,
    events_per_s: u64,
    retry_schedule_s: Vec<u64>,
    give_up_after_s: f64,
    bound: String,
    scenarios: Vec<ScenarioReport>,
    pub(super) passed: bool,
    pub(super) failures: Vec<String>,
}

/// One share of hanging traffic to one number of targets.
#[derive(Debug, Serialize)]
pub(super) struct ScenarioReport {
    /// Share of all events that go to targets that hang.
    hanging_percent: u32,
    hanging_targets: u32,
    /// Medians and spreads of the healthy targets' 99th percentile.
    p99_without_ms: f64,
    p99_without_ms_spread: [f64; 2],
    p99_with_ms: f64,
    p99_with_ms_spread: [f64; 2],
    /// With, divided by without: median and spread of the pairs.
    ratio: f64,
    ratio_spread: [f64; 2],
    /// With, divided by what it may be: below 1 is within the bound.
    of_bound: f64,
    of_bound_spread: [f64; 2],
    /// The same of the healthy targets' share of the events alone, which is a lower rate.
    p99_alone_ms: f64,
    p99_alone_ms_spread: [f64; 2],
    of_bound_alone: f64,
    of_bound_alone_spread: [f64; 2],
    pairs: Vec<Pair>,
    /// How the hanging targets' deliveries ended, all pairs together.
    hanging: Ends,
    passed: bool,
    failures: Vec<String>,
}

/// The same rate, without and with hanging targets.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    /// How many scenarios came before in the same round.
    place: usize,
    pub(super) quiet: Measured,
    pub(super) noisy: Measured,
    /// The healthy targets' share of the events, and no others.
    pub(super) alone: Measured,
    of_bound: f64,
    of_bound_alone: f64,
}

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// From just before an event is published to its arrival at a healthy
    /// target: median, 99th percentile, largest.
    pub(super) latency_ms: [f64; 3],
    healthy_sent: u64,
    healthy_missing: u64,
    hanging_sent: u64,
    /// The load generator's own delay, at worst.
    generator_behind_ms: f64,
    /// Cores that all processes but the load generator kept busy.
    cores: f64,
    /// CPU-seconds by process.
    cpu_s: BTreeMap<String, f64>,
    /// Deliveries that could not go when they were due, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    parked: BTreeMap<String, u64>,
}

impl From<&Segment> for Measured {
    fn from(segment: &Segment) -> Self {
        let rounded_of = |(name, value): (&String, &f64)| (name.clone(), rounded(*value));
        Self {
            latency_ms: segment.seen.latency_ms,
            healthy_sent: segment.sent.by_group[0],
            healthy_missing: segment.missing(),
            hanging_sent: segment.sent.by_group.get(1).copied().unwrap_or(0),
            generator_behind_ms: rounded(segment.sent.behind_ms),
            cores: rounded(segment.cores()),
            cpu_s: segment.cpu.iter().map(rounded_of).collect(),
            parked: segment.parked.clone(),
        }
    }
}

impl Pair {
    pub(super) fn new(place: usize, quiet: Measured, noisy: Measured, alone: Measured) -> Self {
        let with = noisy.latency_ms[1];
        let of_bound = rounded(with / bound_ms(quiet.latency_ms[1]));
        let of_bound_alone = rounded(with / bound_ms(alone.latency_ms[1]));
        Self { place, quiet, noisy, alone, of_bound, of_bound_alone }
    }
}

fn bound_ms(without: f64) -> f64 {
    (without * TIMES).max(without + MORE_MS)
}

impl ScenarioReport {
    /// Latency is only judged where it was measured for long enough.
    pub(super) fn new(
        (percent, targets): (u32, u32),
        pairs: Vec<Pair>,
        ends: Vec<Ends>,
        judges_latency: bool,
    ) -> Self {
        let each = |value: &dyn Fn(&Pair) -> f64| pairs.iter().map(value).collect::<Vec<_>>();
        let without = each(&|pair| pair.quiet.latency_ms[1]);
        let with = each(&|pair| pair.noisy.latency_ms[1]);
        let ratios = each(&|pair| rounded(pair.noisy.latency_ms[1] / pair.quiet.latency_ms[1]));
        let of_bound = each(&|pair| pair.of_bound);
        let alone = each(&|pair| pair.alone.latency_ms[1]);
        let of_bound_alone = each(&|pair| pair.of_bound_alone);

        let hanging = Ends::total(ends);
        let name = format!("{percent} % to {targets} hanging");
        let mut failures = hanging.failures(&name);
        for (of_bound, other, what) in
            [(&of_bound, &without, "without them"), (&of_bound_alone, &alone, "alone")]
        {
            if judges_latency && median(of_bound) >= 1.0 {
                let (with, other) = (median(&with), median(other));
                failures.push(format!("{name}: p99 is {with} ms, {what} {other} ms"));
            }
        }
        let measured = || pairs.iter().flat_map(|pair| [&pair.quiet, &pair.noisy, &pair.alone]);
        let missing: u64 = measured().map(|one| one.healthy_missing).sum();
        if missing > 0 {
            failures.push(format!("{name}: {missing} healthy deliveries did not arrive"));
        }
        let behind = measured().map(|one| one.generator_behind_ms).fold(0.0, f64::max);
        if behind > BEHIND_MS {
            failures.push(format!("{name}: the load was {behind} ms behind its rate"));
        }
        Self {
            hanging_percent: percent,
            hanging_targets: targets,
            p99_without_ms: median(&without),
            p99_without_ms_spread: spread(&without),
            p99_with_ms: median(&with),
            p99_with_ms_spread: spread(&with),
            ratio: median(&ratios),
            ratio_spread: spread(&ratios),
            of_bound: median(&of_bound),
            of_bound_spread: spread(&of_bound),
            p99_alone_ms: median(&alone),
            p99_alone_ms_spread: spread(&alone),
            of_bound_alone: median(&of_bound_alone),
            of_bound_alone_spread: spread(&of_bound_alone),
            pairs,
            hanging,
            passed: failures.is_empty(),
            failures,
        }
    }
}

impl Report {
    pub(super) fn new(options: &Options, machine: Machine, scenarios: Vec<ScenarioReport>) -> Self {
        let failures: Vec<String> =
            scenarios.iter().flat_map(|scenario| scenario.failures.clone()).collect();
        let left = if options.together {
            "one after the other"
        } else {
            "after the end of the one before"
        };
        Self {
            machine,
            load: format!(
                "{} rounds of {} s without and {} s with each kind of hanging targets, {left}; \
                 clicked events to {} healthy targets, HTTP/1.1 keep-alive on loopback; one process \
                 a role, one worker thread each",
                options.pairs,
                options.quiet_seconds,
                options.noisy_seconds,
                options.healthy_targets,
            ),
            events_per_s: options.rate,
            retry_schedule_s: options.schedule.clone(),
            give_up_after_s: options.schedule().give_up_after().as_secs_f64(),
            bound: format!("the greater of {TIMES} times and {MORE_MS} ms more"),
            passed: failures.is_empty(),
            scenarios,
            failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(without: f64, with: f64) -> Pair {
        triple(without, with, without)
    }

    fn triple(without: f64, with: f64, alone: f64) -> Pair {
        let measured = |p99| Measured {
            latency_ms: [1.0, p99, 100.0],
            healthy_sent: 10,
            healthy_missing: 0,
            hanging_sent: 0,
            generator_behind_ms: 0.0,
            cores: 0.0,
            cpu_s: BTreeMap::new(),
            parked: BTreeMap::new(),
        };
        Pair::new(0, measured(without), measured(with), measured(alone))
    }

    fn passes(pairs: Vec<Pair>) -> bool {
        ScenarioReport::new((10, 1), pairs, vec![Ends::default()], true).passed
    }

    #[test]
    fn the_bound_is_the_greater_of_the_two() {
        assert!(passes(vec![pair(2.0, 6.9)]));
        assert!(!passes(vec![pair(2.0, 7.0)]));
        assert!(passes(vec![pair(20.0, 29.9)]));
        assert!(!passes(vec![pair(20.0, 30.0)]));
    }

    #[test]
    fn both_readings_of_without_have_to_hold() {
        // 8.5 is within 5 ms of 4, not of 2.
        assert!(passes(vec![triple(4.0, 8.5, 4.0)]));
        assert!(!passes(vec![triple(4.0, 8.5, 2.0)]));
        assert!(!passes(vec![triple(2.0, 8.5, 4.0)]));
    }

    #[test]
    fn the_median_pair_counts() {
        assert!(passes(vec![pair(2.0, 50.0), pair(2.0, 3.0), pair(2.0, 2.0)]));
        assert!(!passes(vec![pair(2.0, 50.0), pair(2.0, 40.0), pair(2.0, 2.0)]));
    }

    #[test]
    fn a_healthy_delivery_that_does_not_arrive_is_a_failure() {
        let mut lost = pair(2.0, 2.0);
        lost.noisy.healthy_missing = 1;
        assert!(!passes(vec![lost]));
    }
}
