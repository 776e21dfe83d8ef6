//! Changes on their way to somebody who is slower than they come.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::v1::TargetTrouble;
use tokio::sync::Notify;

/// A queue that holds the newest value of each key, in the order in which the
/// keys came. It cannot grow beyond the number of keys.
#[derive(Debug)]
pub(super) struct Newest<V> {
    order: VecDeque<String>,
    values: HashMap<String, V>,
}

impl<V> Default for Newest<V> {
    fn default() -> Self {
        Self { order: VecDeque::new(), values: HashMap::new() }
    }
}

impl<V> Newest<V> {
    pub(super) fn push(&mut self, key: &str, value: V) {
        if self.values.insert(key.to_owned(), value).is_none() {
            self.order.push_back(key.to_owned());
        }
    }

    pub(super) fn pop(&mut self) -> Option<(String, V)> {
        let key = self.order.pop_front()?;
        let value = self.values.remove(&key)?;
        Some((key, value))
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct Feed {
    waiting: Mutex<Newest<Option<TargetTrouble>>>,
    came: Notify,
}

impl Feed {
    pub(super) fn push(&self, target_id: &str, trouble: Option<TargetTrouble>) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(target_id, trouble);
        self.came.notify_one();
    }
}

/// What other processes say of targets. Of several changes of one target that
/// nobody has taken yet, the newest alone is kept.
#[derive(Debug)]
pub struct Changes(pub(super) Arc<Feed>);

impl Changes {
    /// The next change: a target, and the trouble that it is in, or `None` when
    /// another process has found it well or what was said of it has had its time.
    ///
    /// What this process has said of the same target since then stands above it:
    /// a `None` that is older than that does not come. Giving up the wait loses
    /// nothing.
    pub async fn next(&mut self) -> (String, Option<TargetTrouble>) {
        loop {
            let next = self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(change) = next {
                return change;
            }
            self.0.came.notified().await;
        }
    }
}
