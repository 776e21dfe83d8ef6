//! From messages to rows.

use chrono::{DateTime, Utc};
use model::EventType;
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::ended::End;
use protocol::v1::{
    AcceptedEvent, Attempted, Decision, Ended, Level, OutcomeBatch, Routed, outcome,
};
use store::history::{AttemptRow, DecisionRow, EndRow, EventRow, RoutedRow};
use store::{Store, StoreError};

use crate::projection::Source;

/// Rows of one insert, at most. A message holds up to 128 outcomes, and a
/// statement is not to grow with their product.
const ROWS_AT_ONCE: usize = 5_000;

/// What a number of messages comes to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows {
    events: Vec<EventRow>,
    routed: Vec<RoutedRow>,
    attempts: Vec<AttemptRow>,
    ends: Vec<EndRow>,
}

/// A message that is none of ours, or lacks what every message of its kind has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("not a message of ours: {0}")]
    Encoding(#[from] prost::DecodeError),
    #[error("{0} is missing")]
    Missing(&'static str),
}

/// Reads one message.
pub(crate) fn decode(source: Source, payload: &[u8]) -> Result<Rows, Malformed> {
    let mut rows = Rows::default();
    match source {
        Source::Events => rows.events.push(event(AcceptedEvent::decode(payload)?)?),
        Source::Outcomes => {
            for outcome in OutcomeBatch::decode(payload)?.outcomes {
                rows.add(outcome.kind.ok_or(Malformed::Missing("the kind of an outcome"))?)?;
            }
        }
    }
    Ok(rows)
}

impl Rows {
    fn add(&mut self, outcome: outcome::Kind) -> Result<(), Malformed> {
        match outcome {
            outcome::Kind::Routed(record) => self.routed.push(routed(record)?),
            outcome::Kind::Attempted(record) => self.attempts.push(attempt(record)?),
            outcome::Kind::Ended(mut record) => {
                // A delivery's last try is told with its end, and nowhere else.
                let last = record.last_attempt.take().map(attempt).transpose()?;
                self.ends.push(end(record, last.as_ref())?);
                self.attempts.extend(last);
            }
            // What settings-api acts on; the end of that delivery is history.
            outcome::Kind::Exhausted(_) => {}
        }
        Ok(())
    }

    /// Adds the rows of another message.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.events.append(&mut other.events);
        self.routed.append(&mut other.routed);
        self.attempts.append(&mut other.attempts);
        self.ends.append(&mut other.ends);
    }

    /// Inserts everything. Each insert can be repeated, so dying or failing
    /// between two of them is made good by the next try.
    pub(crate) async fn write(&self, store: &Store) -> Result<(), StoreError> {
        for events in self.events.chunks(ROWS_AT_ONCE) {
            store.insert_events(events).await?;
            count("events", events.len());
        }
        for routed in self.routed.chunks(ROWS_AT_ONCE) {
            store.insert_routed(routed).await?;
            count("routings", routed.len());
        }
        for attempts in self.attempts.chunks(ROWS_AT_ONCE) {
            store.insert_attempts(attempts).await?;
            count("attempts", attempts.len());
        }
        for ends in self.ends.chunks(ROWS_AT_ONCE) {
            store.insert_ends(ends).await?;
            count("ends", ends.len());
        }
        Ok(())
    }
}

fn count(table: &'static str, rows: usize) {
    metrics::counter!("postrider_archive_rows_total", "table" => table).increment(rows as u64);
}

fn event(accepted: AcceptedEvent) -> Result<EventRow, Malformed> {
    let event = accepted.event.ok_or(Malformed::Missing("the event"))?;
    let kind = event.kind.as_ref().ok_or(Malformed::Missing("the event's kind"))?;
    Ok(EventRow {
        event_key: named(accepted.event_key, "event_key")?,
        account_id: accepted.account_id,
        domain_id: text(accepted.domain_id),
        event_type: EventType::of(kind).as_str().to_owned(),
        event_id: event.id.clone(),
        occurred_at: moment(event.timestamp.as_ref(), "the event's timestamp")?,
        accepted_at: moment(accepted.accepted_at.as_ref(), "accepted_at")?,
        caller: accepted.caller,
        event: event.encode_to_vec(),
    })
}

fn routed(record: Routed) -> Result<RoutedRow, Malformed> {
    Ok(RoutedRow {
        event_key: named(record.event_key, "event_key")?,
        account_id: record.account_id,
        routed_at: moment(record.at.as_ref(), "at")?,
        settings_revision: record.settings_revision,
        decisions: record.decisions.into_iter().map(decision).collect(),
    })
}

fn decision(record: Decision) -> DecisionRow {
    DecisionRow {
        verdict: record.verdict().as_str_name().to_ascii_lowercase(),
        level: level(record.level()),
        disabled_at: moment(record.disabled_at.as_ref(), "disabled_at").ok(),
        subscription_id: record.subscription_id,
        target_id: record.target_id,
        url: record.url,
        delivery_id: text(record.delivery_id),
        duplicate_of: text(record.duplicate_of),
    }
}

fn attempt(record: Attempted) -> Result<AttemptRow, Malformed> {
    Ok(AttemptRow {
        started_at: moment(record.started_at.as_ref(), "started_at")?,
        next_attempt_at: moment(record.next_attempt_at.as_ref(), "next_attempt_at").ok(),
        delivery_id: named(record.delivery_id, "delivery_id")?,
        hop: record.hop,
        event_key: record.event_key,
        account_id: record.account_id,
        target_id: record.target_id,
        generation: record.generation,
        attempt: record.attempt,
        charged: record.charged,
        duration_ms: record.duration_ms,
        url: record.url,
        status: (record.status != 0).then_some(record.status),
        reason: record.reason,
        detail: record.detail,
        response_snippet: record.response_snippet,
    })
}

fn end(record: Ended, last: Option<&AttemptRow>) -> Result<EndRow, Malformed> {
    let end = record.end();
    Ok(EndRow {
        ended_at: moment(record.at.as_ref(), "at")?,
        delivery_id: named(record.delivery_id, "delivery_id")?,
        event_key: record.event_key,
        account_id: record.account_id,
        target_id: record.target_id,
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
fn level(level: Level) -> String {
    level.as_str_name().trim_start_matches("LEVEL_").to_ascii_lowercase()
}

/// `None` for the empty text, which is how protobuf writes what is not there.
fn text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn named(id: String, what: &'static str) -> Result<String, Malformed> {
    text(id).ok_or(Malformed::Missing(what))
}

fn moment(at: Option<&Timestamp>, what: &'static str) -> Result<DateTime<Utc>, Malformed> {
    at.and_then(|at| DateTime::from_timestamp(at.seconds, at.nanos.try_into().ok()?))
        .ok_or(Malformed::Missing(what))
}

#[cfg(test)]
mod tests;
