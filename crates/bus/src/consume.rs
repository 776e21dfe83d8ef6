//! Pulling from durable consumers that all replicas of a role share.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull::{Batch, Config as PullConfig};
use async_nats::jetstream::consumer::{AckPolicy, Consumer as JsConsumer, DeliverPolicy};
use bytes::Bytes;
use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::stream::ReadyChunks;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use crate::{Bus, BusError, OutcomeKind};

/// How long one pull waits for messages, and so how long a pull is missed that
/// a broker has forgotten. There is no heartbeat: async-nats 0.51 stops
/// listening to a batch at its first heartbeat, until the pull expires.
const PULL_EXPIRES: Duration = Duration::from_secs(3);

/// A durable pull consumer.
pub struct Consumer {
    pub(crate) bus: Bus,
    pub(crate) stream: String,
    pub(crate) config: PullConfig,
    consumer: Option<JsConsumer<PullConfig>>,
}

/// Clocks of this process and of the broker agree within this.
const CLOCK_MARGIN: TimeDelta = TimeDelta::seconds(5);

/// One pull, handing out messages as they come.
pub struct Pull {
    messages: ReadyChunks<Batch>,
    /// A pull does not survive its connection.
    connected: watch::Receiver<DateTime<Utc>>,
}

/// A message that was handed out and waits for its ack.
#[derive(Debug)]
pub struct Pulled {
    message: async_nats::jetstream::Message,
    stream_sequence: u64,
    /// In milliseconds since 1970, by the broker's clock.
    stored_at_ms: i64,
    handed_out_before: HandedOut,
    /// How often the broker says that it has, this time included.
    times_handed_out: u64,
    /// When the broker last knew that somebody is at it.
    last_sign: Mutex<Instant>,
}

/// Whether the broker has handed a message out before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HandedOut {
    /// It says so.
    Yes,
    /// It says no, and it cannot have forgotten.
    No,
    /// It says no. But the message was there before this connection was made,
    /// and a broker that crashed forgets what it has handed out lately, along
    /// with the acks.
    Perhaps,
}

impl Bus {
    /// Accepted events, for this role.
    pub fn events_consumer(&self, role: &str, max_ack_pending: i64) -> Consumer {
        let names = &self.0.config.names;
        self.consumer(role, names.events_stream(), vec![names.events_all()], max_ack_pending)
    }

    /// Deliveries that are due in one shard.
    pub fn due_consumer(&self, shard: u32, max_ack_pending: i64) -> Consumer {
        let names = &self.0.config.names;
        let filter = vec![names.due_all(shard)];
        self.consumer("dispatcher", names.deliveries_stream(shard), filter, max_ack_pending)
    }

    /// Outcomes of these kinds, for this role.
    pub fn outcomes_consumer(
        &self,
        role: &str,
        kinds: &[OutcomeKind],
        max_ack_pending: i64,
    ) -> Consumer {
        let names = &self.0.config.names;
        let filters = kinds.iter().map(|kind| names.outcomes_of_kind(kind.as_str())).collect();
        self.consumer(role, names.outcomes_stream(), filters, max_ack_pending)
    }

    fn consumer(
        &self,
        role: &str,
        stream: String,
        filters: Vec<String>,
        max_ack_pending: i64,
    ) -> Consumer {
        let config = PullConfig {
            durable_name: Some(self.0.config.names.consumer(role)),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: self.0.config.lease,
            // Never given up by the broker: giving up is a decision of ours.
            max_deliver: -1,
            max_ack_pending,
            filter_subjects: filters,
            num_replicas: 0,
            ..Default::default()
        };
        Consumer { bus: self.clone(), stream, config, consumer: None }
    }
}

impl Consumer {
    /// Makes the durable consumer if it is not there. Readiness hangs on it.
    pub async fn ensure(&mut self) -> Result<(), BusError> {
        if self.consumer.is_none() {
            let stream = self.bus.0.jetstream.get_stream_no_info(&self.stream).await;
            let stream = stream.map_err(BusError::unavailable)?;
            let made = stream.create_consumer(self.config.clone()).await;
            self.consumer = Some(made.map_err(BusError::unavailable)?);
        }
        Ok(())
    }

    /// Asks for up to `max` messages. Pull only what there is a slot for: the
    /// lease begins when the broker sends.
    pub async fn pull(&mut self, max: usize) -> Result<Pull, BusError> {
        if !self.bus.is_connected() {
            // The client would keep the question and ask it later, when nobody listens.
            return Err(BusError::Unavailable("not connected".into()));
        }
        self.ensure().await?;
        let Some(consumer) = &self.consumer else {
            return Err(BusError::Unavailable("no consumer".into()));
        };
        // Only a connection that is made after this pull was asked for ends it.
        let mut connected = self.bus.0.connected.clone();
        connected.mark_unchanged();
        let pull = consumer.batch().max_messages(max).expires(PULL_EXPIRES);
        match pull.messages().await {
            Ok(batch) => Ok(Pull { messages: batch.ready_chunks(max.max(1)), connected }),
            Err(error) => {
                self.forget();
                Err(BusError::unavailable(error))
            }
        }
    }

