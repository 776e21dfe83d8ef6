//! Chaos: the platform as real processes, callers, customers and receivers, a nemesis that
//! breaks what can break, and a checker of what must always hold.
//!
//! What must always hold:
//!
//! * Everything follows from one seed, as far as the machine lets it: clients, receivers,
//!   faults. A run that has found something is run again by its seed or its list of faults.
//! * The checker believes nothing that the product says of itself without comparing it with
//!   what clients and receivers have seen.
//! * Nothing of the product's crates is used, so that no bug can hide on both sides.
//!
//! Deliberately absent: any knowledge of how the product does it. Where the checker has to
//! tolerate something, the tolerance has a fault of the nemesis as its reason.

mod chance;
mod checker;
mod clients;
mod history;
mod nemesis;
mod powercut;
mod receivers;
mod requests;
mod rig;
mod sampler;
mod small_disks;
mod soak;
mod state;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use serde_json::json;
use testkit::Mailbox;
use tokio::task::JoinSet;

use crate::clients::Clients;
use crate::history::{Fact, Recorder, Setup};
use crate::nemesis::{Fault, Kinds, Nemesis, Step};
use crate::receivers::Receivers;
use crate::rig::{Plan, Rig};
use crate::state::State;

const REGION: &str = "us";
/// After the last fault everything has to end within the longest schedule and this.
const REST_WITHIN: Duration = Duration::from_secs(60);
/// Then whoever follows a list comes to its end within this.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(60);

#[derive(Parser)]
#[command(about = "Breaks Postrider in every way that can be thought of, and checks what is left")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// One run, and its judgement
    Run(Run),
    /// Days in hours, in which nothing may grow
    Soak(soak::Soak),
    /// Judges a run again from its files
    Check {
        /// The directory of the run
        directory: PathBuf,
    },
    /// Cuts the power of the brokers, and counts what they have forgotten
    Powercut(powercut::Options),
}

