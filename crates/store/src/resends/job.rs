//! A job at work: it claims a batch, sends it, and notes what it has sent.
//!
//! No transaction is open meanwhile. The claim keeps other replicas away from the
//! job, and its number keeps whoever was too slow from noting anything in the name
//! of who came after. A process that dies leaves the job to others when the claim is
//! over, and what it had stored and not noted is stored once more under the same ids: who
//! does that is told since when.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::{Resend, Taken, note};
use crate::{Store, StoreError};

/// Batches of a job in a second: what it has in hand when its process dies is small.
const BATCHES_PER_SECOND: i32 = 10;
/// How long a job is left to whoever was last seen working on it. Much longer than
/// the broker may take for one group of deliveries.
const CLAIM: TimeDelta = TimeDelta::seconds(30);
/// How long another job's batch that nobody has noted is thought of: whoever was at it may
/// be gone for good, and the job may have been cancelled.
const REMEMBERED: TimeDelta = TimeDelta::minutes(15);

/// How long a job waits after a failure, so that others have their turn.
const AFTER_FAILURE: TimeDelta = TimeDelta::seconds(5);

/// The next step after a note.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AfterNote {
    /// More of the batch.
    Next,
    /// The job is let go.
    LetGo,
    /// It is let go after an error: some may have been sent that are not noted.
    LetGoUnsure,
}

/// What a job is to send next.
#[derive(Debug)]
pub struct JobBatch {
    resend: Resend,
    claim: Uuid,
    /// When it was claimed, or noted last.
    claimed_at: DateTime<Utc>,
    /// What is not noted yet, the oldest first.
    deliveries: Vec<Taken>,
    /// How many of these were looked at.
    looked_at: usize,
    /// Which of those were sent.
    sent: Vec<Uuid>,
    /// The process that was at the job before, or at another one of the account, has not noted
    /// all that it sent, and may have sent some of these since then.
    repeats_since: Option<DateTime<Utc>>,
    /// Less than a batch is the end: what ends from now on is not its.
    is_last: bool,
}

impl Resend {
    /// How many are sent at once.
    fn batch(&self) -> i32 {
        (self.per_second / BATCHES_PER_SECOND).max(1)
    }

    /// The time that so many stand for.
    fn time_of(&self, deliveries: usize) -> TimeDelta {
        let deliveries = i64::try_from(deliveries).unwrap_or(i64::MAX);
        TimeDelta::microseconds(deliveries.saturating_mul(1_000_000) / i64::from(self.per_second))
    }
}

impl JobBatch {
    /// The next so many that were not looked at: ids and stored bytes.
    pub fn next(&self, count: usize) -> impl Iterator<Item = (Uuid, &[u8])> {
        let rest = self.deliveries.iter().skip(self.looked_at).take(count);
        rest.map(|taken| (taken.delivery_id, taken.delivery.as_slice()))
    }

    /// Since when others may have sent some of these, if that can be.
    pub fn repeats_since(&self) -> Option<DateTime<Utc>> {
        self.repeats_since
    }

    /// Whether the claim is so old that another may have the job before this one is done.
    pub fn may_be_lost(&self, at: DateTime<Utc>) -> bool {
        at - self.claimed_at > CLAIM / 2
    }

    /// How many were not looked at.
    pub fn left(&self) -> usize {
        self.deliveries.len() - self.looked_at
    }

    /// The next so many were looked at, and these of them were sent.
    pub fn looked_at(&mut self, count: usize, sent: impl IntoIterator<Item = Uuid>) {
        self.looked_at = (self.looked_at + count).min(self.deliveries.len());
        self.sent.extend(sent);
    }

    /// The time that they are to be spread over.
    pub fn takes(&self) -> Duration {
        self.resend.time_of(self.deliveries.len()).to_std().unwrap_or_default()
    }
}

