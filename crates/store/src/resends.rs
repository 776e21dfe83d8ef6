//! What was not delivered, and jobs that send it again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

use crate::accounts::lock_account;
use crate::{Store, StoreError, Thing};

/// Jobs of one account that may be under way at a time.
pub const MAX_RESENDS: i64 = 10;
/// Batches of a job in a second: what it has in hand when its process dies is small.
const BATCHES_PER_SECOND: i32 = 10;
/// Groups that are shown of what was not delivered.
const MAX_GROUPS: i64 = 1_000;

/// What was not delivered to one target, and was not sent again.
#[derive(Clone, Debug, PartialEq)]
pub struct Undelivered {
    /// How these deliveries ended.
    pub outcome: String,
    /// How many.
    pub count: i64,
    /// When the first of them ended.
    pub oldest: DateTime<Utc>,
    /// The stored bytes of one of them.
    pub delivery: Vec<u8>,
}

/// A job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Resend {
    /// Its id.
    pub resend_id: Uuid,
    /// Whose it is.
    pub account_id: String,
    /// Of what; `None` for every target of the account.
    pub target_id: Option<Uuid>,
    /// The URL or the alert setting that was named; empty for all.
    pub target: String,
    /// How the deliveries ended that are sent again.
    pub outcomes: Vec<String>,
    /// Those that ended before are left alone.
    pub since: Option<DateTime<Utc>>,
    /// Those that end from here on are left alone.
    pub created_at: DateTime<Utc>,
    /// How many are sent in a second.
    pub per_second: i32,
    /// `running`, `paused`, `cancelled` or `done`.
    pub state: String,
    /// How many were sent so far.
    pub sent: i64,
}

/// A job that is to be made.
#[derive(Clone, Debug)]
pub struct NewResend<'a> {
    /// Of what; `None` for every target of the account.
    pub target_id: Option<Uuid>,
    /// The URL or the alert setting that was named; empty for all.
    pub target: &'a str,
    /// How the deliveries ended that are sent again.
    pub outcomes: &'a [String],
    /// Those that ended before are left alone.
    pub since: Option<DateTime<Utc>>,
    /// How many are sent in a second.
    pub per_second: i32,
}

/// Deliveries that nobody else sends again as long as this value lives. When it
/// is dropped they are as before.
#[derive(Debug)]
pub struct ResendBatch {
    tx: Transaction<'static, Postgres>,
    resend: Option<Resend>,
    /// The oldest first.
    deliveries: Vec<Taken>,
    /// Ids of what was delivered, of which no bytes are stored.
    delivered: Vec<Uuid>,
}

#[derive(Debug)]
struct Taken {
    delivery_id: Uuid,
    ended_at: DateTime<Utc>,
    /// The stored bytes.
    delivery: Vec<u8>,
}

impl Resend {
    /// How many are sent at once.
    fn batch(&self) -> i32 {
        (self.per_second / BATCHES_PER_SECOND).max(1)
    }

    /// The time that a batch stands for.
    fn batch_takes(&self) -> TimeDelta {
        TimeDelta::microseconds(i64::from(self.batch()) * 1_000_000 / i64::from(self.per_second))
    }
}

impl ResendBatch {
    /// What was not delivered: its ids and stored bytes.
    pub fn deliveries(&self) -> impl Iterator<Item = (Uuid, &[u8])> {
        self.deliveries.iter().map(|taken| (taken.delivery_id, taken.delivery.as_slice()))
    }

    /// What was delivered: its ids.
    pub fn delivered(&self) -> &[Uuid] {
        &self.delivered
    }

    /// The time that they are to be spread over; none for what is no job's.
    pub fn takes(&self) -> Duration {
        let takes = self.resend.as_ref().map(Resend::batch_takes);
        takes.and_then(|takes| takes.to_std().ok()).unwrap_or_default()
    }

