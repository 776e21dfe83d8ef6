//! Writes that count once the broker has acknowledged them.

use async_nats::HeaderMap;
use async_nats::header::{
    NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID, NATS_SCHEDULE, NATS_SCHEDULE_TARGET,
};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use model::EventType;

use crate::{Bus, BusError};

/// Where the expected sequence is looked for, when that is not the message's own subject.
const EXPECTED_ON_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// What the broker said of a write with an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stored {
    /// It was new.
    New,
    /// A message of that id was stored within the window; this one was not.
    Duplicate,
}

/// One write.
pub(crate) struct Write {
    pub(crate) subject: String,
    pub(crate) id: String,
    pub(crate) payload: Bytes,
    /// Refuse unless the message on this subject has this sequence; 0: there is none.
    pub(crate) only_while: Option<(u64, String)>,
    /// Deliver later: when, and on which subject.
    pub(crate) schedule: Option<(DateTime<Utc>, String)>,
}

impl Bus {
    /// Stores an accepted event. `Ok` means that the broker has it.
    ///
    /// Dying before the answer leaves it stored or not; the caller, who was told
    /// nothing, sends it again, and the event key recognises it.
    pub async fn publish_event(
        &self,
        event_type: EventType,
        account_id: &str,
        event_key: &str,
        payload: Bytes,
    ) -> Result<Stored, BusError> {
        let names = &self.0.config.names;
        let subject = names.event(event_type.family().as_str(), event_type.as_str(), account_id);
        let id = event_key.to_owned();
        self.write(Write { subject, id, payload, only_while: None, schedule: None }).await
    }

    /// One try; the caller repeats with the same id if it wants to.
    pub(crate) async fn write(&self, write: Write) -> Result<Stored, BusError> {
        if !self.is_connected() {
            // The client would buffer it; better to say so now.
            return Err(BusError::Unavailable("not connected".into()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, write.id);
        if let Some((sequence, subject)) = write.only_while {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
            headers.insert(EXPECTED_ON_SUBJECT, subject);
        }
        if let Some((at, target)) = write.schedule {
            headers.insert(NATS_SCHEDULE, schedule(at));
            headers.insert(NATS_SCHEDULE_TARGET, target);
        }
        let sent = self.0.jetstream.publish_with_headers(write.subject, headers, write.payload);
        let ack = sent.await?.await?;
        Ok(if ack.duplicate { Stored::Duplicate } else { Stored::New })
    }
}

/// As NATS reads it. Rounded up to the next millisecond, because a retry is never early.
fn schedule(at: DateTime<Utc>) -> String {
    let up = if chassis::mutant("retry_early") { 0 } else { 999 };
    let at = at + chrono::TimeDelta::microseconds(up);
    format!("@at {}", at.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_rounded_up() {
        for (micros, wanted) in [(0, "00.000"), (1, "00.001"), (999, "00.001"), (1_001, "00.002")] {
            let at = DateTime::from_timestamp_micros(1_800_000_000_000_000 + micros).unwrap();
            assert_eq!(schedule(at), format!("@at 2027-01-15T08:00:{wanted}Z"));
        }
    }
}
