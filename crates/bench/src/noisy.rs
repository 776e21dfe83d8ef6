//! What receivers that hang do to the others.
//!
//! Each measurement with targets that take a connection and never answer is compared
//! with two of the same minutes, because a shared machine has better and worse ones: one
//! at the same rate, all of it for healthy targets, and one of the healthy targets' own
//! share of the events, with no others beside them.

mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use dev_servers::NatsSync;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};

use self::verdict::{Measured, Pair, Report, ScenarioReport};
use crate::ends::Schedule;
use crate::hanging;
use crate::load::Group;
use crate::platform::{Platform, Setup, start_other_end};
use crate::report::{self, Machine};
use crate::segment::Segment;

/// The account of the targets that are well.
const HEALTHY: &str = "healthy";
/// Between two measurements, for history to catch up.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Pairs of each scenario.
    #[arg(long, default_value_t = 5)]
    pairs: u32,
    /// Events a second, the hanging targets' included.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Seconds of a measurement without hanging targets.
    #[arg(long, default_value_t = 8)]
    quiet_seconds: u64,
    /// Seconds of a measurement with them.
    #[arg(long, default_value_t = 10)]
    noisy_seconds: u64,
    /// Targets that are well.
    #[arg(long, default_value_t = 100)]
    healthy_targets: u32,
    /// Targets that hang, where they are many.
    #[arg(long, default_value_t = 1000)]
    hanging_targets: u32,
    /// Waits of the retry schedule, in seconds.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    schedule: Vec<u64>,
    /// A kind of hanging targets does not wait until the last of the one before have
    /// ended: less than half the time, and more than the stated share hangs.
    #[arg(long)]
    together: bool,
    /// Only whether all of this works, within a minute: one short pair, no
    /// retries, a hundred targets. Latency is not judged.
    #[arg(long)]
    quick: bool,
    /// The broker flushes before each ack, as a single production node would.
    #[arg(long)]
    sync_always: bool,
    /// Writes the figures here as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The release binary.
    #[arg(long, default_value = "target/release/postrider")]
    binary: PathBuf,
}

impl Options {
    fn settled(mut self) -> Self {
        if self.quick {
            self.pairs = 1;
            self.together = true;
            (self.quiet_seconds, self.noisy_seconds) = (3, 3);
            self.hanging_targets = self.hanging_targets.min(100);
            self.schedule.clear();
        }
        self
    }

    fn schedule(&self) -> Schedule {
        Schedule(self.schedule.iter().copied().map(Duration::from_secs).collect())
    }

    fn sync(&self) -> NatsSync {
        report::sync(self.sync_always)
    }

    fn scenarios(&self) -> Vec<Scenario> {
        let counts = [1, self.hanging_targets];
        let all = counts.into_iter().enumerate().flat_map(|(index, targets)| {
            [10, 50].map(|percent| Scenario { percent, targets, set: format!("{percent}-{index}") })
        });
        all.collect()
    }
}

/// How much goes to how many that hang.
#[derive(Debug)]
struct Scenario {
    /// Share of the events.
    percent: u32,
    targets: u32,
    /// Part of the accounts' names.
    set: String,
}

impl Scenario {
    /// Each pair has targets that the platform has never seen.
    fn account(&self, number: u32) -> String {
        format!("hanging-{}-{number}", self.set)
    }
}

/// Runs the benchmark, prints its report, and fails when healthy targets were
/// held up or a delivery was lost.
pub(crate) async fn run(options: Options) -> Result<()> {
    let bench = Bench::start(options.settled()).await?;
    let mut results: Vec<Vec<Pair>> = bench.scenarios.iter().map(|_| Vec::new()).collect();
    let mut published = vec![Vec::new(); bench.scenarios.len()];
    for number in 0..bench.options.pairs {
        bench.round(number, &mut results, &mut published).await?;
    }
    let report = bench.report(results, &published)?;
    report::publish(&report, bench.options.json.as_deref())?;
    anyhow::ensure!(report.passed, "{}", report.failures.join("; "));
    Ok(())
}

struct Bench {
    options: Options,
    scenarios: Vec<Scenario>,
    machine: Machine,
    platform: Platform,
    /// The port at which all receivers hang.
    hanging_port: String,
    _hanging: Child,
}

impl Bench {
    async fn start(options: Options) -> Result<Self> {
        let machine = Machine::this(options.sync());
        let settings = vec![
            ("SEND_RETRY_SCHEDULE", options.schedule().setting()),
            ("SETTINGS_RATE_LIMIT", "1000000".to_owned()),
        ];
        let setup = Setup { binary: options.binary.clone(), sync: options.sync(), settings };
        let platform = Platform::start(setup).await?;
        let count = options.hanging_targets.to_string();
        let (hanging, port) = start_other_end(&["hanging", "--count", &count]).await?;
        let urls: Vec<String> = (0..options.healthy_targets)
            .map(|number| format!("http://{}/healthy/{number}", platform.receiver_addr))
            .collect();
        platform.add_customer(HEALTHY, "clicked", &urls).await?;
        let scenarios = options.scenarios();
        let bench =
            Self { options, scenarios, machine, platform, hanging_port: port, _hanging: hanging };
        bench.add_hanging(0).await?;
        Ok(bench)
    }

