//! What happened, written in small batches.
//!
//! Writers hand over one outcome each and wait until the broker has it. While a
//! batch is under way the next one fills up, so batches grow with the load and
//! an idle system waits for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::Tasks;
use prost::Message as _;
use protocol::v1::{Outcome, OutcomeBatch, outcome};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::publish::Write;
use crate::{Bus, BusError};

/// Outcomes in one message, at most.
const BATCH: usize = 128;
/// Bytes in one message, at most, unless one outcome alone is larger.
const BATCH_BYTES: usize = 256 * 1024;
/// Batches under way at once.
const IN_FLIGHT: usize = 4;

/// The kinds of outcome, each on subjects of its own.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum OutcomeKind {
    /// What fanout decided.
    Routed,
    /// One try at a receiver.
    Attempted,
    /// The end of a delivery.
    Ended,
    /// A setting is to be disabled.
    Exhausted,
}

impl OutcomeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Routed, Self::Attempted, Self::Ended, Self::Exhausted];

    /// The kind's name in subjects.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Routed => "routed",
            Self::Attempted => "attempted",
            Self::Ended => "ended",
            Self::Exhausted => "exhausted",
        }
    }

    fn of(outcome: &outcome::Kind) -> Self {
        match outcome {
            outcome::Kind::Routed(_) => Self::Routed,
            outcome::Kind::Attempted(_) => Self::Attempted,
            outcome::Kind::Ended(_) => Self::Ended,
            // Both are for settings-api.
            outcome::Kind::Exhausted(_) | outcome::Kind::Trouble(_) => Self::Exhausted,
        }
    }
}

/// Writes outcomes. Cheap to clone.
#[derive(Clone)]
pub struct OutcomeWriter {
    queue: mpsc::Sender<Entry>,
    refusing: watch::Receiver<bool>,
}

struct Entry {
    kind: OutcomeKind,
    account_id: String,
    /// As it stands in a batch.
    encoded: Vec<u8>,
    stored: oneshot::Sender<()>,
}

impl OutcomeWriter {
    /// Starts a writer.
    pub fn start(bus: Bus, tasks: &Tasks) -> Self {
        let (queue, entries) = mpsc::channel(BATCH * IN_FLIGHT);
        let (refused, refusing) = watch::channel(false);
        let writer = Writer { bus, refused: Arc::new(refused), tasks: tasks.clone() };
        // It ends when the last clone of the writer is gone, not at the stop
        // signal: what is in flight still has outcomes to store.
        tasks.spawn(writer.run(entries));
        Self { queue, refusing }
    }

