//! What waits, and what was not delivered, at this moment. It is counted in indexes
//! alone and up to a bound, so that millions cost no more than thousands.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};

use super::{Outcomes, Uuid};
use crate::{Store, StoreError};

/// How much of an account's backlog is counted.
const MOST_COUNTED: i64 = 10_000;
/// The same of what was not delivered to each target.
const MOST_COUNTED_OF_ONE: i64 = 1_000;

/// What is there at this moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Backlog {
    /// Deliveries that wait for a next try.
    pub waiting: u64,
    /// Whether all of these are counted.
    pub is_waiting_whole: bool,
    /// What was not delivered and not sent again, by how it ended.
    pub undelivered: Outcomes,
    /// Whether all of this is counted.
    pub is_undelivered_whole: bool,
}

impl Store {
    /// What there is of an account, the first 10,000 of what waits, and as many of
    /// what was not delivered.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn backlog(
        &self,
        account_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Backlog, StoreError> {
        let waiting: u64 = self.waiting(account_id, now).await?.values().sum();
        let mut undelivered = Outcomes::default();
        let groups = sqlx::query!(
            "SELECT outcome, count(*) AS \"count!\" FROM (SELECT outcome FROM undelivered \
             WHERE account_id = $1 AND sent_again_at IS NULL LIMIT $2) AS u GROUP BY outcome",
            account_id,
            MOST_COUNTED
        )
        .fetch_all(&self.pool)
        .await?;
        for group in groups {
            undelivered.count(&group.outcome, group.count);
        }
        let is_whole = |count| count < MOST_COUNTED.unsigned_abs();
        Ok(Backlog {
            waiting,
            is_waiting_whole: is_whole(waiting),
            undelivered,
            is_undelivered_whole: is_whole(undelivered.total()),
        })
    }

    /// What was not delivered and not sent again, of all accounts, by how it ended.
    /// Counts no further than `most` in all.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn undelivered_by_end(&self, most: u64) -> Result<BTreeMap<String, u64>, StoreError> {
        // In the order of an index that has the outcome, so that no body is read.
        let groups = sqlx::query!(
            "SELECT outcome, count(*) AS \"count!\" FROM (SELECT outcome FROM undelivered \
             WHERE sent_again_at IS NULL ORDER BY account_id, target_id, ended_at LIMIT $1) AS u \
             GROUP BY outcome",
            i64::try_from(most).unwrap_or(i64::MAX)
        )
        .fetch_all(&self.pool)
        .await?;
        let counts = groups.into_iter().map(|group| (group.outcome, group.count.unsigned_abs()));
        Ok(counts.collect())
    }

    /// The stored bytes of one of those that were not delivered to a target.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn one_undelivered(
        &self,
        account_id: &str,
        target_id: Uuid,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let delivery = sqlx::query_scalar!(
            "SELECT delivery FROM undelivered WHERE account_id = $1 AND target_id = $2 \
             AND sent_again_at IS NULL LIMIT 1",
            account_id,
            target_id
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(delivery)
    }

    /// The same of some of its targets: what of the account's first 10,000 that wait
    /// is theirs, and the first 1,000 that were not delivered to each.
    pub(super) async fn backlogs(
        &self,
        account_id: &str,
        targets: &[Uuid],
        now: DateTime<Utc>,
    ) -> Result<HashMap<Uuid, Backlog>, StoreError> {
        let waiting = self.waiting(account_id, now).await?;
        let is_waiting_whole = waiting.values().sum::<u64>() < MOST_COUNTED.unsigned_abs();
        let backlog = |target: &Uuid| Backlog {
            waiting: waiting.get(target).copied().unwrap_or_default(),
            is_waiting_whole,
            ..Backlog::default()
        };
        let mut found: HashMap<Uuid, Backlog> =
            targets.iter().map(|target| (*target, backlog(target))).collect();
        let groups = sqlx::query!(
            "SELECT t.target_id AS \"target_id!\", u.outcome, count(*) AS \"count!\" \
             FROM unnest($2::uuid[]) AS t (target_id), LATERAL (SELECT outcome FROM undelivered u \
             WHERE u.account_id = $1 AND u.target_id = t.target_id AND u.sent_again_at IS NULL \
             LIMIT $3) AS u GROUP BY t.target_id, u.outcome",
            account_id,
            targets,
            MOST_COUNTED_OF_ONE
        )
        .fetch_all(&self.pool)
        .await?;
        for group in groups {
            let backlog = found.entry(group.target_id).or_default();
            backlog.undelivered.count(&group.outcome, group.count);
        }
        for backlog in found.values_mut() {
            let count = backlog.undelivered.total();
            backlog.is_undelivered_whole = count < MOST_COUNTED_OF_ONE.unsigned_abs();
        }
        Ok(found)
    }

    /// How many deliveries wait for their next try, by target: of those whose next try
    /// is still to come, the first 10,000. One that could not be read counts for the
    /// nil UUID.
    async fn waiting(
        &self,
        account_id: &str,
        now: DateTime<Utc>,
    ) -> Result<HashMap<Uuid, u64>, StoreError> {
        // Of the tries of one delivery only the last one has a next one to come.
        let groups = sqlx::query!(
            "SELECT target_id, count(*) AS \"count!\" FROM (SELECT target_id FROM attempts \
             WHERE account_id = $1 AND next_attempt_at > $2 LIMIT $3) AS a GROUP BY target_id",
            account_id,
            now,
            MOST_COUNTED
        )
        .fetch_all(&self.pool)
        .await?;
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        Ok(groups
            .into_iter()
            .map(|group| (group.target_id.unwrap_or_default(), count(group.count)))
            .collect())
    }
}
