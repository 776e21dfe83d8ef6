//! Acks of what has ended, which the broker confirms.
//!
//! Of a retry the broker has a trace: the next hop. Of an end it has none, so that an ack
//! that is lost hands the delivery to somebody who knows nothing of it. Such an ack is
//! repeated until it is confirmed, while the slot is free for others already.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, Pulled};
use chassis::{Clock, Tasks};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// Acks that wait for their confirmation, at most. Beyond that, slots wait with them.
const OPEN: usize = 16_384;
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
}

impl Acks {
    pub(crate) fn new(bus: Bus, clock: Clock, tasks: Tasks) -> Self {
        let (lease, open) = (bus.config().lease, Arc::new(Semaphore::new(OPEN)));
        Self { bus, clock, lease, tasks, open }
    }

    /// Acks what has ended, and sees to it that the broker hears of it. Waits only while
    /// too many others do.
    ///
    /// Dying before it is confirmed means that somebody is handed the delivery again, and
    /// finds its end.
    pub(crate) async fn confirm(self: &Arc<Self>, pulled: Pulled) {
        let Ok(place) = Arc::clone(&self.open).acquire_owned().await else { return };
        let acks = Arc::clone(self);
        self.tasks.spawn(async move {
            let held = std::slice::from_ref(&pulled);
            bus::keeping_leases(held, acks.lease, &acks.clock, acks.repeat(&pulled)).await;
            drop(place);
        });
    }

    async fn repeat(&self, pulled: &Pulled) {
        let (began, mut wait) = (Instant::now(), FIRST_WAIT);
        loop {
            let Err(error) = pulled.ack_confirmed(&self.bus).await else {
                chassis::crash_point("dispatcher.after_ack");
                return;
            };
            let patience = match self.tasks.is_stopping() {
                true => LAST_PATIENCE,
                false => self.lease * GIVEN_UP_AFTER,
            };
            if began.elapsed() > patience {
                metrics::counter!("postrider_acks_unconfirmed_total").increment(1);
                tracing::warn!(%error, subject = pulled.subject(), "the ack of an end was not confirmed");
                return;
            }
            self.clock.sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}