    /// Stores one outcome, however long it takes. Returns once the broker has it.
    ///
    /// Dying while this waits leaves it unstored; whoever waits has not acked
    /// yet, so it is worked out and stored again.
    pub async fn record(&self, account_id: &str, outcome: outcome::Kind) {
        let (stored, done) = oneshot::channel();
        let kind = OutcomeKind::of(&outcome);
        let encoded = in_a_batch(outcome);
        let entry = Entry { kind, account_id: account_id.to_owned(), encoded, stored };
        if self.queue.send(entry).await.is_err() || done.await.is_err() {
            // The writer is gone only when the process is: never say that it is stored.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the broker takes no outcomes at the moment: nothing new is to be begun.
    pub fn is_refusing(&self) -> bool {
        *self.refusing.borrow()
    }

    /// Waits until the broker takes outcomes.
    pub async fn accepting(&self) {
        let mut refusing = self.refusing.clone();
        // An error means that the writer is gone, and the process with it.
        let _ = refusing.wait_for(|refusing| !refusing).await;
    }
}

struct Writer {
    bus: Bus,
    refused: Arc<watch::Sender<bool>>,
    tasks: Tasks,
}

impl Writer {
    async fn run(self, mut entries: mpsc::Receiver<Entry>) {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            if entries.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            let bus = self.bus.clone();
            let refused = Arc::clone(&self.refused);
            let batch = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            self.tasks.spawn(async move {
                store_all(&bus, &refused, batch).await;
                drop(slot);
            });
        }
    }
}

async fn store_all(bus: &Bus, refused: &watch::Sender<bool>, entries: Vec<Entry>) {
    let mut groups: BTreeMap<(OutcomeKind, String), Vec<Entry>> = BTreeMap::new();
    for mut entry in entries {
        let account_id = std::mem::take(&mut entry.account_id);
        groups.entry((entry.kind, account_id)).or_default().push(entry);
    }
    let messages = groups.into_iter().flat_map(|((kind, account_id), entries)| {
        split(entries).into_iter().map(move |part| (kind, account_id.clone(), part))
    });
    let writes = messages.map(|(kind, account_id, part)| async move {
        let subject = bus.0.config.names.outcomes(kind.as_str(), &account_id);
        let mut batch = Vec::with_capacity(part.iter().map(|entry| entry.encoded.len()).sum());
        part.iter().for_each(|entry| batch.extend_from_slice(&entry.encoded));
        store(bus, refused, subject, batch.into()).await;
        for entry in part {
            // Whoever waited may be gone; it is stored all the same.
            let _ = entry.stored.send(());
        }
    });
    futures_util::future::join_all(writes).await;
}

/// Repeats one write, always with the same id, until the broker has it.
async fn store(bus: &Bus, refused: &watch::Sender<bool>, subject: String, payload: Bytes) {
    let id = hex::encode(chassis::entropy::bytes::<16>());
    let mut wait = Duration::from_millis(100);
    loop {
        let write = Write {
            subject: subject.clone(),
            id: id.clone(),
            payload: payload.clone(),
            only_while: None,
            schedule: None,
        };
        let error = match bus.write(write).await {
            Ok(_) => break,
            Err(error @ (BusError::Refused(_) | BusError::TooLarge)) => {
                tracing::error!(%error, subject, size_bytes = payload.len(), "the broker refuses outcomes");
                error
            }
            Err(error) => {
                tracing::warn!(%error, subject, "outcomes are not stored yet");
                error
            }
        };
        metrics::counter!("postrider_outcome_writes_failed_total").increment(1);
        refused.send_replace(true);
        drop(error);
        bus.0.clock.sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
    refused.send_if_modified(|refusing| std::mem::replace(refusing, false));
}

/// Cuts a group into messages that the broker takes.
fn split(entries: Vec<Entry>) -> Vec<Vec<Entry>> {
    let mut parts: Vec<Vec<Entry>> = Vec::new();
    let mut size_bytes = usize::MAX;
    for entry in entries {
        if size_bytes.saturating_add(entry.encoded.len()) > BATCH_BYTES {
            parts.push(Vec::new());
            size_bytes = 0;
        }
        size_bytes += entry.encoded.len();
        if let Some(part) = parts.last_mut() {
            part.push(entry);
        }
    }
    parts
}

/// One outcome as a batch of its own. Batches that stand one after the other are a
/// batch, as protobuf has it; so each outcome is encoded once, by whoever has it.
fn in_a_batch(outcome: outcome::Kind) -> Vec<u8> {
    OutcomeBatch { outcomes: vec![Outcome { kind: Some(outcome) }] }.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use protocol::v1::Routed;

    use super::*;

    #[test]
    fn batches_one_after_the_other_are_a_batch() {
        let routed = |event_key: &str| {
            outcome::Kind::Routed(Routed { event_key: event_key.to_owned(), ..Routed::default() })
        };
        let keys = ["a", "", "b"];
        let encoded: Vec<u8> = keys.into_iter().flat_map(|key| in_a_batch(routed(key))).collect();
        let outcomes = keys.map(|key| Outcome { kind: Some(routed(key)) }).to_vec();
        assert_eq!(OutcomeBatch::decode(&*encoded), Ok(OutcomeBatch { outcomes }));
    }
}
