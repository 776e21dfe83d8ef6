//! Looks, now and then, for what the broker has lost sight of.

use std::time::Duration;

use bus::{Bus, Found};
use chassis::Clock;

/// The least time between two looks.
const EVERY: Duration = Duration::from_secs(10);

/// Runs until the process ends. Every dispatcher looks: one that writes first is enough, and
/// the others find nothing.
pub(crate) async fn watch(bus: Bus, shard: u32, clock: Clock) {
    let mut sentinel = bus.sentinel(shard);
    // What is acknowledged now is removed within a lease at the latest.
    let every = EVERY.max(bus.config().lease);
    loop {
        clock.sleep(every).await;
        match sentinel.look().await {
            Ok(Found { overdue, unseen }) => {
                for (what, count) in [("retry", overdue), ("due", unseen)] {
                    metrics::counter!("postrider_deliveries_found_again_total", "place" => what)
                        .increment(count);
                    if count > 0 {
                        tracing::error!(
                            shard,
                            place = what,
                            count,
                            "the broker had lost sight of deliveries; they are written anew"
                        );
                    }
                }
            }
            // Readiness tells of a broker that is away.
            Err(error) => tracing::debug!(%error, shard, "cannot look for lost deliveries"),
        }
    }
}
