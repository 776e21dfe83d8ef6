//! Days in hours: nothing is broken, and nothing may grow.
//!
//! At the beginning of each day every process is started again, one after the other, with a
//! clock that is a day further on, and the keys of an account are replaced. History is kept
//! for two days, schedules last for seconds, streams have kilobytes, so that whatever is
//! given up after its time is given up on the way. The database runs through, with a clock
//! that is turned with theirs; the broker runs through with the clock of the machine.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use dev_servers::TurnedClock;
use serde::Serialize;
use serde_json::json;
use testkit::http;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::clients::Clients;
use crate::history::{Fact, Recorder};
use crate::nemesis::Nemesis;
use crate::receivers::Receivers;
use crate::rig::Rig;
use crate::state::State;
use crate::{REGION, plan, rest, sampler, setup};

const DAY_S: u64 = 24 * 60 * 60;
/// How long history is kept, in days.
const KEPT_DAYS: u64 = 2;
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
/// For so long after its start a process may still grow: caches fill.
const WARM_AFTER: Duration = Duration::from_secs(120);

#[derive(Args)]
pub(crate) struct Soak {
    /// The product, built with the feature `failpoints`
    #[arg(long)]
    binary: std::path::PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long all days last together
    #[arg(long, default_value_t = 7200)]
    seconds: u64,
    #[arg(long, default_value_t = 8)]
    days: u64,
    /// Events a second
    #[arg(long, default_value_t = 12)]
    rate: u64,
    /// Where the files of the run are kept
    #[arg(long)]
    directory: std::path::PathBuf,
}

/// Posts of an event that fail: those of two deliveries. Failures without an end would be sent
/// again without an end, and there would be more of them each day.
const MENDED_AFTER: u64 = 12;

/// What there is at one moment.
#[derive(Clone, Debug, Serialize)]
struct Sample {
    day: u64,
    at_s: u64,
    /// Since this day's start of the processes was over.
    since_start_s: u64,
    resident_kb: BTreeMap<String, u64>,
    files: BTreeMap<String, u64>,
    broker: Amounts,
    database: Amounts,
}

type Amounts = BTreeMap<&'static str, u64>;

pub(crate) async fn run(options: Soak) -> Result<()> {
    dev_servers::create_open_dir(&options.directory)?;
    let setup = setup(options.seed, 1, options.seconds, None);
    let recorder = Recorder::create(&options.directory.join("history.jsonl"))?;
    let mailbox = testkit::Mailbox::start().await;
    let mut plan = plan(&options.binary, None, &setup, &options.directory, &mailbox);
    for table in ["EVENTS", "ROUTINGS", "ATTEMPTS", "ENDS", "UNDELIVERED"] {
        plan.settings.push((retention(table), KEPT_DAYS.to_string()));
    }
    plan.settings.push(("CLOCK_SKEW", format!("{}s", (options.days + 1) * DAY_S)));
    let clock = TurnedClock::new(&options.directory.join("clock"))?;
    plan.clock = Some(clock.clone());
    let mut rig = Rig::start(plan).await?;
    let epoch_ms = rig.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")?;
    let epoch_ms = epoch_ms.trim().parse::<u64>()? - recorder.now_ms();
    recorder.note(Fact::Began { setup: setup.clone(), epoch_ms });
    let mended = Some(MENDED_AFTER);
    let receivers = Receivers::start(setup.seed, recorder.clone(), mended).await?;
    let clients = Arc::new(Clients::new(&rig, recorder.clone(), setup.clone(), options.rate));
    clients.prepare(&rig, &receivers).await?;
    let mut tasks = JoinSet::new();
    clients.start(&receivers, &mut tasks);
    tasks.spawn(sampler::read_mail(mailbox, recorder.clone()));
    let runtime = Handle::current();
    let samples = tokio::task::spawn_blocking({
        let recorder = recorder.clone();
        move || {
            let samples = days(&options, &mut rig, &clock, &recorder, &runtime)?;
            clients.stop();
            // The last days have left more undelivered than can be sent again while it is
            // waited for.
            rig.query("UPDATE resends SET state = 'cancelled' WHERE state = 'running'")?;
            let nemesis = Nemesis {
                rig: &mut rig,
                recorder: recorder.clone(),
                region: REGION.to_owned(),
                runtime,
                is_erased: true,
                backup: Vec::new(),
            };
            rest(&nemesis, &setup)?;
            let unrest = State::of_broker(&nemesis).unrest(REGION);
            recorder.flush()?;
            if !unrest.is_empty() {
                bail!("not at rest after the last day: {}", unrest.join("; "));
            }
            Ok(samples)
        }
    });
    let samples = samples.await??;
    tasks.abort_all();
    judge(&samples)
}

