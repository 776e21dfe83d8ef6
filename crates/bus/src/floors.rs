//! Durable consumers, and how far each has come.
//!
//! EVENTS and OUTCOMES keep for a while what is done. A durable consumer that is gone
//! (deleted by hand, or missing in a restore) must not begin there anew: every event of
//! gigabytes would be delivered again. So whoever pulls notes the consumer's ack floor in a
//! bucket every few seconds, and a consumer that is missing is made from there.
//!
//! What was acked between the last note and the loss, and what was acked out of order above
//! the floor, comes a second time. Its deliveries have the same ids, and the broker knows
//! these for `POSTRIDER_DELIVERIES_DEDUP_WINDOW` and for as long as the delivery waits; its
//! outcomes are the same rows.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{
    Config as ConsumerConfig, Consumer as JsConsumer, DeliverPolicy, Info,
};
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::{
    Info as StreamInfo, LastRawMessageErrorKind, RetentionPolicy, Stream,
};
use chrono::{DateTime, Utc};

use crate::{BusError, Consumer};

/// How often the floor is noted.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// How long a note may hold up a pull.
const NOTE_PATIENCE: Duration = Duration::from_secs(1);

/// Keeps what there is more of than is wanted: each process has an environment of its own,
/// and maybe another version, and the last one that looks a consumer up must not take back
/// what another one counts on. A kind of outcome that only a newer version knows is handed
/// out to an older one as well, which leaves it to the newer. The lease is that of the
/// settings: everything else that hangs on it is, too.
fn keep_larger(there: &ConsumerConfig, wanted: &mut PullConfig) {
    wanted.max_ack_pending = wanted.max_ack_pending.max(there.max_ack_pending);
    for subject in &there.filter_subjects {
        if !wanted.filter_subjects.contains(subject) {
            wanted.filter_subjects.push(subject.clone());
        }
    }
}

/// A durable consumer that is there.
pub(crate) struct Found {
    pub(crate) consumer: JsConsumer<PullConfig>,
    /// What the consumer says of a message is certain only for what was stored after this:
    /// it was made, or got the leader that it has, then.
    pub(crate) since: DateTime<Utc>,
    /// When its stream was made: a note is of no use for a stream that was made anew.
    stream_made: DateTime<Utc>,
    /// What is done is gone from a work queue: there is no floor to note.
    is_work_queue: bool,
    leader: Option<String>,
    /// The floor that was noted last.
    noted: u64,
    noted_at: Option<Instant>,
}

impl Consumer {
    /// Looks the consumer up, and makes it where it is missing.
    pub(crate) async fn find(&self) -> Result<Found, BusError> {
        let jetstream = &self.bus.0.jetstream;
        let stream = jetstream.get_stream(&self.stream).await.map_err(BusError::unavailable)?;
        let stream_made = moment(stream.cached_info().created);
        let there = match stream.consumer_info(self.durable_name()).await {
            Ok(info) => Some(info),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => None,
            Err(error) => return Err(BusError::unavailable(error)),
        };
        let is_work_queue = stream.cached_info().config.retention == RetentionPolicy::WorkQueue;
        let (deliver_policy, noted) = match &there {
            // Where it began cannot be changed any more.
            Some(info) => (info.config.deliver_policy, 0),
            None if is_work_queue => (DeliverPolicy::All, 0),
            None => self.beginning(stream.cached_info(), stream_made).await?,
        };
        let mut config = PullConfig { deliver_policy, ..self.config.clone() };
        if let Some(info) = &there {
            keep_larger(&info.config, &mut config);
        }
        let consumer = stream.create_consumer(config).await.map_err(BusError::unavailable)?;
        let Info { created, cluster, .. } = consumer.cached_info();
        let leader = cluster.as_ref().and_then(|cluster| cluster.leader.clone());
        let since = moment(*created);
        Ok(Found { consumer, since, stream_made, is_work_queue, leader, noted, noted_at: None })
    }

