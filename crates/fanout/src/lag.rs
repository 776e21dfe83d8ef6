//! Tells operators how far fanout is behind.
//!
//! It is told by the broker, which knows of all replicas and of none that has
//! died: each replica tells the same.

use std::time::Duration;

use bus::{Consumer, Lag};
use chassis::Clock;

/// How often to ask. The answer costs the broker two requests.
const EVERY: Duration = Duration::from_secs(5);

/// Runs until the process ends.
pub(crate) async fn tell(consumer: Consumer, clock: Clock) {
    loop {
        match consumer.lag().await {
            Ok(lag) => {
                let age = lag.age_seconds(clock.now());
                let Lag { pending, unacked, .. } = lag;
                metrics::gauge!("postrider_fanout_pending_messages").set(pending as f64);
                metrics::gauge!("postrider_fanout_unacked_messages").set(unacked as f64);
                metrics::gauge!("postrider_fanout_lag_seconds").set(age);
            }
            // Readiness tells of a broker that is away; what was said last stays.
            Err(error) => tracing::debug!(%error, "cannot tell how far fanout is behind"),
        }
        clock.sleep(EVERY).await;
    }
}
