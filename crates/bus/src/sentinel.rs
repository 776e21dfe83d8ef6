//! Finds what a broker has lost sight of in a stream of deliveries, and writes it anew.
//!
//! Two ways to it were seen on real servers (2.15.1):
//!
//! - A retry whose time comes while the store takes nothing is marked as being fired, and the
//!   mark stays until the broker restarts: it is never fired again.
//! - A broker that is killed forgets which messages it has removed since it last wrote its
//!   index, and not what its consumer has acknowledged. What was done stands on `due` again,
//!   below the consumer's floor, and nobody is handed it. The same happens to what was not
//!   done, should the consumer's floor ever be ahead of the stream.
//!
//! Every write here is conditional on the message that it replaces, so that any number of
//! processes may look, and nothing is replaced that has moved on meanwhile. What is written
//! anew on `due` says since when somebody may have worked on it: the dispatcher asks first
//! what is known of it, and what has ended is not sent again.

use std::collections::BTreeSet;

use async_nats::header::{NATS_SCHEDULE, NATS_SCHEDULE_TARGET};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::Delivery;

use crate::floors::moment;
use crate::publish::Write;
use crate::{Bus, BusError, Stored};

/// Messages that are read in one look, at most.
const MOST_READ: usize = 100;
/// A retry is overdue when its time has passed by this many leases: the broker fires within a
/// quarter of a second, and a busy one within seconds.
const OVERDUE_LEASES: i32 = 10;

/// Looks after one stream of deliveries.
pub struct Sentinel {
    bus: Bus,
    shard: u32,
    /// Where the walk through the retries goes on.
    next_retry: u64,
    /// What stood on `due` below the floor at the last look.
    suspects: BTreeSet<u64>,
}

/// What one look has found and written anew.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Found {
    /// Retries whose time had passed long ago.
    pub overdue: u64,
    /// Due deliveries that their consumer takes for done.
    pub unseen: u64,
}

impl Bus {
    /// For one stream of deliveries.
    pub fn sentinel(&self, shard: u32) -> Sentinel {
        Sentinel { bus: self.clone(), shard, next_retry: 1, suspects: BTreeSet::new() }
    }
}

impl Sentinel {
    /// One look. Looks should be at least a lease apart: what is below the floor at two looks
    /// is acknowledged and was not removed.
    ///
    /// # Errors
    /// [`BusError::Unavailable`]; what was written until then is written.
    pub async fn look(&mut self) -> Result<Found, BusError> {
        if chassis::mutant("no_sentinel") {
            return Ok(Found::default());
        }
        let name = self.bus.0.config.names.deliveries_stream(self.shard);
        let stream = self.bus.0.jetstream.get_stream_no_info(name).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let unseen = self.look_at_due(&stream).await?;
        let overdue = self.look_at_retries(&stream).await?;
        Ok(Found { overdue, unseen })
    }

    async fn look_at_due(&mut self, stream: &Stream<()>) -> Result<u64, BusError> {
        let names = &self.bus.0.config.names;
        let info = stream.consumer_info(names.consumer("dispatcher")).await;
        let info = info.map_err(BusError::unavailable)?;
        let floor = info.ack_floor.stream_sequence;
        let mut suspects = BTreeSet::new();
        let (mut written, mut next) = (0, 1);
        while suspects.len() < MOST_READ {
            let filter = names.due_all(self.shard);
            let Some(message) = next_message(stream, filter, next).await? else { break };
            if message.sequence > floor {
                break;
            }
            next = message.sequence + 1;
            suspects.insert(message.sequence);
            if self.suspects.contains(&message.sequence) && self.hand_out_again(&message).await? {
                written += 1;
            }
        }
        self.suspects = suspects;
        Ok(written)
    }

    async fn look_at_retries(&mut self, stream: &Stream<()>) -> Result<u64, BusError> {
        let bus = &self.bus.0;
        let lease = TimeDelta::from_std(bus.config.lease).unwrap_or(TimeDelta::MAX);
        // By the broker's clock, which is the one that fires.
        let ahead = self.bus.ahead_of_broker().await?;
        let long_ago = bus.clock.now() - ahead - lease * OVERDUE_LEASES;
        let mut written = 0;
        for _ in 0..MOST_READ {
            let filter = bus.config.names.retry_all(self.shard);
            let Some(message) = next_message(stream, filter, self.next_retry).await? else {
                self.next_retry = 1;
                break;
            };
            self.next_retry = message.sequence + 1;
            if let Some((at, due)) = schedule_of(&message)
                && at < long_ago
                && self.fire_again(&message, due).await?
            {
                written += 1;
            }
        }
        Ok(written)
    }

    /// Writes a retry in its own place, which takes the broker's mark off it.
    async fn fire_again(&self, retry: &StreamMessage, due: String) -> Result<bool, BusError> {
        let subject = retry.subject.to_string();
        self.replace(Write {
            id: format!("again:{}", retry.sequence),
            payload: retry.payload.clone(),
            only_while: Some((retry.sequence, subject.clone())),
            schedule: Some((self.bus.0.clock.now(), due)),
            subject,
        })
        .await
    }

    /// Writes what is due in its own place, so that its consumer sees it.
    async fn hand_out_again(&self, due: &StreamMessage) -> Result<bool, BusError> {
        let Ok(mut delivery) = Delivery::decode(due.payload.clone()) else {
            // What is no delivery is set aside by whoever is handed it.
            return self.replace(self.in_place(due, due.payload.clone())).await;
        };
        delivery.may_exist = true;
        let stood_since = moment(due.time);
        delivery.may_have_arrived.get_or_insert_with(|| Timestamp {
            seconds: stood_since.timestamp(),
            nanos: stood_since.timestamp_subsec_nanos().cast_signed(),
        });
        self.replace(self.in_place(due, delivery.encode_to_vec().into())).await
    }

    fn in_place(&self, message: &StreamMessage, payload: Bytes) -> Write {
        let subject = message.subject.to_string();
        Write {
            id: format!("again:{}", message.sequence),
            payload,
            only_while: Some((message.sequence, subject.clone())),
            schedule: None,
            subject,
        }
    }

    /// Whether it was replaced; otherwise it has moved on meanwhile, or somebody else did it.
    async fn replace(&self, write: Write) -> Result<bool, BusError> {
        match self.bus.write(write).await {
            Ok(stored) => Ok(stored == Stored::New),
            Err(BusError::Occupied) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

async fn next_message(
    stream: &Stream<()>,
    filter: String,
    from: u64,
) -> Result<Option<StreamMessage>, BusError> {
    match stream.get_first_raw_message_by_subject(filter, from).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(BusError::unavailable(error)),
    }
}

/// When a retry is to be fired, and where to.
fn schedule_of(message: &StreamMessage) -> Option<(DateTime<Utc>, String)> {
    let at = message.headers.get(NATS_SCHEDULE)?.as_str().strip_prefix("@at ")?;
    let due = message.headers.get(NATS_SCHEDULE_TARGET)?.as_str().to_owned();
    Some((DateTime::parse_from_rfc3339(at).ok()?.to_utc(), due))
}
