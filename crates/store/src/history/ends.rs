//! How deliveries ended, and the bodies of those that were not delivered.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};

use super::attempts::status;
use super::statistics::Tally;
use super::{Uuid, by_key, clean, clean_option, distinct};
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
    /// Inserts those ends that are not there yet, counts them, and keeps with each of
    /// them the body that is to be kept. Of two ends of one delivery that lie within two days
    /// the first to come counts, in one batch the earlier one, and a body only ever comes with its own end:
    /// what was delivered never stands among what was not, whatever a later
    /// report says.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_ends(&self, rows: &[EndRow]) -> Result<(), StoreError> {
        let mut rows = by_key(rows, |row| (row.delivery_id, row.ended_at));
        // Of one delivery the earliest, which stands first.
        rows.dedup_by_key(|row| row.delivery_id);
        let Some((first, last)) = span(rows.iter().map(|row| row.ended_at)) else {
            return Ok(());
        };
        let deliveries: Vec<Uuid> = rows.iter().map(|row| row.delivery_id).collect();
        let event_keys: Vec<Option<Uuid>> = rows.iter().map(|row| row.event_key).collect();
        let accounts: Vec<&str> = rows.iter().map(|row| row.account_id.as_str()).collect();
        let targets: Vec<Option<Uuid>> = rows.iter().map(|row| row.target_id).collect();
        let generations: Vec<i64> = rows.iter().map(|row| row.generation.into()).collect();
        let hops: Vec<i64> = rows.iter().map(|row| row.hop.into()).collect();
        let outcomes: Vec<&str> = rows.iter().map(|row| row.outcome.as_str()).collect();
        let reasons: Vec<String> = rows.iter().map(|row| clean(&row.reason)).collect();
        let ended: Vec<DateTime<Utc>> = rows.iter().map(|row| row.ended_at).collect();
        let attempts: Vec<i64> = rows.iter().map(|row| row.attempts.into()).collect();
        let urls: Vec<Option<String>> =
            rows.iter().map(|row| clean_option(row.last_url.as_deref())).collect();
        let statuses: Vec<Option<i32>> = rows.iter().map(|row| status(row.last_status)).collect();

        // Few rows have a body, so that the bodies come as arrays of their own.
        let kept: Vec<(&EndRow, &[u8])> =
            rows.iter().filter_map(|row| Some((*row, row.delivery.as_deref()?))).collect();
        let kept_deliveries: Vec<Uuid> = kept.iter().map(|(row, _)| row.delivery_id).collect();
        let kept_outcomes: Vec<&str> = kept.iter().map(|(row, _)| row.outcome.as_str()).collect();
        let kept_ended: Vec<DateTime<Utc>> = kept.iter().map(|(row, _)| row.ended_at).collect();
        let bodies: Vec<&[u8]> = kept.iter().map(|(_, body)| *body).collect();
        let mut tx = self.pool.begin().await?;
        // No unique key reaches over partitions. So ends are inserted one batch
        // after the other, and each looks for what was there before: the second
        // statement sees all that was committed before the lock was free.
        sqlx::query!("SELECT pg_advisory_xact_lock($1)", ONE_END).execute(&mut *tx).await?;
        let inserted = sqlx::query_scalar!(
            "WITH ended AS (\
             INSERT INTO ends (delivery_id, event_key, account_id, target_id, generation, hop, \
             outcome, reason, ended_at, attempts, last_url, last_status) \
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[], \
             $6::bigint[], $7::text[], $8::text[], $9::timestamptz[], $10::bigint[], \
             $11::text[], $12::integer[]) \
             AS r (delivery_id, event_key, account_id, target_id, generation, hop, outcome, \
             reason, ended_at, attempts, last_url, last_status) \
             WHERE r.account_id NOT IN (SELECT a.account_id FROM accounts a \
             WHERE a.account_id = ANY($17::text[]) AND a.erased_at IS NOT NULL) \
             AND r.delivery_id NOT IN (SELECT e.delivery_id FROM ends e \
             WHERE e.delivery_id = ANY($1::uuid[]) AND e.ended_at BETWEEN $18 AND $19) \
             ON CONFLICT DO NOTHING \
             RETURNING delivery_id, account_id, target_id, outcome, ended_at), \
             kept AS (INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, \
             delivery) SELECT delivery_id, account_id, target_id, outcome, ended_at, delivery \
             FROM ended JOIN unnest($13::uuid[], $14::text[], $15::timestamptz[], $16::bytea[]) \
             AS bodies (delivery_id, outcome, ended_at, delivery) \
             USING (delivery_id, outcome, ended_at) ON CONFLICT DO NOTHING) \
             SELECT delivery_id FROM ended",
            &deliveries,
            &event_keys as &[Option<Uuid>],
            &accounts as &[&str],
            &targets as &[Option<Uuid>],
            &generations,
            &hops,
            &outcomes as &[&str],
            &reasons,
            &ended,
            &attempts,
            &urls as &[Option<String>],
            &statuses as &[Option<i32>],
            &kept_deliveries,
            &kept_outcomes as &[&str],
            &kept_ended,
            &bodies as &[&[u8]],
            &distinct(&accounts) as &[&str],
            first - WITHIN,
            last + WITHIN
        )
        .fetch_all(&mut *tx)
        .await?;
        let inserted: HashSet<Uuid> = inserted.into_iter().collect();
        let mut tally = Tally::default();
        for row in rows.iter().filter(|row| inserted.contains(&row.delivery_id)) {
            tally.end(row);
        }
        // Dying before the commit leaves neither rows nor counts, dying after it both.
        tally.add(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

/// The earliest and the latest of these moments.
fn span(moments: impl Iterator<Item = DateTime<Utc>>) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    moments.fold(None, |span, at| {
        Some(
            span.map_or((at, at), |(first, last): (DateTime<Utc>, _)| {
                (first.min(at), last.max(at))
            }),
        )
    })
}
