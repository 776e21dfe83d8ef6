//! How many bytes of messages a process has in work: beside slots, because a message can be
//! a thousand times as large as another.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes that may be in work at once. One pull may go beyond, by one message.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
    freed: Notify,
}

/// Bytes in work, until this is dropped.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of which nothing is used.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0), freed: Notify::new() })
    }

    /// Waits until something is left; says how much.
    pub async fn room(&self) -> usize {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on no release is missed.
            freed.as_mut().enable();
            let left = self.limit_bytes.saturating_sub(self.used_bytes.load(Ordering::Acquire));
            if left > 0 {
                return left;
            }
            freed.await;
        }
    }

    /// Takes so much, also beyond the limit: what has come is here.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        let bytes = if chassis::mutant("bytes_do_not_count") { 0 } else { bytes };
        self.used_bytes.fetch_add(bytes, Ordering::AcqRel);
        Held { budget: Arc::clone(self), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_finds_no_room_waits_until_something_is_done() {
        let budget = Budget::new(100);
        let first = budget.hold(60);
        assert_eq!(budget.room().await, 40);
        let second = budget.hold(70);
        let mut waiting = Box::pin(budget.room());
        assert!(waiting.as_mut().now_or_never().is_none(), "beyond the limit");
        drop(first);
        assert_eq!(waiting.await, 30);
        drop(second);
        assert_eq!(budget.room().await, 100);
    }
}