impl Store {
    /// Claims what a job is to send next. `None` when no job is due that nobody else is
    /// working on. The jobs of a tenant, which is a primary account with its subaccounts, take
    /// turns: so no tenant has more than one in hand, and two that name the same deliveries do
    /// not both send what is not noted yet.
    ///
    /// # Errors
    /// Those of the database. A job whose deliveries cannot be read is put off, so that it is
    /// not the next one again.
    pub async fn next_resend_batch(
        &self,
        claim: Uuid,
        at: DateTime<Utc>,
    ) -> Result<Option<JobBatch>, StoreError> {
        let mut tx = self.pool.begin().await?;
        // Of two that may name the same deliveries the one that was due first goes first.
        let due = sqlx::query!(
            "SELECT r.resend_id, r.account_id, coalesce(a.parent_id, a.account_id) \
             AS \"primary_id!\" FROM resends r JOIN accounts a USING (account_id) \
             WHERE r.state = 'running' \
             AND r.next_batch_at <= $1 AND (r.claimed_until IS NULL OR r.claimed_until <= $1) \
             AND NOT EXISTS (SELECT FROM resends o JOIN accounts b USING (account_id) \
             WHERE o.claimed_until > $1 AND coalesce(b.parent_id, b.account_id) \
             = coalesce(a.parent_id, a.account_id)) \
             AND NOT EXISTS (SELECT FROM resends o WHERE o.account_id = r.account_id \
             AND o.resend_id <> r.resend_id AND \
             (o.target_id = r.target_id OR o.target_id IS NULL OR r.target_id IS NULL) AND \
             o.state = 'running' AND \
             (o.next_batch_at, o.resend_id) < (r.next_batch_at, r.resend_id)) \
             ORDER BY r.next_batch_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED",
            at
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(due) = due else { return Ok(None) };
        // A claim of another job of the tenant at this moment is not seen yet.
        let has_turn = sqlx::query_scalar!(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('resends of ' || $1, 0)) \
             AS \"has_turn!\"",
            due.primary_id
        );
        if !has_turn.fetch_one(&mut *tx).await? {
            return Ok(None);
        }
        // A version before the column knows of what is not noted by its claim alone.
        let job = sqlx::query!(
            "WITH unnoted AS (SELECT resend_id, account_id, target_id, claimed_until, \
             coalesce(unnoted_since, claimed_until - make_interval(secs => $6)) AS since \
             FROM resends WHERE account_id = $7), \
             own AS (SELECT * FROM unnoted WHERE resend_id = $1), \
             others AS (SELECT o.* FROM unnoted o, own WHERE o.resend_id <> $1 AND \
             (o.target_id = own.target_id OR o.target_id IS NULL OR own.target_id IS NULL)) \
             UPDATE resends r SET claim = $2, claimed_until = $4, \
             unnoted_since = coalesce(own.since, $3) FROM own WHERE r.resend_id = $1 \
             AND NOT EXISTS (SELECT FROM resends o JOIN accounts a USING (account_id) \
             WHERE o.claimed_until > $3 AND coalesce(a.parent_id, a.account_id) = $8) \
             RETURNING r.resend_id, r.account_id, r.target_id, r.target, r.outcomes, r.since, \
             r.created_at, r.per_second, r.state, r.sent, r.passed_over, r.reached, r.reached_id, \
             least(own.since, (SELECT min(since) FROM others WHERE since > $5)) AS repeats_since",
            due.resend_id,
            claim,
            at,
            at + CLAIM,
            at - REMEMBERED,
            CLAIM.as_seconds_f64(),
            due.account_id,
            due.primary_id
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(job) = job else { return Ok(None) };
        // Dying from here on leaves the job to others when the claim is over.
        tx.commit().await?;
        let resend = Resend {
            resend_id: job.resend_id,
            account_id: job.account_id,
            target_id: job.target_id,
            target: job.target,
            // Of no matter to whoever sends.
            named_by: None,
            outcomes: job.outcomes,
            since: job.since,
            created_at: job.created_at,
            per_second: job.per_second,
            state: job.state,
            sent: job.sent,
            passed_over: job.passed_over,
        };
        // It begins where the batch before has ended, and looks at nothing twice. Where
        // an older version has worked on it, the moment alone is known.
        let from = job.since.max(job.reached).unwrap_or(DateTime::UNIX_EPOCH);
        let reached = job.reached.filter(|reached| *reached == from);
        let after = reached.and(job.reached_id).unwrap_or_default();
        let deliveries = sqlx::query_as!(
            Taken,
            "SELECT delivery_id, ended_at, delivery FROM undelivered WHERE account_id = $1 \
             AND ($2::uuid IS NULL OR target_id = $2) AND outcome = ANY($3) AND ended_at < $4 \
             AND ended_at >= $5 AND (ended_at, delivery_id) > ($5, $6) AND sent_again_at IS NULL \
             ORDER BY ended_at, delivery_id LIMIT $7",
            resend.account_id,
            resend.target_id,
            &resend.outcomes,
            resend.created_at,
            from,
            after,
            i64::from(resend.batch())
        );
        let deliveries = match deliveries.fetch_all(&self.pool).await {
            Ok(deliveries) => deliveries,
            Err(error) => {
                self.put_off_resend(resend.resend_id, claim, at).await?;
                return Err(error.into());
            }
        };
        let is_last = deliveries.len() < usize::try_from(resend.batch()).unwrap_or(usize::MAX);
        let (looked_at, sent) = (0, Vec::new());
        let batch = JobBatch {
            resend,
            claim,
            claimed_at: at,
            deliveries,
            looked_at,
            sent,
            repeats_since: job.repeats_since,
            is_last,
        };
        Ok(Some(batch))
    }

    /// Notes what was looked at and what was sent, and takes it out of the batch. Returns
    /// when the job goes on; `None` when it does not, or is somebody else's by now.
    ///
    /// # Errors
    /// Those of the database. Nothing is noted then, and they are sent once more.
    pub async fn note_resent(
        &self,
        batch: &mut JobBatch,
        then: AfterNote,
        at: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let (resend, looked_at) = (&batch.resend, batch.looked_at);
        let part = batch.deliveries.get(..looked_at).unwrap_or_default();
        let last = part.last();
        let mut tx = self.pool.begin().await?;
        let sent = note(&mut tx, part, &batch.sent, at).await?;
        let ends = then != AfterNote::Next;
        let is_done = ends && batch.is_last && batch.left() == 0;
        // Some that are repeated in this batch may stand behind those that were looked at.
        let is_all_noted =
            then == AfterNote::LetGo && (batch.left() == 0 || batch.repeats_since.is_none());
        let job = sqlx::query!(
            "UPDATE resends SET sent = sent + $3, passed_over = passed_over + $4, changed_at = $5, \
             next_batch_at = greatest(next_batch_at + make_interval(secs => $6), $13), \
             reached = coalesce($7, reached), reached_id = coalesce($8, reached_id), \
             claim = CASE WHEN $9 THEN NULL ELSE claim END, \
             claimed_until = CASE WHEN $9 THEN NULL ELSE $10::timestamptz END, \
             unnoted_since = CASE WHEN $12 THEN NULL ELSE unnoted_since END, \
             state = CASE WHEN $11 AND state = 'running' THEN 'done' ELSE state END \
             WHERE resend_id = $1 AND claim = $2 RETURNING state, next_batch_at",
            resend.resend_id,
            batch.claim,
            i64::try_from(sent).unwrap_or(i64::MAX),
            i64::try_from(looked_at - batch.sent.len()).unwrap_or(i64::MAX),
            at,
            resend.time_of(looked_at).as_seconds_f64(),
            last.map(|taken| taken.ended_at),
            last.map(|taken| taken.delivery_id),
            ends,
            at + CLAIM,
            is_done,
            is_all_noted,
            // Others have their turn before one that has failed.
            if then == AfterNote::LetGoUnsure { at + AFTER_FAILURE } else { at }
        )
        .fetch_optional(&mut *tx)
        .await?;
        // What was sent is noted, whosever the job is now.
        tx.commit().await?;
        batch.deliveries.drain(..looked_at);
        batch.looked_at = 0;
        batch.sent.clear();
        batch.claimed_at = at;
        Ok(job.filter(|job| job.state == "running").map(|job| job.next_batch_at))
    }

    /// Lets a job go of which nothing could be read.
    async fn put_off_resend(
        &self,
        resend_id: Uuid,
        claim: Uuid,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "UPDATE resends SET claim = NULL, claimed_until = NULL, next_batch_at = $3 \
             WHERE resend_id = $1 AND claim = $2",
            resend_id,
            claim,
            at + AFTER_FAILURE
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Whether somebody is at a job.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn is_resend_in_hand(
        &self,
        resend_id: Uuid,
        at: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let in_hand = sqlx::query_scalar!(
            "SELECT EXISTS (SELECT FROM resends WHERE resend_id = $1 AND claimed_until > $2) \
             AS \"in_hand!\"",
            resend_id,
            at
        );
        Ok(in_hand.fetch_one(&self.pool).await?)
    }
}
