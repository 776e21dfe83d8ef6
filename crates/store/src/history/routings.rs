//! What fanout decided.

use std::collections::HashSet;

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::PgConnection;

use super::copy::Rows;
use super::insert::{Keyed, Span, insert};
use super::{Uuid, by_key, clean};
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

/// The verdict of the one row that a routing without any candidate has.
const NOBODY: &str = "none";

/// What became of one candidate subscription.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecisionRow {
    /// `chosen`, `duplicate`, `disabled`, `paused`, `account_not_open`, `domain_disabled` or
    /// `too_large`;
    /// of an event that was given up `no_settings`, `unknown_kind` or `too_many_unrouted`.
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

/// A row as the database has it.
pub(super) struct DecisionColumns {
    pub(super) event_key: Uuid,
    pub(super) routed_at: DateTime<Utc>,
    pub(super) settings_revision: i64,
    pub(super) verdict: String,
    pub(super) level: String,
    pub(super) subscription_id: String,
    pub(super) target_id: Option<Uuid>,
    pub(super) url: String,
    pub(super) delivery_id: Option<Uuid>,
    pub(super) duplicate_of: Option<String>,
    pub(super) disabled_at: Option<DateTime<Utc>>,
}

impl DecisionColumns {
    /// `None` where it says that there was no candidate.
    pub(super) fn decision(self) -> Option<DecisionRow> {
        (self.verdict != NOBODY).then_some(DecisionRow {
            verdict: self.verdict,
            level: self.level,
            subscription_id: self.subscription_id,
            target_id: self.target_id,
            url: self.url,
            delivery_id: self.delivery_id,
            duplicate_of: self.duplicate_of,
            disabled_at: self.disabled_at,
        })
    }
}

impl Store {
    /// Inserts those routings that are not there yet, with their decisions.
    ///
    /// # Errors
    /// Those of the database; nothing was inserted then.
    pub async fn insert_routed(&self, rows: &[RoutedRow]) -> Result<(), StoreError> {
        insert(self, by_key(rows, |row| (row.routed_at.date_naive(), row.key()))).await
    }
}

impl Keyed for RoutedRow {
    type Key = (Uuid, DateTime<Utc>);

    fn key(&self) -> Self::Key {
        (self.event_key, self.routed_at.trunc_subsecs(6))
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
            "SELECT event_key, routed_at FROM routing_decisions \
             WHERE event_key = ANY($1::uuid[]) AND routed_at BETWEEN $2 AND $3 AND position = 0",
            &event_keys,
            first,
            last
        )
        .fetch_all(tx)
        .await?;
        Ok(known.into_iter().map(|row| (row.event_key, row.routed_at)).collect())
    }

    async fn copy(tx: &mut PgConnection, rows: &[&Self]) -> Result<(), StoreError> {
        let mut copied = Rows::new(
            "routing_decisions (event_key, routed_at, position, account_id, settings_revision, \
             verdict, level, subscription_id, target_id, url, delivery_id, duplicate_of, \
             disabled_at)",
        );
        let nobody = DecisionRow { verdict: NOBODY.to_owned(), ..DecisionRow::default() };
        for row in rows {
            let revision = i64::try_from(row.settings_revision).unwrap_or(i64::MAX);
            let decisions = match row.decisions.as_slice() {
                [] => std::slice::from_ref(&nobody),
                decisions => decisions,
            };
            for (position, decision) in (0_i32..).zip(decisions) {
                copied.push(&[
                    &row.event_key,
                    &row.routed_at,
                    &position,
                    &row.account_id.as_str(),
                    &revision,
                    &decision.verdict.as_str(),
                    &decision.level.as_str(),
                    &clean(&decision.subscription_id),
                    &decision.target_id,
                    &clean(&decision.url),
                    &decision.delivery_id,
                    &decision.duplicate_of.as_deref().map(clean),
                    &decision.disabled_at,
                ]);
            }
        }
        Ok(copied.send(tx).await?)
    }
}