    /// Notes that they were all sent again. Returns when a job goes on.
    ///
    /// # Errors
    /// Those of the database. Nothing is noted then, and they are sent once more.
    pub async fn sent(mut self, at: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, StoreError> {
        let ids: Vec<Uuid> = self.deliveries.iter().map(|taken| taken.delivery_id).collect();
        let first = self.deliveries.first().map(|taken| taken.ended_at);
        let last = self.deliveries.last().map(|taken| taken.ended_at);
        // The moments leave out the days that have none of them.
        sqlx::query!(
            "UPDATE undelivered SET sent_again_at = $4 WHERE delivery_id = ANY($1) \
             AND ended_at BETWEEN $2 AND $3",
            &ids,
            first,
            last,
            at
        )
        .execute(&mut *self.tx)
        .await?;
        if !self.delivered.is_empty() {
            sqlx::query!(
                "UPDATE ends SET sent_again_at = $2 WHERE delivery_id = ANY($1)",
                &self.delivered,
                at
            )
            .execute(&mut *self.tx)
            .await?;
        }
        let mut goes_on = None;
        if let Some(resend) = &self.resend {
            // Less than a batch is the end: what ends from now on is not its.
            let is_done = ids.len() < usize::try_from(resend.batch()).unwrap_or(usize::MAX);
            let job = sqlx::query!(
                "UPDATE resends SET sent = sent + $2, changed_at = $3, \
                 next_batch_at = greatest(next_batch_at + make_interval(secs => $4), $3), \
                 reached = coalesce($5, reached), \
                 state = CASE WHEN $6 THEN 'done' ELSE state END WHERE resend_id = $1 \
                 RETURNING next_batch_at",
                resend.resend_id,
                i64::try_from(ids.len()).unwrap_or(i64::MAX),
                at,
                resend.batch_takes().as_seconds_f64(),
                last,
                is_done
            )
            .fetch_one(&mut *self.tx)
            .await?;
            goes_on = (!is_done).then_some(job.next_batch_at);
        }
        self.tx.commit().await?;
        Ok(goes_on)
    }
}

impl Store {
    /// What of an account was not delivered and was not sent again, by target
    /// and outcome, the oldest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn undelivered(&self, account_id: &str) -> Result<Vec<Undelivered>, StoreError> {
        let groups = sqlx::query_as!(
            Undelivered,
            "SELECT g.outcome, g.count AS \"count!\", g.oldest AS \"oldest!\", \
             s.delivery AS \"delivery!\" FROM \
             (SELECT target_id, outcome, count(*) AS count, min(ended_at) AS oldest \
             FROM undelivered WHERE account_id = $1 AND sent_again_at IS NULL \
             GROUP BY target_id, outcome ORDER BY oldest LIMIT $2) g, \
             LATERAL (SELECT u.delivery FROM undelivered u WHERE u.account_id = $1 \
             AND u.sent_again_at IS NULL AND u.target_id IS NOT DISTINCT FROM g.target_id \
             AND u.outcome = g.outcome AND u.ended_at = g.oldest LIMIT 1) s ORDER BY g.oldest",
            account_id,
            MAX_GROUPS
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(groups)
    }