#[derive(Args)]
struct Run {
    /// The product, built with the feature `failpoints`
    #[arg(long)]
    binary: PathBuf,
    /// The last release's, for the second process of every role
    #[arg(long)]
    old_binary: Option<PathBuf>,
    /// Everything is the last release's, and is upgraded under load; nothing else is broken
    #[arg(long, requires = "old_binary")]
    upgrade: bool,
    #[arg(long)]
    seed: u64,
    /// How long faults are made
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    brokers: usize,
    /// Events a second
    #[arg(long, default_value_t = 12)]
    rate: u64,
    /// A bug that is switched on: see `chassis::mutant`
    #[arg(long)]
    mutant: Option<String>,
    /// A list of faults as it stands in `nemesis.json` of a run
    #[arg(long)]
    nemesis: Option<PathBuf>,
    /// Where the files of the run are kept
    #[arg(long)]
    directory: PathBuf,
    /// Also faults after which something has to be made anew: consumers, buckets
    #[arg(long)]
    disasters: bool,
    /// Also clocks that are an hour off
    #[arg(long)]
    clocks: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().what {
        What::Run(options) => begin(run(options)),
        What::Soak(options) => begin(soak::run(options)),
        What::Check { directory } => judge(&directory),
        What::Powercut(options) => begin(powercut::run(options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin(work: impl Future<Output = Result<()>>) -> Result<()> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_all().build()?.block_on(work)
}

async fn run(options: Run) -> Result<()> {
    clients::check_examples()?;
    dev_servers::create_open_dir(&options.directory)?;
    let mut setup = setup(options.seed, options.brokers, options.seconds, options.mutant.clone());
    setup.begins_old = options.upgrade;
    let recorder = Recorder::create(&options.directory.join("history.jsonl"))?;
    recorder.say(format!("seed {}", setup.seed));
    let mailbox = Mailbox::start().await;
    let old_binary = options.old_binary.as_deref();
    let plan = plan(&options.binary, old_binary, &setup, &options.directory, &mailbox);
    let mut rig = Rig::start(plan).await?;
    let epoch_ms = rig.query("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")?;
    let epoch_ms = epoch_ms.trim().parse::<u64>()? - recorder.now_ms();
    recorder.note(Fact::Began { setup: setup.clone(), epoch_ms });
    recorder.say("everything runs");

    let receivers = Receivers::start(setup.seed, recorder.clone(), None).await?;
    let clients = Arc::new(Clients::new(&rig, recorder.clone(), setup.clone(), options.rate));
    clients.prepare(&rig, &receivers).await?;
    let steps = match &options.nemesis {
        Some(path) => read_steps(path)?,
        None if options.upgrade => {
            let half_ms = setup.seconds * 500;
            vec![Step { after_ms: half_ms, for_ms: half_ms, fault: Fault::Upgrade }]
        }
        None => {
            let kinds = Kinds { disasters: options.disasters, clocks: options.clocks };
            nemesis::plan(setup.seed, setup.seconds, &rig, kinds)
        }
    };
    std::fs::write(options.directory.join("nemesis.json"), serde_json::to_string_pretty(&steps)?)?;
    let mut tasks = JoinSet::new();
    clients.start(&receivers, &mut tasks);
    tasks.spawn(sampler::watch(rig.brokers.urls(), recorder.clone()));
    tasks.spawn(sampler::read_mail(mailbox, recorder.clone()));
    tasks.spawn(sampler::watch_machine(recorder.clone()));

    let runtime = tokio::runtime::Handle::current();
    let file = options.directory.join("state.json");
    let ended = tokio::task::spawn_blocking({
        let recorder = recorder.clone();
        move || {
            let mut nemesis = Nemesis {
                rig: &mut rig,
                recorder: recorder.clone(),
                region: REGION.to_owned(),
                runtime,
                is_erased: false,
                backup: Vec::new(),
            };
            nemesis.run(&steps)?;
            clients.stop();
            recorder.say("calm");
            rest(&nemesis, &setup)?;
            catch_up(&clients, &recorder);
            nemesis.note_usage(true);
            State::of(&nemesis)?.save(&file)?;
            recorder.flush()
        }
    });
    ended.await??;
    tasks.abort_all();
    drop(receivers);
    judge(&options.directory)
}

/// Waits until nothing is on its way any more.
fn rest(nemesis: &Nemesis<'_>, setup: &Setup) -> Result<()> {
    let waits: u64 = setup.send_waits_ms.iter().sum();
    let patience = REST_WITHIN + Duration::from_millis(waits);
    let began = std::time::Instant::now();
    let mut quiet = 0;
    loop {
        let mut unrest = State::of_broker(nemesis).unrest(REGION);
        for (query, what) in [
            ("SELECT count(*) FROM settings_outbox", "documents are not published"),
            (
                "SELECT count(*) FROM resends WHERE state = 'running'",
                "jobs of sending again are not done",
            ),
            (
                "SELECT count(*) FROM erasures WHERE purged < found OR passes = 0",
                "accounts are not erased yet",
            ),
        ] {
            let count = nemesis.rig.query(query)?;
            if count.trim() != "0" {
                unrest.push(format!("{} {what}", count.trim()));
            }
        }
        if unrest.is_empty() {
            quiet += 1;
            if quiet == 3 {
                nemesis.recorder.note(Fact::Rest { is_quiet: true, why: String::new() });
                return Ok(());
            }
        } else {
            quiet = 0;
            if began.elapsed() > patience {
                let why = unrest.join("; ");
                nemesis.recorder.say(format!("no rest: {why}"));
                nemesis.recorder.note(Fact::Rest { is_quiet: false, why });
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Waits until whoever follows a list has asked once more and found nothing new.
fn catch_up(clients: &Clients, recorder: &Recorder) {
    let (since, began) = (recorder.now_ms(), std::time::Instant::now());
    loop {
        let behind = clients.behind(since);
        if behind.is_empty() {
            return;
        }
        if began.elapsed() > FOLLOWED_WITHIN {
            return recorder.note(Fact::NotFollowed { domains: behind });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn setup(seed: u64, brokers: usize, seconds: u64, mutant: Option<String>) -> Setup {
    Setup {
        seed,
        brokers,
        seconds,
        mutant,
        lease_ms: 2_000,
        events_window_ms: 8_000,
        deliveries_window_ms: 3_000,
        send_waits_ms: vec![1_000, 1_000, 2_000, 4_000, 8_000],
        alert_waits_ms: vec![1_000, 2_000, 4_000, 8_000],
        egress_timeout_ms: 1_500,
        events_max_bytes: 16 << 20,
        outcomes_max_bytes: 32 << 20,
        target_concurrency: 8,
        begins_old: false,
    }
}

fn plan(
    binary: &Path,
    old_binary: Option<&Path>,
    setup: &Setup,
    directory: &Path,
    mailbox: &Mailbox,
) -> Plan {
    let mut settings = settings(setup);
    settings.push(("SMTP_URL", mailbox.url()));
    Plan {
        binary: binary.to_owned(),
        old_binary: old_binary.map(Path::to_owned),
        begins_old: setup.begins_old,
        brokers: setup.brokers,
        settings,
        mutant: setup.mutant.clone(),
        clock: None,
        directory: directory.to_owned(),
    }
}

fn settings(setup: &Setup) -> Vec<(&'static str, String)> {
    let ms = |ms: u64| format!("{ms}ms");
    let schedule = |waits: &[u64]| waits.iter().map(|wait| ms(*wait)).collect::<Vec<_>>().join(",");
    vec![
        ("REGION", REGION.to_owned()),
        ("SECRET_KEY", "07".repeat(32)),
        ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
        ("EGRESS_CONNECT_TIMEOUT", ms(1_000)),
        ("EGRESS_TIMEOUT", ms(setup.egress_timeout_ms)),
        ("LEASE", ms(setup.lease_ms)),
        ("EVENTS_DEDUP_WINDOW", ms(setup.events_window_ms)),
        ("DELIVERIES_DEDUP_WINDOW", ms(setup.deliveries_window_ms)),
        ("NATS_ACK_TIMEOUT", ms(1_500)),
        ("SEND_RETRY_SCHEDULE", schedule(&setup.send_waits_ms)),
        ("ALERTS_RETRY_SCHEDULE", schedule(&setup.alert_waits_ms)),
        ("EVENTS_MAX_BYTES", setup.events_max_bytes.to_string()),
        ("EVENTS_REPLAY_BYTES", (256 << 10).to_string()),
        ("OUTCOMES_MAX_BYTES", setup.outcomes_max_bytes.to_string()),
        // Longer than a broker that was killed, or had no room, may hand out again what was done:
        // 4 MiB were 200 seconds, and it took 240.
        ("OUTCOMES_REPLAY_BYTES", (16 << 20).to_string()),
        ("TARGET_CONCURRENCY", setup.target_concurrency.to_string()),
        ("MAIL_FROM", "Postrider <alerts@postrider.test>".to_owned()),
        ("SMTP_TIMEOUT", ms(1_800)),
        ("SMTP_CONNECT_TIMEOUT", ms(1_000)),
        // It would make good what the checker is to find.
        ("RECONCILE_AFTER", "0s".to_owned()),
        ("SETTINGS_RATE_LIMIT", "100000".to_owned()),
        ("DRAIN_TIMEOUT", "8s".to_owned()),
        ("LOG", "info".to_owned()),
        ("LOG_FORMAT", "text".to_owned()),
    ]
}

fn read_steps(path: &Path) -> Result<Vec<Step>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn judge(directory: &Path) -> Result<()> {
    let lines = history::read(&directory.join("history.jsonl"))?;
    let state = State::load(&directory.join("state.json"))?;
    let verdict = checker::check(&lines, &state)?;
    println!("{}", verdict.summary());
    for violation in &verdict.violations {
        println!("{violation}");
    }
    let found = json!({"summary": verdict.summary(), "violations": verdict.violations});
    std::fs::write(directory.join("verdict.json"), serde_json::to_string_pretty(&found)?)?;
    if !verdict.violations.is_empty() {
        bail!("{} violations", verdict.violations.len());
    }
    Ok(())
}
