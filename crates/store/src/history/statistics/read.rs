//! Statistics, read: what they are made of, and the queries for them.

use chrono::{DateTime, Utc};
use model::{End, Latencies};

use super::{ALL_TARGETS, Backlog, LONG_SLOT_SECONDS, SHORT_SLOT_SECONDS, Uuid};
use crate::{Store, StoreError};

/// Deliveries, by how they ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Outcomes {
    pub delivered: u64,
    pub rejected: u64,
    pub exhausted: u64,
    pub expired: u64,
    pub suppressed: u64,
    pub held: u64,
    pub poisoned: u64,
}

/// What is counted of a slot, of several, or of what they are added to.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counted {
    /// Tries that were charged, and taken.
    pub taken: u64,
    /// Tries that were charged, and failed.
    pub failed: u64,
    /// How long answers took.
    pub latencies: Latencies,
    /// Deliveries.
    pub outcomes: Outcomes,
}

/// One slot, or a part of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SlotRow {
    /// When it begins.
    pub starts_at: DateTime<Utc>,
    /// What is counted of it.
    pub counted: Counted,
}

/// By what the worst targets are found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetOrder {
    /// Most tries that failed first.
    Failures,
    /// The smallest part of tries that were taken first.
    SuccessRate,
}

/// Which targets are looked at.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct TargetFilter {
    pub account_id: String,
    /// This one alone.
    pub target_id: Option<Uuid>,
    /// A whole hour.
    pub from: DateTime<Utc>,
    /// Not from here on.
    pub to: DateTime<Utc>,
    pub order: TargetOrder,
    pub limit: i64,
}

/// One target, and what is counted of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetStatistics {
    /// Which.
    pub target_id: Uuid,
    /// In the range.
    pub counted: Counted,
    /// Where its last try went, as failure logs show it. All of this, as far back as
    /// statistics go.
    pub last_url: Option<String>,
    /// Which level that one was for, as in `AttemptRow`.
    pub last_level: Option<String>,
    /// When the last try was taken.
    pub last_taken_at: Option<DateTime<Utc>>,
    /// When the last one failed.
    pub last_failed_at: Option<DateTime<Utc>>,
    /// Why that one failed.
    pub last_reason: Option<String>,
    /// What there is at this moment.
    pub backlog: Backlog,
}

impl Outcomes {
    /// Counts so many. What a newer version calls otherwise is counted nowhere.
    pub(super) fn count(&mut self, outcome: &str, deliveries: i64) {
        if let Some(count) = self.of(outcome) {
            *count += unsigned(deliveries);
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        let Self { delivered, rejected, exhausted, expired, suppressed, held, poisoned } = *self;
        delivered + rejected + exhausted + expired + suppressed + held + poisoned
    }

    fn of(&mut self, outcome: &str) -> Option<&mut u64> {
        Some(match End::parse(outcome)? {
            End::Delivered => &mut self.delivered,
            End::Rejected => &mut self.rejected,
            End::Exhausted => &mut self.exhausted,
            End::Expired => &mut self.expired,
            End::Suppressed => &mut self.suppressed,
            End::Held => &mut self.held,
            End::Poisoned => &mut self.poisoned,
        })
    }

    fn add(&mut self, other: &Self) {
        let Self { delivered, rejected, exhausted, expired, suppressed, held, poisoned } = *other;
        self.delivered += delivered;
        self.rejected += rejected;
        self.exhausted += exhausted;
        self.expired += expired;
        self.suppressed += suppressed;
        self.held += held;
        self.poisoned += poisoned;
    }
}

impl Counted {
    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Self) {
        self.taken += other.taken;
        self.failed += other.failed;
        self.latencies.add(&other.latencies);
        self.outcomes.add(&other.outcomes);
    }
}

/// As the database has it.
pub(super) struct Columns {
    pub(super) account_id: String,
    pub(super) target_id: Uuid,
    pub(super) starts_at: DateTime<Utc>,
    pub(super) taken: i64,
    pub(super) failed: i64,
    pub(super) latencies: Vec<i64>,
    pub(super) delivered: i64,
    pub(super) rejected: i64,
    pub(super) exhausted: i64,
    pub(super) expired: i64,
    pub(super) suppressed: i64,
    pub(super) held: i64,
    pub(super) poisoned: i64,
}

impl Columns {
    pub(super) fn counted(&self) -> Counted {
        Counted {
            taken: unsigned(self.taken),
            failed: unsigned(self.failed),
            latencies: Latencies::of(self.latencies.iter().copied().map(unsigned)),
            outcomes: Outcomes {
                delivered: unsigned(self.delivered),
                rejected: unsigned(self.rejected),
                exhausted: unsigned(self.exhausted),
                expired: unsigned(self.expired),
                suppressed: unsigned(self.suppressed),
                held: unsigned(self.held),
                poisoned: unsigned(self.poisoned),
            },
        }
    }
}

/// A count, which the database has as a number that might be negative.
fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

impl Store {
    /// The slots of a target, or of all together, that begin in a range, in the order
    /// of time. Of all together short and long ones stand beside each other; each try
    /// and each end is in one of them alone. Slots without anything are not there.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn statistics(
        &self,
        account_id: &str,
        target_id: Option<Uuid>,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Vec<SlotRow>, StoreError> {
        let rows = sqlx::query_as!(
            Columns,
            "SELECT account_id, target_id, starts_at, taken, failed, latencies, delivered, rejected, exhausted, expired, \
             suppressed, held, poisoned FROM statistics WHERE account_id = $1 AND target_id = $2 \
             AND seconds = ANY($3) AND starts_at >= $4 AND starts_at < $5 ORDER BY starts_at",
            account_id,
            target_id.unwrap_or(ALL_TARGETS),
            &[SHORT_SLOT_SECONDS, LONG_SLOT_SECONDS],
            from,
            to
        )
        .fetch_all(&self.pool)
        .await?;
        let slot = |row: &Columns| SlotRow { starts_at: row.starts_at, counted: row.counted() };
        Ok(rows.iter().map(slot).collect())
    }

