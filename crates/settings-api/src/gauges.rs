//! What this service tells operators that nobody asks of it: how busy its pool is,
//! and how much was not delivered.

use std::time::Duration;

use chassis::Tasks;
use model::End;

use crate::SettingsApi;

/// How often to look.
const EVERY: Duration = Duration::from_secs(5);
/// Looks between two counts of what was not delivered, which read an index.
const COUNT_EVERY: u32 = 12;
/// How much of that is counted.
pub(crate) const MOST_COUNTED: u64 = 100_000;

impl SettingsApi {
    /// Runs until a stop is asked for.
    pub(crate) async fn tell_gauges(&self, tasks: &Tasks) {
        let mut until_count = 0_u32;
        while !tasks.is_stopping() {
            self.store.tell_pool("settings-api").await;
            if until_count == 0 {
                until_count = COUNT_EVERY;
                self.tell_undelivered().await;
            }
            until_count -= 1;
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                () = tasks.stopping() => {}
            }
        }
    }

    async fn tell_undelivered(&self) {
        match self.store.undelivered_by_end(MOST_COUNTED).await {
            Ok(by_end) => {
                for end in End::RESENDABLE.map(End::as_str) {
                    let count = by_end.get(end).copied().unwrap_or_default();
                    metrics::gauge!("postrider_undelivered", "end" => end).set(count as f64);
                }
            }
            // Readiness tells of a database that is away; what was said last stays.
            Err(error) => tracing::debug!(%error, "cannot count what was not delivered"),
        }
    }
}
