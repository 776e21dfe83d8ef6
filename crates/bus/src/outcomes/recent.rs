//! What has become of deliveries lately, as the stream of outcomes has it.
//!
//! Whoever is handed a copy that somebody else may have worked on asks here before it
//! asks a receiver. Nothing is read and nothing is held until somebody asks. Then the
//! stream is read from the oldest copy in question on, once for all who ask, and followed
//! until nobody has asked for a while: a process that dies leaves thousands of copies
//! behind, and each of them is a look into a map.
//!
//! What must always hold:
//! - an answer covers everything that the stream's leader had stored when it was asked for;
//! - of two outcomes of one try the first one counts, as it does in history;
//! - memory and time are bounded, and what is not covered is told from what is not there.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::stream::RawMessageErrorKind;
use chassis::Tasks;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::StreamExt as _;
use prost::Message as _;
use protocol::v1::ended::End;
use protocol::v1::{Attempted, OutcomeBatch, outcome};
use tokio::sync::{mpsc, oneshot};

use crate::{Bus, BusError, OutcomeKind};

/// How long one question waits for its answer: longer than it takes a broker to come back,
/// because a try that is repeated without an answer may be one that was taken.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the broker may be silent while it has something to say.
const SILENCE: Duration = Duration::from_secs(5);
/// How long to wait before a failure is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the stream is followed after the last question.
const IDLE: Duration = Duration::from_secs(20);
/// How much further back than asked for the stream is read: copies come back in no order.
const MARGIN: TimeDelta = TimeDelta::seconds(60);
/// Messages that are read from the past, at most. The oldest are left out.
const MOST_READ: u64 = 500_000;
/// What is held at most, by the estimates below. The oldest goes first.
const MOST_BYTES: usize = 64 * 1024 * 1024;
const END_BYTES: usize = 96;
const ATTEMPT_BYTES: usize = 640;
/// Questions that wait for the next round.
const QUEUE: usize = 4_096;

/// One hop of one delivery, in 16 bytes.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct HopKey(u128);

impl HopKey {
    /// Of the delivery with this id.
    pub fn of(delivery_id: &str, hop: u32) -> Self {
        // Ids are hashes, so that keys spread by themselves; this odd number keeps the
        // hops of one delivery apart.
        const APART: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        Self(Self::of_delivery(delivery_id).0.wrapping_add(APART.wrapping_mul(u128::from(hop) + 1)))
    }

    fn of_delivery(delivery_id: &str) -> Self {
        let id = (delivery_id.len() == 32).then(|| u128::from_str_radix(delivery_id, 16).ok());
        Self(id.flatten().unwrap_or_else(|| {
            let half = |salt: u8| {
                let mut hasher = DefaultHasher::new();
                (salt, delivery_id).hash(&mut hasher);
                u128::from(hasher.finish())
            };
            half(0) << 64 | half(1)
        }))
    }
}

/// What the stream of outcomes has of a try.
#[derive(Clone, Debug, PartialEq)]
pub enum Past {
    /// The delivery has ended.
    Ended {
        /// How.
        end: End,
        /// Why, if it is exhausted; otherwise empty.
        reason: Box<str>,
    },
    /// The try of this hop was made, and is to be made again at its `next_attempt_at`.
    /// Without what only history needs of it.
    Attempted(Box<Attempted>),
    /// There is nothing, though whoever has died may have got further than it could say.
    Nothing,
    /// It could not be found out.
    Unknown,
}

/// Asks the stream of outcomes. Cheap to clone.
#[derive(Clone)]
pub struct RecentOutcomes {
    questions: mpsc::Sender<Question>,
}

struct Question {
    delivery: HopKey,
    hop: HopKey,
    since: DateTime<Utc>,
    answer: oneshot::Sender<Past>,
}

impl RecentOutcomes {
    /// Waits for questions. `is_try` tells the records of tries from those that say why
    /// there was none.
    pub fn start(bus: Bus, tasks: &Tasks, is_try: fn(&Attempted) -> bool) -> Self {
        let (questions, asked) = mpsc::channel(QUEUE);
        // In the background: what is drained at a stop may still ask.
        tasks.background(Reader { bus, asked, is_try }.run());
        Self { questions }
    }

    /// What has become of this hop of a delivery, as far as it was stored after `since`
    /// by the broker's clock. Takes a minute at most, while the broker does not answer.
    pub async fn of(&self, delivery_id: &str, hop: u32, since: DateTime<Utc>) -> Past {
        let (answer, answered) = oneshot::channel();
        let (delivery, hop) = (HopKey::of_delivery(delivery_id), HopKey::of(delivery_id, hop));
        let asking = async {
            let question = Question { delivery, hop, since, answer };
            self.questions.send(question).await.ok()?;
            answered.await.ok()
        };
        let answered = tokio::time::timeout(PATIENCE, asking).await;
        answered.ok().flatten().unwrap_or(Past::Unknown)
    }
}