    /// Makes a job.
    ///
    /// # Errors
    /// [`StoreError::TooManyResends`], [`StoreError::AccountClosed`], or those of
    /// the database.
    pub async fn create_resend(
        &self,
        account_id: &str,
        resend_id: Uuid,
        new: &NewResend<'_>,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut tx = self.pool.begin().await?;
        lock_account(&mut tx, account_id).await?;
        let under_way = sqlx::query_scalar!(
            "SELECT count(*) AS \"count!\" FROM resends \
             WHERE account_id = $1 AND state IN ('running', 'paused')",
            account_id
        )
        .fetch_one(&mut *tx)
        .await?;
        if under_way >= MAX_RESENDS {
            return Err(StoreError::TooManyResends);
        }
        sqlx::query!(
            "INSERT INTO resends (resend_id, account_id, target_id, target, outcomes, since, \
             created_at, per_second, state, next_batch_at, changed_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'running', $7, $7)",
            resend_id,
            account_id,
            new.target_id,
            new.target,
            new.outcomes,
            new.since,
            at,
            new.per_second
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The newest hundred jobs of an account, the newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn resends(&self, account_id: &str) -> Result<Vec<Resend>, StoreError> {
        let resends = sqlx::query_as!(
            Resend,
            "SELECT resend_id, account_id, target_id, target, outcomes, since, created_at, \
             per_second, state, sent FROM resends WHERE account_id = $1 \
             ORDER BY created_at DESC, resend_id LIMIT 100",
            account_id
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(resends)
    }

    /// One job of an account.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or those of the database.
    pub async fn resend(&self, account_id: &str, resend_id: Uuid) -> Result<Resend, StoreError> {
        sqlx::query_as!(
            Resend,
            "SELECT resend_id, account_id, target_id, target, outcomes, since, created_at, \
             per_second, state, sent FROM resends WHERE account_id = $1 AND resend_id = $2",
            account_id,
            resend_id
        )
        .fetch_optional(&self.pool)
        .await?
        .ok_or(StoreError::NotFound(Thing::Resend))
    }

    /// Lets a job run, pauses it or cancels it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::ResendEnded`], or those of the
    /// database.
    pub async fn set_resend_state(
        &self,
        account_id: &str,
        resend_id: Uuid,
        state: &str,
        at: DateTime<Utc>,
    ) -> Result<Resend, StoreError> {
        // Waits for the batch that is being sent, if there is one.
        let changed = sqlx::query!(
            "UPDATE resends SET state = $3, changed_at = $4 WHERE account_id = $1 \
             AND resend_id = $2 AND state IN ('running', 'paused')",
            account_id,
            resend_id,
            state,
            at
        )
        .execute(&self.pool)
        .await?;
        let resend = self.resend(account_id, resend_id).await?;
        if changed.rows_affected() == 0 && resend.state != state {
            return Err(StoreError::ResendEnded);
        }
        Ok(resend)
    }

    /// Takes what a job is to send next. `None` when no job is due that nobody
    /// else is working on.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn next_resend_batch(
        &self,
        at: DateTime<Utc>,
    ) -> Result<Option<ResendBatch>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let resend = sqlx::query_as!(
            Resend,
            "SELECT resend_id, account_id, target_id, target, outcomes, since, created_at, \
             per_second, state, sent FROM resends WHERE state = 'running' \
             AND next_batch_at <= $1 ORDER BY next_batch_at LIMIT 1 FOR UPDATE SKIP LOCKED",
            at
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(resend) = resend else { return Ok(None) };
        // Waits for others who send one of these again, and passes over it then. It
        // begins where the batch before has ended, and looks at nothing twice.
        let deliveries = sqlx::query_as!(
            Taken,
            "SELECT delivery_id, ended_at, delivery FROM undelivered WHERE account_id = $1 \
             AND ($2::uuid IS NULL OR target_id = $2) AND outcome = ANY($3) AND ended_at < $4 \
             AND ended_at >= (SELECT greatest(since, reached, '-infinity') FROM resends \
             WHERE resend_id = $5) AND sent_again_at IS NULL ORDER BY ended_at LIMIT $6 FOR UPDATE",
            resend.account_id,
            resend.target_id,
            &resend.outcomes,
            resend.created_at,
            resend.resend_id,
            i64::from(resend.batch())
        )
        .fetch_all(&mut *tx)
        .await?;
        Ok(Some(ResendBatch { tx, resend: Some(resend), deliveries, delivered: Vec::new() }))
    }

    /// Takes one delivery of an account that was not delivered.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none that can be sent again,
    /// [`StoreError::SentAgain`] when that was done, or those of the database.
    pub async fn take_undelivered(
        &self,
        account_id: &str,
        delivery_id: Uuid,
    ) -> Result<ResendBatch, StoreError> {
        let mut tx = self.pool.begin().await?;
        let row = sqlx::query!(
            "SELECT delivery, ended_at, sent_again_at FROM undelivered \
             WHERE delivery_id = $1 AND account_id = $2 FOR UPDATE",
            delivery_id,
            account_id
        )
        .fetch_optional(&mut *tx)
        .await?
        .ok_or(StoreError::NotFound(Thing::Delivery))?;
        if row.sent_again_at.is_some() {
            return Err(StoreError::SentAgain);
        }
        let taken = Taken { delivery_id, ended_at: row.ended_at, delivery: row.delivery };
        Ok(ResendBatch { tx, resend: None, deliveries: vec![taken], delivered: Vec::new() })
    }

    /// Takes those of these deliveries of an account that have not been sent again:
    /// of the first ones what was not delivered, of the others what was.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn take_deliveries(
        &self,
        account_id: &str,
        undelivered: &[Uuid],
        delivered: &[Uuid],
    ) -> Result<ResendBatch, StoreError> {
        let mut tx = self.pool.begin().await?;
        // In the order in which jobs take them. Waits for others who send one of
        // these again, and passes over it then.
        let deliveries = sqlx::query_as!(
            Taken,
            "SELECT delivery_id, ended_at, delivery FROM undelivered WHERE delivery_id = ANY($1) \
             AND account_id = $2 AND sent_again_at IS NULL ORDER BY ended_at FOR UPDATE",
            undelivered,
            account_id
        )
        .fetch_all(&mut *tx)
        .await?;
        let delivered = sqlx::query_scalar!(
            "SELECT delivery_id FROM ends WHERE delivery_id = ANY($1) AND account_id = $2 \
             AND outcome = 'delivered' AND sent_again_at IS NULL \
             ORDER BY ended_at, delivery_id FOR UPDATE",
            delivered,
            account_id
        )
        .fetch_all(&mut *tx)
        .await?;
        Ok(ResendBatch { tx, resend: None, deliveries, delivered })
    }
}
