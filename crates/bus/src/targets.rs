//! What dispatchers tell each other: which targets are in trouble, that they are
//! there, and how much waits for which target.
//!
//! What must always hold:
//! - nobody waits for the broker: [`TargetBoard::open`] and [`TargetBoard::close`]
//!   note what is to be said, and a task of its own says it; of several changes
//!   of one target that are still to be said, the newest alone is;
//! - losing all of it costs a few tries at targets in trouble, and nothing else:
//!   every key ends with its time, a lost bucket is made again, and each writer
//!   writes again what it still holds to be true;
//! - while the broker is away, what was known stays in force until its own time
//!   is over; nobody takes silence for the death of all the others.
//!
//! Deliberately absent: when a target is in trouble, and what that means for its
//! deliveries. That is the dispatcher's.

mod feed;
mod state;
mod tasks;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::Tasks;
use protocol::v1::{DispatcherBeat, TargetTrouble};
use tokio::sync::{Notify, watch};

pub use self::feed::Changes;
use self::state::{Said, State};
pub(crate) use self::tasks::KV_OPERATION;
use crate::Bus;

/// How long things on the board last. The broker counts in whole seconds, and
/// knows none shorter than one.
#[derive(Clone, Copy, Debug)]
pub struct BoardTimes {
    /// How often a dispatcher says that it is there.
    pub live_every: Duration,
    /// After this long in silence a dispatcher counts as gone.
    pub live_ttl: Duration,
    /// How long a trouble is remembered past its `until`: as long as a breaker may
    /// be open, and a little more, so that the next time in a row is known as such.
    pub keep_past_until: Duration,
}

impl Default for BoardTimes {
    fn default() -> Self {
        Self {
            live_every: Duration::from_secs(5),
            live_ttl: Duration::from_secs(15),
            keep_past_until: Duration::from_secs(5 * 60 + 30),
        }
    }
}

/// The board on which dispatchers write what they know of targets. Cheap to clone.
#[derive(Clone)]
pub struct TargetBoard(Arc<Inner>);

struct Inner {
    bus: Bus,
    /// In the form that fits into a key.
    instance: String,
    times: BoardTimes,
    /// Held for moments, and never across an await.
    state: Mutex<State>,
    /// There is something to write.
    to_write: Notify,
    /// Say at once that this dispatcher is there.
    to_beat: Notify,
    /// The watch is to begin anew.
    to_restart: Notify,
    live: watch::Sender<usize>,
    loaded: watch::Sender<bool>,
}

impl TargetBoard {
    /// Joins the board under a name that no other process has, not even the one
    /// that ran here before. What it says comes back to nobody of the same name.
    ///
    /// At a stop this dispatcher takes its leave at once, as it begins nothing new.
    pub fn start(bus: Bus, tasks: &Tasks, instance_id: &str) -> Self {
        Self::start_with(bus, tasks, instance_id, BoardTimes::default())
    }

    /// As [`TargetBoard::start`], with other times.
    pub fn start_with(bus: Bus, tasks: &Tasks, instance_id: &str, times: BoardTimes) -> Self {
        let board = Self(Arc::new(Inner {
            bus,
            instance: key_token(instance_id),
            times,
            state: Mutex::default(),
            to_write: Notify::new(),
            to_beat: Notify::new(),
            to_restart: Notify::new(),
            live: watch::channel(1).0,
            loaded: watch::channel(false).0,
        }));
        // These hold nothing that a stop would have to wait for; deliveries that
        // are still in flight then may have something to say until the very end.
        tasks.background(board.clone().keep_watching());
        tasks.background(board.clone().keep_writing());
        // This one takes its leave.
        tasks.spawn(board.clone().keep_beating(tasks.clone()));
        board
    }

    /// This process leaves the target alone, for the reason and as long as it says.
    /// Never waits. What is too much is dropped and counted.
    pub fn open(&self, target_id: &str, trouble: &TargetTrouble) {
        if !fits_key(target_id) {
            return dropped("unfit");
        }
        let expires_at = expires_at(trouble, self.0.times.keep_past_until);
        let said = self.state().open(target_id, trouble, expires_at);
        self.say(said);
    }

    /// The target answers again. Never waits.
    ///
    /// Dying before it is written leaves it to the others to find out, once its
    /// time is over.
    pub fn close(&self, target_id: &str) {
        if !fits_key(target_id) {
            return dropped("unfit");
        }
        let said = self.state().close(target_id);
        self.say(said);
    }

    /// What this process knows and the others should: told with the next sign of
    /// life.
    pub fn set_beat(&self, beat: DispatcherBeat) {
        self.state().set_beat(beat);
    }

    /// How many deliveries wait for targets as the other dispatchers know, by target.
    pub fn waiting_elsewhere(&self) -> HashMap<String, u64> {
        self.state().waiting_elsewhere()
    }

    /// The same by primary account.
    pub fn accounts_waiting_elsewhere(&self) -> HashMap<String, u64> {
        self.state().accounts_waiting_elsewhere()
    }

    /// What other processes say: first everything that stands there, then each
    /// change. Each call begins anew.
    pub fn changes(&self) -> Changes {
        self.state().subscribe()
    }

    /// How many dispatchers are there, this one included.
    pub fn live(&self) -> usize {
        *self.0.live.borrow()
    }

    /// The same, to wait for changes of it.
    pub fn watch_live(&self) -> watch::Receiver<usize> {
        self.0.live.subscribe()
    }

    /// Waits until what stood there at the start is known. With the broker away,
    /// that takes as long as it is: bound it.
    pub async fn loaded(&self) {
        // An error would mean that the board is gone, while it is borrowed.
        let _ = self.0.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }

    fn say(&self, said: Said) {
        match said {
            Said::Queued => self.0.to_write.notify_one(),
            Said::Full => dropped("full"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn dropped(reason: &'static str) {
    metrics::counter!("postrider_target_board_dropped_total", "reason" => reason).increment(1);
}

/// When the broker is to forget it.
fn expires_at(trouble: &TargetTrouble, keep: Duration) -> chrono::DateTime<chrono::Utc> {
    let until = trouble.until.unwrap_or_default();
    let nanos = until.nanos.try_into().unwrap_or(0);
    chrono::DateTime::from_timestamp(until.seconds, nanos).unwrap_or_default() + keep
}

/// Target ids are hashes of ours. Anything else has no place in a subject.
fn fits_key(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=128).contains(&id.len()) && id.bytes().all(fits)
}

/// A process's name may come from its surroundings; what does not fit is spelled out.
fn key_token(id: &str) -> String {
    if fits_key(id) { id.to_owned() } else { format!("x{}", hex::encode(id)) }
}