    /// After an error: look the consumer up anew before the next pull.
    pub fn forget(&mut self) {
        self.consumer = None;
    }
}

impl Pull {
    /// The messages that have come meanwhile, at least one; `None` when this
    /// pull is over. An error ends it too.
    pub async fn next(&mut self) -> Option<Result<Vec<Pulled>, BusError>> {
        let connected_at = *self.connected.borrow();
        let chunk = tokio::select! {
            biased;
            chunk = self.messages.next() => chunk?,
            // Its answer would go to a connection that is no more.
            _ = self.connected.changed() => {
                return Some(Err(BusError::Unavailable("the connection was made anew".into())));
            }
        };
        let mut pulled = Vec::with_capacity(chunk.len());
        for message in chunk {
            match message {
                Ok(message) => match Pulled::new(message, connected_at) {
                    Ok(message) => pulled.push(message),
                    Err(error) => {
                        tracing::error!(%error, "a message without JetStream's reply subject")
                    }
                },
                // Hand over what came before the error; the broker repeats the rest.
                Err(error) if pulled.is_empty() => return Some(Err(BusError::unavailable(error))),
                Err(error) => tracing::warn!(%error, "pull ended early"),
            }
        }
        Some(Ok(pulled))
    }

    /// Gives back what has come and was not looked at.
    pub async fn release(mut self) {
        while let Some(Some(chunk)) = self.messages.next().now_or_never() {
            for message in chunk.into_iter().flatten() {
                // Not confirmed: what gets lost here comes back when its lease runs out.
                let _ = message.ack_with(AckKind::Nak(None)).await;
            }
        }
    }
}

impl Pulled {
    fn new(
        message: async_nats::jetstream::Message,
        connected_at: DateTime<Utc>,
    ) -> Result<Self, BusError> {
        let info = message.info().map_err(|error| BusError::Malformed(error.to_string()))?;
        let stream_sequence = info.stream_sequence;
        let stored_at_ms =
            i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        let surely_since = (connected_at + CLOCK_MARGIN).timestamp_millis();
        let handed_out_before = match info.delivered {
            2.. => HandedOut::Yes,
            _ if stored_at_ms > surely_since => HandedOut::No,
            _ => HandedOut::Perhaps,
        };
        let times_handed_out = u64::try_from(info.delivered).unwrap_or(1);
        let last_sign = Mutex::new(Instant::now());
        Ok(Self {
            message,
            stream_sequence,
            stored_at_ms,
            handed_out_before,
            times_handed_out,
            last_sign,
        })
    }

    /// The message's bytes.
    pub fn payload(&self) -> &Bytes {
        &self.message.payload
    }

    /// Whether the broker may have handed this message out before: because it
    /// says so, or because it may have crashed since and forgotten.
    pub fn may_be_redelivered(&self) -> bool {
        self.handed_out_before != HandedOut::No
    }

    /// How often the broker has handed it out, this time included, as far as it remembers.
    pub fn times_handed_out(&self) -> u64 {
        self.times_handed_out
    }

    /// Its place in the stream.
    pub fn stream_sequence(&self) -> u64 {
        self.stream_sequence
    }

    /// How long it has stood where it is, as far as the two clocks agree.
    pub fn stood(&self, now: DateTime<Utc>) -> Duration {
        let stood_ms = now.timestamp_millis().saturating_sub(self.stored_at_ms);
        Duration::from_millis(u64::try_from(stood_ms).unwrap_or(0))
    }

    /// Its subject.
    pub fn subject(&self) -> &str {
        self.message.subject.as_str()
    }

    /// Says that it is done. The ack itself is not confirmed: one that is lost
    /// means a redelivery. The process that sent it recognises that; another one
    /// may ask a receiver again, with the same ids.
    pub async fn ack(&self) {
        self.answer(AckKind::Ack).await;
    }

    /// Asks for it again after this while.
    pub async fn nak(&self, delay: Duration) {
        self.answer(AckKind::Nak(Some(delay))).await;
    }

    /// Prolongs the lease.
    pub async fn still_working(&self) {
        self.answer(AckKind::Progress).await;
        *self.last_sign.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether this process was silent for so long, frozen perhaps, that the
    /// broker may have given the message to another.
    pub fn lease_may_be_lost(&self, lease: Duration) -> bool {
        self.last_sign.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= lease
    }

    async fn answer(&self, kind: AckKind) {
        if let Err(error) = self.message.ack_with(kind).await {
            tracing::warn!(%error, subject = self.subject(), "could not answer the broker");
        }
    }
}

/// Runs `work` and prolongs the leases of these messages all the while.
pub async fn keeping_leases<T>(
    pulled: &[Pulled],
    lease: Duration,
    clock: &Clock,
    work: impl Future<Output = T>,
) -> T {
    let alive = async {
        loop {
            clock.sleep(lease / 3).await;
            for message in pulled {
                message.still_working().await;
            }
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        never = alive => never,
    }
}
