//! Sends again, a batch at a time.

use std::time::Duration;

use chassis::Tasks;
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::Delivery;

use crate::SettingsApi;
use crate::error::ApiError;

/// How often to look for jobs.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Deliveries that are handed to the broker at once.
const AT_ONCE: usize = 5;
/// How long to leave the broker or the database alone after it has failed.
const PAUSE: Duration = Duration::from_secs(2);

/// What a look has led to.
enum Sent {
    /// A batch; its job, if it has not ended, goes on then.
    Batch(Option<DateTime<Utc>>),
    Nothing,
}

/// From now until then; where that is over, as long as without any job.
fn until(at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Duration {
    let rest = at.filter(|at| *at > now).map(|at| at - now);
    rest.and_then(|rest| rest.to_std().ok()).unwrap_or(LOOK_EVERY)
}

impl SettingsApi {
    /// Works on the jobs of all accounts, until a stop is asked for.
    pub(crate) async fn run_resends(&self, tasks: &Tasks) {
        let mut goes_on = None;
        while !tasks.is_stopping() {
            let wait = match self.next_batch().await {
                Ok(Sent::Batch(at)) => {
                    goes_on = at;
                    continue;
                }
                Ok(Sent::Nothing) => until(goes_on, self.clock.now()).min(LOOK_EVERY),
                Err(error) => {
                    tracing::warn!(%error, "a batch of a resend was not sent, and is tried again");
                    PAUSE
                }
            };
            tokio::select! {
                () = self.clock.sleep(wait) => {}
                () = tasks.stopping() => return,
            }
        }
    }

    async fn next_batch(&self) -> anyhow::Result<Sent> {
        let Some(batch) = self.store.next_resend_batch(self.clock.now()).await? else {
            return Ok(Sent::Nothing);
        };
        let first_due = self.clock.now().into();
        // What was no delivery in the first place is passed over.
        let again: Vec<Delivery> = batch
            .deliveries()
            .filter_map(|(_, bytes)| Delivery::decode(bytes).ok())
            .filter_map(|delivery| next_generation(delivery, first_due))
            .collect();
        self.store_again(&again, batch.takes()).await?;
        metrics::counter!("postrider_resent_total").increment(again.len() as u64);
        chassis::crash_point("settings.resend_stored");
        // Dying before this line sends the batch once more. Its deliveries are
        // the same generation, with the same ids: one that is under way is not
        // made again; one that has ended in between comes to its receiver twice.
        let goes_on = batch.sent(self.clock.now()).await?;
        chassis::crash_point("settings.resend_noted");
        Ok(Sent::Batch(goes_on))
    }

    /// Stores these deliveries for a call.
    pub(super) async fn send_again(&self, again: &[Delivery]) -> Result<(), ApiError> {
        self.store_again(again, Duration::ZERO).await.map_err(|error| {
            tracing::warn!(%error, "a delivery was not sent again");
            let message = "The broker is not available; nothing was sent. Try again";
            ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, message)
        })
    }

    async fn store_again(&self, again: &[Delivery], takes: Duration) -> Result<(), bus::BusError> {
        // In small groups, between which others have their turn. A part of the time is
        // left for the database.
        let groups = again.chunks(AT_ONCE);
        let every = takes * 3 / 4 / u32::try_from(groups.len().max(1)).unwrap_or(u32::MAX);
        let begun = self.clock.now();
        for (number, group) in (0_u32..).zip(groups) {
            let passed = (self.clock.now() - begun).to_std().unwrap_or_default();
            let wait = (every * number).saturating_sub(passed);
            if !wait.is_zero() {
                self.clock.sleep(wait).await;
            }
            try_join_all(group.iter().map(|delivery| self.bus.publish_delivery(delivery))).await?;
        }
        Ok(())
    }
}

/// The delivery as if it had just been made, under an id of its own. `None` when
/// nothing is left of its event.
pub(super) fn next_generation(delivery: Delivery, first_due: Timestamp) -> Option<Delivery> {
    let Delivery { delivery_id, event_key, target, generation, .. } = &delivery;
    let target_id = &target.as_ref()?.id;
    let next = model::next_delivery_id(delivery_id, event_key, target_id, *generation)?;
    if delivery.accepted_event.is_empty() {
        return None;
    }
    Some(Delivery {
        delivery_id: next,
        generation: generation + 1,
        hop: 0,
        attempt: 0,
        uncharged_returns: 0,
        parks: 0,
        deaths: 0,
        mail: None,
        may_have_arrived: None,
        first_due: Some(first_due),
        // A batch that is stored twice must not push out what is under way.
        may_exist: true,
        ..delivery
    })
}
