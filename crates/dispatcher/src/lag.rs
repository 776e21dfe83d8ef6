//! Tells operators what is due and waits.
//!
//! It is told by the broker, which knows of all replicas and of none that has
//! died: each replica tells the same. Retries that wait for their time are not
//! due, and not counted.

use std::time::Duration;

use bus::{Consumer, Lag};
use chassis::Clock;

/// How often to ask. The answer costs the broker two requests a shard, of each of
/// what may be many replicas.
const EVERY: Duration = Duration::from_secs(10);

/// Runs until the process ends. Consumers are in the order of their shards.
pub(crate) async fn tell(consumers: Vec<Consumer>, clock: Clock) {
    loop {
        for (shard, consumer) in consumers.iter().enumerate() {
            match consumer.lag().await {
                Ok(lag) => set(&shard.to_string(), lag, &clock),
                // Readiness tells of a broker that is away; what was said last stays.
                Err(error) => tracing::debug!(%error, shard, "cannot tell what is due"),
            }
        }
        clock.sleep(EVERY).await;
    }
}

fn set(shard: &str, lag: Lag, clock: &Clock) {
    let age = lag.age_seconds(clock.now());
    let Lag { pending, unacked, .. } = lag;
    let shard = || shard.to_owned();
    metrics::gauge!("postrider_dispatcher_pending_messages", "shard" => shard())
        .set(pending as f64);
    metrics::gauge!("postrider_dispatcher_unacked_messages", "shard" => shard())
        .set(unacked as f64);
    metrics::gauge!("postrider_dispatcher_lag_seconds", "shard" => shard()).set(age);
}
