//! Acks of what has ended, which the broker confirms.
//!
//! Of a retry the broker has a trace: the next hop. Of an end it has none, so that an ack
//! that is lost hands the delivery to somebody who has to look its end up. Acks are sent at
//! once. A while later the broker is asked about the last one of each stream: it works them
//! off in the order in which one connection brings them, so that its answer stands for all
//! before it. Where there is none, or the connection was made anew meanwhile, each is
//! repeated until it is confirmed, while its slot is free for others already.
//!
//! What a stream's leader had in hand when it lost its place is not noticed here. It comes
//! back after a lease, and its end is found.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::{Acked, Bus, Pulled};
use chassis::{Clock, Tasks};
use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Acks that wait for their confirmation, at most. Beyond that, slots wait with them.
const OPEN: usize = 16_384;
/// How long acks are gathered before the broker is asked about the last of them.
const GATHER_FOR: Duration = Duration::from_millis(200);
/// Leases after which an ack is given up. Whoever gets the delivery then finds its end in
/// the stream of outcomes.
const GIVEN_UP_AFTER: u32 = 10;
/// As long at a stop.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

pub(crate) struct Acks {
    bus: Bus,
    clock: Clock,
    lease: Duration,
    tasks: Tasks,
    open: Arc<Semaphore>,
    sent: Mutex<Vec<Sent>>,
}

/// An ack that is on its way, and its place among those that are open.
type Sent = (Acked, OwnedSemaphorePermit);

impl Acks {
    pub(crate) fn new(bus: Bus, clock: Clock, tasks: Tasks) -> Self {
        let (lease, open) = (bus.config().lease, Arc::new(Semaphore::new(OPEN)));
        Self { bus, clock, lease, tasks, open, sent: Mutex::new(Vec::new()) }
    }

    /// Acks what has ended, and sees to it that the broker hears of it. Waits only while
    /// too many others do.
    ///
    /// Dying before it is confirmed means that somebody is handed the delivery again, and
    /// finds its end.
    pub(crate) async fn confirm(self: &Arc<Self>, pulled: Pulled) {
        let Ok(place) = Arc::clone(&self.open).acquire_owned().await else { return };
        let Ok(acked) = pulled.into_acked(&self.bus).await else { return };
        let is_first = {
            let mut sent = self.sent();
            sent.push((acked, place));
            sent.len() == 1
        };
        if is_first {
            let acks = Arc::clone(self);
            self.tasks.spawn(async move { acks.confirm_gathered().await });
        }
    }

    async fn confirm_gathered(&self) {
        tokio::select! {
            () = self.clock.sleep(GATHER_FOR) => {}
            () = self.tasks.stopping() => {}
        }
        let mut by_stream: BTreeMap<String, Vec<Sent>> = BTreeMap::new();
        for (acked, place) in std::mem::take(&mut *self.sent()) {
            by_stream.entry(acked.stream().to_owned()).or_default().push((acked, place));
        }
        join_all(by_stream.into_values().map(|sent| self.confirm_in_order(sent))).await;
    }

    /// Sees to it that the broker has all of these, which were sent one after the other.
    async fn confirm_in_order(&self, mut sent: Vec<Sent>) {
        let Some((last, _)) = sent.last() else { return };
        if last.confirm().await.is_ok() {
            sent.retain(|(acked, _)| {
                !acked.is_of_this_connection() && !chassis::mutant("acks_outlive_connections")
            });
        }
        join_all(sent.iter().map(|(acked, _)| self.repeat(acked))).await;
        chassis::crash_point("dispatcher.after_ack");
    }

    async fn repeat(&self, acked: &Acked) {
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        while let Err(error) = acked.confirm().await {
            let patience = match self.tasks.is_stopping() {
                true => LAST_PATIENCE,
                false => self.lease * GIVEN_UP_AFTER,
            };
            if began.elapsed() > patience {
                metrics::counter!("postrider_acks_unconfirmed_total").increment(1);
                tracing::warn!(%error, subject = acked.subject(), "the ack of an end was not confirmed");
                return;
            }
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn sent(&self) -> MutexGuard<'_, Vec<Sent>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
