//! Writes of deliveries: the first on `due`, every later one on `retry`.
//!
//! Both places of a delivery have its id in their subjects, and one wildcard covers both.
//! Every write is conditional on the newest message there: the first write needs that
//! there is none, a later one that the newest is the copy which its writer holds. The
//! broker checks that with the write itself. A copy that has been acked, or that has a
//! successor, can write nothing any more.

use std::iter;
use std::time::Duration;

use async_nats::jetstream::stream::{LastRawMessageErrorKind, Stream};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use model::shard_of;
use prost::Message as _;
use protocol::v1::Delivery;

use crate::publish::Write;
use crate::{Bus, BusError, Pulled, Stored};

/// How often an unconfirmed write is repeated before the caller hears of it.
pub(crate) const TRIES: u32 = 3;

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
    /// Stores a delivery's first hop, due now, unless the delivery is due or waits for its
    /// retry already, at whatever hop: then it says `Duplicate`.
    pub async fn publish_delivery(&self, delivery: &Delivery) -> Result<Stored, BusError> {
        self.write_first(delivery, message_id(delivery)).await
    }

    /// As [`Bus::publish_delivery`], of a delivery that the broker has lost: whatever it was
    /// told of it under the same hop does not count.
    pub async fn put_delivery_back(&self, delivery: &Delivery) -> Result<Stored, BusError> {
        let fresh = hex::encode(chassis::entropy::bytes::<4>());
        self.write_first(delivery, format!("{}:{fresh}", message_id(delivery))).await
    }

    async fn write_first(&self, delivery: &Delivery, id: String) -> Result<Stored, BusError> {
        let names = &self.0.config.names;
        let target_id = delivery.target.as_ref().map_or("", |target| target.id.as_str());
        let shard = shard_of(target_id, self.0.config.shards);
        let subject = names.due(shard, target_id, &delivery.delivery_id);
        let places = names.places_of(&subject).ok_or_else(|| no_place(&subject))?;
        let mut payload = Bytes::from(delivery.encode_to_vec());
        let nothing_there = Some((0, places));
        let only_while = nothing_there.filter(|_| !chassis::mutant("first_write_unconditional"));
        let mut last = BusError::Unavailable("not tried".into());
        for attempt in 0..TRIES {
            self.pause_before(attempt).await;
            let write = Write {
                subject: subject.clone(),
                id: id.clone(),
                payload: payload.clone(),
                only_while: only_while.clone(),
                schedule: None,
            };
            let stored = match self.write(write).await {
                Err(BusError::Occupied) => Stored::Duplicate,
                Err(error @ BusError::Unavailable(_)) => {
                    last = error;
                    // It may be stored all the same, and have ended before the next try.
                    let may_exist = !chassis::mutant("repeat_unmarked");
                    let again = Delivery { may_exist, ..delivery.clone() };
                    payload = again.encode_to_vec().into();
                    continue;
                }
                other => other?,
            };
            // One that was not confirmed the time before meets itself.
            return Ok(if attempt > 0 { Stored::New } else { stored });
        }
        Err(last)
    }

    /// Stores this delivery, whose hop the caller has raised, as a schedule that
    /// puts it on `due` at this moment. `held` is the copy that was worked on.
    ///
    /// Dying after this and before the ack of `held` is harmless: whoever is handed
    /// `held` next finds the retry waiting; and once it fires, it takes the place of
    /// `held` on `due`.
    pub async fn reschedule(
        &self,
        delivery: &Delivery,
        held: &Pulled,
        at: DateTime<Utc>,
    ) -> Result<Rescheduled, BusError> {
        self.write_next(message_id(delivery), delivery.encode_to_vec().into(), held, at).await
    }

    /// Stores the successor of what was worked on, for this moment.
    pub(crate) async fn write_next(
        &self,
        message_id: String,
        payload: Bytes,
        held: &Pulled,
        at: DateTime<Utc>,
    ) -> Result<Rescheduled, BusError> {
        let names = &self.0.config.names;
        let due = held.subject();
        let subject = names.retry_of(due).ok_or_else(|| no_place(due))?;
        let places = names.places_of(due).ok_or_else(|| no_place(due))?;
        let held_is_last = Some((held.stream_sequence(), places));
        let only_while = held_is_last.filter(|_| !chassis::mutant("reschedule_unconditional"));
        let mut id = message_id.clone();
        let mut last = BusError::Unavailable("not tried".into());
        for attempt in 0..TRIES {
            self.pause_before(attempt).await;
            let write = Write {
                subject: subject.clone(),
                id: id.clone(),
                payload: payload.clone(),
                only_while: only_while.clone(),
                schedule: Some((at, due.to_owned())),
            };
            match self.write(write).await {
                Ok(Stored::New) => return Ok(Rescheduled::Stored),
                // What the broker says of the write is no proof of what has become of the
                // delivery: the copy is done only if it is not the newest one any more.
                Ok(Stored::Duplicate) | Err(BusError::Occupied) => {
                    let is_newest = self.is_newest(held).await?;
                    let found = if is_newest { "newest" } else { "superseded" };
                    metrics::counter!("postrider_reschedules_refused_total", "held_copy" => found)
                        .increment(1);
                    if !is_newest {
                        // An unconfirmed write of this call, or somebody else's.
                        let is_first = attempt == 0;
                        let done =
                            if is_first { Rescheduled::Superseded } else { Rescheduled::Stored };
                        return Ok(done);
                    }
                    tracing::warn!(subject, "a retry was refused though its copy is the newest");
                    // The id belongs to a write that is gone. The condition, not the id, keeps
                    // this one from being stored twice.
                    let fresh = hex::encode(chassis::entropy::bytes::<4>());
                    id = format!("{message_id}:{fresh}");
                    last =
                        BusError::Unavailable("the retry was refused, and nothing is there".into());
                }
                Err(error @ BusError::Unavailable(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Whether this is the newest copy of its delivery, asked of the leader. If
    /// not, its successor waits, has fired, or the delivery has ended.
    pub async fn is_newest(&self, held: &Pulled) -> Result<bool, BusError> {
        let names = &self.0.config.names;
        let due = held.subject();
        let stream = names.stream_of(due).ok_or_else(|| no_place(due))?;
        let places = names.places_of(due).ok_or_else(|| no_place(due))?;
        let stream = self.0.jetstream.get_stream_no_info(stream).await;
        let stream = stream.map_err(BusError::unavailable)?;
        // A retry that a version before stream layout 2 wrote waits elsewhere. First, so
        // that one which fires in between is seen on `due`. One release after that version
        // this question goes: the longest schedule is over by then.
        if let Some(old) = names.old_retry_of(due)
            && last_on(&stream, &old).await?.is_some()
        {
            return Ok(false);
        }
        Ok(last_on(&stream, &places).await? == Some(held.stream_sequence()))
    }

    /// Whether the broker has this delivery, due or waiting, at whatever hop.
    ///
    /// # Errors
    /// [`BusError::Unavailable`].
    pub async fn has_delivery(&self, target_id: &str, delivery_id: &str) -> Result<bool, BusError> {
        let names = &self.0.config.names;
        let shards = self.0.config.shards;
        let own = shard_of(target_id, shards);
        // Where it was made while there were fewer shards, it stands elsewhere until it ends.
        for shard in iter::once(own).chain((0..shards).filter(|shard| *shard != own)) {
            let due = names.due(shard, target_id, delivery_id);
            let stream = self.0.jetstream.get_stream_no_info(names.deliveries_stream(shard)).await;
            let stream = stream.map_err(BusError::unavailable)?;
            for place in [names.places_of(&due), names.old_retry_of(&due)].into_iter().flatten() {
                if last_on(&stream, &place).await?.is_some() {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// A breath before a write is repeated.
    pub(crate) async fn pause_before(&self, attempt: u32) {
        if attempt > 0 {
            self.0.clock.sleep(Duration::from_millis(100 << attempt)).await;
        }
    }
}

/// Sequence of the last message on these subjects.
async fn last_on(stream: &Stream<()>, subjects: &str) -> Result<Option<u64>, BusError> {
    match stream.get_last_raw_message_by_subject(subjects).await {
        Ok(message) => Ok(Some(message.sequence)),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(BusError::unavailable(error)),
    }
}

fn message_id(delivery: &Delivery) -> String {
    format!("{}:{}", delivery.delivery_id, delivery.hop)
}

pub(crate) fn no_place(subject: &str) -> BusError {
    BusError::Malformed(format!("{subject} is no subject of a delivery"))
}
