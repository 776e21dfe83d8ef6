//! Writes of deliveries: the first on `due`, every later one on `retry`.
//!
//! Only who holds what stands on the delivery's `due` subject may write its next
//! hop. The broker checks that with every write: a copy that has been acked, or
//! that a fired retry has replaced, can write nothing any more.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::shard_of;
use prost::Message as _;
use protocol::v1::Delivery;

use crate::publish::Write;
use crate::{Bus, BusError, Pulled, Stored};

/// How often an unconfirmed write is repeated before the caller hears of it.
const TRIES: u32 = 3;

/// What became of a reschedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rescheduled {
    /// The retry is stored; the copy that was worked on is done.
    Stored,
    /// The copy that was worked on is not the newest any more: its retry waits or
    /// has fired, or the delivery has ended. It is done just as well.
    Superseded,
}

impl Bus {
    /// Stores a delivery's first hop, due now, unless the delivery is due already,
    /// at whatever hop: then it says `Duplicate`.
    pub async fn publish_delivery(&self, delivery: &Delivery) -> Result<Stored, BusError> {
        let names = &self.0.config.names;
        let target_id = delivery.target.as_ref().map_or("", |target| target.id.as_str());
        let shard = shard_of(target_id, self.0.config.shards);
        let subject = names.due(shard, target_id, &delivery.delivery_id);
        let payload = Bytes::from(delivery.encode_to_vec());
        let write = || Write {
            subject: subject.clone(),
            id: message_id(delivery),
            payload: payload.clone(),
            only_while: Some((0, subject.clone())),
            schedule: None,
        };
        match self.write_patiently(write).await {
            Err(BusError::Occupied) => Ok(Stored::Duplicate),
            other => other,
        }
    }

    /// Stores this delivery, whose hop the caller has raised, as a schedule that
    /// puts it on `due` at this moment. `held` is the copy that was worked on.
    ///
    /// Dying after this and before the ack of `held` is harmless: whoever is handed
    /// `held` next finds the retry waiting, or writes the same hop in its place;
    /// and once it fires, it takes the place of `held` on `due`.
    pub async fn reschedule(
        &self,
        delivery: &Delivery,
        held: &Pulled,
        at: DateTime<Utc>,
    ) -> Result<Rescheduled, BusError> {
        let names = &self.0.config.names;
        let due = held.subject();
        let subject = names.retry_of(due).ok_or_else(|| no_place(due))?;
        let payload = Bytes::from(delivery.encode_to_vec());
        let write = || Write {
            subject: subject.clone(),
            id: message_id(delivery),
            payload: payload.clone(),
            only_while: Some((held.stream_sequence(), due.to_owned())),
            schedule: Some((at, due.to_owned())),
        };
        match self.write_patiently(write).await {
            Ok(Stored::New) => Ok(Rescheduled::Stored),
            // `held` still stands on `due`, so this hop, which the broker
            // remembers, has not fired: it waits, written by who held the copy before.
            Ok(Stored::Duplicate) | Err(BusError::Occupied) => Ok(Rescheduled::Superseded),
            Err(error) => Err(error),
        }
    }

    /// Whether this is the newest copy of its delivery, asked of the leader. If
    /// not, its successor waits, has fired, or the delivery has ended.
    pub async fn is_newest(&self, held: &Pulled) -> Result<bool, BusError> {
        use async_nats::jetstream::stream::RawMessageErrorKind as Kind;
        let names = &self.0.config.names;
        let due = held.subject();
        let stream = names.stream_of(due).ok_or_else(|| no_place(due))?;
        let retry = names.retry_of(due).ok_or_else(|| no_place(due))?;
        let stream = self.0.jetstream.get_stream_no_info(stream).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let sequence_on =
            async |subject: &str| match stream.get_last_raw_message_by_subject(subject).await {
                Ok(message) => Ok(Some(message.sequence)),
                Err(error) if error.kind() == Kind::NoMessageFound => Ok(None),
                Err(error) => Err(BusError::unavailable(error)),
            };
        // In this order: a retry that fires in between is seen on `due`.
        Ok(sequence_on(&retry).await?.is_none()
            && sequence_on(due).await? == Some(held.stream_sequence()))
    }

    /// Repeats a write that was not confirmed. One that meets itself then is
    /// either `Occupied` or a `Duplicate`: it was stored the time before.
    async fn write_patiently(&self, write: impl Fn() -> Write) -> Result<Stored, BusError> {
        let mut last = BusError::Unavailable("not tried".into());
        for attempt in 0..TRIES {
            match self.write(write()).await {
                Ok(Stored::Duplicate) | Err(BusError::Occupied) if attempt > 0 => {
                    return Ok(Stored::New);
                }
                Err(error @ BusError::Unavailable(_)) => last = error,
                other => return other,
            }
            self.0.clock.sleep(Duration::from_millis(200 << attempt)).await;
        }
        Err(last)
    }
}

fn message_id(delivery: &Delivery) -> String {
    format!("{}:{}", delivery.delivery_id, delivery.hop)
}

fn no_place(subject: &str) -> BusError {
    BusError::Malformed(format!("{subject} is no subject of a delivery"))
}
