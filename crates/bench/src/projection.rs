//! How fast history is written: from messages that wait on the broker to
//! committed rows.
//!
//! The messages are real ones: events are published, routed and delivered while
//! archive is away. Then archive is started, and what counts is what it, the
//! broker and the database need until every row is there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::load::Group;
use crate::platform::{HISTORY, Platform, Setup};
use crate::report::{self, Machine, median, rounded, spread};
use crate::segment::since;

const ARCHIVE: &str = "archive";
/// Who takes part. The others have nothing to do meanwhile.
const PARTS: [&str; 3] = [ARCHIVE, "nats", "postgres"];
/// How long one round may take.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Events of one round, each one delivery.
    #[arg(long, default_value_t = 150_000)]
    events: u64,
    /// Rounds.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Accounts that share them evenly, with a webhook each.
    #[arg(long, default_value_t = 20)]
    accounts: u32,
    /// Rows a second below which this fails.
    #[arg(long, default_value_t = 20_000.0)]
    at_least: f64,
    /// One small round, which says little.
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

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    load: String,
    rows_by_table: BTreeMap<&'static str, u64>,
    /// Median of the rounds.
    rows_per_s: f64,
    rows_per_s_spread: [f64; 2],
    /// Medians. A delivery is four rows.
    cpu_us_per_row: f64,
    cpu_s_per_10k_rows: BTreeMap<&'static str, f64>,
    cpu_s_per_10k_deliveries: f64,
    /// Cores that the three together kept busy.
    cores: f64,
}

struct Round {
    rows: u64,
    seconds: f64,
    cpu: BTreeMap<&'static str, f64>,
}

impl Round {
    fn rate(&self) -> f64 {
        self.rows as f64 / self.seconds
    }

    fn cpu_us_per_row(&self) -> f64 {
        self.cpu.values().sum::<f64>() * 1e6 / self.rows as f64
    }
}

/// Runs the benchmark and prints its report.
pub(crate) async fn run(options: Options) -> Result<()> {
    let events = if options.quick { 20_000 } else { options.events };
    let rounds = if options.quick { 1 } else { options.rounds.max(1) };
    let sync = report::sync(options.sync_always);
    let machine = Machine::this(sync);
    let setup = Setup { binary: options.binary.clone(), sync, settings: Vec::new() };
    let mut platform = Platform::start(setup).await?;
    let url = format!("http://{}/hook", platform.receiver_addr);
    let mut groups = Vec::new();
    for number in 0..options.accounts.max(1) {
        let account = format!("account-{number}");
        platform.add_customer(&account, "clicked", std::slice::from_ref(&url)).await?;
        groups.push(Group { account, domains: 1, weight: 1 });
    }
    let mut measured = Vec::new();
    for number in 1..=rounds {
        let round = round(&mut platform, &groups, events, number as u64).await?;
        eprintln!(
            "round {number}: {} rows in {:.1} s, {:.0} a second, {:.1} µs of CPU a row",
            round.rows,
            round.seconds,
            round.rate(),
            round.cpu_us_per_row()
        );
        measured.push(round);
    }
    let of = |value: &dyn Fn(&Round) -> f64| measured.iter().map(value).collect::<Vec<f64>>();
    let rates = of(&Round::rate);
    let a_part = |name| of(&|round| round.cpu[name] * 1e4 / round.rows as f64);
    let cpu_us_per_row = median(&of(&Round::cpu_us_per_row));
    let report = Report {
        machine,
        load: format!(
            "{rounds} rounds of {events} clicked events of {} accounts, one delivery each, all of \
             which waited on the broker; one archive with one worker thread",
            groups.len()
        ),
        rows_by_table: rows_by_table(&platform)?,
        rows_per_s: rounded(median(&rates)),
        rows_per_s_spread: spread(&rates).map(rounded),
        cpu_us_per_row: rounded(cpu_us_per_row),
        cpu_s_per_10k_rows: PARTS.map(|name| (name, rounded(median(&a_part(name))))).into(),
        cpu_s_per_10k_deliveries: rounded(cpu_us_per_row * HISTORY.len() as f64 / 100.0),
        cores: rounded(median(&of(&|r| r.cpu.values().sum::<f64>() / r.seconds))),
    };
    report::publish(&report, options.json.as_deref())?;
    ensure!(
        options.quick || report.rows_per_s >= options.at_least,
        "{:.0} rows a second are less than {:.0}",
        report.rows_per_s,
        options.at_least
    );
    Ok(())
}

/// Lets messages pile up, then lets archive loose on them.
async fn round(
    platform: &mut Platform,
    groups: &[Group],
    events: u64,
    number: u64,
) -> Result<Round> {
    platform.stop_role(ARCHIVE).await?;
    platform.forget().await?;
    platform.publish(groups, events, None).await?;
    let seen = platform.arrived(events, PATIENCE).await?;
    ensure!(seen.deliveries >= events, "{} of {events} arrived", seen.deliveries);
    settled(platform).await?;

    let before = platform.cpu();
    let began = Instant::now();
    platform.start_role(ARCHIVE).await?;
    platform.wait_for_history(events).await?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = since(&platform.cpu(), &before, |now, then| now - then);
    platform.check_history(events * number)?;
    let part = |name| cpu.get(name).copied().context("a process of the platform");
    let mut by_part = BTreeMap::new();
    for name in PARTS {
        by_part.insert(name, part(name)?);
    }
    Ok(Round { rows: events * HISTORY.len() as u64, seconds, cpu: by_part })
}

/// Waits until no outcome is written any more: the last ones come after the
/// receiver's answer.
async fn settled(platform: &Platform) -> Result<()> {
    let writes = async || {
        let streams = platform.streams().await?;
        Ok::<u64, anyhow::Error>(streams.iter().map(|stream| stream.state.last_seq).sum())
    };
    let mut before = writes().await?;
    loop {
        sleep_until(Instant::now() + Duration::from_secs(2)).await;
        let now = writes().await?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
}

fn rows_by_table(platform: &Platform) -> Result<BTreeMap<&'static str, u64>> {
    let count = |table| {
        let rows = platform.query(&format!("SELECT count(*) FROM {table}"))?;
        Ok((table, rows.trim().parse()?))
    };
    HISTORY.into_iter().map(count).collect()
}