    /// The targets that hang in one round.
    async fn add_hanging(&self, number: u32) -> Result<()> {
        let began = Instant::now();
        for scenario in &self.scenarios {
            let account = scenario.account(number);
            let urls: Vec<String> = (0..scenario.targets)
                .map(|index| {
                    let host = hanging::address(index);
                    format!("http://{host}:{}/{account}", self.hanging_port)
                })
                .collect();
            self.platform.add_customer(&account, "clicked", &urls).await?;
        }
        let took = began.elapsed().as_secs_f64();
        eprintln!("targets of round {} made in {took:.1} s", number + 1);
        Ok(())
    }

    /// One pair of each scenario. They take turns in being the first.
    async fn round(
        &self,
        number: u32,
        results: &mut [Vec<Pair>],
        published: &mut [Vec<u64>],
    ) -> Result<()> {
        // Connections that are made once are not what is measured.
        self.measure(None, 10, 2).await?;
        let seconds = self.options.quiet_seconds;
        let quiet = Measured::from(&self.measure(None, 0, seconds).await?);
        let mut alone = BTreeMap::new();
        for percent in [10, 50] {
            alone.insert(percent, Measured::from(&self.measure(None, percent, seconds).await?));
        }
        let mut accounts = Vec::new();
        let mut hanging = 0;
        for place in 0..self.scenarios.len() {
            let index = (place + number as usize) % self.scenarios.len();
            let scenario = &self.scenarios[index];
            let account = scenario.account(number);
            let seconds = self.options.noisy_seconds;
            let noisy = self.measure(Some((scenario, &account)), scenario.percent, seconds).await?;
            let sent = noisy.sent.by_group[1];
            if let Some(alone) = alone.get(&scenario.percent) {
                let noisy = Measured::from(&noisy);
                let pair = Pair::new(place, quiet.clone(), noisy, alone.clone());
                eprintln!(
                    "round {}: {} % to {} hanging: p99 {} ms, without {} ms, alone {} ms",
                    number + 1,
                    scenario.percent,
                    scenario.targets,
                    pair.noisy.latency_ms[1],
                    pair.quiet.latency_ms[1],
                    pair.alone.latency_ms[1],
                );
                results[index].push(pair);
            }
            published[index].push(sent);
            accounts.push(account);
            hanging += sent;
            if !self.options.together {
                self.drain(&accounts, hanging).await?;
            }
        }
        // The next round's targets are made while these come to their end.
        if number + 1 < self.options.pairs {
            self.add_hanging(number + 1).await?;
        }
        self.drain(&accounts, hanging).await
    }

    /// Healthy events at the rate less this share, with or without the others.
    async fn measure(
        &self,
        hanging: Option<(&Scenario, &str)>,
        percent: u32,
        seconds: u64,
    ) -> Result<Segment> {
        let options = &self.options;
        let healthy = Group {
            account: HEALTHY.to_owned(),
            domains: options.healthy_targets,
            weight: 100 - percent,
        };
        let mut groups = vec![healthy];
        let mut rate = options.rate * u64::from(100 - percent) / 100;
        if let Some((scenario, account)) = hanging {
            let domains = scenario.targets;
            groups.push(Group { account: account.to_owned(), domains, weight: percent });
            rate = options.rate;
        }
        let segment = self.platform.segment(&groups, rate, seconds).await?;
        sleep_until(Instant::now() + PAUSE).await;
        Ok(segment)
    }

    /// Waits until what hangs has ended.
    async fn drain(&self, accounts: &[String], sent: u64) -> Result<()> {
        let deadline = Instant::now() + self.options.schedule().over_after();
        self.platform.wait_for_undelivered(accounts, sent, deadline).await
    }

    fn report(&self, results: Vec<Vec<Pair>>, published: &[Vec<u64>]) -> Result<Report> {
        let schedule = self.options.schedule();
        let mut scenarios = Vec::new();
        for (index, pairs) in results.into_iter().enumerate() {
            let scenario = &self.scenarios[index];
            let ends = published[index].iter().enumerate().map(|(number, sent)| {
                let account = scenario.account(u32::try_from(number)?);
                self.platform.ends(&account, *sent, &schedule)
            });
            let ends = ends.collect::<Result<Vec<_>>>()?;
            let what = (scenario.percent, scenario.targets);
            scenarios.push(ScenarioReport::new(what, pairs, ends, !self.options.quick));
        }
        Ok(Report::new(&self.options, self.machine.clone(), scenarios))
    }
}