    /// Where a consumer that is missing begins.
    async fn beginning(
        &self,
        stream: &StreamInfo,
        stream_made: DateTime<Utc>,
    ) -> Result<(DeliverPolicy, u64), BusError> {
        let Some(floor) = self.noted_floor(stream_made).await? else {
            return Ok((DeliverPolicy::All, 0));
        };
        // A stream that was restored to an older state gives numbers out a second time.
        let floor = floor.min(stream.state.last_sequence);
        metrics::counter!("postrider_consumers_restored_total", "role" => self.role).increment(1);
        tracing::error!(
            consumer = self.durable_name(),
            stream = self.stream,
            floor,
            "the durable consumer was gone; it is made anew from its noted ack floor, and what \
             was acked in the seconds before its loss is worked on again"
        );
        if chassis::mutant("consumer_from_the_beginning") {
            return Ok((DeliverPolicy::All, 0));
        }
        Ok((DeliverPolicy::ByStartSequence { start_sequence: floor + 1 }, floor))
    }

    /// Notes how far the consumer has come, if it is time to, and sees whether it has
    /// another leader. Without an answer the next pull does it.
    pub(crate) async fn note_floor(&mut self) {
        let is_fresh = |at: Instant| at.elapsed() < NOTE_EVERY;
        let Some(found) = self.found.as_mut() else { return };
        if found.noted_at.is_some_and(is_fresh) {
            return;
        }
        found.noted_at = Some(Instant::now());
        match tokio::time::timeout(NOTE_PATIENCE, self.note()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the ack floor is not noted"),
            Err(_) => tracing::debug!("the ack floor is not noted in time"),
        }
    }

    async fn note(&mut self) -> Result<(), BusError> {
        let (bus, key) = (self.bus.clone(), self.floor_key());
        let Some(found) = self.found.as_mut() else { return Ok(()) };
        let info = found.consumer.get_info().await.map_err(BusError::unavailable)?;
        let leader = info.cluster.and_then(|cluster| cluster.leader);
        if leader.is_some() && leader != found.leader {
            found.leader = leader;
            found.since = bus.0.clock.now();
        }
        let floor = info.ack_floor.stream_sequence;
        if floor <= found.noted || found.is_work_queue {
            return Ok(());
        }
        let note = format!("{} {floor}", found.stream_made.timestamp_micros());
        let sent = bus.0.jetstream.publish(key, note.into()).await?;
        sent.await?;
        found.noted = floor;
        Ok(())
    }

    /// The floor that was noted, if it is one of this stream.
    async fn noted_floor(&self, stream_made: DateTime<Utc>) -> Result<Option<u64>, BusError> {
        let bus = &self.bus.0;
        let bucket = format!("KV_{}", bus.config.names.floors_bucket());
        let bucket: Stream<()> =
            bus.jetstream.get_stream_no_info(bucket).await.map_err(BusError::unavailable)?;
        let note = match bucket.get_last_raw_message_by_subject(&self.floor_key()).await {
            Ok(message) => message.payload,
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
                return Ok(None);
            }
            Err(error) => return Err(BusError::unavailable(error)),
        };
        let note = String::from_utf8_lossy(&note);
        Ok(note.split_once(' ').and_then(|(made, floor)| {
            let is_of_this = made.parse() == Ok(stream_made.timestamp_micros());
            floor.parse().ok().filter(|_| is_of_this)
        }))
    }

    fn floor_key(&self) -> String {
        let bucket = self.bus.0.config.names.floors_bucket();
        format!("$KV.{bucket}.{}.{}", self.stream, self.durable_name())
    }

    fn durable_name(&self) -> &str {
        self.config.durable_name.as_deref().unwrap_or_default()
    }
}

/// The client's time as ours.
pub(crate) fn moment(at: async_nats::datetime::DateTime) -> DateTime<Utc> {
    DateTime::from_timestamp(at.unix_timestamp(), at.nanosecond()).unwrap_or_default()
}
