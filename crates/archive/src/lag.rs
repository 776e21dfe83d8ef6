//! Tells operators how far history is behind.
//!
//! It is told by the broker, which knows of all replicas and of none that has
//! died: each replica tells the same.

use std::time::Duration;

use bus::{Consumer, Lag};
use chassis::Clock;
use store::Store;

use crate::projection::Source;

/// How often to ask. The answer costs the broker two requests a stream.
const EVERY: Duration = Duration::from_secs(5);

/// Runs until the process ends.
pub(crate) async fn tell<const N: usize>(
    consumers: [(Source, Consumer); N],
    store: Store,
    clock: Clock,
) {
    loop {
        store.tell_pool("archive").await;
        for (source, consumer) in &consumers {
            match consumer.lag().await {
                Ok(lag) => set(*source, lag, &clock),
                // Readiness tells of a broker that is away; what was said last stays.
                Err(error) => tracing::debug!(%error, "cannot tell how far history is behind"),
            }
        }
        clock.sleep(EVERY).await;
    }
}

fn set(source: Source, lag: Lag, clock: &Clock) {
    let age = lag.age_seconds(clock.now());
    let Lag { pending, unacked, .. } = lag;
    let stream = source.as_str();
    metrics::gauge!("postrider_archive_pending_messages", "stream" => stream).set(pending as f64);
    metrics::gauge!("postrider_archive_unacked_messages", "stream" => stream).set(unacked as f64);
    metrics::gauge!("postrider_archive_lag_seconds", "stream" => stream).set(age);
}
