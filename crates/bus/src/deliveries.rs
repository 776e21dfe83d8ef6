//! Writes of deliveries: the first on `due`, every later one on `retry`.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::shard_of;
use prost::Message as _;
use protocol::v1::Delivery;

use crate::publish::Write;
use crate::{Bus, BusError, Stored};

/// How often an unconfirmed write is repeated before the caller hears of it.
const TRIES: u32 = 3;

/// What became of a reschedule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rescheduled {
    /// The retry is stored; the copy that was worked on is done.
    Stored,
    /// This hop was written before, by a process that died before its ack, or
    /// another copy is ahead. Only a redelivered message may meet this.
    WasAhead,
}

impl Bus {
    /// Stores a delivery's first hop, due now, unless it is there already.
    ///
    /// The subject must be vacant, always: what stands there can only be this
    /// delivery, perhaps as a later hop, which must not be pushed out.
    /// `Duplicate` says that it was there.
    pub async fn publish_delivery(&self, delivery: &Delivery) -> Result<Stored, BusError> {
        let (shard, target_id) = self.place(delivery);
        let subject = self.0.config.names.due(shard, target_id, &delivery.delivery_id);
        let id = message_id(delivery);
        let payload = bytes::Bytes::from(delivery.encode_to_vec());
        let mut last = BusError::Unavailable("not tried".into());
        for attempt in 0..TRIES {
            let write = Write {
                subject: subject.clone(),
                id: id.clone(),
                payload: payload.clone(),
                only_if_vacant: true,
                schedule: None,
            };
            match self.write(write).await {
                Err(BusError::Occupied) => return Ok(Stored::Duplicate),
                Err(error @ BusError::Unavailable(_)) => last = error,
                other => return other,
            }
            self.0.clock.sleep(Duration::from_millis(200 << attempt)).await;
        }
        Err(last)
    }

    /// Stores this delivery, whose hop the caller has raised, as a schedule that
    /// puts it on `due` at this moment.
    ///
    /// The subject must be vacant: two copies of one delivery can never both
    /// leave a retry behind. Dying after this and before the ack of the copy
    /// that was worked on is harmless: once the schedule fires, it takes that
    /// copy's place on `due`, and until then the redelivered copy finds it.
    pub async fn reschedule(
        &self,
        delivery: &Delivery,
        at: DateTime<Utc>,
    ) -> Result<Rescheduled, BusError> {
        let (shard, target_id) = self.place(delivery);
        let names = &self.0.config.names;
        let subject = names.retry(shard, &delivery.delivery_id);
        let due = names.due(shard, target_id, &delivery.delivery_id);
        let payload = bytes::Bytes::from(delivery.encode_to_vec());
        let mut last = BusError::Unavailable("not tried".into());
        for attempt in 0..TRIES {
            let write = Write {
                subject: subject.clone(),
                id: message_id(delivery),
                payload: payload.clone(),
                only_if_vacant: true,
                schedule: Some((at, due.clone())),
            };
            match self.write(write).await {
                Ok(Stored::New) => return Ok(Rescheduled::Stored),
                Ok(Stored::Duplicate) | Err(BusError::Occupied) if attempt > 0 => {
                    return Ok(Rescheduled::Stored);
                }
                Ok(Stored::Duplicate) | Err(BusError::Occupied) => {
                    return Ok(Rescheduled::WasAhead);
                }
                Err(error @ BusError::Unavailable(_)) => last = error,
                Err(error) => return Err(error),
            }
            self.0.clock.sleep(Duration::from_millis(200 << attempt)).await;
        }
        Err(last)
    }

    /// The hop that waits on this delivery's `retry` subject, asked of the leader.
    pub async fn waiting_hop(&self, delivery: &Delivery) -> Result<Option<u32>, BusError> {
        use async_nats::jetstream::stream::RawMessageErrorKind as Kind;
        let (shard, _) = self.place(delivery);
        let names = &self.0.config.names;
        let stream = self.0.jetstream.get_stream_no_info(names.deliveries_stream(shard)).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let subject = names.retry(shard, &delivery.delivery_id);
        match stream.get_last_raw_message_by_subject(&subject).await {
            Ok(message) => {
                let waiting = Delivery::decode(message.payload)
                    .map_err(|e| BusError::Malformed(e.to_string()))?;
                Ok(Some(waiting.hop))
            }
            Err(error) if error.kind() == Kind::NoMessageFound => Ok(None),
            Err(error) => Err(BusError::unavailable(error)),
        }
    }

    fn place<'a>(&self, delivery: &'a Delivery) -> (u32, &'a str) {
        let target_id = delivery.target.as_ref().map_or("", |target| target.id.as_str());
        (shard_of(target_id, self.0.config.shards), target_id)
    }
}

fn message_id(delivery: &Delivery) -> String {
    format!("{}:{}", delivery.delivery_id, delivery.hop)
}