struct Reader {
    bus: Bus,
    asked: mpsc::Receiver<Question>,
    is_try: fn(&Attempted) -> bool,
}

impl Reader {
    async fn run(mut self) {
        let mut questions = Vec::new();
        while !questions.is_empty() || self.asked.recv_many(&mut questions, QUEUE).await > 0 {
            if let Err(error) = self.serve(&mut questions).await {
                tracing::warn!(%error, "cannot look up what has become of deliveries, trying again");
                if chassis::mutant("lookups_give_up") {
                    questions.drain(..).for_each(|question| question.reply(Past::Unknown));
                }
                self.bus.0.clock.sleep(PAUSE).await;
                // Those who have lost patience are gone.
                questions.retain(|question| !question.answer.is_closed());
            }
        }
    }

    /// Answers these questions and all that follow, until there are none for a while.
    async fn serve(&mut self, questions: &mut Vec<Question>) -> Result<(), BusError> {
        let mut margin = MARGIN;
        let mut index = Index::new(self.is_try, DateTime::<Utc>::MAX_UTC);
        let mut feed = None;
        loop {
            let since = questions.iter().map(|question| question.since).min();
            let since = since.unwrap_or(DateTime::<Utc>::MAX_UTC);
            let mut open = match feed.take() {
                Some(open) if since >= index.from || index.is_cut => open,
                _ => {
                    // Further back each time, so that it is not often.
                    index = Index::new(self.is_try, since - margin);
                    margin = margin * 2;
                    self.open(&mut index).await?
                }
            };
            let (last, _) = self.last_outcome().await?;
            while index.read_to < last {
                index.apply(next(&mut open).await?);
            }
            questions.drain(..).for_each(|question| {
                let past = index.find(&question);
                question.reply(past);
            });
            let idle = self.bus.0.clock.clone();
            let mut idle = std::pin::pin!(idle.sleep(IDLE));
            loop {
                tokio::select! {
                    came = self.asked.recv_many(questions, QUEUE) => match came {
                        0 => return Ok(()),
                        _ => break,
                    },
                    message = open.next() => match message {
                        Some(message) => index.apply(message.map_err(BusError::unavailable)?),
                        None => return Ok(()),
                    },
                    () = &mut idle => return Ok(()),
                }
            }
            feed = Some(open);
        }
    }

    /// Begins to read where the index is to begin, or as far back as is bearable.
    async fn open(&self, index: &mut Index) -> Result<Ordered, BusError> {
        let nanos = i128::from(index.from.timestamp_micros()) * 1_000;
        let start_time = async_nats::datetime::from_nanos(nanos).map_err(BusError::unavailable)?;
        let mut feed = self.read(DeliverPolicy::ByStartTime { start_time }).await?;
        let (last, stored_at) = self.last_outcome().await?;
        if stored_at < index.from {
            // There is nothing so young yet, and whatever comes is younger.
            index.read_to = last;
            return Ok(feed);
        }
        let first = next(&mut feed).await?;
        let info = first.info().map_err(BusError::unavailable)?;
        if info.pending <= MOST_READ {
            index.apply(first);
            return Ok(feed);
        }
        index.is_cut = true;
        index.from = DateTime::<Utc>::MAX_UTC;
        let start_sequence = last.saturating_sub(MOST_READ).max(1);
        self.read(DeliverPolicy::ByStartSequence { start_sequence }).await
    }

    async fn read(&self, deliver_policy: DeliverPolicy) -> Result<Ordered, BusError> {
        let bus = &self.bus.0;
        let config = OrderedConfig {
            deliver_subject: bus.client.new_inbox(),
            filter_subjects: self.kinds().into(),
            deliver_policy,
            ..OrderedConfig::default()
        };
        let stream = bus.jetstream.get_stream_no_info(bus.config.names.outcomes_stream()).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let consumer = stream.create_consumer(config).await.map_err(BusError::unavailable)?;
        consumer.messages().await.map_err(BusError::unavailable)
    }

    fn kinds(&self) -> [String; 2] {
        [OutcomeKind::Attempted, OutcomeKind::Ended]
            .map(|kind| self.bus.0.config.names.outcomes_of_kind(kind.as_str()))
    }

    /// Where the newest outcome of these kinds stands, and since when, by the leader's word.
    async fn last_outcome(&self) -> Result<(u64, DateTime<Utc>), BusError> {
        let bus = &self.bus.0;
        let stream = bus.jetstream.get_stream_no_info(bus.config.names.outcomes_stream()).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let mut last = (0, DateTime::<Utc>::UNIX_EPOCH);
        for kind in self.kinds() {
            match stream.get_last_raw_message_by_subject(&kind).await {
                Ok(message) => last = last.max((message.sequence, moment(message.time))),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(BusError::unavailable(error)),
            }
        }
        Ok(last)
    }
}

impl Question {
    fn reply(self, past: Past) {
        // Whoever asked may have lost patience.
        let _ = self.answer.send(past);
    }
}

