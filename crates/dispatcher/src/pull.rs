//! Pulling what is due, shard by shard.
//!
//! A shard where nothing is due holds no slot: it waits for one message, and only then
//! asks for as many as its share of the slots, for as long as they come one after the other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bus::{Consumer, Pulled};
use chassis::Readiness;
use tokio::sync::OwnedSemaphorePermit;

use crate::Dispatcher;

/// How long a shard keeps slots while nothing comes.
const KEEPS_SLOTS: Duration = Duration::from_millis(100);
/// What stops a pull is over soon, or it is not.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What a pull came to.
#[derive(Eq, PartialEq)]
enum Came {
    Something,
    Nothing,
}

impl Dispatcher {
    pub(crate) fn due_consumer(&self, shard: u32) -> Consumer {
        let max_pending = i64::try_from(self.config.slots).unwrap_or(i64::MAX).saturating_mul(64);
        self.bus.due_consumer(shard, max_pending)
    }

    pub(crate) async fn serve_shard(self: &Arc<Self>, shard: u32, readiness: &Readiness) {
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

    /// Waits for something to come, and then pulls until nothing does.
    async fn pull(
        self: &Arc<Self>,
        consumer: &mut Consumer,
        readiness: &Readiness,
    ) -> anyhow::Result<()> {
        self.accepting().await;
        consumer.ensure().await?;
        readiness.set("dispatcher", true);
        if self.await_first(consumer).await? == Came::Nothing {
            return Ok(());
        }
        self.busy_shards.fetch_add(1, Ordering::Relaxed);
        let pulled = async {
            while !self.tasks.is_stopping() && self.pull_share(consumer).await? == Came::Something {
                self.accepting().await;
            }
            Ok(())
        };
        let pulled = pulled.await;
        self.busy_shards.fetch_sub(1, Ordering::Relaxed);
        pulled
    }

    /// While outcomes cannot be stored nothing new is begun: an attempt whose
    /// outcome is lost would be made twice.
    async fn accepting(&self) {
        tokio::select! {
            () = self.outcomes.accepting() => {}
            () = self.tasks.stopping() => {}
        }
    }

    /// Waits for one message without a slot. Its lease is kept until there is one: the
    /// lease begins when the broker sends.
    async fn await_first(self: &Arc<Self>, consumer: &mut Consumer) -> anyhow::Result<Came> {
        let mut pull = consumer.pull(1).await?;
        let chunk = tokio::select! {
            chunk = pull.next() => chunk,
            () = self.tasks.stopping() => {
                pull.release().await;
                return Ok(Came::Nothing);
            }
        };
        let Some(chunk) = chunk.transpose()? else { return Ok(Came::Nothing) };
        let slots = Arc::clone(&self.slots).acquire_many_owned(u32::try_from(chunk.len())?);
        let slots = bus::keeping_leases(&chunk, self.lease, &self.clock, slots).await?;
        self.begin(chunk, slots).await;
        Ok(Came::Something)
    }

    /// One pull of as many messages as this shard has slots for now.
    async fn pull_share(self: &Arc<Self>, consumer: &mut Consumer) -> anyhow::Result<Came> {
        // Pull only what there is a slot for, and memory.
        let room_bytes = self.bytes.room().await;
        let mut slots = Arc::clone(&self.slots).acquire_owned().await?;
        let busy = self.busy_shards.load(Ordering::Relaxed).max(1);
        let share = (self.slots.available_permits() / busy).min(self.config.batch - 1);
        if let Ok(more) = Arc::clone(&self.slots).try_acquire_many_owned(u32::try_from(share)?) {
            slots.merge(more);
        }
        let mut came = Came::Nothing;
        let (most, room_bytes) = (slots.num_permits(), room_bytes / busy);
        let mut pull = consumer.pull_bytes_within(most, room_bytes, KEEPS_SLOTS).await?;
        while slots.num_permits() > 0 {
            let chunk = tokio::select! {
                chunk = pull.next() => chunk,
                () = self.tasks.stopping() => {
                    pull.release().await;
                    return Ok(Came::Nothing);
                }
            };
            let Some(chunk) = chunk.transpose()? else { break };
            came = Came::Something;
            let Some(taken) = slots.split(chunk.len()) else {
                anyhow::bail!("the broker sent more than was asked for");
            };
            self.begin(chunk, taken).await;
        }
        Ok(came)
    }

    /// Begins the work on a chunk under one fence.
    async fn begin(self: &Arc<Self>, chunk: Vec<Pulled>, mut slots: OwnedSemaphorePermit) {
        // Asked after the pull: what was answered 2xx before now is in force below.
        if !bus::keeping_leases(&chunk, self.lease, &self.clock, self.fence()).await {
            for pulled in &chunk {
                pulled.nak(Duration::from_secs(1)).await;
            }
            return;
        }
        for pulled in chunk {
            let taken = (slots.split(1), self.bytes.hold(pulled.payload().len()));
            let dispatcher = Arc::clone(self);
            self.tasks.spawn(async move {
                dispatcher.handle(pulled).await;
                drop(taken);
            });
        }
    }

    /// Waits until the settings of this moment are known, or until a stop: then it says no.
    /// What is held meanwhile is not handed back, which would count as one more time that
    /// nothing came of it.
    pub(crate) async fn fence(&self) -> bool {
        let mut wait = FIRST_WAIT;
        loop {
            let Err(error) = self.settings.fence().await else { return true };
            tracing::warn!(%error, "cannot fence the settings, deliveries wait");
            tokio::select! {
                () = self.clock.sleep(wait) => wait = (wait * 2).min(LONGEST_WAIT),
                () = self.tasks.stopping() => return false,
            }
        }
    }
}
