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

mod alone;
mod attempt;
mod clocks;
mod config;
mod faults;
mod lag;
mod mail;
mod past;
mod pull;
mod sentinel;
mod settle;
mod settled;
mod targets;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use bus::{Acks, Budget, Bus, OutcomeWriter, RecentOutcomes, Settings, TargetBoard};
use chassis::{Clock, Readiness, Tasks};
use protocol::v1::DispatcherBeat;
use tokio::sync::Semaphore;

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
    for family in egress::families_without_a_route() {
        tracing::info!(family, "no route out by this family: nobody is called by it");
    }
    let outcomes = OutcomeWriter::start(bus.clone(), &tasks);
    let recent = RecentOutcomes::start(bus.clone(), &tasks, past::is_try);
    let shards = bus.config().shards;
    let (slots, bytes) = (config.slots, usize::try_from(config.bytes)?);
    let targets = Targets::new(TargetLimits {
        concurrency: config.target_concurrency,
        rate: (config.target_rate > 0.0).then_some(config.target_rate),
        slots,
        backlog: config.target_backlog,
        longest_try: egress.total_timeout(),
    });
    let instance = hex::encode(chassis::entropy::bytes::<8>());
    let board = TargetBoard::start(bus.clone(), &tasks, &instance);
    tasks.background(follow(board.clone(), Arc::clone(&targets), clock.clone()));
    let clocks = Arc::new(clocks::Clocks::default());
    let (most, own_readiness) = (config.clock_skew, readiness.clone());
    let comparing =
        Arc::clone(&clocks).keep_comparing(bus.clone(), clock.clone(), most, own_readiness);
    tasks.background(comparing);
    let post = mail::Post::new(&config, &clock)?;
    let dispatcher = Arc::new(Dispatcher {
        slots: Arc::new(Semaphore::new(slots)),
        bytes: Budget::new(bytes),
        busy_shards: AtomicUsize::new(0),
        alone: alone::place(),
        acks: Acks::new(bus.clone(), tasks.clone(), "dispatcher.after_ack"),
        settled: settled::Settled::new(bus.config().lease, clock.clone()),
        faults: faults::OurFaults::default(),
        clocks,
        lease: bus.config().lease,
        config,
        bus,
        settings,
        outcomes,
        recent,
        egress,
        post,
        clock,
        tasks,
        targets,
        board,
    });
    let consumers = (0..shards).map(|shard| dispatcher.due_consumer(shard)).collect();
    for shard in 0..shards {
        let watch = sentinel::watch(dispatcher.bus.clone(), shard, dispatcher.clock.clone());
        dispatcher.tasks.background(watch);
    }
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
    /// What has become of deliveries that somebody else may have worked on.
    pub(crate) recent: RecentOutcomes,
    pub(crate) egress: egress::Client,
    /// `None` where there is no mail relay.
    pub(crate) post: Option<mail::Post>,
    pub(crate) clock: Clock,
    pub(crate) settled: settled::Settled,
    pub(crate) acks: Acks,
    pub(crate) faults: faults::OurFaults,
    pub(crate) clocks: Arc<clocks::Clocks>,
    /// How long the broker waits for a sign of life.
    pub(crate) lease: Duration,
    pub(crate) targets: Arc<Targets>,
    pub(crate) board: TargetBoard,
    pub(crate) tasks: Tasks,
    slots: Arc<Semaphore>,
    /// Of deliveries in work.
    bytes: Arc<Budget>,
    /// Shards that are pulling what is due; the others wait for something to come.
    busy_shards: AtomicUsize,
    /// The place of the one suspect that is worked on.
    pub(crate) alone: Arc<Semaphore>,
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
