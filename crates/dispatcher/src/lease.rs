//! Signs of life while something takes its time.

use std::time::Duration;

use bus::Pulled;
use chassis::Clock;

/// Runs `work` and prolongs the message's lease all the while.
pub(crate) async fn keeping<T>(
    pulled: &Pulled,
    lease: Duration,
    clock: &Clock,
    work: impl Future<Output = T>,
) -> T {
    let alive = async {
        loop {
            clock.sleep(lease / 3).await;
            pulled.still_working().await;
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        never = alive => never,
    }
}
