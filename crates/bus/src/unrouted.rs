//! Events that cannot be routed yet: a work queue of their own, on whose schedules they
//! wait, so that none holds a place of the consumer that all events share.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use prost::Message as _;
use protocol::v1::UnroutedEvent;

use crate::deliveries::{TRIES, no_place};
use crate::publish::Write;
use crate::{Bus, BusError, Pulled, Rescheduled};

/// What waits to be routed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unrouted {
    /// Events of one account.
    pub events: u64,
    /// Their size.
    pub bytes: u64,
    /// Size of the whole stream, whatever the account.
    pub total_bytes: u64,
}

impl Bus {
    /// How much of this account waits. The broker lists its subjects for this: ask seldom.
    pub async fn unrouted_of(&self, account_id: &str) -> Result<Unrouted, BusError> {
        let names = &self.0.config.names;
        let stream = self.0.jetstream.get_stream_no_info(names.unrouted_stream()).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let subjects = stream.info_with_subjects(names.unrouted_of_account(account_id)).await;
        let mut subjects = subjects.map_err(BusError::unavailable)?;
        let mut found = Unrouted { total_bytes: subjects.info.state.bytes, ..Unrouted::default() };
        while let Some((subject, _)) = subjects.try_next().await.map_err(BusError::unavailable)? {
            let size = subject.rsplit_once('-').and_then(|(_, size)| size.parse::<u64>().ok());
            found.events += 1;
            found.bytes += size.unwrap_or_default();
        }
        Ok(found)
    }

    /// How many events wait to be routed, whatever the account.
    pub async fn unrouted_waiting(&self) -> Result<u64, BusError> {
        let name = self.0.config.names.unrouted_stream();
        let stream = self.0.jetstream.get_stream(name).await.map_err(BusError::unavailable)?;
        Ok(stream.cached_info().state.messages)
    }

    /// Stores an event that was taken from the stream of events, for its next look at this
    /// moment. One that waits already stays as it is.
    ///
    /// Dying after this and before the ack of `taken` is harmless: whoever is handed it
    /// next finds it waiting.
    pub async fn wait_unrouted(
        &self,
        event: &UnroutedEvent,
        taken: &Pulled,
        at: DateTime<Utc>,
    ) -> Result<(), BusError> {
        let names = &self.0.config.names;
        // Who owns an event stands at the end of its subject, whatever its kind.
        let account_id = taken.subject().rsplit('.').next().unwrap_or_default();
        // Place and time in EVENTS are the event's own, even if that stream is made anew;
        // the size is told without a look inside.
        let (place, at_ms) = (taken.stream_sequence(), taken.stored_at().timestamp_millis());
        let id = format!("{place}-{at_ms}-{}", event.accepted_event.len());
        let due = names.unrouted_due(account_id, &id);
        let subject = names.retry_of(&due).ok_or_else(|| no_place(&due))?;
        let places = names.places_of(&due).ok_or_else(|| no_place(&due))?;
        let payload = Bytes::from(event.encode_to_vec());
        let mut last = BusError::Unavailable("not tried".into());
        for attempt in 0..TRIES {
            self.pause_before(attempt).await;
            let write = Write {
                subject: subject.clone(),
                id: format!("{account_id}.{id}:{}", event.rounds),
                payload: payload.clone(),
                only_while: Some((0, places.clone())),
                schedule: Some((at, due.clone())),
            };
            match self.write(write).await {
                Ok(_) | Err(BusError::Occupied) => return Ok(()),
                Err(error @ BusError::Unavailable(_)) => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Stores an event, whose rounds the caller has raised, for its next look at this moment.
    pub async fn wait_longer(
        &self,
        event: &UnroutedEvent,
        held: &Pulled,
        wait: Duration,
    ) -> Result<Rescheduled, BusError> {
        let id = format!("{}:{}", held.subject(), event.rounds);
        let at = self.0.clock.now() + wait;
        self.write_next(id, event.encode_to_vec().into(), held, at).await
    }
}
