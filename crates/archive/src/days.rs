//! Makes the days of history ahead, and gives up those that are over.
//!
//! Every replica tries; the database lets one at a time do it. A process that dies
//! on the way leaves the rest to the next pass, of whichever replica.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::{Clock, Tasks};
use chrono::NaiveDate;
use store::Store;
use store::history::{DaysKept, HistoryTable, Retention};

use crate::table::{Row, Table};

/// How often to look. A day that is not made in time costs nothing but a move of
/// its first rows, and one that is kept an hour longer nothing but its room.
const EVERY: Duration = Duration::from_secs(600);
/// How soon to look again when the database could not do it.
const AGAIN: Duration = Duration::from_secs(15);
/// How soon to look again when a day was left, because somebody reads it perhaps.
const AGAIN_LEFT: Duration = Duration::from_secs(60);
/// How long the first row may wait for its day, and the pause between two tries.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Days that are remembered as made.
const REMEMBERED: usize = 1_000;

/// Keeps the days of history. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Days {
    store: Store,
    retention: Retention,
    clock: Clock,
    made: Arc<Mutex<HashSet<(HistoryTable, NaiveDate)>>>,
}

impl Days {
    pub(crate) fn new(store: Store, retention: Retention, clock: Clock) -> Self {
        Self { store, retention, clock, made: Arc::default() }
    }

    /// Makes the days of rows that are about to be written. A day that cannot be made keeps
    /// no row out: the default partition takes it.
    pub(crate) async fn make_for<T: Row>(&self, table: &Table<T>) {
        for history in T::HISTORY {
            let mut days = table.days();
            {
                let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                days.retain(|day| !made.contains(&(*history, *day)));
            }
            if days.is_empty() {
                continue;
            }
            let now = self.clock.now();
            match self.store.make_days(*history, &days, &self.retention, now).await {
                Ok(there) => {
                    let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                    if made.len() >= REMEMBERED {
                        made.clear();
                    }
                    made.extend(there.into_iter().map(|day| (*history, day)));
                }
                Err(error) => tracing::debug!(%error, "the days of a batch are not made yet"),
            }
        }
    }

    /// Makes and gives up what there is to. Says when to look again, unless the
    /// database could not do it.
    async fn look(&self) -> Option<Duration> {
        match self.store.keep_days(&self.retention, self.clock.now()).await {
            Ok(None) => Some(EVERY),
            Ok(Some(done)) => {
                tell(&done);
                Some(match (done.has_more, done.left.is_empty()) {
                    (true, _) => FIRST_PAUSE,
                    (false, true) => EVERY,
                    (false, false) => AGAIN_LEFT,
                })
            }
            Err(error) => {
                tracing::warn!(%error, "the days of history could not be kept");
                None
            }
        }
    }

    /// Looks before the first row comes: a reader at work while rows move from the
    /// default partition to the day that is made for them may find them in
    /// neither. Says when to look again. What takes long, or cannot be done, keeps
    /// no row out: it is left as by a process that dies, and done beside the rows.
    pub(crate) async fn begin(&self, tasks: &Tasks) -> Duration {
        let looked = async {
            loop {
                if let Some(pause) = self.look().await {
                    return pause;
                }
                self.clock.sleep(FIRST_PAUSE).await;
            }
        };
        tokio::select! {
            pause = looked => pause,
            () = self.clock.sleep(FIRST_PATIENCE) => Duration::ZERO,
            () = tasks.stopping() => AGAIN,
        }
    }

    /// Looks again and again, after this pause first, until the process ends.
    pub(crate) async fn keep(self, mut pause: Duration) {
        loop {
            self.clock.sleep(pause).await;
            pause = self.look().await.unwrap_or(AGAIN);
        }
    }
}

fn tell(done: &DaysKept) {
    // Slots are folded all the time, which nobody needs to hear of.
    let DaysKept { made, dropped, expired, late, moved, slots: _, unread, has_more: _, left } =
        done;
    metrics::gauge!("postrider_archive_days_left")
        .set(u32::try_from(left.len()).unwrap_or(u32::MAX));
    if *unread > 0 {
        metrics::counter!("postrider_archive_unread_expired_total").increment(*unread);
        tracing::error!(
            messages = unread,
            "messages that no version came to read were given up, as old as history is kept"
        );
    }
    for what in left {
        tracing::warn!(what, "a day of history could not be kept now; it is tried again");
    }
    metrics::counter!("postrider_archive_expired_total").increment(*expired);
    if *expired > 0 {
        tracing::warn!(
            deliveries = expired,
            "bodies of what was not delivered were given up, as old as they are kept"
        );
    }
    if !made.is_empty() || !dropped.is_empty() || *late > 0 || *moved > 0 {
        tracing::info!(
            made = made.join(" "),
            dropped = dropped.join(" "),
            late_rows = late,
            moved_rows = moved,
            "days of history were made and given up"
        );
    }
}
