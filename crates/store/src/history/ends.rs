//! How deliveries ended, and the bodies of those that were not delivered.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::attempts::status;
use super::copy::Rows;
use super::insert::{Keyed, Span, insert};
use super::statistics::Tally;
use super::{Uuid, by_key, clean};
use crate::{Store, StoreError};

/// Held while ends are inserted. Any number that no other lock has.
const ONE_END: i64 = 0x706f_7374_0000_0002;
/// Two ends of one delivery lie closer together than this: the second is that of
/// a copy which the broker has handed out again.
const WITHIN: TimeDelta = TimeDelta::days(2);

/// The end of one delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct EndRow {
    /// Which delivery.
    pub delivery_id: Uuid,
    /// The event that it carried; `None` when that could not be read.
    pub event_key: Option<Uuid>,
    /// Whose it was.
    pub account_id: String,
    /// Whom it was for; `None` when that could not be read.
    pub target_id: Option<Uuid>,
    /// 0, or which resend.
    pub generation: u32,
    /// Which write of it was the last.
    pub hop: u32,
    /// `delivered`, `rejected`, `exhausted`, `expired`, `suppressed`, `held` or `poisoned`.
    pub outcome: String,
    /// Why, as a short machine name.
    pub reason: String,
    /// When.
    pub ended_at: DateTime<Utc>,
    /// Tries charged in all.
    pub attempts: u32,
    /// Where the last try went, when it ended with one.
    pub last_url: Option<String>,
    /// What the last try was answered.
    pub last_status: Option<u32>,
    /// A `postrider.v1.Delivery`, for everything that was not delivered.
    pub delivery: Option<Vec<u8>>,
}

impl Store {
    /// Whether history has it that a delivery was delivered.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn was_delivered(&self, delivery_id: Uuid) -> Result<bool, StoreError> {
        let delivered = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM ends WHERE delivery_id = $1 AND outcome = 'delivered') \
             AS \"delivered!\"",
            delivery_id
        );
        Ok(delivered.fetch_one(&self.pool).await?)
    }

    /// Those of these deliveries that have ended, as far as history knows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn ended_among(&self, deliveries: &[Uuid]) -> Result<Vec<Uuid>, StoreError> {
        let ended = sqlx::query_scalar!(
            "SELECT DISTINCT delivery_id AS \"delivery_id!\" FROM ends WHERE delivery_id = ANY($1)",
            deliveries
        );
        Ok(ended.fetch_all(&self.pool).await?)
    }

    /// Inserts those ends that are not there yet, counts them, and keeps with each of
    /// them the body that is to be kept. Of two ends of one delivery that lie within two days
    /// the first to come counts, in one batch the earlier one, and a body only ever comes with its own end:
    /// what was delivered never stands among what was not, whatever a later
    /// report says.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_ends(&self, rows: &[EndRow]) -> Result<(), StoreError> {
        insert(self, by_key(rows, |row| (row.delivery_id, row.ended_at))).await
    }
}

impl Keyed for EndRow {
    /// Of one delivery the earliest end, which stands first in a batch.
    type Key = Uuid;

    // No unique key reaches over partitions. So ends are inserted one batch after the
    // other, and each looks for what was there before: the look sees all that was committed
    // before the lock was free.
    const LOCK: Option<i64> = Some(ONE_END);
    const LOOKS_FIRST: bool = true;

    fn key(&self) -> Self::Key {
        self.delivery_id
    }

    fn at(&self) -> DateTime<Utc> {
        self.ended_at
    }

    fn account_id(&self) -> &str {
        &self.account_id
    }

    async fn known(
        tx: &mut PgConnection,
        rows: &[&Self],
        (first, last): Span,
    ) -> Result<HashSet<Self::Key>, StoreError> {
        let deliveries: Vec<Uuid> = rows.iter().map(|row| row.delivery_id).collect();
        let known = sqlx::query_scalar!(
            "SELECT delivery_id FROM ends \
             WHERE delivery_id = ANY($1::uuid[]) AND ended_at BETWEEN $2 AND $3",
            &deliveries,
            first - WITHIN,
            last + WITHIN
        )
        .fetch_all(tx)
        .await?;
        Ok(known.into_iter().collect())
    }

    async fn copy(tx: &mut PgConnection, rows: &[&Self]) -> Result<(), StoreError> {
        let mut copied = Rows::new(
            "ends (delivery_id, event_key, account_id, target_id, generation, hop, outcome, \
             reason, ended_at, attempts, last_url, last_status)",
        );
        let mut tally = Tally::default();
        for row in rows {
            copied.push(&[
                &row.delivery_id,
                &row.event_key,
                &row.account_id.as_str(),
                &row.target_id,
                &row.generation,
                &row.hop,
                &row.outcome.as_str(),
                &clean(&row.reason),
                &row.ended_at,
                &row.attempts,
                &row.last_url.as_deref().map(clean),
                &status(row.last_status),
            ]);
            tally.end(row);
        }
        copied.send(tx).await?;
        keep_bodies(tx, rows).await?;
        tally.add(tx).await
    }
}

/// Few rows have a body. One of an end that was given up with its day may be there.
async fn keep_bodies(tx: &mut PgConnection, rows: &[&EndRow]) -> Result<(), StoreError> {
    let kept: Vec<(&EndRow, &[u8])> =
        rows.iter().filter_map(|row| Some((*row, row.delivery.as_deref()?))).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let deliveries: Vec<Uuid> = kept.iter().map(|(row, _)| row.delivery_id).collect();
    let accounts: Vec<&str> = kept.iter().map(|(row, _)| row.account_id.as_str()).collect();
    let targets: Vec<Option<Uuid>> = kept.iter().map(|(row, _)| row.target_id).collect();
    let outcomes: Vec<&str> = kept.iter().map(|(row, _)| row.outcome.as_str()).collect();
    let ended: Vec<DateTime<Utc>> = kept.iter().map(|(row, _)| row.ended_at).collect();
    let bodies: Vec<&[u8]> = kept.iter().map(|(_, body)| *body).collect();
    sqlx::query!(
        "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::timestamptz[], \
         $6::bytea[]) ON CONFLICT DO NOTHING",
        &deliveries,
        &accounts as &[&str],
        &targets as &[Option<Uuid>],
        &outcomes as &[&str],
        &ended,
        &bodies as &[&[u8]]
    )
    .execute(tx)
    .await?;
    Ok(())
}
