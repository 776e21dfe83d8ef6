//! What a delivery costs: publish, fan out, sign, POST, project.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::time::Instant;

use crate::load::Group;
use crate::platform::{Platform, Setup};
use crate::receiver::Seen;
use crate::report::{self, Machine, median, spread};
use crate::segment::since;

/// The one account.
const ACCOUNT: &str = "demo";
/// The other ends, which are not the platform.
const OTHER_ENDS: [&str; 2] = ["receiver", "load"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events of one flat-out round, each one delivery.
    #[arg(long, default_value_t = 50_000)]
    events: u64,
    /// URLs that they go to, each a domain's. A single one has no more tries at once than
    /// one target may have, and what comes faster waits.
    #[arg(long, default_value_t = 100)]
    targets: u32,
    /// Flat-out rounds; the first warms up and is not counted.
    #[arg(long, default_value_t = 4)]
    rounds: usize,
    /// Events a second of the round that measures latency.
    #[arg(long, default_value_t = 500)]
    rate: u64,
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

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    load: String,
    /// Median of the counted rounds: the roles, NATS and PostgreSQL.
    cpu_s_per_10k: f64,
    cpu_s_per_10k_spread: [f64; 2],
    /// Medians, by process; `receiver` and `load` are not in the sum above.
    cpu_s_per_10k_by_process: BTreeMap<String, f64>,
    /// Median of the counted rounds: deliveries a second, flat out.
    deliveries_per_s: f64,
    deliveries_per_s_spread: [f64; 2],
    /// At the paced rate: from just before publishing to arrival; median, p99, largest.
    latency_rate_per_s: u64,
    latency_ms: [f64; 3],
    /// What it costs at that rate, where next to nothing shares a batch.
    paced_cpu_s_per_10k: f64,
    paced_cpu_s_per_10k_by_process: BTreeMap<String, f64>,
    /// Requests that the receiver saw beyond one a delivery, in all rounds.
    repeated: u64,
}

struct Round {
    cpu: BTreeMap<String, f64>,
    rate: f64,
    seen: Seen,
}

/// Runs the benchmark and prints its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    let sync = report::sync(options.sync_always);
    let machine = Machine::this(sync);
    let setup = Setup { binary: options.binary.clone(), sync, settings: Vec::new() };
    let platform = Platform::start(setup).await?;
    let urls: Vec<String> = (0..options.targets)
        .map(|number| format!("http://{}/hook/{number}", platform.receiver_addr))
        .collect();
    platform.add_customer(ACCOUNT, "clicked", &urls).await?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds.max(2) {
        let before_it = options.events * number as u64;
        let round = round(&platform, &options, None, before_it).await?;
        let total = platform_total(&round.cpu);
        eprintln!("round {number}: {:.0} deliveries/s, {total:.3} CPU-s per 10,000", round.rate);
        rounds.push(round);
    }
    let before_it = options.events * rounds.len() as u64;
    rounds.remove(0);
    let paced = round(&platform, &options, Some(options.rate), before_it).await?;
    let totals: Vec<f64> = rounds.iter().map(|round| platform_total(&round.cpu)).collect();
    let rates: Vec<f64> = rounds.iter().map(|round| round.rate).collect();
    let names: Vec<String> = rounds[0].cpu.keys().cloned().collect();
    let by_process = names.into_iter().map(|name| {
        let of: Vec<f64> = rounds.iter().map(|round| round.cpu[&name]).collect();
        (name, median(&of))
    });
    let all = rounds.iter().chain([&paced]);
    let report = Report {
        load: format!(
            "{} rounds of {} clicked events, one webhook each, {} URLs, HTTP/1.1 keep-alive on loopback; one process a role, one worker thread each",
            rounds.len(),
            options.events,
            options.targets
        ),
        machine,
        cpu_s_per_10k: median(&totals),
        cpu_s_per_10k_spread: spread(&totals),
        cpu_s_per_10k_by_process: by_process.collect(),
        deliveries_per_s: median(&rates),
        deliveries_per_s_spread: spread(&rates),
        latency_rate_per_s: options.rate,
        latency_ms: paced.seen.latency_ms,
        paced_cpu_s_per_10k: platform_total(&paced.cpu),
        paced_cpu_s_per_10k_by_process: paced.cpu.clone(),
        repeated: all.map(|round| round.seen.requests - round.seen.deliveries).sum(),
    };
    report::publish(&report, options.json.as_deref())
}

/// Publishes, waits until everything has arrived and history has caught up, and
/// says what it cost per 10,000 deliveries.
async fn round(
    platform: &Platform,
    options: &Options,
    rate: Option<u64>,
    before_it: u64,
) -> Result<Round> {
    let events = rate.map_or(options.events, |rate| rate * 15);
    platform.forget().await?;
    let before = platform.cpu();
    let started = Instant::now();
    let load_cpu_before = children_ticks();
    let group = Group { account: ACCOUNT.to_owned(), domains: options.targets, weight: 1 };
    platform.publish(&[group], events, rate).await?;
    let load_cpu = children_ticks() - load_cpu_before;
    let seen = platform.arrived(events, Duration::from_secs(300)).await?;
    anyhow::ensure!(seen.deliveries >= events, "{} of {events} arrived", seen.deliveries);
    let elapsed = started.elapsed();
    // History lags behind; its work belongs to these deliveries too.
    platform.wait_for_history(before_it + events).await?;
    let scale = 10_000.0 / events as f64;
    let mut cpu = since(&platform.cpu(), &before, |now, then| (now - then) * scale);
    cpu.insert("load".into(), load_cpu * scale);
    platform.check_history(before_it + events)?;
    Ok(Round { cpu, rate: events as f64 / elapsed.as_secs_f64(), seen })
}

/// CPU-seconds of this process's children that have ended.
fn children_ticks() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> =
        text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(13) + ticks(14)) / 100.0
}

fn platform_total(cpu: &BTreeMap<String, f64>) -> f64 {
    cpu.iter()
        .filter(|(name, _)| !OTHER_ENDS.contains(&name.as_str()))
        .map(|(_, seconds)| seconds)
        .sum()
}
