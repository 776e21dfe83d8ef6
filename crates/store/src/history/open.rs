//! What was decided and has no end.
//!
//! No index has this, because each index costs CPU for every row and this is asked for after a
//! disaster alone. So the days are gone through by the keys that they have, some rows at a
//! time: a page says how far it came, also where it found nothing.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};

use super::Uuid;
use crate::{Store, StoreError};

/// A delivery that was decided on and has not ended, as far as history knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenDecision {
    /// Which delivery: of the first generation.
    pub delivery_id: Uuid,
    /// Whom it is for.
    pub target_id: Uuid,
    /// The event that it carries.
    pub event_key: Uuid,
    /// Whose it is.
    pub account_id: String,
    /// When it was decided.
    pub routed_at: DateTime<Utc>,
}

/// A place among all decisions, behind which the next page begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OpenPlace {
    day: NaiveDate,
    event_key: Uuid,
    routed_at: DateTime<Utc>,
    position: i32,
}

impl OpenPlace {
    /// Before the first decision of this moment's day.
    pub fn since(moment: DateTime<Utc>) -> Self {
        Self::before(moment.date_naive())
    }

    fn before(day: NaiveDate) -> Self {
        let event_key = Uuid::nil();
        Self { day, event_key, routed_at: DateTime::<Utc>::MIN_UTC, position: -1 }
    }
}

/// A page of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenDecisions {
    /// Those that were found, which may be none.
    pub found: Vec<OpenDecision>,
    /// Where the next page begins; `None` when there is nothing behind.
    pub next: Option<OpenPlace>,
}

impl Store {
    /// Looks at up to `limit` decisions behind this place that are older than this moment.
    /// Left out is what has ended. Whether the rest is under way is known to the broker alone.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn decided_without_end(
        &self,
        after: OpenPlace,
        older_than: DateTime<Utc>,
        limit: u16,
    ) -> Result<OpenDecisions, StoreError> {
        let OpenPlace { day, event_key, routed_at, position } = after;
        let from = day.and_time(NaiveTime::MIN).and_utc();
        let next_day = day.checked_add_days(Days::new(1)).unwrap_or(day);
        let to = next_day.and_time(NaiveTime::MIN).and_utc();
        if from >= older_than {
            return Ok(OpenDecisions { found: Vec::new(), next: None });
        }
        // Looked up row by row: planned as one, all ends would be read for each page. And a
        // planner that finds reading a whole day for one page just as cheap is wrong about the
        // pages behind it.
        let mut tx = self.pool.begin().await?;
        sqlx::query!("SET LOCAL enable_seqscan = off").execute(&mut *tx).await?;
        let rows = sqlx::query!(
            "SELECT d.event_key AS \"event_key!\", d.routed_at AS \"routed_at!\", \
             d.position AS \"position!\", d.account_id AS \"account_id!\", d.delivery_id, d.target_id, \
             (d.verdict = 'chosen' AND d.routed_at < $6 AND d.delivery_id IS NOT NULL \
             AND e.is_there IS NULL) AS \"is_open!\" \
             FROM (SELECT * FROM routing_decisions WHERE routed_at >= $1 AND routed_at < $2 \
             AND (event_key, routed_at, position) > ($3, $4, $5) \
             ORDER BY event_key, routed_at, position LIMIT $7) d \
             LEFT JOIN LATERAL (SELECT true AS is_there FROM ends \
             WHERE delivery_id = d.delivery_id \
             AND ended_at >= d.routed_at - interval '1 day' LIMIT 1) e ON true \
             ORDER BY d.event_key, d.routed_at, d.position",
            from,
            to,
            event_key,
            routed_at.max(from),
            position,
            older_than,
            i64::from(limit)
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let next = match rows.last() {
            Some(last) if rows.len() == usize::from(limit) => OpenPlace {
                day,
                event_key: last.event_key,
                routed_at: last.routed_at,
                position: last.position,
            },
            _ => OpenPlace::before(next_day),
        };
        let found = rows.into_iter().filter(|row| row.is_open).filter_map(|row| {
            Some(OpenDecision {
                delivery_id: row.delivery_id?,
                target_id: row.target_id?,
                event_key: row.event_key,
                account_id: row.account_id,
                routed_at: row.routed_at,
            })
        });
        Ok(OpenDecisions { found: found.collect(), next: Some(next) })
    }
}
