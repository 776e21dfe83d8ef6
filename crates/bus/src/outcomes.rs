//! What happened, written in small batches.
//!
//! Writers hand over one outcome each and wait until the broker has it. While a
//! batch is under way the next one fills up, so batches grow with the load and
//! an idle system waits for nobody.
//!
//! What the broker does not take at once waits on its own, so that the outcomes of one
//! account hold up nobody else's. What it finds too large is split, and one outcome alone
//! that is too large is stored without what makes it so.

mod recent;
mod reduced;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chassis::Tasks;
use prost::Message as _;
use protocol::v1::{Outcome, OutcomeBatch, outcome};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use self::recent::{HopKey, Past, RecentOutcomes};
use crate::publish::Write;
use crate::{Bus, BusError};

/// Outcomes in one message, at most.
const BATCH: usize = 128;
/// Bytes in one message, at most, unless one outcome alone is larger.
const BATCH_BYTES: usize = 256 * 1024;
/// Bytes of one outcome that every broker takes which is set up as it should be. If one of no
/// more than that is refused for its size, somebody has limited the stream: it waits.
const ALWAYS_FITS: usize = 64 * 1024;
/// Batches under way at once.
const IN_FLIGHT: usize = 4;
/// Messages that wait on their own because the broker did not take them, at most. Beyond
/// that, batches wait with them.
const PATIENT: usize = 256;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);

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
        let patient = Arc::new(Semaphore::new(PATIENT));
        let writer = Arc::new(Writer { bus, refused, patient, tasks: tasks.clone() });
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
    refused: watch::Sender<bool>,
    patient: Arc<Semaphore>,
    tasks: Tasks,
}

/// Outcomes of one kind and one account.
struct Message {
    kind: OutcomeKind,
    account_id: String,
    /// The same for every try to store it.
    id: String,
    entries: Vec<Entry>,
}

impl Message {
    fn new(kind: OutcomeKind, account_id: String, entries: Vec<Entry>) -> Self {
        let id = hex::encode(chassis::entropy::bytes::<16>());
        Self { kind, account_id, id, entries }
    }

    fn payload(&self) -> Bytes {
        let size_bytes = self.entries.iter().map(|entry| entry.encoded.len()).sum();
        let mut payload = Vec::with_capacity(size_bytes);
        self.entries.iter().for_each(|entry| payload.extend_from_slice(&entry.encoded));
        payload.into()
    }

    fn report_stored(self) {
        for entry in self.entries {
            // Whoever waited may be gone; it is stored all the same.
            let _ = entry.stored.send(());
        }
    }

    fn halves(mut self) -> [Self; 2] {
        let second = self.entries.split_off(self.entries.len() / 2);
        let Self { kind, account_id, entries, .. } = self;
        [Self::new(kind, account_id.clone(), entries), Self::new(kind, account_id, second)]
    }
}

impl Writer {
    async fn run(self: Arc<Self>, mut entries: mpsc::Receiver<Entry>) {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            if entries.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            let writer = Arc::clone(&self);
            let batch = std::mem::replace(&mut batch, Vec::with_capacity(BATCH));
            self.tasks.spawn(async move {
                let stores = messages(batch).map(|message| writer.store(message));
                futures_util::future::join_all(stores).await;
                drop(slot);
            });
        }
    }

    /// Stores a message. Returns when the broker has it, or when it waits on its own.
    async fn store(self: &Arc<Self>, message: Message) {
        for left in self.try_store(vec![message]).await {
            match Arc::clone(&self.patient).try_acquire_owned() {
                Ok(place) => {
                    let writer = Arc::clone(self);
                    self.tasks.spawn(async move {
                        writer.keep_trying(left).await;
                        drop(place);
                    });
                }
                Err(_) => self.keep_trying(left).await,
            }
        }
    }

    async fn keep_trying(&self, message: Message) {
        let (mut left, mut wait) = (vec![message], FIRST_WAIT);
        while !left.is_empty() {
            self.bus.0.clock.sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            left = self.try_store(left).await;
        }
    }

    /// Writes each of these once, in parts if the broker finds it too large. Returns what
    /// it did not take.
    async fn try_store(&self, mut messages: Vec<Message>) -> Vec<Message> {
        let mut left = Vec::new();
        while let Some(message) = messages.pop() {
            let id = message.id.clone();
            let error = match self.write(&message, id, message.payload()).await {
                Ok(()) => {
                    message.report_stored();
                    continue;
                }
                Err(BusError::TooLarge) if message.entries.len() > 1 => {
                    messages.extend(message.halves());
                    continue;
                }
                Err(BusError::TooLarge) if is_large(&message) => {
                    match self.write_reduced(&message).await {
                        Ok(()) => {
                            message.report_stored();
                            continue;
                        }
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            let kind = message.kind.as_str();
            match &error {
                BusError::Refused(_) | BusError::TooLarge => {
                    tracing::error!(%error, kind, "the broker refuses outcomes");
                }
                _ => tracing::warn!(%error, kind, "outcomes are not stored yet"),
            }
            metrics::counter!("postrider_outcome_writes_failed_total").increment(1);
            self.refused.send_replace(true);
            left.push(message);
        }
        left
    }

    /// One outcome alone that is too large: history gets what fits.
    async fn write_reduced(&self, message: &Message) -> Result<(), BusError> {
        let Some(entry) = message.entries.first() else { return Ok(()) };
        let payload = reduced::of(&entry.encoded);
        self.write(message, format!("{}.reduced", message.id), payload).await?;
        metrics::counter!("postrider_outcomes_reduced_total", "kind" => message.kind.as_str())
            .increment(1);
        tracing::error!(
            kind = message.kind.as_str(),
            account.id = message.account_id,
            size_bytes = entry.encoded.len(),
            "an outcome is larger than the broker takes; history has it without its body"
        );
        Ok(())
    }

    async fn write(&self, message: &Message, id: String, payload: Bytes) -> Result<(), BusError> {
        let names = &self.bus.0.config.names;
        let subject = names.outcomes(message.kind.as_str(), &message.account_id);
        self.bus.write(Write { subject, id, payload, only_while: None, schedule: None }).await?;
        self.refused.send_if_modified(|refusing| std::mem::replace(refusing, false));
        Ok(())
    }
}

/// Whether an outcome may be larger than what a broker takes.
fn is_large(message: &Message) -> bool {
    message.payload().len() > ALWAYS_FITS || chassis::mutant("small_is_reduced")
}

/// One message, or several, for the outcomes of each kind and account.
fn messages(entries: Vec<Entry>) -> impl Iterator<Item = Message> {
    let mut groups: BTreeMap<(OutcomeKind, String), Vec<Entry>> = BTreeMap::new();
    for mut entry in entries {
        let account_id = std::mem::take(&mut entry.account_id);
        groups.entry((entry.kind, account_id)).or_default().push(entry);
    }
    groups.into_iter().flat_map(|((kind, account_id), entries)| {
        let parts = split(entries).into_iter();
        parts.map(move |part| Message::new(kind, account_id.clone(), part))
    })
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
