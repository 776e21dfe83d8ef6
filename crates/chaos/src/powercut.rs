//! Cuts the power of the brokers under load, and counts what they have forgotten.
//!
//! What must always hold:
//!
//! * Only what was acknowledged before the first snapshot began counts.
//! * The brokers are looked at before a process of the product runs again: it would repair
//!   the bucket of settings from PostgreSQL.
//! * With `sync_interval: always`, anything that was forgotten fails the run.
//!
//! Deliberately absent: a power cut of PostgreSQL, which keeps running. Its flushing is its own.

mod broker;
mod clients;
mod disks;
mod ledger;
mod platform;
mod receiver;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use dev_servers::NatsSync;
use tokio::task::{JoinSet, block_in_place};
use tokio::time::sleep_until;

use self::clients::Clients;
use self::disks::Disks;
use self::ledger::Ledger;
use self::platform::Platform;
use self::receiver::Receiver;
use crate::REGION;
use crate::chance::Chance;

/// When nothing has arrived for this long, nothing will: longer than a lease,
/// every wait of the schedule, and the look for what the broker has lost sight of.
const NO_PROGRESS_FOR: Duration = Duration::from_secs(60);

#[derive(Args)]
pub(crate) struct Options {
    /// The product, built with the feature `failpoints`
    #[arg(long)]
    binary: PathBuf,
    #[arg(long)]
    seed: u64,
    /// Brokers: one or three
    #[arg(long, default_value_t = 1)]
    nodes: usize,
    /// When the brokers flush what they have acknowledged
    #[arg(long, value_enum, default_value_t = Sync::Always)]
    sync: Sync,
    /// How often the power is cut
    #[arg(long, default_value_t = 5)]
    cuts: u64,
    /// The most seconds that the load lasts before a cut; the least are three
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Events a second
    #[arg(long, default_value_t = 60)]
    rate: u64,
    /// Go on after a loss, to see how often it happens
    #[arg(long)]
    keep_going: bool,
    /// Where disks, logs and the database are kept
    #[arg(long)]
    directory: PathBuf,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Sync {
    Always,
    Lazy,
}

impl From<Sync> for NatsSync {
    fn from(sync: Sync) -> Self {
        match sync {
            Sync::Always => Self::Always,
            Sync::Lazy => Self::Lazy,
        }
    }
}

/// Counts of one cut, or of all.
#[derive(Debug, Default)]
struct Counts {
    /// Events that were answered `stored` since the cut before.
    events: usize,
    /// Of all events so far: not in the stream any more.
    events_lost: usize,
    /// Of these: not in history either.
    not_in_history: usize,
    /// Of the events: at least one receiver has not got it.
    undelivered: usize,
    /// Of these: still in the stream.
    stored_undelivered: usize,
    /// Changes of settings that were answered 200 since the cut before.
    changes: usize,
    /// Of all changes so far: neither they nor a later one are in the bucket.
    changes_lost: usize,
    /// Cuts after which the product did not become ready.
    stuck: usize,
    /// How long before the cut the oldest of what was lost had been acknowledged.
    oldest_lost: Duration,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.events_lost += other.events_lost;
        self.not_in_history += other.not_in_history;
        self.undelivered += other.undelivered;
        self.stored_undelivered += other.stored_undelivered;
        self.changes += other.changes;
        self.changes_lost += other.changes_lost;
        self.stuck += other.stuck;
        self.oldest_lost = self.oldest_lost.max(other.oldest_lost);
    }

    fn is_loss(&self) -> bool {
        self.events_lost + self.undelivered + self.changes_lost + self.stuck > 0
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, changes, .. } = self;
        write!(f, "{events} events and {changes} changes of settings acknowledged, ")?;
        if !self.is_loss() {
            return write!(f, "nothing lost");
        }
        write!(
            f,
            "{} events lost ({} of them not in history either), {} events not delivered ({} of \
             them not lost), {} changes lost",
            self.events_lost,
            self.not_in_history,
            self.undelivered,
            self.stored_undelivered,
            self.changes_lost,
        )?;
        if !self.oldest_lost.is_zero() {
            let seconds = self.oldest_lost.as_secs_f64();
            write!(f, "; the oldest of what was lost was acknowledged {seconds:.1} s before")?;
        }
        if self.stuck > 0 {
            write!(f, "; the product did not become ready after {} of the cuts", self.stuck)?;
        }
        Ok(())
    }
}

