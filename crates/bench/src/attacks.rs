//! Attacks of a stranger without a key, or of one tenant, on the others and on the process.
//!
//! One process runs every role, as `postrider all` does, with a request bin beside it. A
//! victim's events are delivered all the time: first alone, then beside an attack, then
//! alone again. An attacker is a process of its own, so that its CPU time is known and its
//! sockets are its own. It comes from loopback addresses of its own, as a stranger would
//! from another network.
//!
//! Each attack begins on fresh servers, with a fresh process: what one leaves behind does
//! not help the next.

mod arena;
mod attacker;
mod documents;
mod doors;
mod floods;
mod grpc;
mod kinds;
mod names;
mod reads;
mod receivers;
mod relay;
mod resent;
mod stage;
mod verdict;
mod victim;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::ValueEnum as _;
use dev_servers::NatsSync;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use self::arena::{Arena, Cpu};
use self::attacker::Attacker;
pub(crate) use self::attacker::{AttackerOptions, attack};
use self::kinds::Attack;
use self::relay::Relay;
use self::resent::Jobs;
use self::verdict::{Outcome, table};
use self::victim::{Phases, Victim};
use crate::report::{self, Machine};

/// For connections that are made once, and for what the start has left to do.
const WARM_UP: Duration = Duration::from_secs(3);
/// Events of the last moment may take this long to arrive.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Seconds of each attack.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seconds before it.
    #[arg(long, default_value_t = 15)]
    quiet_seconds: u64,
    /// Seconds after it.
    #[arg(long, default_value_t = 10)]
    after_seconds: u64,
    /// Only these attacks, with commas between.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Attack>,
    /// Only whether all of this works: a few seconds each. Latency is not judged.
    #[arg(long)]
    quick: bool,
    /// Keeps the process's log of each attack in this directory.
    #[arg(long)]
    logs: Option<PathBuf>,
    /// Writes the figures here as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The release binary; an older one shows what it did not withstand.
    #[arg(long, default_value = "target/release/postrider")]
    binary: PathBuf,
}

impl Options {
    fn settled(mut self) -> Self {
        if self.quick {
            (self.quiet_seconds, self.seconds, self.after_seconds) = (3, 5, 2);
        }
        if self.only.is_empty() {
            self.only = Attack::value_variants().to_vec();
        }
        self
    }
}

/// The report.
#[derive(Debug, Serialize)]
struct Report {
    machine: Machine,
    load: String,
    bounds: String,
    attacks: Vec<Outcome>,
    passed: bool,
    failures: Vec<String>,
}

/// Runs the attacks, prints a report and a table, and fails when one got through.
pub(crate) async fn run(options: Options) -> Result<()> {
    let options = options.settled();
    let machine = Machine::this(NatsSync::Lazy);
    let mut attacks = Vec::new();
    for attack in &options.only {
        let outcome = match one(&options, *attack).await {
            Ok(outcome) => outcome,
            // The others are still worth seeing.
            Err(error) => Outcome::broken(*attack, &error),
        };
        eprintln!("{}", outcome.line());
        attacks.push(outcome);
    }
    eprintln!("\n{}", table(&attacks));
    let failures: Vec<String> = attacks.iter().flat_map(Outcome::named_failures).collect();
    let report = Report {
        machine,
        load: format!(
            "{} s quiet, {} s of the attack, {} s after it; a victim's {} events a second over \
             gRPC to one receiver, and one a second to a target that is new",
            options.quiet_seconds,
            options.seconds,
            options.after_seconds,
            victim::RATE,
        ),
        bounds: verdict::bounds(),
        attacks,
        passed: failures.is_empty(),
        failures,
    };
    report::publish(&report, options.json.as_deref())?;
    ensure!(report.passed, "{}", report.failures.join("; "));
    Ok(())
}

/// Everything about one attack, from the start of the servers to the verdict.
async fn one(options: &Options, attack: Attack) -> Result<Outcome> {
    let relay = Relay::start().await?;
    let names = if attack.needs_names() { Some(names::Names::start().await?) } else { None };
    let arena = Arena::start(options, names.as_ref(), &relay).await?;
    let result = fight(options, attack, &arena, &relay).await;
    if let Some(directory) = &options.logs {
        arena.keep_log(directory, attack.name())?;
    }
    result
}

async fn fight(options: &Options, attack: Attack, arena: &Arena, relay: &Relay) -> Result<Outcome> {
    let seconds = Duration::from_secs;
    let newcomers = options.quiet_seconds + options.seconds + options.after_seconds + 5;
    let victim = Victim::start(arena, attack.needs_names(), newcomers).await?;
    arena.add_attacker().await?;
    attack.fill_history(arena)?;
    let mut jobs = if attack == Attack::FailingResends {
        Some(Jobs::prepare(arena, &victim).await?)
    } else {
        None
    };
    let mut attacker = Attacker::start(attack, &arena.stage(options.seconds)).await?;

    let Options { quiet_seconds, seconds: attack_seconds, after_seconds, .. } = *options;
    let of_phases = [quiet_seconds, attack_seconds, after_seconds].map(seconds);
    let [quiet, attacked, after] = of_phases;
    let phases = Phases::new(Instant::now(), [WARM_UP, quiet, attacked, after]);
    victim.begin(arena, &phases)?;
    if let Some(jobs) = &mut jobs {
        jobs.run_first(phases.quiet).await?;
    }
    sleep_until(phases.attack).await;
    let (cpu_before, refused_before) = (arena.cpu(), arena.refused().await);
    attacker.go().await?;
    if let Some(jobs) = &mut jobs {
        jobs.run_second(phases.attack + seconds(2)).await?;
    }
    sleep_until(phases.after).await;
    let cpu_after = arena.cpu();
    let tally = attacker.ended().await?;
    let disabled_within = match attack {
        Attack::LargestDocuments => Some(arena.disable_attacker().await?),
        _ => None,
    };
    sleep_until(phases.end).await;
    let everything_arrived = victim.arrived(phases.end + PATIENCE).await;
    Ok(Outcome::new(verdict::Facts {
        attack,
        judges_latency: !options.quick,
        phases: &phases,
        victim: &victim,
        everything_arrived,
        refused: arena.refused().await.saturating_sub(refused_before),
        cpu: Cpu::since(&cpu_after, &cpu_before),
        tally,
        disabled_within,
        mails: relay.recipients(),
        job_seconds: jobs.map(|jobs| jobs.seconds()),
        end_rss_mb: arena.rss_mb(),
    }))
}
