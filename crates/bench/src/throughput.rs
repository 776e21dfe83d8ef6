//! What a delivery costs: publish, fan out, sign, POST, project.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_servers::NatsSync;
use serde::Serialize;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use crate::platform::{Platform, get};
use crate::receiver::Seen;

const EVENT: &str = include_str!("../../../examples/events/clicked.json");
/// The other ends, which are not the platform.
const OTHER_ENDS: [&str; 2] = ["receiver", "load"];

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events of one flat-out round, each one delivery.
    #[arg(long, default_value_t = 50_000)]
    events: u64,
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
    /// Requests that the receiver saw beyond one a delivery, in all rounds.
    repeated: u64,
}

#[derive(Debug, Serialize)]
struct Machine {
    cpu: String,
    cores: usize,
    load_before: String,
    nats_sync: &'static str,
}

struct Round {
    cpu: BTreeMap<String, f64>,
    rate: f64,
    seen: Seen,
}

/// Runs the benchmark and prints its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    let machine = machine(options.sync_always);
    let sync = if options.sync_always { NatsSync::Always } else { NatsSync::Lazy };
    let platform = Platform::start(options.binary.clone(), sync, "clicked").await?;
    let mut rounds = Vec::new();
    for number in 0..options.rounds.max(2) {
        let before_it = options.events * number as u64;
        let round = round(&platform, options.events, None, before_it).await?;
        let total = platform_total(&round.cpu);
        eprintln!("round {number}: {:.0} deliveries/s, {total:.3} CPU-s per 10,000", round.rate);
        rounds.push(round);
    }
    let before_it = options.events * rounds.len() as u64;
    rounds.remove(0);
    let paced = round(&platform, options.rate * 15, Some(options.rate), before_it).await?;
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
            "{} rounds of {} clicked events, one webhook each, HTTP/1.1 keep-alive on loopback; one process a role, one worker thread each",
            rounds.len(),
            options.events
        ),
        machine,
        cpu_s_per_10k: median(&totals),
        cpu_s_per_10k_spread: spread(&totals),
        cpu_s_per_10k_by_process: by_process.collect(),
        deliveries_per_s: median(&rates),
        deliveries_per_s_spread: spread(&rates),
        latency_rate_per_s: options.rate,
        latency_ms: paced.seen.latency_ms,
        repeated: all.map(|round| round.seen.requests - round.seen.deliveries).sum(),
    };
    let json = serde_json::to_string_pretty(&report)?;
    println!("{json}");
    if let Some(path) = &options.json {
        std::fs::write(path, json + "\n").with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Publishes, waits until everything has arrived and history has caught up, and
/// says what it cost per 10,000 deliveries.
async fn round(
    platform: &Platform,
    events: u64,
    rate: Option<u64>,
    before_it: u64,
) -> Result<Round> {
    get(&platform.receiver_addr, "/forget").await?;
    let before = platform.cpu();
    let started = Instant::now();
    let mut load = Command::new(std::env::current_exe()?);
    load.args([
        "load",
        "--ingest",
        &platform.ingest,
        "--events",
        &events.to_string(),
        "--event",
        EVENT,
    ]);
    if let Some(rate) = rate {
        load.args(["--rate", &rate.to_string()]);
    }
    let load = load.stdin(Stdio::null()).kill_on_drop(true).stdout(Stdio::piped()).spawn()?;
    let load_cpu_before = children_ticks();
    let output = load.wait_with_output().await?;
    anyhow::ensure!(output.status.success(), "the load generator failed");
    let load_cpu = children_ticks() - load_cpu_before;
    let deadline = Instant::now() + Duration::from_secs(300);
    let seen = loop {
        let answer = get(&platform.receiver_addr, "/").await?;
        let body = answer.split("\r\n\r\n").nth(1).context("the receiver answers")?;
        let seen: Seen = serde_json::from_str(body)?;
        if seen.deliveries >= events {
            break seen;
        }
        anyhow::ensure!(Instant::now() < deadline, "{} of {events} arrived", seen.deliveries);
        sleep_until(Instant::now() + Duration::from_millis(25)).await;
    };
    let elapsed = started.elapsed();
    // History lags behind; its work belongs to these deliveries too.
    platform.wait_for_history(before_it + events).await?;
    let scale = 10_000.0 / events as f64;
    let mut cpu: BTreeMap<String, f64> = platform
        .cpu()
        .into_iter()
        .map(|(name, after)| (name.clone(), (after - before[&name]) * scale))
        .collect();
    cpu.insert("load".into(), load_cpu * scale);
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

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn spread(values: &[f64]) -> [f64; 2] {
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().copied().fold(0.0, f64::max);
    [smallest, largest]
}

fn machine(sync_always: bool) -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    Machine {
        cpu: model.map_or("unknown", |(_, name)| name).to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        load_before: load.split(' ').next().unwrap_or_default().to_owned(),
        nats_sync: if sync_always { "always" } else { "the server's default" },
    }
}