pub(crate) async fn run(options: Options) -> Result<()> {
    ensure!([1, 3].contains(&options.nodes), "one broker or three, not {}", options.nodes);
    dev_servers::create_open_dir(&options.directory)?;
    // Before everything that runs on it, so that it is dropped after it.
    let disks = block_in_place(|| Disks::create(&options.directory, options.nodes))?;
    block_in_place(|| disks.check_model())?;
    let mut platform = block_in_place(|| {
        let directory = options.directory.clone();
        Platform::start(options.binary.clone(), directory, options.nodes, options.sync.into())
    })?;
    let ledger = Ledger::default();
    let receiver = Receiver::start(ledger.clone()).await?;
    let clients = Clients::new(&platform, &receiver, ledger.clone(), options.rate);
    clients.prepare(&platform).await?;
    // The load begins on a disk that has all of this, as after a quiet hour.
    block_in_place(|| disks.flush())?;

    let mut chance = Chance::of(options.seed, "power cut");
    let mut total = Counts::default();
    for cut in 1..=options.cuts {
        let lasting = Duration::from_millis(chance.between(3_000, options.seconds.max(4) * 1_000));
        let counts =
            one_cut(&disks, &mut platform, &clients, &ledger, lasting, &mut chance).await?;
        println!("cut {cut}, {:.1} s under load: {counts}", lasting.as_secs_f64());
        total.add(&counts);
        let must_keep_all = options.sync == Sync::Always && !options.keep_going;
        ensure!(!must_keep_all || !counts.is_loss(), "seed {} has lost something", options.seed);
        if counts.stuck > 0 {
            // What is left of the streams helps nobody: the next cut has new ones.
            block_in_place(|| {
                platform.kill()?;
                disks.empty()?;
                platform.start_brokers()?;
                platform.start_product()
            })?;
            ledger.forget_all();
        } else if options.sync == Sync::Always {
            block_in_place(|| platform.wait_healthy())?;
        }
    }
    let Options { nodes, cuts, sync, seed, .. } = options;
    println!("{nodes} node(s), sync {sync:?}, {cuts} cuts: {total}");
    ensure!(sync == Sync::Lazy || !total.is_loss(), "seed {seed} has lost something");
    Ok(())
}

/// Load for this long, a cut, and a look at what is left.
async fn one_cut(
    disks: &Disks,
    platform: &mut Platform,
    clients: &Clients,
    ledger: &Ledger,
    lasting: Duration,
    chance: &mut Chance,
) -> Result<Counts> {
    let mut load = JoinSet::new();
    clients.start(chance.next(), &mut load);
    sleep_until((Instant::now() + lasting).into()).await;

    let began = Instant::now();
    let took = block_in_place(|| disks.snapshot())?;
    load.shutdown().await;
    block_in_place(|| {
        platform.kill()?;
        disks.restore()?;
        platform.start_brokers()
    })?;
    eprintln!("    snapshots taken within {:.1} ms", took.as_secs_f64() * 1_000.0);

    let acknowledged = ledger.close(began);
    let mut counts = Counts {
        events: acknowledged.events.len(),
        changes: acknowledged.changes,
        ..Counts::default()
    };
    let urls = platform.broker_urls();
    let stored = broker::messages(&urls, &format!("{REGION}_EVENTS")).await?;
    let stored: BTreeSet<u64> = stored.iter().filter_map(|bytes| ledger::event_in(bytes)).collect();
    let lost = ledger.forget_events_but(&stored);
    if !lost.is_empty() {
        let rows = block_in_place(|| platform.query("SELECT event_id FROM events"))?;
        let history: BTreeSet<u64> =
            rows.lines().filter_map(|row| ledger::event_in(row.as_bytes())).collect();
        counts.not_in_history = lost.iter().filter(|(id, _)| !history.contains(id)).count();
    }
    let documents = broker::messages(&urls, &format!("KV_{REGION}_settings")).await?;
    let changes_lost = ledger.forget_changes_after(&documents);
    counts.events_lost = lost.len();
    counts.changes_lost = changes_lost.len();
    let losses = lost.iter().map(|(_, at)| *at).chain(changes_lost);
    let ages = losses.map(|at| began.saturating_duration_since(at));
    counts.oldest_lost = ages.max().unwrap_or_default();

    if let Err(error) = block_in_place(|| platform.start_product()) {
        eprintln!("    {error:#}");
        counts.stuck = 1;
    }
    let (kept, gone): (Vec<u64>, Vec<u64>) =
        acknowledged.events.iter().partition(|event| stored.contains(event));
    let undelivered = wait_delivered(ledger, &kept).await;
    for event in undelivered.iter().take(10) {
        eprintln!("    stored and not delivered: {}", ledger::event_id(*event));
    }
    counts.stored_undelivered = undelivered.len();
    counts.undelivered = undelivered.len() + ledger.undelivered(&gone).len();
    Ok(counts)
}

/// Waits until these events have arrived everywhere, or nothing arrives any more. Returns
/// those that have not.
async fn wait_delivered(ledger: &Ledger, events: &[u64]) -> Vec<u64> {
    let mut left = ledger.undelivered(events);
    let mut progress = Instant::now();
    while !left.is_empty() && progress.elapsed() < NO_PROGRESS_FOR {
        sleep_until((Instant::now() + Duration::from_millis(200)).into()).await;
        let now = ledger.undelivered(events);
        if now.len() < left.len() {
            (left, progress) = (now, Instant::now());
        }
    }
    left
}