    /// The targets of an account of which something is counted in a range, the worst
    /// first, and what waits for each of them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn target_statistics(
        &self,
        filter: &TargetFilter,
        now: DateTime<Utc>,
    ) -> Result<Vec<TargetStatistics>, StoreError> {
        let targets = self.worst_targets(filter).await?;
        let mut found = self.last_of(&filter.account_id, &targets).await?;
        let rows = sqlx::query_as!(
            Columns,
            "SELECT account_id, target_id, starts_at, taken, failed, latencies, delivered, rejected, exhausted, expired, \
             suppressed, held, poisoned FROM statistics WHERE account_id = $1 \
             AND target_id = ANY($2) AND seconds = $3 AND starts_at >= $4 AND starts_at < $5",
            filter.account_id,
            &targets,
            LONG_SLOT_SECONDS,
            filter.from,
            filter.to
        )
        .fetch_all(&self.pool)
        .await?;
        for row in rows {
            if let Some(target) = found.iter_mut().find(|one| one.target_id == row.target_id) {
                target.counted.add(&row.counted());
            }
        }
        for (target, backlog) in self.backlogs(&filter.account_id, &targets, now).await? {
            if let Some(found) = found.iter_mut().find(|one| one.target_id == target) {
                found.backlog = backlog;
            }
        }
        Ok(found)
    }

    /// Goes from target to target, and for each through the hours of the range. How
    /// far back statistics go costs nothing here.
    async fn worst_targets(&self, filter: &TargetFilter) -> Result<Vec<Uuid>, StoreError> {
        let targets = sqlx::query_scalar!(
            "WITH RECURSIVE known AS (\
             (SELECT target_id FROM statistics WHERE account_id = $1 AND target_id > $2 \
             AND ($3::uuid IS NULL OR target_id = $3) ORDER BY target_id LIMIT 1) \
             UNION ALL SELECT (SELECT s.target_id FROM statistics s WHERE s.account_id = $1 \
             AND s.target_id > known.target_id ORDER BY s.target_id LIMIT 1) \
             FROM known WHERE known.target_id IS NOT NULL AND $3::uuid IS NULL) \
             SELECT known.target_id AS \"target_id!\" FROM known, LATERAL (\
             SELECT sum(taken) AS taken, sum(failed) AS failed FROM statistics s \
             WHERE s.account_id = $1 AND s.target_id = known.target_id AND s.seconds = $4 \
             AND s.starts_at >= $5 AND s.starts_at < $6 HAVING count(*) > 0) AS c \
             ORDER BY CASE WHEN $7::boolean THEN taken / nullif(taken + failed, 0) END NULLS LAST, \
             failed DESC, taken, known.target_id LIMIT $8",
            filter.account_id,
            ALL_TARGETS,
            filter.target_id,
            LONG_SLOT_SECONDS,
            filter.from,
            filter.to,
            filter.order == TargetOrder::SuccessRate,
            filter.limit
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(targets)
    }

    /// What was last with each of these targets, in their order. A target that has
    /// taken nothing for long is looked through to where statistics begin.
    async fn last_of(
        &self,
        account_id: &str,
        targets: &[Uuid],
    ) -> Result<Vec<TargetStatistics>, StoreError> {
        let rows = sqlx::query!(
            "SELECT t.target_id AS \"target_id!\", u.last_url AS \"last_url?\", \
             u.last_level AS \"last_level?\", o.last_taken_at AS \"last_taken_at?\", f.last_failed_at AS \"last_failed_at?\", \
             f.last_reason AS \"last_reason?\" \
             FROM unnest($2::uuid[]) WITH ORDINALITY AS t (target_id, place) \
             LEFT JOIN LATERAL (SELECT last_url, last_level FROM statistics s WHERE s.account_id = $1 \
             AND s.target_id = t.target_id AND s.seconds = $3 AND s.last_url IS NOT NULL \
             ORDER BY s.starts_at DESC LIMIT 1) AS u ON true \
             LEFT JOIN LATERAL (SELECT last_taken_at FROM statistics s WHERE s.account_id = $1 \
             AND s.target_id = t.target_id AND s.seconds = $3 AND s.last_taken_at IS NOT NULL \
             ORDER BY s.starts_at DESC LIMIT 1) AS o ON true \
             LEFT JOIN LATERAL (SELECT last_failed_at, last_reason FROM statistics s \
             WHERE s.account_id = $1 AND s.target_id = t.target_id AND s.seconds = $3 \
             AND s.last_failed_at IS NOT NULL ORDER BY s.starts_at DESC LIMIT 1) AS f ON true \
             ORDER BY t.place",
            account_id,
            targets,
            LONG_SLOT_SECONDS
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| TargetStatistics {
                target_id: row.target_id,
                counted: Counted::default(),
                last_url: row.last_url,
                last_level: row.last_level,
                last_taken_at: row.last_taken_at,
                last_failed_at: row.last_failed_at,
                last_reason: row.last_reason,
                backlog: Backlog::default(),
            })
            .collect())
    }
}