fn retention(table: &str) -> &'static str {
    match table {
        "EVENTS" => "RETENTION_EVENTS_DAYS",
        "ROUTINGS" => "RETENTION_ROUTINGS_DAYS",
        "ATTEMPTS" => "RETENTION_ATTEMPTS_DAYS",
        "ENDS" => "RETENTION_ENDS_DAYS",
        _ => "RETENTION_UNDELIVERED_DAYS",
    }
}

fn days(
    options: &Soak,
    rig: &mut Rig,
    clock: &TurnedClock,
    recorder: &Recorder,
    runtime: &Handle,
) -> Result<Vec<Sample>> {
    let mut file = File::create(options.directory.join("samples.jsonl"))?;
    let began = Instant::now();
    let mut samples = Vec::new();
    for day in 0..options.days {
        recorder.say(format!("day {day}"));
        if day > 0 {
            clock.turn(Duration::from_secs(day * DAY_S))?;
            for at in 0..rig.replicas.len() {
                let point = format!("clock.offset=return({})", day * DAY_S);
                rig.replicas[at].own_settings = vec![("FAILPOINTS".to_owned(), point)];
                rig.stop(at);
                rig.launch(at)?;
                rig.wait_ready(at)?;
            }
            runtime.block_on(replace_key(rig))?;
        }
        let started = Instant::now();
        let until = Duration::from_secs(options.seconds * (day + 1) / options.days);
        while began.elapsed() < until {
            std::thread::sleep(SAMPLE_EVERY.min(until.saturating_sub(began.elapsed())));
            let sample = sample(rig, day, began, started, &options.directory, runtime, recorder)?;
            writeln!(file, "{}", serde_json::to_string(&sample)?)?;
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// Somebody replaces the key by which an account's webhooks are signed.
async fn replace_key(rig: &Rig) -> Result<()> {
    let api = rig.replicas[rig.of("settings-api")[0]].http;
    let request = http::post(format!("http://{api}/v5/accounts/http_signing_key"));
    let answer = request.basic_auth("api", "key-alpha").send().await?;
    if answer.status >= 300 {
        bail!("the key is not replaced: {} {}", answer.status, answer.text());
    }
    Ok(())
}

fn sample(
    rig: &mut Rig,
    day: u64,
    began: Instant,
    started: Instant,
    directory: &Path,
    runtime: &Handle,
    recorder: &Recorder,
) -> Result<Sample> {
    let (mut resident_kb, mut files) = (BTreeMap::new(), BTreeMap::new());
    let brokers: Vec<(String, Option<u32>)> =
        rig.brokers.nodes().iter().map(|node| ("nats".to_owned(), node.pid())).collect();
    let processes = rig.replicas.iter().map(|replica| (replica.name.clone(), replica.pid()));
    for (name, pid) in processes.chain(brokers) {
        let Some(pid) = pid else { continue };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kb = kb.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        resident_kb.insert(name.clone(), kb.with_context(|| format!("{name} is gone"))?);
        let count = std::fs::read_dir(format!("/proc/{pid}/fd")).map(Iterator::count)?;
        files.insert(name, u64::try_from(count).unwrap_or(u64::MAX));
    }
    let nemesis = Nemesis {
        rig,
        recorder: recorder.clone(),
        region: REGION.to_owned(),
        runtime: runtime.clone(),
        is_erased: true,
        backup: Vec::new(),
    };
    let state = State::of_broker(&nemesis);
    let sum = |name: &str| {
        state.streams.iter().filter_map(|info| info["state"][name].as_u64()).sum::<u64>()
    };
    let consumers = state.consumers.values().map(Vec::len).sum::<usize>();
    let broker = BTreeMap::from([
        ("streams", count(state.streams.len())),
        ("consumers", count(consumers)),
        ("subjects", sum("num_subjects")),
        ("messages", sum("messages")),
        ("bytes", sum("bytes")),
        ("disk", bytes_below(&directory.join("nats"))),
    ]);
    let number = |query: &str| Ok::<_, anyhow::Error>(rig.query(query)?.trim().parse::<u64>()?);
    let database = BTreeMap::from([
        ("bytes", number("SELECT pg_database_size(current_database())")?),
        ("partitions", number("SELECT count(*) FROM pg_inherits")?),
        (
            "rows",
            number(
                "SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM attempts) + \
                 (SELECT count(*) FROM ends) + (SELECT count(*) FROM routing_decisions)",
            )?,
        ),
        ("connections", number("SELECT count(*) FROM pg_stat_activity")?),
    ]);
    Ok(Sample {
        day,
        at_s: began.elapsed().as_secs(),
        since_start_s: started.elapsed().as_secs(),
        resident_kb,
        files,
        broker,
        database,
    })
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => bytes_below(&entry.path()),
        Ok(about) => about.len(),
        // It has gone since.
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Of each thing that is counted, the most of the last days against the most of those before,
/// from the first day on at whose beginning history has given up another one: until then it
/// grows, and more is sent again each day.
fn judge(samples: &[Sample]) -> Result<()> {
    let days = samples.last().map_or(0, |sample| sample.day + 1);
    let (settled, late) = (KEPT_DAYS + 1, days / 2 + 1);
    if settled >= late {
        bail!("{days} days are too few to compare: at least {} are needed", 2 * settled);
    }
    let mut grown = Vec::new();
    let mut check = |what: &str, of: &dyn Fn(&Sample) -> Option<u64>, more: u64| {
        let warm = |sample: &&Sample| sample.since_start_s >= WARM_AFTER.as_secs();
        let most = |part: &dyn Fn(u64) -> bool| {
            samples.iter().filter(warm).filter(|it| part(it.day)).filter_map(of).max()
        };
        let (Some(before), Some(after)) =
            (most(&|day| (settled..late).contains(&day)), most(&|day| day >= late))
        else {
            return;
        };
        let verdict = if after > before * 5 / 4 + more { "GROWN" } else { "flat" };
        println!("{what:<32} {before:>12} {after:>12}  {verdict}");
        if verdict == "GROWN" {
            grown.push(what.to_owned());
        }
    };
    println!("{:<32} {:>12} {:>12}", "at most, in the", "days before", "last days");
    let names: Vec<String> =
        samples.first().map(|it| it.resident_kb.keys().cloned().collect()).unwrap_or_default();
    for name in &names {
        check(&format!("{name}: KiB"), &|it| it.resident_kb.get(name).copied(), 8 << 10);
        check(&format!("{name}: files"), &|it| it.files.get(name).copied(), 10);
    }
    for (what, more) in [
        ("streams", 0),
        ("consumers", 4),
        ("subjects", 1_000),
        ("messages", 1_000),
        ("bytes", 4 << 20),
        ("disk", 16 << 20),
    ] {
        check(&format!("broker: {what}"), &|it| it.broker.get(what).copied(), more);
    }
    for (what, more) in
        [("bytes", 32 << 20), ("partitions", 5), ("rows", 10_000), ("connections", 10)]
    {
        check(&format!("database: {what}"), &|it| it.database.get(what).copied(), more);
    }
    if !grown.is_empty() {
        bail!("has grown: {}", grown.join(", "));
    }
    println!("{}", json!({"days": days, "samples": samples.len()}));
    Ok(())
}
