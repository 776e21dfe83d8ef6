//! Sends deliveries, classifies what came back, and schedules what is to be
//! tried again.
//!
//! What must always hold:
//! - outcome, then retry, then ack, each stored before the next;
//! - once a receiver has answered, this process never asks it again for the
//!   same attempt: the answer is kept until it is stored;
//! - a delivery leaves one message only, on `due` or on `retry`;
//! - what is wanted, the keys, redaction and policy are those in force at the
//!   attempt;
//! - only the receiver's faults are charged to it;
//! - a target in trouble holds up no other: what cannot go now comes back later.
//!
//! Deliberately absent: who gets an event (fanout), SQL, and settings writes:
//! a setting that is to be disabled is reported, not touched.

mod attempt;
mod config;
mod lag;
mod mail;
mod settle;
mod settled;
mod targets;

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Consumer, OutcomeWriter, Pulled, Settings, TargetBoard};
use chassis::{Clock, Readiness, Tasks};
use protocol::v1::DispatcherBeat;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use config::DispatcherConfig;

use crate::targets::{TargetLimits, Targets};

/// How often to count the targets that are left alone, and what waits for them.
const GAUGES_EVERY: Duration = Duration::from_secs(5);

/// Runs until a stop is asked for, then finishes what is in flight.
///
/// # Errors
/// When mail cannot be sent as it is configured.
pub async fn run(
    config: DispatcherConfig,
    bus: Bus,
    settings: Settings,
    egress: egress::Client,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
) -> anyhow::Result<()> {
    readiness.expect("dispatcher");
    let outcomes = OutcomeWriter::start(bus.clone(), &tasks);
    let shards = bus.config().shards;
    let slots = config.slots;
    let targets = Targets::new(TargetLimits {
        concurrency: config.target_concurrency,
        rate: (config.target_rate > 0.0).then_some(config.target_rate),
        slots,
        backlog: config.target_backlog,
    });
    let instance = hex::encode(chassis::entropy::bytes::<8>());
    let board = TargetBoard::start(bus.clone(), &tasks, &instance);
    tasks.background(follow(board.clone(), Arc::clone(&targets), clock.clone()));
    let post = mail::Post::new(&config, &clock)?;
    let dispatcher = Arc::new(Dispatcher {
        slots: Arc::new(Semaphore::new(slots)),
        settled: settled::Settled::new(bus.config().lease, clock.clone()),
        lease: bus.config().lease,
        config,
        bus,
        settings,
        outcomes,
        egress,
        post,
        clock,
        tasks,
        targets,
        board,
    });
    let consumers = (0..shards).map(|shard| dispatcher.due_consumer(shard)).collect();
    dispatcher.tasks.background(lag::tell(consumers, dispatcher.clock.clone()));
    let pulling = (0..shards).map(|shard| {
        let dispatcher = Arc::clone(&dispatcher);
        let readiness = readiness.clone();
        async move { dispatcher.serve_shard(shard, &readiness).await }
    });
    futures_util::future::join_all(pulling).await;
    // What was handed out to this process is finished before it ends.
    let _idle = dispatcher.slots.acquire_many(u32::try_from(slots)?).await?;
    Ok(())
}

pub(crate) struct Dispatcher {
    pub(crate) config: DispatcherConfig,
    pub(crate) bus: Bus,
    pub(crate) settings: Settings,
    pub(crate) outcomes: OutcomeWriter,
    pub(crate) egress: egress::Client,
    /// `None` where there is no mail relay.
    pub(crate) post: Option<mail::Post>,
    pub(crate) clock: Clock,
    pub(crate) settled: settled::Settled,
    /// How long the broker waits for a sign of life.
    pub(crate) lease: Duration,
    pub(crate) targets: Arc<Targets>,
    pub(crate) board: TargetBoard,
    tasks: Tasks,
    slots: Arc<Semaphore>,
}

