//! The attacker, as a process of its own.
//!
//! It prepares what it needs, says that it is ready, waits to be told to go, attacks for
//! its time, and says what it did.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, sleep_until, timeout};

use super::kinds::Attack;
use super::stage::Stage;
use super::wire::{Pace, Wire};
use super::{documents, doors, floods, grpc, reads, receivers};
use crate::cpu;
use crate::receiver::detach;
use crate::report::rounded;

/// How long it may take to prepare, and to end.
const PATIENCE: Duration = Duration::from_secs(120);
const READY: &str = "ready";
const GO: &str = "go";

#[derive(Debug, clap::Args)]
pub(crate) struct AttackerOptions {
    #[arg(long)]
    attack: Attack,
    /// JSON of where everything is.
    #[arg(long)]
    stage: String,
}

/// The doings of an attacker.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Tally {
    /// CPU-seconds of its process, preparing included.
    pub(super) cpu_s: f64,
    /// Its counts.
    pub(super) counts: BTreeMap<String, u64>,
}

/// The process, as it is seen from outside.
pub(super) struct Attacker {
    child: Child,
    told: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Attacker {
    /// Starts it, and returns when it is prepared.
    pub(super) async fn start(attack: Attack, stage: &Stage) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["attacker", "--attack", &attack.name()]);
        command.args(["--stage", &serde_json::to_string(stage)?]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let told = child.stdin.take().context("the attacker can be told")?;
        let says = BufReader::new(child.stdout.take().context("the attacker can be heard")?);
        let mut attacker = Self { child, told, says: says.lines() };
        let said = attacker.next_line().await?;
        ensure!(said == READY, "the attacker says {said:?}");
        Ok(attacker)
    }

    /// Lets it go.
    pub(super) async fn go(&mut self) -> Result<()> {
        self.told.write_all(format!("{GO}\n").as_bytes()).await?;
        Ok(())
    }

    /// Waits for its end.
    pub(super) async fn ended(mut self) -> Result<Tally> {
        let said = self.next_line().await?;
        self.child.wait().await?;
        serde_json::from_str(&said).context("the attacker says what it did")
    }

    async fn next_line(&mut self) -> Result<String> {
        let line = timeout(PATIENCE, self.says.next_line()).await.context("no word from it")??;
        line.context("the attacker has failed")
    }
}

/// The scene of an attack: where, how long, and the counts.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) stage: Arc<Stage>,
    counts: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Scene {
    /// Counts something.
    pub(super) fn count(&self, what: &str) {
        self.count_more(what, 1);
    }

    pub(super) fn count_more(&self, what: &str, more: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(what) {
            Some(count) => *count += more,
            None => drop(counts.insert(what.to_owned(), more)),
        }
    }

    /// Runs so many tasks beside each other, each with its number, until the attack is over.
    pub(super) fn spawn<F: Future<Output = ()> + Send + 'static>(
        &self,
        tasks: u32,
        task: impl Fn(Self, u32) -> F,
    ) {
        for number in 0..tasks {
            detach(task(self.clone(), number));
        }
    }

    /// Asks again and again over one connection, or over a new one where it was closed.
    /// Counts what is answered.
    pub(super) async fn keep_asking(
        &self,
        from: Ipv4Addr,
        to: SocketAddr,
        pace: &Pace,
        mut next: impl FnMut() -> Vec<u8>,
    ) {
        let mut wire = None;
        loop {
            pace.turn().await;
            let request = next();
            if wire.is_none() {
                wire = Wire::open(from, to).await.ok();
            }
            let Some(open) = &mut wire else {
                self.count("not connected");
                pause(Duration::from_millis(500)).await;
                continue;
            };
            match open.ask(&request).await {
                Ok((status, _)) => self.count(&format!("status {status}")),
                Err(_) => {
                    self.count("not answered");
                    wire = None;
                    pause(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

pub(super) async fn pause(duration: Duration) {
    sleep_until(Instant::now() + duration).await;
}

/// Prepares, waits, attacks, tells.
pub(crate) async fn attack(options: AttackerOptions) -> Result<()> {
    let stage: Stage = serde_json::from_str(&options.stage)?;
    let seconds = Duration::from_secs(stage.seconds);
    let scene = Scene { stage: Arc::new(stage), counts: Arc::default() };
    let mut go = prepare(options.attack, &scene).await?;
    println!("{READY}");
    let told = tokio::task::spawn_blocking(|| {
        let mut told = String::new();
        std::io::stdin().read_line(&mut told).map(|_| told)
    });
    let told = told.await??;
    ensure!(told.trim() == GO, "told {told:?}");
    let until = Instant::now() + seconds;
    go();
    sleep_until(until).await;
    let cpu_s = rounded(cpu::seconds_of_tree(std::process::id()));
    let counts = scene.counts.lock().unwrap_or_else(PoisonError::into_inner).clone();
    println!("{}", serde_json::to_string(&Tally { cpu_s, counts })?);
    // Everything is closed at once, by the system.
    std::process::exit(0)
}

/// Begins the attack: it leaves tasks behind that end with the process.
pub(super) type Go = Box<dyn FnMut()>;

async fn prepare(attack: Attack, scene: &Scene) -> Result<Go> {
    let plain = |begin: fn(&Scene)| -> Result<Go> {
        let scene = scene.clone();
        Ok(Box::new(move || begin(&scene)))
    };
    match attack {
        Attack::Nothing => plain(|_| ()),
        Attack::BusyNeighbour => plain(floods::keep_half_a_core_busy),
        Attack::HalfHeads => plain(doors::half_heads),
        Attack::SilenceOfOne => plain(|scene| doors::silence(scene, 1, 1_500)),
        Attack::SilenceOfMany => plain(|scene| doors::silence(scene, 20, 3_000)),
        Attack::BodiesOfStrangers => doors::bodies_of_strangers(scene).await,
        Attack::BodiesWithAKey => plain(doors::bodies_with_a_key),
        Attack::BodiesToIngest => plain(doors::bodies_to_ingest),
        Attack::GrpcMessages => plain(grpc::unfinished_messages),
        Attack::ClosedWindows => plain(grpc::closed_windows),
        Attack::WrongKeys => plain(floods::wrong_keys),
        Attack::DomainChurn => plain(documents::churn),
        Attack::LargestDocuments => plain(documents::largest),
        Attack::SettingsWrites => {
            documents::fill(scene).await?;
            plain(documents::writes)
        }
        Attack::UnreadPages => plain(reads::unread),
        Attack::UndeliveredCalls => plain(reads::undelivered),
        Attack::FailingResends => plain(floods::failing_resends),
        Attack::TestCalls => floods::test_calls(scene).await,
        Attack::TestMails => plain(floods::test_mails),
        Attack::SwallowedNames => receivers::swallowed_names(scene).await,
        Attack::SlowRefusals => receivers::slow_refusals(scene).await,
        Attack::EndlessHeads => receivers::endless_heads(scene).await,
        Attack::EndlessAnswers => receivers::endless_answers(scene).await,
    }
}
