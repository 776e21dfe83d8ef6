//! Accepted events.

use chrono::{DateTime, Utc};

use super::{Uuid, by_key, clean, distinct};
use crate::{Store, StoreError};

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
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// When the broker was given it.
    pub accepted_at: DateTime<Utc>,
    /// Who handed it over; may be empty.
    pub caller: String,
    /// A `postrider.v1.Event`.
    pub event: Vec<u8>,
}

impl Store {
    /// Inserts those events that are not there yet.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_events(&self, rows: &[EventRow]) -> Result<(), StoreError> {
        let rows = by_key(rows, |row| row.event_key);
        let event_keys: Vec<Uuid> = rows.iter().map(|row| row.event_key).collect();
        let accounts: Vec<&str> = rows.iter().map(|row| row.account_id.as_str()).collect();
        let domains: Vec<Option<Uuid>> = rows.iter().map(|row| row.domain_id).collect();
        let event_types: Vec<&str> = rows.iter().map(|row| row.event_type.as_str()).collect();
        let event_ids: Vec<String> = rows.iter().map(|row| clean(&row.event_id)).collect();
        let occurred: Vec<DateTime<Utc>> = rows.iter().map(|row| row.occurred_at).collect();
        let accepted: Vec<DateTime<Utc>> = rows.iter().map(|row| row.accepted_at).collect();
        let callers: Vec<String> = rows.iter().map(|row| clean(&row.caller)).collect();
        let events: Vec<&[u8]> = rows.iter().map(|row| row.event.as_slice()).collect();
        sqlx::query!(
            "INSERT INTO events (event_key, account_id, domain_id, event_type, event_id, \
             occurred_at, accepted_at, caller, event) \
             SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], \
             $6::timestamptz[], $7::timestamptz[], $8::text[], $9::bytea[]) \
             AS r (event_key, account_id, domain_id, event_type, event_id, occurred_at, \
             accepted_at, caller, event) \
             WHERE r.account_id NOT IN (SELECT a.account_id FROM accounts a \
             WHERE a.account_id = ANY($10::text[]) AND a.erased_at IS NOT NULL) \
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
            &distinct(&accounts) as &[&str]
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
