//! What fanout decided.

use chrono::{DateTime, Utc};

use super::{Uuid, by_key, clean, clean_option, distinct};
use crate::{Store, StoreError};

/// One routing of an event.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutedRow {
    /// Which event.
    pub event_key: Uuid,
    /// Whose it is.
    pub account_id: String,
    /// When it was routed.
    pub routed_at: DateTime<Utc>,
    /// Revision of the settings bucket that was in force.
    pub settings_revision: u64,
    /// What became of each candidate subscription, in the order of the record.
    pub decisions: Vec<DecisionRow>,
}

/// What became of one candidate subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionRow {
    /// `chosen`, `duplicate`, `disabled`, `paused`, `account_not_open` or `domain_disabled`.
    pub verdict: String,
    /// `parent_account`, `account`, `domain` or `alert`.
    pub level: String,
    /// Of the setting or webhook.
    pub subscription_id: String,
    /// Whom it would have gone to.
    pub target_id: Option<Uuid>,
    /// At that time; empty for mailboxes.
    pub url: String,
    /// With `chosen`, `disabled`, and `paused` where nobody else wants it there.
    pub delivery_id: Option<Uuid>,
    /// With `duplicate`: the subscription that was chosen instead.
    pub duplicate_of: Option<String>,
    /// With `disabled`.
    pub disabled_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Inserts those routings that are not there yet, with their decisions.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_routed(&self, rows: &[RoutedRow]) -> Result<(), StoreError> {
        let rows = by_key(rows, |row| (row.event_key, row.routed_at));
        let event_keys: Vec<Uuid> = rows.iter().map(|row| row.event_key).collect();
        let routed: Vec<DateTime<Utc>> = rows.iter().map(|row| row.routed_at).collect();
        let accounts: Vec<&str> = rows.iter().map(|row| row.account_id.as_str()).collect();
        let revisions: Vec<i64> = rows
            .iter()
            .map(|row| i64::try_from(row.settings_revision).unwrap_or(i64::MAX))
            .collect();

        let decisions: Vec<(&RoutedRow, i32, &DecisionRow)> = rows
            .iter()
            .flat_map(|row| {
                (0_i32..).zip(&row.decisions).map(move |(n, decision)| (*row, n, decision))
            })
            .collect();
        let of_events: Vec<Uuid> = decisions.iter().map(|(row, ..)| row.event_key).collect();
        let at: Vec<DateTime<Utc>> = decisions.iter().map(|(row, ..)| row.routed_at).collect();
        let of_accounts: Vec<&str> =
            decisions.iter().map(|(row, ..)| row.account_id.as_str()).collect();
        let positions: Vec<i32> = decisions.iter().map(|(_, n, _)| *n).collect();
        let each = || decisions.iter().map(|(.., decision)| *decision);
        let verdicts: Vec<&str> = each().map(|row| row.verdict.as_str()).collect();
        let levels: Vec<&str> = each().map(|row| row.level.as_str()).collect();
        let subscriptions: Vec<String> = each().map(|row| clean(&row.subscription_id)).collect();
        let targets: Vec<Option<Uuid>> = each().map(|row| row.target_id).collect();
        let urls: Vec<String> = each().map(|row| clean(&row.url)).collect();
        let deliveries: Vec<Option<Uuid>> = each().map(|row| row.delivery_id).collect();
        let duplicates: Vec<Option<String>> =
            each().map(|row| clean_option(row.duplicate_of.as_deref())).collect();
        let disabled: Vec<Option<DateTime<Utc>>> = each().map(|row| row.disabled_at).collect();
        sqlx::query!(
            "WITH erased AS MATERIALIZED (SELECT account_id FROM accounts \
             WHERE account_id = ANY($16::text[]) AND erased_at IS NOT NULL), routed AS (\
             INSERT INTO routings (event_key, routed_at, account_id, settings_revision) \
             SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::bigint[]) \
             AS r (event_key, routed_at, account_id, settings_revision) \
             WHERE r.account_id NOT IN (SELECT account_id FROM erased) ON CONFLICT DO NOTHING) \
             INSERT INTO routing_decisions (event_key, routed_at, position, verdict, level, \
             subscription_id, target_id, url, delivery_id, duplicate_of, disabled_at) \
             SELECT event_key, routed_at, position, verdict, level, subscription_id, target_id, \
             url, delivery_id, duplicate_of, disabled_at \
             FROM unnest($5::uuid[], $6::timestamptz[], $7::integer[], $8::text[], $9::text[], \
             $10::text[], $11::uuid[], $12::text[], $13::uuid[], $14::text[], \
             $15::timestamptz[], $17::text[]) \
             AS d (event_key, routed_at, position, verdict, level, subscription_id, target_id, \
             url, delivery_id, duplicate_of, disabled_at, account_id) \
             WHERE d.account_id NOT IN (SELECT account_id FROM erased) ON CONFLICT DO NOTHING",
            &event_keys,
            &routed,
            &accounts as &[&str],
            &revisions,
            &of_events,
            &at,
            &positions,
            &verdicts as &[&str],
            &levels as &[&str],
            &subscriptions,
            &targets as &[Option<Uuid>],
            &urls,
            &deliveries as &[Option<Uuid>],
            &duplicates as &[Option<String>],
            &disabled as &[Option<DateTime<Utc>>],
            &distinct(&accounts) as &[&str],
            &of_accounts as &[&str]
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}
