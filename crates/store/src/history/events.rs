//! Accepted events.
//!
//! Whoever polls for new events must miss none, whatever their own times are, and
//! although several replicas of archive insert at the same time. So each event
//! has a position, and positions **become visible in their order**: who sees one
//! sees all lower ones that there will ever be. A sequence alone does not give
//! that: a transaction that drew lower numbers may commit later. So a transaction
//! that inserts events holds a lock from before its first number until its
//! commit is visible. They come one after the other, each with up to thousands
//! of rows; all other tables are written beside them.
//! `docs/decisions/0007-events-become-visible-in-order.md` has the alternatives.

use std::collections::HashSet;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use model::event_filter::SearchTexts;
use sqlx::PgConnection;

use super::copy::Rows;
use super::insert::{Keyed, Span, insert};
use super::{Uuid, by_key, clean};
use crate::{Store, StoreError};

/// Held while events are inserted. Any number that no other lock has.
const IN_ORDER: i64 = 0x706f_7374_0000_0001;
/// An event happens this long after it was accepted at most, as it is stored.
const LATEST: TimeDelta = TimeDelta::days(1);

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
        // Nobody else inserts meanwhile, so that any order will do; whoever reads by
        // arrival likes that of time.
        insert(self, by_key(rows, |row| (row.occurred_at, row.key()))).await
    }
}

/// Waits until positions that are drawn now become visible after all that were drawn before.
pub(super) async fn in_order(tx: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", IN_ORDER).execute(tx).await?;
    Ok(())
}

impl Keyed for EventRow {
    type Key = (Uuid, DateTime<Utc>);

    const LOCK: Option<i64> = Some(IN_ORDER);

    fn key(&self) -> Self::Key {
        (self.event_key, self.accepted_at.trunc_subsecs(6))
    }

    fn at(&self) -> DateTime<Utc> {
        self.key().1
    }

    fn account_id(&self) -> &str {
        &self.account_id
    }

    async fn known(
        tx: &mut PgConnection,
        rows: &[&Self],
        (first, last): Span,
    ) -> Result<HashSet<Self::Key>, StoreError> {
        let event_keys: Vec<Uuid> = rows.iter().map(|row| row.event_key).collect();
        let known = sqlx::query!(
            "SELECT event_key, accepted_at FROM events \
             WHERE event_key = ANY($1::uuid[]) AND accepted_at BETWEEN $2 AND $3",
            &event_keys,
            first,
            last
        )
        .fetch_all(tx)
        .await?;
        Ok(known.into_iter().map(|row| (row.event_key, row.accepted_at)).collect())
    }

    async fn copy(tx: &mut PgConnection, rows: &[&Self]) -> Result<(), StoreError> {
        // Positions are drawn by default.
        let mut copied = Rows::new(
            "events (event_key, account_id, domain_id, event_type, event_id, occurred_at, \
             accepted_at, caller, event, recipient, recipients, from_header, to_header, subject, \
             message_id, list_address, attachments, tags, size_bytes)",
        );
        for row in rows {
            let search = &row.search;
            copied.push(&[
                &row.event_key,
                &row.account_id.as_str(),
                &row.domain_id,
                &row.event_type.as_str(),
                &clean(&row.event_id),
                &row.occurred_at.min(row.accepted_at + LATEST),
                &row.accepted_at,
                &clean(&row.caller),
                &row.event.as_slice(),
                &search.recipient.as_str(),
                &search.recipients.as_str(),
                &search.from.as_str(),
                &search.to.as_str(),
                &search.subject.as_str(),
                &search.message_id.as_str(),
                &search.list_address.as_str(),
                &search.attachments.as_str(),
                &search.tags.as_str(),
                &search.size_bytes,
            ]);
        }
        Ok(copied.send(tx).await?)
    }
}
