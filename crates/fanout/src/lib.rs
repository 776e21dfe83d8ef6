//! Works out who is to hear of an event and writes one delivery for each.
//!
//! What must always hold: an event is acked only when every delivery that it
//! makes and the record of what was decided are stored; the settings it is
//! decided by are at least as new as the event; the same acceptance of an event gives
//! deliveries with the same ids and one record, so that doing it twice makes nothing
//! twice; an event that cannot be routed holds up no other one, and ends under a name.
//!
//! Deliberately absent: receivers, SQL, and any memory of past events.

mod config;
mod lag;
mod route;
mod unrouted;

use std::sync::Arc;
use std::time::Duration;

use bus::{Acks, Budget, Bus, BusError, Consumer, Documents, OutcomeWriter, Pulled, Settings};
use chassis::{Clock, Readiness, Tasks};
use tokio::sync::{Semaphore, watch};

pub use config::{FanoutConfig, UnroutedLimits};

/// How often the delivery streams are compared with the high-water mark, and
/// the stream of events with its replay budget.
const WATERMARK_EVERY: Duration = Duration::from_secs(2);

/// Events that could not be routed and are looked at again at once.
const UNROUTED_SLOTS: usize = 64;
/// How long an event goes back for, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs until a stop is asked for, then finishes what is in flight.
pub async fn run(
    config: FanoutConfig,
    bus: Bus,
    settings: Settings,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
) -> anyhow::Result<()> {
    readiness.expect("fanout");
    let (above, high_water) = watch::channel(false);
    tasks.background(keep_water(config.high_water, bus.clone(), clock.clone(), above));
    let outcomes = OutcomeWriter::start(bus.clone(), &tasks);
    let max_pending = i64::try_from(config.slots)?.saturating_mul(4).max(1000);
    let accepted = Lane {
        is_accepted: true,
        consumer: bus.events_consumer("fanout", max_pending),
        slots: Arc::new(Semaphore::new(config.slots)),
    };
    let unrouted = Lane {
        is_accepted: false,
        consumer: bus.unrouted_consumer(i64::try_from(UNROUTED_SLOTS)?.saturating_mul(4)),
        slots: Arc::new(Semaphore::new(UNROUTED_SLOTS)),
    };
    let all_slots = [
        (Arc::clone(&accepted.slots), u32::try_from(config.slots)?),
        (Arc::clone(&unrouted.slots), u32::try_from(UNROUTED_SLOTS)?),
    ];
    tasks.background(lag::tell(bus.events_consumer("fanout", max_pending), clock.clone()));
    let fanout = Arc::new(Fanout {
        acks: Acks::new(bus.clone(), tasks.clone(), "fanout.after_ack"),
        room: unrouted::Room::default(),
        bytes: Budget::new(usize::try_from(config.bytes)?),
        config,
        bus,
        settings,
        outcomes,
        clock,
        tasks,
        high_water,
    });
    tokio::join!(fanout.follow(accepted, &readiness), fanout.follow(unrouted, &readiness));
    // What was handed out to this process is finished before it ends.
    for (slots, all) in all_slots {
        let _idle = slots.acquire_many(all).await?;
    }
    Ok(())
}

/// Events that are taken from one stream.
struct Lane {
    /// Just accepted; otherwise they could not be routed and are looked at again.
    is_accepted: bool,
    consumer: Consumer,
    slots: Arc<Semaphore>,
}

pub(crate) struct Fanout {
    pub(crate) config: FanoutConfig,
    pub(crate) bus: Bus,
    pub(crate) settings: Settings,
    pub(crate) outcomes: OutcomeWriter,
    acks: Acks,
    pub(crate) clock: Clock,
    pub(crate) room: unrouted::Room,
    /// Of events in work.
    bytes: Arc<Budget>,
    tasks: Tasks,
    high_water: watch::Receiver<bool>,
}

/// How a message is answered.
pub(crate) enum Answer {
    /// Everything that it makes is stored.
    Ack,
    /// It could not be done now; the broker is to hand it out again.
    Again(Duration),
    /// Another process may have it by now: it is that one's to answer.
    Leave,
}

impl Fanout {
    /// Works on one stream until a stop is asked for.
    async fn follow(self: &Arc<Self>, mut lane: Lane, readiness: &Readiness) {
        while !self.tasks.is_stopping() {
            let Err(error) = self.pull(&mut lane, readiness).await else { continue };
            if lane.is_accepted {
                readiness.set("fanout", false);
            }
            lane.consumer.forget();
            tracing::warn!(%error, "cannot pull events, trying again");
            tokio::select! {
                () = self.clock.sleep(Duration::from_millis(500)) => {}
                () = self.tasks.stopping() => return,
            }
        }
    }

