//! Accepted events.
//!
//! Whoever polls for new events must miss none, whatever their own times are, and
//! although several replicas of archive insert at the same time. So each event
//! has a position, and positions **become visible in their order**: who sees one
//! sees all lower ones that there will ever be. A sequence alone does not give
//! that: a transaction that drew lower numbers may commit later. So a statement
//! that inserts events holds a lock from before its first number until its
//! commit is visible. They come one after the other, each with up to thousands
//! of rows; all other tables are written beside them.
//! `docs/decisions/0007-events-become-visible-in-order.md` has the alternatives.

use chrono::{DateTime, Utc};
use model::event_filter::SearchTexts;

use super::{Uuid, by_key, clean, distinct};
use crate::{Store, StoreError};

/// Held while events are inserted. Any number that no other lock has.
const IN_ORDER: i64 = 0x706f_7374_0000_0001;

/// An event that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// The event's internal identity.
    pub event_key: Uuid,
    /// Whose it is.
    pub account_id: String,
    /// `None` for alerts.
    pub domain_id: Option<Uuid>,
    /// As customers subscribe to it.
    pub event_type: String,
    /// The caller's id of the event.
    pub event_id: String,
    /// When it happened, as the caller says. More than a day after it was
    /// accepted is stored as a day after.
    pub occurred_at: DateTime<Utc>,
    /// When the broker was given it.
    pub accepted_at: DateTime<Utc>,
    /// Who handed it over; may be empty.
    pub caller: String,
    /// A `postrider.v1.Event`.
    pub event: Vec<u8>,
    /// What it is found by.
    pub search: SearchTexts,
}

impl Store {
    /// Inserts those events that are not there yet.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_events(&self, rows: &[EventRow]) -> Result<(), StoreError> {
        // No other statement inserts meanwhile, so that the order of the key is not
        // needed; whoever reads by arrival likes that of time better.
        let rows = by_key(rows, |row| (row.occurred_at, row.event_key));
        let event_keys: Vec<Uuid> = rows.iter().map(|row| row.event_key).collect();
        let accounts: Vec<&str> = rows.iter().map(|row| row.account_id.as_str()).collect();
        let domains: Vec<Option<Uuid>> = rows.iter().map(|row| row.domain_id).collect();
        let event_types: Vec<&str> = rows.iter().map(|row| row.event_type.as_str()).collect();
        let event_ids: Vec<String> = rows.iter().map(|row| clean(&row.event_id)).collect();
        let occurred: Vec<DateTime<Utc>> = rows.iter().map(|row| row.occurred_at).collect();
        let accepted: Vec<DateTime<Utc>> = rows.iter().map(|row| row.accepted_at).collect();
        let callers: Vec<String> = rows.iter().map(|row| clean(&row.caller)).collect();
        let events: Vec<&[u8]> = rows.iter().map(|row| row.event.as_slice()).collect();
        let search = || rows.iter().map(|row| &row.search);
        let recipients: Vec<&str> = search().map(|texts| texts.recipient.as_str()).collect();
        let all_recipients: Vec<&str> = search().map(|texts| texts.recipients.as_str()).collect();
        let from: Vec<&str> = search().map(|texts| texts.from.as_str()).collect();
        let to: Vec<&str> = search().map(|texts| texts.to.as_str()).collect();
        let subjects: Vec<&str> = search().map(|texts| texts.subject.as_str()).collect();
        let messages: Vec<&str> = search().map(|texts| texts.message_id.as_str()).collect();
        let lists: Vec<&str> = search().map(|texts| texts.list_address.as_str()).collect();
        let attachments: Vec<&str> = search().map(|texts| texts.attachments.as_str()).collect();
        let tags: Vec<&str> = search().map(|texts| texts.tags.as_str()).collect();
        let sizes: Vec<Option<i64>> = search().map(|texts| texts.size_bytes).collect();
        // The lock is a row of the join, so that it is held before the first
        // position is drawn; it ends with the statement's own transaction.
        sqlx::query!(
            "WITH in_order AS MATERIALIZED (SELECT pg_advisory_xact_lock($20)) \
             INSERT INTO events (event_key, account_id, domain_id, event_type, event_id, \
             occurred_at, accepted_at, caller, event, recipient, recipients, from_header, \
             to_header, subject, message_id, list_address, attachments, tags, size_bytes, position) \
             SELECT r.event_key, r.account_id, r.domain_id, r.event_type, r.event_id, \
             least(r.occurred_at, r.accepted_at + interval '1 day'), r.accepted_at, r.caller, \
             r.event, r.recipient, r.recipients, r.from_header, r.to_header, r.subject, \
             r.message_id, r.list_address, r.attachments, r.tags, r.size_bytes, \
             nextval('event_positions') \
             FROM in_order, unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], \
             $6::timestamptz[], $7::timestamptz[], $8::text[], $9::bytea[], $10::text[], \
             $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], \
             $17::text[], $18::text[], $19::bigint[]) \
             AS r (event_key, account_id, domain_id, event_type, event_id, occurred_at, \
             accepted_at, caller, event, recipient, recipients, from_header, to_header, subject, \
             message_id, list_address, attachments, tags, size_bytes) \
             WHERE r.account_id NOT IN (SELECT a.account_id FROM accounts a \
             WHERE a.account_id = ANY($21::text[]) AND a.erased_at IS NOT NULL) \
             ON CONFLICT DO NOTHING",
            &event_keys,
            &accounts as &[&str],
            &domains as &[Option<Uuid>],
            &event_types as &[&str],
            &event_ids,
            &occurred,
            &accepted,
            &callers,
            &events as &[&[u8]],
            &recipients as &[&str],
            &all_recipients as &[&str],
            &from as &[&str],
            &to as &[&str],
            &subjects as &[&str],
            &messages as &[&str],
            &lists as &[&str],
            &attachments as &[&str],
            &tags as &[&str],
            &sizes as &[Option<i64>],
            IN_ORDER,
            &distinct(&accounts) as &[&str]
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
