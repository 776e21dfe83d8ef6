//! Sends again, a batch at a time.

use std::time::Duration;

use chassis::Tasks;
use futures_util::future::try_join_all;
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::Delivery;

use crate::SettingsApi;
use crate::error::ApiError;

/// How often to look for jobs.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long to leave the broker or the database alone after it has failed.
const PAUSE: Duration = Duration::from_secs(2);

impl SettingsApi {
    /// Works on the jobs of all accounts, until a stop is asked for.
    pub(crate) async fn run_resends(&self, tasks: &Tasks) {
        while !tasks.is_stopping() {
            let wait = match self.next_batch().await {
                Ok(true) => continue,
                Ok(false) => LOOK_EVERY,
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

    async fn next_batch(&self) -> anyhow::Result<bool> {
        let Some(batch) = self.store.next_resend_batch(self.clock.now()).await? else {
            return Ok(false);
        };
        let first_due = self.clock.now().into();
        // What was no delivery in the first place is passed over.
        let again: Vec<Delivery> = batch
            .deliveries()
            .filter_map(|(_, bytes)| Delivery::decode(bytes).ok())
            .filter_map(|delivery| next_generation(delivery, first_due))
            .collect();
        self.store_again(&again).await?;
        metrics::counter!("postrider_resent_total").increment(again.len() as u64);
        chassis::crash_point("settings.resend_stored");
        // Dying before this line sends the batch once more. Its deliveries are
        // the same generation, with the same ids: one that is under way is not
        // made again; one that has ended in between comes to its receiver twice.
        batch.sent(self.clock.now()).await?;
        chassis::crash_point("settings.resend_noted");
        Ok(true)
    }

    /// Stores these deliveries for a call.
    pub(super) async fn send_again(&self, again: &[Delivery]) -> Result<(), ApiError> {
        self.store_again(again).await.map_err(|error| {
            tracing::warn!(%error, "a delivery was not sent again");
            let message = "The broker is not available; nothing was sent. Try again";
            ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, message)
        })
    }

    async fn store_again(&self, again: &[Delivery]) -> Result<(), bus::BusError> {
        try_join_all(again.iter().map(|delivery| self.bus.publish_delivery(delivery))).await?;
        Ok(())
    }
}

/// The delivery as if it had just been made, under an id of its own. `None` when
/// nothing is left of its event.
pub(super) fn next_generation(delivery: Delivery, first_due: Timestamp) -> Option<Delivery> {
    let target_id = &delivery.target.as_ref()?.id;
    let generation = delivery.generation + 1;
    if delivery.accepted_event.is_empty() {
        return None;
    }
    Some(Delivery {
        delivery_id: model::delivery_id(&delivery.event_key, target_id, generation),
        generation,
        hop: 0,
        attempt: 0,
        uncharged_returns: 0,
        parks: 0,
        mail: None,
        first_due: Some(first_due),
        // A batch that is stored twice must not push out what is under way.
        may_exist: true,
        ..delivery
    })
}
