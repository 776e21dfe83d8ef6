//! Makes the days of history ahead, and gives up those that are over.
//!
//! Every replica tries; the database lets one at a time do it. A process that dies
//! on the way leaves the rest to the next pass, of whichever replica.

use std::time::Duration;

use chassis::{Clock, Tasks};
use store::Store;
use store::history::{DaysKept, Retention};

/// How often to look. A day that is not made in time costs nothing but a move of
/// its first rows, and one that is kept an hour longer nothing but its room.
const EVERY: Duration = Duration::from_secs(600);
/// How soon to look again when the database could not do it.
const AGAIN: Duration = Duration::from_secs(15);
/// How long the first row may wait for its day, and the pause between two tries.
const FIRST_PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the days of history.
pub(crate) struct Days {
    pub(crate) store: Store,
    pub(crate) retention: Retention,
    pub(crate) clock: Clock,
}

impl Days {
    /// Makes and gives up what there is to. Says when to look again, unless the
    /// database could not do it.
    async fn look(&self) -> Option<Duration> {
        match self.store.keep_days(&self.retention, self.clock.now()).await {
            Ok(None) => Some(EVERY),
            Ok(Some(done)) => {
                tell(&done);
                Some(EVERY)
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
    let DaysKept { made, dropped, expired, late, slots: _ } = done;
    metrics::counter!("postrider_archive_expired_total").increment(*expired);
    if *expired > 0 {
        tracing::warn!(
            deliveries = expired,
            "bodies of what was not delivered were given up, as old as they are kept"
        );
    }
    if !made.is_empty() || !dropped.is_empty() || *late > 0 {
        tracing::info!(
            made = made.join(" "),
            dropped = dropped.join(" "),
            late_rows = late,
            "days of history were made and given up"
        );
    }
}