async fn next(feed: &mut Ordered) -> Result<Message, BusError> {
    let message = tokio::time::timeout(SILENCE, feed.next()).await;
    let message = message.map_err(|_| BusError::Unavailable("outcomes do not come".into()))?;
    message.ok_or_else(ended)?.map_err(BusError::unavailable)
}

fn moment(at: async_nats::datetime::DateTime) -> DateTime<Utc> {
    DateTime::from_timestamp(at.unix_timestamp(), at.nanosecond()).unwrap_or_default()
}

fn ended() -> BusError {
    BusError::Unavailable("the stream of outcomes is not followed any more".into())
}

/// What was read.
struct Index {
    is_try: fn(&Attempted) -> bool,
    known: HashMap<HopKey, Past>,
    /// In the order in which they were stored.
    order: VecDeque<(DateTime<Utc>, HopKey, usize)>,
    bytes: usize,
    /// What was stored before this is not there.
    from: DateTime<Utc>,
    /// Whether reading from further back would not help.
    is_cut: bool,
    read_to: u64,
}

impl Index {
    fn new(is_try: fn(&Attempted) -> bool, from: DateTime<Utc>) -> Self {
        Self {
            is_try,
            known: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            from,
            is_cut: false,
            read_to: 0,
        }
    }

    fn find(&self, question: &Question) -> Past {
        let found = self.known.get(&question.delivery).or_else(|| self.known.get(&question.hop));
        match found {
            Some(past) => past.clone(),
            None if question.since < self.from => Past::Unknown,
            None => Past::Nothing,
        }
    }

    fn apply(&mut self, message: Message) {
        let Ok(info) = message.info() else { return };
        let stored_at = moment(info.published);
        self.read_to = info.stream_sequence;
        self.from = self.from.min(stored_at);
        let batch = match OutcomeBatch::decode(message.payload.clone()) {
            Ok(batch) => batch,
            // archive tells of it.
            Err(_) => return,
        };
        for outcome in batch.outcomes {
            match outcome.kind {
                Some(outcome::Kind::Ended(ended)) => {
                    let end = ended.end();
                    let reason = if end == End::Exhausted { ended.reason } else { String::new() };
                    let past = Past::Ended { end, reason: reason.into() };
                    let key = HopKey::of_delivery(&ended.delivery_id);
                    self.insert(key, past, END_BYTES, stored_at);
                }
                Some(outcome::Kind::Attempted(attempted)) if (self.is_try)(&attempted) => {
                    let key = HopKey::of(&attempted.delivery_id, attempted.hop);
                    let past = Past::Attempted(Box::new(Attempted {
                        url: String::new(),
                        response_snippet: String::new(),
                        event: None,
                        ..attempted
                    }));
                    self.insert(key, past, ATTEMPT_BYTES, stored_at);
                }
                _ => {}
            }
        }
    }

    fn insert(&mut self, key: HopKey, past: Past, bytes: usize, stored_at: DateTime<Utc>) {
        if self.known.contains_key(&key) {
            return;
        }
        self.known.insert(key, past);
        self.order.push_back((stored_at, key, bytes));
        self.bytes += bytes;
        while self.bytes > MOST_BYTES
            && let Some((stored_at, key, bytes)) = self.order.pop_front()
        {
            self.known.remove(&key);
            self.bytes -= bytes;
            self.from = stored_at + TimeDelta::milliseconds(1);
            self.is_cut = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_hops_differ_and_are_the_same_again() {
        let id = "0123456789abcdef0123456789abcdef";
        let keys = [id, "0123456789abcdef0123456789abcdee", "no hash"]
            .map(|id| [0, 1, 2, u32::MAX].map(|hop| HopKey::of(id, hop)));
        let mut all: Vec<_> = keys.into_iter().flatten().collect();
        assert_eq!(HopKey::of(id, 1), all[1]);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 12);
    }

    #[test]
    fn memory_of_outcomes_is_bounded_and_says_what_it_has_lost() {
        let at = |second| DateTime::<Utc>::UNIX_EPOCH + TimeDelta::seconds(second);
        let mut index = Index::new(|_| true, at(0));
        let past = || Past::Ended { end: End::Delivered, reason: "".into() };
        let most = 10;
        let id = |n: i64| format!("{n:032x}");
        for n in 0..=most {
            index.insert(HopKey::of_delivery(&id(n)), past(), MOST_BYTES / 10, at(n));
        }
        let find = |index: &Index, n: i64, since| {
            let (delivery, hop) = (HopKey::of_delivery(&id(n)), HopKey::of(&id(n), 0));
            index.find(&Question { delivery, hop, since, answer: oneshot::channel().0 })
        };
        assert_eq!(find(&index, most, at(most)), past());
        assert_eq!(find(&index, 0, at(0)), Past::Unknown);
        assert_eq!(find(&index, -1, at(2)), Past::Nothing);
        assert!(index.known.len() == index.order.len() && index.is_cut);
    }
}
