//! How deliveries ended, and the bodies of those that were not delivered.

use chrono::{DateTime, Utc};

use super::attempts::status;
use super::{clean, clean_option};
use crate::{Store, StoreError};

/// The end of one delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct EndRow {
    /// Which delivery.
    pub delivery_id: String,
    /// The event that it carried.
    pub event_key: String,
    /// Whose it was.
    pub account_id: String,
    /// Whom it was for.
    pub target_id: String,
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
    /// Inserts those ends that are not there yet, with the bodies that are to be kept.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_ends(&self, rows: &[EndRow]) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        let deliveries: Vec<&str> = rows.iter().map(|row| row.delivery_id.as_str()).collect();
        let event_keys: Vec<&str> = rows.iter().map(|row| row.event_key.as_str()).collect();
        let accounts: Vec<&str> = rows.iter().map(|row| row.account_id.as_str()).collect();
        let targets: Vec<&str> = rows.iter().map(|row| row.target_id.as_str()).collect();
        let generations: Vec<i64> = rows.iter().map(|row| row.generation.into()).collect();
        let hops: Vec<i64> = rows.iter().map(|row| row.hop.into()).collect();
        let outcomes: Vec<&str> = rows.iter().map(|row| row.outcome.as_str()).collect();
        let reasons: Vec<String> = rows.iter().map(|row| clean(&row.reason)).collect();
        let ended: Vec<DateTime<Utc>> = rows.iter().map(|row| row.ended_at).collect();
        let attempts: Vec<i64> = rows.iter().map(|row| row.attempts.into()).collect();
        let urls: Vec<Option<String>> =
            rows.iter().map(|row| clean_option(row.last_url.as_deref())).collect();
        let statuses: Vec<Option<i32>> = rows.iter().map(|row| status(row.last_status)).collect();
        sqlx::query!(
            "INSERT INTO ends (delivery_id, event_key, account_id, target_id, generation, hop, \
             outcome, reason, ended_at, attempts, last_url, last_status) \
             SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], \
             $6::bigint[], $7::text[], $8::text[], $9::timestamptz[], $10::bigint[], \
             $11::text[], $12::integer[]) ORDER BY 1 ON CONFLICT DO NOTHING",
            &deliveries as &[&str],
            &event_keys as &[&str],
            &accounts as &[&str],
            &targets as &[&str],
            &generations,
            &hops,
            &outcomes as &[&str],
            &reasons,
            &ended,
            &attempts,
            &urls as &[Option<String>],
            &statuses as &[Option<i32>]
        )
        .execute(&mut *tx)
        .await?;

        let kept: Vec<(&EndRow, &[u8])> =
            rows.iter().filter_map(|row| Some((row, row.delivery.as_deref()?))).collect();
        let deliveries: Vec<&str> = kept.iter().map(|(row, _)| row.delivery_id.as_str()).collect();
        let accounts: Vec<&str> = kept.iter().map(|(row, _)| row.account_id.as_str()).collect();
        let targets: Vec<&str> = kept.iter().map(|(row, _)| row.target_id.as_str()).collect();
        let outcomes: Vec<&str> = kept.iter().map(|(row, _)| row.outcome.as_str()).collect();
        let ended: Vec<DateTime<Utc>> = kept.iter().map(|(row, _)| row.ended_at).collect();
        let bodies: Vec<&[u8]> = kept.iter().map(|(_, body)| *body).collect();
        sqlx::query!(
            "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, \
             delivery) SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], \
             $5::timestamptz[], $6::bytea[]) ORDER BY 1 ON CONFLICT DO NOTHING",
            &deliveries as &[&str],
            &accounts as &[&str],
            &targets as &[&str],
            &outcomes as &[&str],
            &ended,
            &bodies as &[&[u8]]
        )
        .execute(&mut *tx)
        .await?;
        Ok(tx.commit().await?)
    }
}
