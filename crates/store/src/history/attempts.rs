//! Tries at receivers, and returns that were not charged to them.

use std::collections::HashSet;

use chrono::{DateTime, SubsecRound as _, Utc};

use super::statistics::Tally;
use super::{Uuid, by_key, clean, distinct};
use crate::{Store, StoreError};

/// One try at a receiver, or one return that was not charged to it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptRow {
    /// Which delivery.
    pub delivery_id: Uuid,
    /// Which write of it.
    pub hop: u32,
    /// The event that it carries.
    pub event_key: Uuid,
    /// Whose it is.
    pub account_id: String,
    /// Whom it is for.
    pub target_id: Option<Uuid>,
    /// 0, or which resend.
    pub generation: u32,
    /// Number of this try, from 1; uncharged, the tries so far.
    pub attempt: u32,
    /// False for what was our own fault.
    pub charged: bool,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// How long it took.
    pub duration_ms: u32,
    /// Where it went; empty when it went nowhere.
    pub url: String,
    /// HTTP status; `None` without an answer.
    pub status: Option<u32>,
    /// Short machine name.
    pub reason: String,
    /// For people.
    pub detail: String,
    /// The first bytes of the answer.
    pub response_snippet: String,
    /// When the next try is due.
    pub next_attempt_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Inserts those attempts that are not there yet, and counts them: see
    /// statistics.rs.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_attempts(&self, rows: &[AttemptRow]) -> Result<(), StoreError> {
        let mut rows = by_key(rows, key);
        // Told twice in one batch, it is one row, and counts once.
        rows.dedup_by_key(|row| key(row));
        if rows.is_empty() {
            return Ok(());
        }
        let event_keys: Vec<Uuid> = rows.iter().map(|row| row.event_key).collect();
        let deliveries: Vec<Uuid> = rows.iter().map(|row| row.delivery_id).collect();
        let hops: Vec<i64> = rows.iter().map(|row| row.hop.into()).collect();
        let started: Vec<DateTime<Utc>> = rows.iter().map(|row| key(row).3).collect();
        let accounts: Vec<&str> = rows.iter().map(|row| row.account_id.as_str()).collect();
        let targets: Vec<Option<Uuid>> = rows.iter().map(|row| row.target_id).collect();
        let generations: Vec<i64> = rows.iter().map(|row| row.generation.into()).collect();
        let attempts: Vec<i64> = rows.iter().map(|row| row.attempt.into()).collect();
        let charged: Vec<bool> = rows.iter().map(|row| row.charged).collect();
        let durations: Vec<i64> = rows.iter().map(|row| row.duration_ms.into()).collect();
        let urls: Vec<String> = rows.iter().map(|row| clean(&row.url)).collect();
        let statuses: Vec<Option<i32>> = rows.iter().map(|row| status(row.status)).collect();
        let reasons: Vec<String> = rows.iter().map(|row| clean(&row.reason)).collect();
        let details: Vec<String> = rows.iter().map(|row| clean(&row.detail)).collect();
        let snippets: Vec<String> = rows.iter().map(|row| clean(&row.response_snippet)).collect();
        let next: Vec<Option<DateTime<Utc>>> = rows.iter().map(|row| row.next_attempt_at).collect();
        let mut tx = self.pool.begin().await?;
        let inserted = sqlx::query!(
            "INSERT INTO attempts (event_key, delivery_id, hop, started_at, account_id, \
             target_id, generation, attempt, charged, duration_ms, url, status, reason, detail, \
             response_snippet, next_attempt_at) \
             SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], \
             $5::text[], $6::uuid[], $7::bigint[], $8::bigint[], $9::boolean[], $10::bigint[], \
             $11::text[], $12::integer[], $13::text[], $14::text[], $15::text[], \
             $16::timestamptz[]) AS r (event_key, delivery_id, hop, started_at, account_id, \
             target_id, generation, attempt, charged, duration_ms, url, status, reason, detail, \
             response_snippet, next_attempt_at) \
             WHERE r.account_id NOT IN (SELECT a.account_id FROM accounts a \
             WHERE a.account_id = ANY($17::text[]) AND a.erased_at IS NOT NULL) \
             ON CONFLICT DO NOTHING RETURNING event_key, delivery_id, hop, started_at",
            &event_keys,
            &deliveries,
            &hops,
            &started,
            &accounts as &[&str],
            &targets as &[Option<Uuid>],
            &generations,
            &attempts,
            &charged,
            &durations,
            &urls,
            &statuses as &[Option<i32>],
            &reasons,
            &details,
            &snippets,
            &next as &[Option<DateTime<Utc>>],
            &distinct(&accounts) as &[&str]
        )
        .fetch_all(&mut *tx)
        .await?;
        let inserted: HashSet<_> = inserted
            .into_iter()
            .map(|row| (row.event_key, row.delivery_id, row.hop, row.started_at))
            .collect();
        let mut tally = Tally::default();
        for row in rows.iter().filter(|row| inserted.contains(&key(row))) {
            tally.attempt(row);
        }
        // Dying before the commit leaves neither rows nor counts, dying after it both.
        tally.add(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

/// What makes a row, with the moment as the database has it.
fn key(row: &AttemptRow) -> (Uuid, Uuid, i64, DateTime<Utc>) {
    (row.event_key, row.delivery_id, row.hop.into(), row.started_at.trunc_subsecs(6))
}

/// An HTTP status as the database has it.
pub(super) fn status(status: Option<u32>) -> Option<i32> {
    status.and_then(|status| status.try_into().ok())
}
