//! What a great many deliveries for dead targets cost, and whether all of them end.

mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::process::Child;
use tokio::time::{Instant, sleep_until};

use self::watch::{Phase, Watch};
use crate::ends::{Ends, Schedule};
use crate::hanging;
use crate::load::Group;
use crate::platform::{Platform, Setup, start_other_end};
use crate::report::{self, Machine};

const HEALTHY: &str = "healthy";
const DEAD: &str = "dead";
/// Seconds of load between two looks at what has ended.
const SLICE: u64 = 10;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Deliveries for dead targets.
    #[arg(long, default_value_t = 200_000)]
    count: u64,
    /// Dead targets: one half hangs, the other refuses connections.
    #[arg(long, default_value_t = 100)]
    dead_targets: u32,
    /// Targets that are well.
    #[arg(long, default_value_t = 20)]
    healthy_targets: u32,
    /// Events a second for dead targets, until all are published.
    #[arg(long, default_value_t = 2000)]
    fill_rate: u64,
    /// Events a second for healthy targets, all the time.
    #[arg(long, default_value_t = 200)]
    healthy_rate: u64,
    /// The one wait of the retry schedule, in seconds; long enough that all wait
    /// at the same time when absent.
    #[arg(long)]
    wait: Option<u64>,
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
    fn schedule(&self) -> Schedule {
        // With the minute for the try, the first are given up a while after the
        // last have been published.
        let wait = self.wait.unwrap_or(self.count.div_ceil(self.fill_rate.max(1)));
        Schedule(vec![Duration::from_secs(wait)])
    }
}

#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    load: String,
    retry_schedule: String,
    give_up_after_s: f64,
    /// Before, while the backlog grows, while it waits, while it ends.
    phases: Vec<Phase>,
    dead: Ends,
    /// PostgreSQL's size with the whole history, bodies of the undelivered included.
    database_mb: u64,
    passed: bool,
    failures: Vec<String>,
}

/// Runs the benchmark, prints its report, and fails when a delivery was lost or
/// ended late.
pub(crate) async fn run(options: Options) -> Result<()> {
    let sync = report::sync(options.sync_always);
    let machine = Machine::this(sync);
    let schedule = options.schedule();
    let settings = vec![
        ("SEND_RETRY_SCHEDULE", schedule.setting()),
        ("SETTINGS_RATE_LIMIT", "1000000".to_owned()),
    ];
    let setup = Setup { binary: options.binary.clone(), sync, settings };
    let platform = Platform::start(setup).await?;
    let _hanging = add_customers(&platform, &options).await?;

    let healthy_weight = u32::try_from(options.healthy_rate)?;
    let healthy = Group {
        account: HEALTHY.to_owned(),
        domains: options.healthy_targets,
        weight: healthy_weight,
    };
    let dead = Group {
        account: DEAD.to_owned(),
        domains: options.dead_targets,
        weight: u32::try_from(options.fill_rate)?,
    };
    let both = [healthy.clone(), dead];
    let healthy = std::slice::from_ref(&healthy);
    let rate = options.healthy_rate;
    let mut phases = Vec::new();

    // Connections that are made once are not what is measured.
    platform.segment(healthy, rate, 2).await?;
    let mut watch = Watch::begin(&platform, "before").await?;
    watch.load(healthy, rate * 2 * SLICE, rate).await?;
    phases.push(watch.end().await?);

    let mut watch = Watch::begin(&platform, "growing").await?;
    let all = rate + options.fill_rate;
    // Both take turns by weight, so that this many hold the count of the dead ones.
    let events = (options.count * all).div_ceil(options.fill_rate.max(1));
    let sent = watch.load(&both, events, all).await?;
    let published = sent.by_group[1];
    let last = Instant::now();
    phases.push(watch.end().await?);

    let mut watch = Watch::begin(&platform, "waiting").await?;
    watch.load(healthy, rate * 3 * SLICE, rate).await?;
    phases.push(watch.end().await?);

    let mut watch = Watch::begin(&platform, "ending").await?;
    let deadline = last + schedule.over_after();
    let accounts = [DEAD.to_owned()];
    while platform.undelivered(&accounts)? < published && Instant::now() < deadline {
        watch.load(healthy, rate * SLICE, rate).await?;
    }
    phases.push(watch.end().await?);
    for phase in &phases {
        eprintln!("{}", phase.line());
    }

    let ends = platform.ends(DEAD, published, &schedule)?;
    let mut failures = ends.failures("dead targets");
    failures.extend(phases.iter().filter_map(Phase::failure));
    let report = Report {
        machine,
        load: format!(
            "{published} clicked events for {} dead targets, half hanging, half refusing, at {}/s; {rate}/s for {} \
             healthy ones all the time; HTTP/1.1 on loopback; one process a role, one worker thread each",
            options.dead_targets, options.fill_rate, options.healthy_targets
        ),
        retry_schedule: schedule.setting(),
        give_up_after_s: schedule.give_up_after().as_secs_f64(),
        phases,
        dead: ends,
        database_mb: database_mb(&platform)?,
        passed: failures.is_empty(),
        failures,
    };
    report::publish(&report, options.json.as_deref())?;
    anyhow::ensure!(report.passed, "{}", report.failures.join("; "));
    Ok(())
}

/// The healthy and the dead, the latter half of them at a port where nobody listens.
async fn add_customers(platform: &Platform, options: &Options) -> Result<Child> {
    let count = options.dead_targets.to_string();
    let (hanging, port) = start_other_end(&["hanging", "--count", &count]).await?;
    let refusing = dev_servers::ports::free_port()?.to_string();
    let dead: Vec<String> = (0..options.dead_targets)
        .map(|number| {
            let port = if number % 2 == 0 { &port } else { &refusing };
            format!("http://{}:{port}/dead", hanging::address(number))
        })
        .collect();
    let healthy: Vec<String> = (0..options.healthy_targets)
        .map(|number| format!("http://{}/healthy/{number}", platform.receiver_addr))
        .collect();
    platform.add_customer(HEALTHY, "clicked", &healthy).await?;
    platform.add_customer(DEAD, "clicked", &dead).await?;
    Ok(hanging)
}

fn database_mb(platform: &Platform) -> Result<u64> {
    let bytes = platform.query("SELECT pg_database_size(current_database())")?;
    Ok(bytes.trim().parse::<u64>()? / 1_000_000)
}

/// Until the next look.
async fn pause(time: Duration) {
    sleep_until(Instant::now() + time).await;
}
