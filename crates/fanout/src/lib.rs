//! Works out who is to hear of an event and writes one delivery for each.
//!
//! What must always hold: an event is acked only when every delivery that it
//! makes and the record of what was decided are stored; the settings it is
//! decided by are at least as new as the event; the same event gives deliveries
//! with the same ids, so that doing it twice makes nothing twice.
//!
//! Deliberately absent: receivers, SQL, and any memory of past events.

mod config;
mod lag;
mod route;

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Consumer, OutcomeWriter, Pulled, Settings};
use chassis::{Clock, Readiness, Tasks};
use tokio::sync::{Semaphore, watch};

pub use config::FanoutConfig;

/// How often the delivery streams are compared with the high-water mark, and
/// the stream of events with its replay budget.
const WATERMARK_EVERY: Duration = Duration::from_secs(2);

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
    let mut consumer = bus.events_consumer("fanout", max_pending);
    tasks.background(lag::tell(bus.events_consumer("fanout", max_pending), clock.clone()));
    let fanout = Arc::new(Fanout {
        slots: Arc::new(Semaphore::new(config.slots)),
        config,
        bus,
        settings,
        outcomes,
        clock,
        tasks,
        high_water,
    });
    while !fanout.tasks.is_stopping() {
        if let Err(error) = fanout.pull(&mut consumer, &readiness).await {
            readiness.set("fanout", false);
            consumer.forget();
            tracing::warn!(%error, "cannot pull events, trying again");
            tokio::select! {
                () = fanout.clock.sleep(Duration::from_millis(500)) => {}
                () = fanout.tasks.stopping() => break,
            }
        }
    }
    // What was handed out to this process is finished before it ends.
    let all = u32::try_from(fanout.config.slots)?;
    let _idle = fanout.slots.acquire_many(all).await?;
    Ok(())
}

pub(crate) struct Fanout {
    pub(crate) config: FanoutConfig,
    pub(crate) bus: Bus,
    pub(crate) settings: Settings,
    pub(crate) outcomes: OutcomeWriter,
    pub(crate) clock: Clock,
    tasks: Tasks,
    slots: Arc<Semaphore>,
    high_water: watch::Receiver<bool>,
}

/// How a message is answered.
pub(crate) enum Answer {
    /// Everything that it makes is stored.
    Ack,
    /// It could not be done now; the broker is to hand it out again.
    Again(Duration),
}

impl Fanout {
    /// One pull, until it has run dry.
    async fn pull(
        self: &Arc<Self>,
        consumer: &mut Consumer,
        readiness: &Readiness,
    ) -> anyhow::Result<()> {
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
        readiness.set("fanout", true);

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
            let Some(chunk) = chunk.transpose()? else { return Ok(()) };
            let Some(taken) = slots.split(chunk.len()) else {
                anyhow::bail!("the broker sent more than was asked for");
            };
            let fanout = Arc::clone(self);
            self.tasks.spawn(async move {
                fanout.handle(chunk).await;
                drop(taken);
            });
            if slots.num_permits() == 0 {
                return Ok(());
            }
        }
    }

    /// Handles a chunk under one fence.
    async fn handle(&self, chunk: Vec<Pulled>) {
        // Asked after the pull: whatever was answered before these events were
        // accepted is in force below.
        let revision = match self.settings.fence().await {
            Ok(revision) => revision,
            Err(error) => {
                tracing::warn!(%error, "cannot fence the settings, events go back");
                for event in &chunk {
                    event.nak(Duration::from_secs(1)).await;
                }
                return;
            }
        };
        let answers = chunk.iter().map(|event| async move {
            let answer = self.route(event, revision).await;
            chassis::crash_point("fanout.before_ack");
            match answer {
                Answer::Ack => event.ack().await,
                Answer::Again(delay) => event.nak(delay).await,
            }
            chassis::crash_point("fanout.after_ack");
        });
        let all = futures_util::future::join_all(answers);
        // While the broker takes nothing, the events stay with this process.
        let lease = self.bus.config().lease;
        bus::keeping_leases(&chunk, lease, &self.clock, all).await;
    }
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
        if let Err(error) = trimmer.look().await {
            tracing::debug!(%error, "cannot trim the stream of events");
        }
        clock.sleep(WATERMARK_EVERY).await;
    }
}