/// Takes over what the other dispatchers know of targets. Losing any of it
/// costs some tries.
async fn follow(board: TargetBoard, targets: Arc<Targets>, clock: Clock) {
    let mut changes = board.changes();
    let mut live = board.watch_live();
    // Goes on while changes come: it is when many targets are in trouble that their
    // backlogs matter.
    let mut tick = std::pin::pin!(clock.sleep(GAUGES_EVERY));
    loop {
        tokio::select! {
            (target_id, trouble) = changes.next() => match trouble {
                Some(trouble) => {
                    let now = clock.now();
                    let until = settle::moment(trouble.until.as_ref()).unwrap_or(now);
                    targets.opened_elsewhere(&target_id, until, trouble.streak, now);
                }
                None => targets.closed_elsewhere(&target_id),
            },
            changed = live.changed() => {
                let Ok(()) = changed else { return };
                targets.set_live(*live.borrow_and_update());
            }
            () = &mut tick => {
                tick.set(clock.sleep(GAUGES_EVERY));
                let now = clock.now();
                let left_alone = targets.open_breakers(now) as u64;
                board.set_beat(DispatcherBeat {
                    backlogs: targets.backlogs(now),
                    account_backlogs: targets.account_backlogs(now),
                    left_alone,
                });
                targets.set_waiting_elsewhere(board.waiting_elsewhere());
                targets.set_accounts_waiting_elsewhere(board.accounts_waiting_elsewhere());
                metrics::gauge!("postrider_breakers_open").set(left_alone as f64);
            }
        }
    }
}

impl Dispatcher {
    fn due_consumer(&self, shard: u32) -> Consumer {
        let max_pending = i64::try_from(self.config.slots).unwrap_or(i64::MAX).saturating_mul(64);
        self.bus.due_consumer(shard, max_pending)
    }

    async fn serve_shard(self: &Arc<Self>, shard: u32, readiness: &Readiness) {
        let mut consumer = self.due_consumer(shard);
        while !self.tasks.is_stopping() {
            if let Err(error) = self.pull(&mut consumer, readiness).await {
                readiness.set("dispatcher", false);
                consumer.forget();
                tracing::warn!(%error, shard, "cannot pull deliveries, trying again");
                tokio::select! {
                    () = self.clock.sleep(Duration::from_millis(500)) => {}
                    () = self.tasks.stopping() => return,
                }
            }
        }
    }

    /// One pull, until it has run dry.
    async fn pull(
        self: &Arc<Self>,
        consumer: &mut Consumer,
        readiness: &Readiness,
    ) -> anyhow::Result<()> {
        // While outcomes cannot be stored nothing new is begun: an attempt whose
        // outcome is lost would be made twice.
        tokio::select! {
            () = self.outcomes.accepting() => {}
            () = self.tasks.stopping() => return Ok(()),
        }
        consumer.ensure().await?;
        readiness.set("dispatcher", true);

        // Pull only what there is a slot for: the lease begins when the broker sends.
        let mut slots = Arc::clone(&self.slots).acquire_owned().await?;
        let more = self.slots.available_permits().min(self.config.batch.saturating_sub(1));
        if let Ok(more) = Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(more)?) {
            slots.merge(more);
        }
        let mut pull = consumer.pull(slots.num_permits()).await?;
        loop {
            let chunk = tokio::select! {
                chunk = pull.next() => chunk,
                () = self.tasks.stopping() => {
                    pull.release().await;
                    return Ok(());
                }
            };
            let Some(chunk) = chunk else { return Ok(()) };
            let Some(taken) = slots.split(chunk.as_ref().map_or(0, Vec::len)) else {
                anyhow::bail!("the broker sent more than was asked for");
            };
            self.begin(chunk?, taken).await;
            if slots.num_permits() == 0 {
                return Ok(());
            }
        }
    }

    /// Begins the work on a chunk under one fence.
    async fn begin(self: &Arc<Self>, chunk: Vec<Pulled>, mut slots: OwnedSemaphorePermit) {
        // Asked after the pull: what was answered 2xx before now is in force below.
        if let Err(error) = self.settings.fence().await {
            tracing::warn!(%error, "cannot fence the settings, deliveries go back");
            for pulled in &chunk {
                pulled.nak(Duration::from_secs(1)).await;
            }
            return;
        }
        for pulled in chunk {
            let slot = slots.split(1);
            let dispatcher = Arc::clone(self);
            self.tasks.spawn(async move {
                dispatcher.handle(pulled).await;
                drop(slot);
            });
        }
    }
}
