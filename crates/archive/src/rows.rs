//! From messages to rows.
//!
//! One flaw costs one outcome: whatever else its message holds is read.

use chrono::{DateTime, Utc};
use model::EventType;
use model::event_filter::SearchTexts;
use prost::Message as _;
use prost::bytes::Bytes;
use protocol::Timestamp;
use protocol::v1::decision::Verdict;
use protocol::v1::ended::End;
use protocol::v1::{AcceptedEvent, Attempted, Decision, Ended, Level, Outcome, Routed, outcome};
use store::history::{
    self, AttemptRow, DecisionRow, EndRow, EventRow, NamedEvent, RoutedRow, Uuid,
};
use store::{Store, StoreError};

use crate::days::Days;
use crate::projection::Source;
use crate::table::{Refused, Table};

/// An event or an outcome that makes no row.
#[derive(Debug)]
pub(crate) struct Unread {
    /// The number of the message that it came in.
    pub(crate) message: usize,
    /// It alone, as a message of its stream.
    pub(crate) payload: Bytes,
    /// Why.
    pub(crate) flaw: Flaw,
}

/// What a number of messages comes to.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    events: Table<EventRow>,
    routed: Table<RoutedRow>,
    attempts: Table<AttemptRow>,
    ends: Table<EndRow>,
}

