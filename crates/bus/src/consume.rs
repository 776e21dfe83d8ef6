//! Pulling from durable consumers that all replicas of a role share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::pull::{BatchConfig, Config as PullConfig};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy};
use async_nats::{Request, Subject};
use bytes::Bytes;
use chassis::Clock;
use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use crate::floors::{Found, moment};
use crate::pull::{Asked, CLOCK_MARGIN, Came, Pull};
use crate::{Bus, BusError, OutcomeKind};

/// How long one pull waits for messages, and so how long a pull is missed that
/// a broker has forgotten.
const PULL_EXPIRES: Duration = Duration::from_secs(3);

/// Subject, reply subject and headers of a message, which count like its payload.
const MESSAGE_OVERHEAD: usize = 64 * 1024;

/// A durable pull consumer.
pub struct Consumer {
    pub(crate) bus: Bus,
    pub(crate) stream: String,
    pub(crate) config: PullConfig,
    /// The role that shares it, for metrics.
    pub(crate) role: &'static str,
    pub(crate) found: Option<Found>,
}

/// A message that was handed out and waits for its ack.
#[derive(Debug)]
pub struct Pulled {
    message: async_nats::jetstream::Message,
    stream_sequence: u64,
    stored_at: DateTime<Utc>,
    times_handed_out: u64,
    handed_out_before: HandedOut,
    /// Whether it was stored before this connection was made, or was on its way for so long
    /// that somebody else has it.
    stood_before: bool,
    lease: Duration,
    /// When the broker last knew that somebody is at it; `None` once it heard of nobody
    /// for a whole lease.
    last_sign: Mutex<Option<Instant>>,
    is_answered: AtomicBool,
}

/// Whether the broker has handed a message out before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HandedOut {
    /// It says so.
    Yes,
    /// It says no, and it cannot have forgotten.
    No,
    /// It says no. But the message was there before this connection was made, or before
    /// the consumer had its present leader: a broker that crashed forgets what it has
    /// handed out lately, along with the acks, and so does a leader that has just begun. Or
    /// it was on its way for longer than its lease, and was handed out again meanwhile.
    Perhaps,
}

impl Bus {
    /// Accepted events, for this role.
    pub fn events_consumer(&self, role: &'static str, max_ack_pending: i64) -> Consumer {
        let names = &self.0.config.names;
        self.consumer(role, names.events_stream(), vec![names.events_all()], max_ack_pending)
    }

    /// Deliveries that are due in one shard.
    pub fn due_consumer(&self, shard: u32, max_ack_pending: i64) -> Consumer {
        let names = &self.0.config.names;
        let filter = vec![names.due_all(shard)];
        self.consumer("dispatcher", names.deliveries_stream(shard), filter, max_ack_pending)
    }

    /// Events that could not be routed and are due to be looked at again.
    pub fn unrouted_consumer(&self, max_ack_pending: i64) -> Consumer {
        let names = &self.0.config.names;
        let filter = vec![names.unrouted_due_all()];
        self.consumer("fanout", names.unrouted_stream(), filter, max_ack_pending)
    }

    /// Outcomes of these kinds, for this role.
    pub fn outcomes_consumer(
        &self,
        role: &'static str,
        kinds: &[OutcomeKind],
        max_ack_pending: i64,
    ) -> Consumer {
        let names = &self.0.config.names;
        let filters = kinds.iter().map(|kind| names.outcomes_of_kind(kind.as_str())).collect();
        self.consumer(role, names.outcomes_stream(), filters, max_ack_pending)
    }

    fn consumer(
        &self,
        role: &'static str,
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
        Consumer { bus: self.clone(), stream, config, role, found: None }
    }
}

impl Consumer {
    /// Looks the durable consumer up. One that is missing is made, from where its role had
    /// come to. Readiness hangs on it.
    pub async fn ensure(&mut self) -> Result<(), BusError> {
        if self.found.is_none() {
            self.found = Some(self.find().await?);
        }
        Ok(())
    }