    /// One pull, until it has run dry.
    async fn pull(
        self: &Arc<Self>,
        Lane { is_accepted, consumer, slots: all_slots }: &mut Lane,
        readiness: &Readiness,
    ) -> anyhow::Result<()> {
        let is_accepted = *is_accepted;
        let mut high_water = self.high_water.clone();
        let clear = async {
            self.outcomes.accepting().await;
            high_water.wait_for(|above| !above).await.map(|_| ())
        };
        tokio::select! {
            clear = clear => clear?,
            () = self.tasks.stopping() => return Ok(()),
        }
        consumer.ensure().await?;
        if is_accepted {
            readiness.set("fanout", true);
        }

        // Pull only what there is a slot for, and memory: the lease begins when the broker sends.
        let room_bytes = self.bytes.room().await;
        let mut slots = Arc::clone(all_slots).acquire_owned().await?;
        let more = all_slots.available_permits().min(self.config.batch.saturating_sub(1));
        if let Ok(more) = Arc::clone(all_slots).try_acquire_many_owned(u32::try_from(more)?) {
            slots.merge(more);
        }
        let mut pull = consumer.pull_bytes(slots.num_permits(), room_bytes).await?;
        loop {
            let chunk = tokio::select! {
                chunk = pull.next() => chunk,
                () = self.tasks.stopping() => {
                    pull.release().await;
                    return Ok(());
                }
            };
            let Some(chunk) = chunk.transpose()? else { return Ok(()) };
            let Some(taken) = slots.split(chunk.len()) else {
                anyhow::bail!("the broker sent more than was asked for");
            };
            let bytes = chunk.iter().map(|event| event.payload().len()).sum();
            let taken = (taken, self.bytes.hold(bytes));
            let fanout = Arc::clone(self);
            self.tasks.spawn(async move {
                fanout.handle(is_accepted, chunk).await;
                drop(taken);
            });
            if slots.num_permits() == 0 {
                return Ok(());
            }
        }
    }

    /// Handles a chunk under one fence. While the broker takes or tells nothing, the
    /// events stay with this process.
    async fn handle(&self, is_accepted: bool, chunk: Vec<Pulled>) {
        let work = async {
            // Asked after the pull: whatever was answered before these events were
            // accepted is in force below.
            let revision = self.fence().await;
            let answers = chunk.iter().map(|event| {
                let revision = &revision;
                async move {
                    let answer = match revision {
                        Ok(revision) => self.route(is_accepted, event, *revision).await,
                        Err(_) => again(event),
                    };
                    chassis::crash_point("fanout.before_ack");
                    match answer {
                        Answer::Ack => self.acks.ack(event),
                        Answer::Again(delay) => event.nak(delay).await,
                        Answer::Leave => tracing::warn!(
                            subject = event.subject(),
                            "this process was frozen for a lease; an event is left to another"
                        ),
                    }
                }
            });
            futures_util::future::join_all(answers).await;
        };
        let lease = self.bus.config().lease;
        bus::keeping_leases(&chunk, lease, &self.clock, work).await;
    }

    /// Waits for the settings of this moment; returns their revision.
    async fn fence(&self) -> Result<u64, BusError> {
        if chassis::mutant("fanout_no_fence") {
            return Ok(0);
        }
        let found = match self.settings.fence().await {
            // There are events, so there are accounts: the bucket is lost as a whole. No
            // event is to be given up for that; all of them stay where they are.
            Ok(_) if self.settings.read(Documents::is_empty) => {
                Err(BusError::Unavailable("the settings bucket has no accounts".into()))
            }
            found => found,
        };
        if let Err(error) = &found {
            tracing::warn!(%error, "cannot fence the settings, events go back");
        }
        found
    }
}

/// Asks for the event again, the later the more often it was handed out.
pub(crate) fn again(event: &Pulled) -> Answer {
    let doublings = event.times_handed_out().clamp(1, 6) - 1;
    Answer::Again(Duration::from_secs(1 << doublings).min(LONGEST_PAUSE))
}

/// Watches the delivery streams: above the mark fanout stops pulling, events
/// pile up before it, and in the end ingest tells the callers.
async fn keep_water(high_water: u64, bus: Bus, clock: Clock, above: watch::Sender<bool>) {
    metrics::gauge!("postrider_deliveries_high_water").set(high_water as f64);
    let mut trimmer = bus.events_trimmer();
    loop {
        match bus.deliveries_waiting().await {
            Ok(waiting) => {
                metrics::gauge!("postrider_deliveries_waiting").set(waiting as f64);
                let is_above = waiting > high_water;
                if above.send_replace(is_above) != is_above {
                    tracing::warn!(
                        waiting,
                        high_water,
                        paused = is_above,
                        "high-water mark of deliveries"
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "cannot ask for the delivery streams"),
        }
        match bus.unrouted_waiting().await {
            Ok(waiting) => metrics::gauge!("postrider_events_unrouted").set(waiting as f64),
            Err(error) => tracing::debug!(%error, "cannot ask for events that wait to be routed"),
        }
        if let Err(error) = trimmer.look().await {
            tracing::debug!(%error, "cannot trim the stream of events");
        }
        clock.sleep(WATERMARK_EVERY).await;
    }
}
