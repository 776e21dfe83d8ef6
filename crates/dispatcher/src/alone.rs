//! What may have killed those who worked on it.
//!
//! A delivery that panics, aborts or exhausts the memory of its process leaves no outcome,
//! and is handed out again. So do the thousands that were in the same process. The broker
//! counts how often it has handed out each of them; whoever comes too often is worked on
//! alone, one at a time in a process, so that from then on each death is that of one
//! suspect. One that still comes back is set aside, unread.

use std::time::Duration;

use bus::Pulled;
use chrono::TimeDelta;
use model::EndReason;
use protocol::v1::Delivery;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Dispatcher;
use crate::attempt::Answer;

/// Times that a delivery may be handed out before it is suspected.
const SUSPECTED_AFTER: u64 = 5;
/// Leases that it must have stood meanwhile: a death costs one, and what a process hands
/// back at its stop is no death.
const SUSPECTED_LEASES: u32 = 5;
/// Times in all after which it is set aside.
const KILLS_AFTER: u64 = 20;
/// How long a suspect waits while another one is worked on, at least and on top of that.
const WAITS: TimeDelta = TimeDelta::seconds(2);
const SPREAD: Duration = Duration::from_secs(10);

/// How a delivery may be worked on.
pub(crate) enum Company {
    /// Beside all others.
    Any,
    /// Alone among suspects, for as long as this is held.
    Alone(OwnedSemaphorePermit),
    Answer(Answer),
}

/// The one place for suspects.
pub(crate) fn place() -> std::sync::Arc<Semaphore> {
    std::sync::Arc::new(Semaphore::new(1))
}

impl Dispatcher {
    /// Looks at how often a delivery was handed out, and at nothing else of it.
    pub(crate) async fn company(&self, pulled: &Pulled, delivery: &mut Delivery) -> Company {
        let times = pulled.times_handed_out();
        let has_stood = pulled.stood(self.clock.now()) >= self.lease * SUSPECTED_LEASES;
        if delivery.deaths == 0 && (times <= SUSPECTED_AFTER || !has_stood) {
            return Company::Any;
        }
        let deaths = u64::from(delivery.deaths) + times - 1;
        if deaths >= KILLS_AFTER {
            return Company::Answer(
                self.end_unread(delivery.clone(), EndReason::KillsItsProcess.as_str()).await,
            );
        }
        // Its next hop is counted from 1 again.
        delivery.deaths = u32::try_from(deaths.max(1)).unwrap_or(u32::MAX);
        if let Ok(alone) = std::sync::Arc::clone(&self.alone).try_acquire_owned() {
            tracing::warn!(
                delivery.id = delivery.delivery_id,
                deaths,
                "a delivery that came back too often is worked on alone"
            );
            return Company::Alone(alone);
        }
        // What waits holds no copy, so that the death of another does not count against it.
        metrics::counter!("postrider_suspects_parked_total").increment(1);
        let spread = SPREAD.mul_f64(chassis::entropy::fraction());
        let at = self.clock.now() + WAITS + TimeDelta::from_std(spread).unwrap_or_default();
        delivery.hop += 1;
        delivery.may_exist = false;
        Company::Answer(self.reschedule(pulled, delivery, None, at).await)
    }
}