    /// Asks for up to `max` messages. Pull only what there is a slot for: the
    /// lease begins when the broker sends.
    pub async fn pull(&mut self, max: usize) -> Result<Pull, BusError> {
        self.ask(Asked { messages: max, bytes: 0, within: PULL_EXPIRES }).await
    }

    /// As [`Self::pull_bytes`], for what comes within this time.
    pub async fn pull_bytes_within(
        &mut self,
        max: usize,
        max_bytes: usize,
        within: Duration,
    ) -> Result<Pull, BusError> {
        let bytes = max_bytes.max(self.one_message());
        self.ask(Asked { messages: max, bytes, within }).await
    }

    /// As [`Self::pull`], and for no more than about so many bytes: as many as one message
    /// can have, at least, because the broker never sends a message that alone is larger.
    pub async fn pull_bytes(&mut self, max: usize, max_bytes: usize) -> Result<Pull, BusError> {
        self.pull_bytes_within(max, max_bytes, PULL_EXPIRES).await
    }

    /// Bytes of the largest message that there can be.
    fn one_message(&self) -> usize {
        self.bus.0.client.server_info().max_payload + MESSAGE_OVERHEAD
    }

    async fn ask(&mut self, asked: Asked) -> Result<Pull, BusError> {
        if !self.bus.is_connected() {
            // The client would keep the question and ask it later, when nobody listens.
            return Err(BusError::Unavailable("not connected".into()));
        }
        self.ensure().await?;
        self.note_floor().await;
        let Some(found) = &self.found else {
            return Err(BusError::Unavailable("no consumer".into()));
        };
        // Only a connection that is made after this pull was asked for ends it.
        let mut connected = self.bus.0.connected.clone();
        connected.mark_unchanged();
        let (since, lease) = (found.since, self.config.ack_wait);
        let (client, clock) = (&self.bus.0.client, self.bus.0.clock.clone());
        let inbox = Subject::from(client.new_inbox());
        let request = BatchConfig {
            batch: asked.messages,
            max_bytes: asked.bytes,
            expires: Some(asked.within),
            ..Default::default()
        };
        // Before it is: what is handed out for it cannot have been on its way for longer.
        let asked_at = Instant::now();
        let pulling = async {
            let messages = client.subscribe(inbox.clone()).await.map_err(BusError::unavailable)?;
            let requested = found.consumer.request_batch(request, inbox).await;
            requested.map_err(BusError::unavailable)?;
            Ok(Pull {
                messages: messages.ready_chunks(asked.messages.max(1)),
                context: self.bus.0.jetstream.clone(),
                connected,
                since,
                lease,
                asked,
                asked_at,
                came: Came::default(),
                patience: asked.patience(&clock),
                clock,
            })
        };
        let pull = pulling.await;
        if pull.is_err() {
            self.forget();
        }
        pull
    }

    /// After an error: look the consumer up anew before the next pull.
    pub fn forget(&mut self) {
        self.found = None;
    }
}

