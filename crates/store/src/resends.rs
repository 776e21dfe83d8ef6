//! What was not delivered, and jobs that send it again.

mod job;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::accounts::lock_account;
use crate::{Store, StoreError, Thing};

pub use job::{AfterNote, JobBatch};

/// Jobs of one account that may be under way at a time.
pub const MAX_RESENDS: i64 = 10;
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
    /// The account of the key that named it; `None` of jobs of an earlier version.
    pub named_by: Option<String>,
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
    /// How many were left where they are, because they cannot be read.
    pub passed_over: i64,
}

/// A job that is to be made.
#[derive(Clone, Debug)]
pub struct NewResend<'a> {
    /// Of what; `None` for every target of the account.
    pub target_id: Option<Uuid>,
    /// The URL or the alert setting that was named; empty for all.
    pub target: &'a str,
    /// The account of the key that names it.
    pub named_by: &'a str,
    /// How the deliveries ended that are sent again.
    pub outcomes: &'a [String],
    /// Those that ended before are left alone.
    pub since: Option<DateTime<Utc>>,
    /// How many are sent in a second.
    pub per_second: i32,
}

/// Deliveries of one call, which no other call sends again as long as this value
/// lives. When it is dropped they are as before.
#[derive(Debug)]
pub struct ResendBatch {
    tx: Transaction<'static, Postgres>,
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

impl ResendBatch {
    /// What was not delivered: its ids and stored bytes.
    pub fn deliveries(&self) -> impl Iterator<Item = (Uuid, &[u8])> {
        self.deliveries.iter().map(|taken| (taken.delivery_id, taken.delivery.as_slice()))
    }

    /// What was delivered: its ids.
    pub fn delivered(&self) -> &[Uuid] {
        &self.delivered
    }

    /// Notes that these of them were sent again.
    ///
    /// # Errors
    /// Those of the database. Nothing is noted then, and they can be sent once more.
    pub async fn sent(mut self, sent: &[Uuid], at: DateTime<Utc>) -> Result<(), StoreError> {
        note(&mut self.tx, &self.deliveries, sent, at).await?;
        self.delivered.retain(|id| sent.contains(id));
        if !self.delivered.is_empty() {
            sqlx::query!(
                "UPDATE ends SET sent_again_at = $2 WHERE delivery_id = ANY($1)",
                &self.delivered,
                at
            )
            .execute(&mut *self.tx)
            .await?;
        }
        self.tx.commit().await?;
        Ok(())
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
             created_at, per_second, state, next_batch_at, changed_at, named_by) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'running', $7, $7, $9)",
            resend_id,
            account_id,
            new.target_id,
            new.target,
            new.outcomes,
            new.since,
            at,
            new.per_second,
            new.named_by
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Whether an account has a webhook or an alert with this target, the URL or the id of the
    /// setting, or something that is undelivered there and was not sent again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn has_target(
        &self,
        account_id: &str,
        target_id: Uuid,
        target: &str,
    ) -> Result<bool, StoreError> {
        let has = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM domain_webhooks JOIN domains d USING (domain_id) \
                 WHERE d.account_id = $1 AND d.deleted_at IS NULL AND url = $3) \
             OR EXISTS (SELECT FROM account_webhooks WHERE account_id = $1 AND url = $3) \
             OR EXISTS (SELECT FROM alert_settings \
                 WHERE account_id = $1 AND setting_id::text = $3) \
             OR EXISTS (SELECT FROM undelivered WHERE account_id = $1 AND target_id = $2 \
                 AND sent_again_at IS NULL) AS \"has!\"",
            account_id,
            target_id,
            target
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(has)
    }

    /// The newest hundred jobs of an account, the newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn resends(&self, account_id: &str) -> Result<Vec<Resend>, StoreError> {
        let resends = sqlx::query_as!(
            Resend,
            "SELECT resend_id, account_id, target_id, target, named_by, outcomes, since, \
             created_at, per_second, state, sent, passed_over FROM resends WHERE account_id = $1 \
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
            "SELECT resend_id, account_id, target_id, target, named_by, outcomes, since, \
             created_at, per_second, state, sent, passed_over FROM resends \
             WHERE account_id = $1 AND resend_id = $2",
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
        Ok(ResendBatch { tx, deliveries: vec![taken], delivered: Vec::new() })
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
        Ok(ResendBatch { tx, deliveries, delivered })
    }
}

/// Notes which of these were sent again, for whoever looks at them next. Returns how
/// many of them nobody has noted before.
async fn note(
    connection: &mut PgConnection,
    taken: &[Taken],
    sent: &[Uuid],
    at: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let moments = || taken.iter().map(|taken| taken.ended_at);
    // The moments leave out the days that have none of them.
    let noted = sqlx::query!(
        "UPDATE undelivered SET sent_again_at = $4 WHERE delivery_id = ANY($1) \
         AND ended_at BETWEEN $2 AND $3 AND sent_again_at IS NULL",
        sent,
        moments().min(),
        moments().max(),
        at
    )
    .execute(connection)
    .await?;
    Ok(noted.rows_affected())
}
