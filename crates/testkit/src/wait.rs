//! Waiting for a condition, never for a while.

use std::time::Duration;

use tokio::time::{Instant, timeout};

/// Waits for a future that must be done within this time.
///
/// # Panics
///
/// When it is not; the message names `what` was waited for.
pub async fn within<T>(deadline: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {deadline:?} in vain for {what}"),
    }
}

/// Asks again and again until there is an answer. This is for what shows only
/// through an interface, such as another process's HTTP API; what can notify is
/// waited for directly.
///
/// # Panics
///
/// When there is no answer within this time; the message names `what` was
/// waited for.
pub async fn eventually<T, F>(deadline: Duration, what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        if let Ok(Some(answer)) = tokio::time::timeout_at(end, ask()).await {
            return answer;
        }
        assert!(Instant::now() < end, "waited {deadline:?} in vain for {what}");
        pause(Duration::from_millis(20)).await;
    }
}

/// A breath between two questions, or the slowness that a receiver's script asks for.
#[expect(
    clippy::disallowed_methods,
    reason = "tests of whole processes live in real time, and this is their only pause"
)]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