impl Pulled {
    pub(crate) fn new(
        message: async_nats::jetstream::Message,
        surely_since: DateTime<Utc>,
        lease: Duration,
        on_its_way: impl Fn(DateTime<Utc>) -> Duration,
    ) -> Result<Self, BusError> {
        let info = message.info().map_err(|error| BusError::Malformed(error.to_string()))?;
        let stream_sequence = info.stream_sequence;
        let stored_at = moment(info.published);
        // On a slow way for longer than its lease, it was handed to somebody else since.
        let was_late = on_its_way(stored_at) >= lease * 3 / 4 && !chassis::mutant("late_is_fresh");
        let handed_out_before = match info.delivered {
            2.. => HandedOut::Yes,
            _ if stored_at > surely_since && !was_late => HandedOut::No,
            _ => HandedOut::Perhaps,
        };
        let times_handed_out = u64::try_from(info.delivered).unwrap_or(1);
        let last_sign = Mutex::new(Some(Instant::now()));
        Ok(Self {
            message,
            stream_sequence,
            stored_at,
            times_handed_out,
            handed_out_before,
            stood_before: stored_at <= surely_since - CLOCK_MARGIN || was_late,
            lease,
            last_sign,
            is_answered: AtomicBool::new(false),
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

    /// Whether somebody may have worked on it: the broker has handed it out before, or it
    /// stood there already when this connection was made, so that the broker may have
    /// crashed since and forgotten.
    pub fn may_have_been_tried(&self) -> bool {
        self.handed_out_before == HandedOut::Yes || self.stood_before
    }

    /// Its place in the stream.
    pub fn stream_sequence(&self) -> u64 {
        self.stream_sequence
    }

    /// When the broker stored it, by the clock of the stream's leader: the same however
    /// often it is handed out.
    pub fn stored_at(&self) -> DateTime<Utc> {
        self.stored_at
    }

    /// How often the broker says that it has handed it out, this time included.
    pub fn times_handed_out(&self) -> u64 {
        self.times_handed_out
    }

    /// How long it has stood where it is, as far as the two clocks agree.
    pub fn stood(&self, now: DateTime<Utc>) -> Duration {
        (now - self.stored_at).to_std().unwrap_or_default()
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

    /// From now on it asks for nothing more.
    pub(crate) fn has_answered(&self) {
        self.is_answered.store(true, Ordering::Relaxed);
    }

    /// Where its answer goes.
    pub(crate) fn reply(&self) -> Option<&str> {
        self.message.reply.as_deref()
    }

    /// Asks for it again after this while.
    pub async fn nak(&self, delay: Duration) {
        self.answer(AckKind::Nak(Some(delay))).await;
    }

    /// Prolongs the lease, for work that does no harm when somebody else does it as well.
    pub async fn still_working(&self) {
        // After an answer it would only delay the message's return.
        if !self.is_answered.load(Ordering::Relaxed) {
            self.answer(AckKind::Progress).await;
        }
    }

    /// Prolongs the lease, and notes whether the broker has heard of it: a connection that
    /// stands is not one that anything comes through.
    async fn keep_lease(&self) {
        let Some(to) = self.message.reply.clone() else { return };
        if self.is_answered.load(Ordering::Relaxed) {
            return;
        }
        let sent = Instant::now();
        let sign = Request::new().payload(AckKind::Progress.into()).timeout(Some(self.lease / 3));
        let heard = self.message.context.client().send_request(to, sign).await;
        if heard.is_err() && !chassis::mutant("unheard_sign_counts") {
            return;
        }
        let mut last_sign = self.last_sign.lock().unwrap_or_else(PoisonError::into_inner);
        // Once it may have gone to another, no sign of life brings it back for sure.
        *last_sign = last_sign.filter(|at| sent.duration_since(*at) < self.lease).map(|_| sent);
    }

    /// Whether the broker has not heard of this process for so long that it may have given
    /// the message to another: because the process was frozen, or the connection was gone.
    pub fn lease_may_be_lost(&self, lease: Duration) -> bool {
        let last_sign = self.last_sign.lock().unwrap_or_else(PoisonError::into_inner);
        last_sign.is_none_or(|at| at.elapsed() >= lease)
    }

    async fn answer(&self, kind: AckKind) {
        if !matches!(kind, AckKind::Progress) {
            self.has_answered();
        }
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
            let every = if chassis::mutant("keep_no_lease") { lease * 3 } else { lease / 3 };
            clock.sleep(every).await;
            // One that is not answered keeps no other waiting.
            join_all(pulled.iter().map(Pulled::keep_lease)).await;
        }
    };
    tokio::select! {
        biased;
        done = work => done,
        never = alive => never,
    }
}