/// Why an event or an outcome makes no row.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Flaw {
    #[error("not a message of ours: {0}")]
    Encoding(#[from] prost::DecodeError),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{0} is no id of ours")]
    NotAnId(&'static str),
    /// A newer version wrote it, so that it can be read after an upgrade.
    #[error("{0} is not known to this version")]
    Newer(&'static str),
}

impl Flaw {
    /// Whether a newer version of this role can store it.
    pub(crate) fn is_newer(&self) -> bool {
        matches!(self, Self::Newer(_))
    }
}

/// An `OutcomeBatch`, with its outcomes still encoded, so that each can be
/// read, or fail to be, on its own. On the wire the two are the same.
#[derive(Clone, PartialEq, prost::Message)]
struct Encoded {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    outcomes: Vec<Bytes>,
}

impl Rows {
    /// Reads the message of this number, and says what in it makes no row.
    pub(crate) fn read(&mut self, source: Source, message: usize, payload: &Bytes) -> Vec<Unread> {
        let unread = |payload, flaw| Unread { message, payload, flaw };
        let read = match source {
            Source::Events => AcceptedEvent::decode(payload.clone())
                .map_err(Flaw::from)
                .and_then(event)
                .map(|row| self.events.push(message, row)),
            Source::Outcomes => match Encoded::decode(payload.clone()) {
                Ok(Encoded { outcomes }) => {
                    let read = outcomes.into_iter().map(|one| {
                        let flaw = self.read_outcome(message, one.clone()).err()?;
                        let alone = Encoded { outcomes: vec![one] }.encode_to_vec();
                        Some(unread(alone.into(), flaw))
                    });
                    return read.flatten().collect();
                }
                Err(error) => Err(error.into()),
            },
        };
        read.err().map(|flaw| unread(payload.clone(), flaw)).into_iter().collect()
    }

    fn read_outcome(&mut self, message: usize, encoded: Bytes) -> Result<(), Flaw> {
        const KIND: &str = "the kind of an outcome";
        if encoded.is_empty() {
            return Err(Flaw::Missing(KIND));
        }
        match Outcome::decode(encoded)?.kind.ok_or(Flaw::Newer(KIND))? {
            outcome::Kind::Routed(record) => self.routed.push(message, routed(record)?),
            outcome::Kind::Attempted(record) => self.attempts.push(message, attempt(record)?),
            outcome::Kind::Ended(mut record) => {
                // A delivery's last try is told with its end, and nowhere else.
                let last = record.last_attempt.take().map(attempt).transpose();
                let end = end(record, last.as_ref().ok().and_then(Option::as_ref));
                // A flaw of one is no reason not to store the other.
                let end = end.map(|row| self.ends.push(message, row));
                let last = last.map(|row| row.map(|row| self.attempts.push(message, row)));
                return end.and(last.map(drop));
            }
            // What settings-api acts on; the end of that delivery is history.
            outcome::Kind::Exhausted(_) | outcome::Kind::Trouble(_) => {}
        }
        Ok(())
    }

    /// Inserts everything, but for what the database refuses. Each insert can
    /// be repeated, so dying or failing between two of them is made good by the
    /// next try.
    pub(crate) async fn write(
        &self,
        store: &Store,
        days: &Days,
    ) -> Result<Vec<Refused>, StoreError> {
        days.make_for(&self.events).await;
        days.make_for(&self.routed).await;
        days.make_for(&self.attempts).await;
        days.make_for(&self.ends).await;
        let mut refused = self.events.write(store).await?;
        refused.extend(self.routed.write(store).await?);
        refused.extend(self.attempts.write(store).await?);
        refused.extend(self.ends.write(store).await?);
        Ok(refused)
    }
}

fn event(accepted: AcceptedEvent) -> Result<EventRow, Flaw> {
    let event = accepted.event.ok_or(Flaw::Missing("the event"))?;
    // ingest accepts no event without a kind, so that it must be one of tomorrow's.
    let kind = event.kind.as_ref().ok_or(Flaw::Newer("the event's kind"))?;
    Ok(EventRow {
        event_key: id(&accepted.event_key, "event_key")?,
        account_id: accepted.account_id,
        domain_id: history::id(&accepted.domain_id),
        event_type: EventType::of(kind).as_str().to_owned(),
        event_id: event.id.clone(),
        occurred_at: moment(event.timestamp.as_ref(), "the event's timestamp")?,
        accepted_at: moment(accepted.accepted_at.as_ref(), "accepted_at")?,
        caller: accepted.caller,
        search: SearchTexts::of(kind),
        event: event.encode_to_vec(),
    })
}

fn routed(record: Routed) -> Result<RoutedRow, Flaw> {
    Ok(RoutedRow {
        event_key: id(&record.event_key, "event_key")?,
        account_id: record.account_id,
        routed_at: moment(record.at.as_ref(), "at")?,
        settings_revision: record.settings_revision,
        decisions: record.decisions.into_iter().map(decision).collect::<Result<_, _>>()?,
    })
}

fn decision(record: Decision) -> Result<DecisionRow, Flaw> {
    let verdict = Verdict::try_from(record.verdict).map_err(|_| Flaw::Newer("a verdict"))?;
    let level = Level::try_from(record.level).map_err(|_| Flaw::Newer("a level"))?;
    Ok(DecisionRow {
        verdict: verdict.as_str_name().to_ascii_lowercase(),
        level: level_name(level),
        disabled_at: moment(record.disabled_at.as_ref(), "disabled_at").ok(),
        subscription_id: record.subscription_id,
        target_id: history::id(&record.target_id),
        url: record.url,
        delivery_id: history::id(&record.delivery_id),
        duplicate_of: text(record.duplicate_of),
    })
}

fn attempt(record: Attempted) -> Result<AttemptRow, Flaw> {
    let level = Level::try_from(record.level).map_err(|_| Flaw::Newer("a level"))?;
    Ok(AttemptRow {
        started_at: moment(record.started_at.as_ref(), "started_at")?,
        next_attempt_at: moment(record.next_attempt_at.as_ref(), "next_attempt_at").ok(),
        delivery_id: id(&record.delivery_id, "delivery_id")?,
        hop: record.hop,
        event_key: id(&record.event_key, "event_key")?,
        account_id: record.account_id,
        target_id: history::id(&record.target_id),
        generation: record.generation,
        attempt: record.attempt,
        charged: record.charged,
        duration_ms: record.duration_ms,
        url: record.url,
        status: (record.status != 0).then_some(record.status),
        reason: record.reason,
        detail: record.detail,
        response_snippet: record.response_snippet,
        // Older versions name none.
        level: (level != Level::Unspecified).then(|| level_name(level)),
        event: record.event.map(|event| NamedEvent {
            event_id: event.event_id,
            event_type: event.event_type,
            domain_id: history::id(&event.domain_id),
        }),
    })
}

fn end(record: Ended, last: Option<&AttemptRow>) -> Result<EndRow, Flaw> {
    let end = End::try_from(record.end).map_err(|_| Flaw::Newer("an end"))?;
    if end == End::Unspecified {
        return Err(Flaw::Missing("the end"));
    }
    Ok(EndRow {
        ended_at: moment(record.at.as_ref(), "at")?,
        delivery_id: id(&record.delivery_id, "delivery_id")?,
        // Both are missing from a message that was no delivery at all.
        event_key: history::id(&record.event_key),
        target_id: history::id(&record.target_id),
        account_id: record.account_id,
        generation: record.generation,
        hop: record.hop,
        outcome: end.as_str_name().to_ascii_lowercase(),
        reason: record.reason,
        attempts: record.attempts,
        last_url: last.and_then(|attempt| text(attempt.url.clone())),
        last_status: last.and_then(|attempt| attempt.status),
        delivery: (end != End::Delivered).then(|| record.delivery.to_vec()),
    })
}

/// The level's name without the prefix that protobuf enums carry.
fn level_name(level: Level) -> String {
    level.as_str_name().trim_start_matches("LEVEL_").to_ascii_lowercase()
}

/// `None` for the empty text, which is how protobuf writes what is not there.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn id(id: &str, what: &'static str) -> Result<Uuid, Flaw> {
    match history::id(id) {
        Some(id) => Ok(id),
        None if id.is_empty() => Err(Flaw::Missing(what)),
        None => Err(Flaw::NotAnId(what)),
    }
}

fn moment(at: Option<&Timestamp>, what: &'static str) -> Result<DateTime<Utc>, Flaw> {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, at.nanos.try_into().ok()?))
        .ok_or(Flaw::Missing(what))
}

#[cfg(test)]
mod tests;
