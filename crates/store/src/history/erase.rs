//! Deleting an account's history.
//!
//! No table of history has an index by account that covers every row: each
//! index costs CPU for every delivery, and accounts are erased seldom. So a
//! table is gone through from its first block to its last, some blocks at a
//! time, which reads the disk in order and keeps statements short. All its days
//! are gone through together: a part is the same blocks of each of them. A row
//! that moves meanwhile, out of the default partition into its day, may be missed
//! by one pass; the second one comes minutes later, when it stands still. Statistics
//! do have such an index, and are gone through like the others all the same.

use crate::{Store, StoreError};

/// Blocks of one statement: 64 MiB. Even a slow disk reads that in a few seconds.
const BLOCKS: i64 = 8192;

/// A table with rows of accounts.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum HistoryTable {
    Events,
    /// What was decided of each event.
    Routings,
    Attempts,
    Ends,
    Undelivered,
    /// Counts of bodies that were given up.
    Expired,
    /// Counts of all else.
    Statistics,
    /// Messages that could not be read.
    Unread,
}

/// What became of one part of a table.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ErasedPart {
    /// Rows that were deleted.
    pub rows: u64,
    /// The block at which the next part begins; `None` after the last one.
    pub next: Option<i64>,
}

impl HistoryTable {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Events,
        Self::Routings,
        Self::Attempts,
        Self::Ends,
        Self::Undelivered,
        Self::Expired,
        Self::Statistics,
        Self::Unread,
    ];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Routings => "routing_decisions",
            Self::Attempts => "attempts",
            Self::Ends => "ends",
            Self::Undelivered => "undelivered",
            Self::Expired => "expired",
            Self::Statistics => "statistics",
            Self::Unread => "unread_messages",
        }
    }
}

impl Store {
    /// Deletes the rows of these accounts in one part of a table, which begins
    /// at this block. What is inserted meanwhile may or may not be found.
    ///
    /// # Errors
    /// Those of the database; nothing of this part was deleted then.
    pub async fn erase_history_part(
        &self,
        table: HistoryTable,
        account_ids: &[String],
        from_block: i64,
    ) -> Result<ErasedPart, StoreError> {
        let to_block = from_block + BLOCKS;
        let (from, to) = (format!("({from_block},0)"), format!("({to_block},0)"));
        let deleted =
            match table {
                HistoryTable::Events => {
                    sqlx::query!(
                        "DELETE FROM events WHERE ctid >= $1::text::tid AND ctid < $2::text::tid \
                     AND account_id = ANY($3)",
                        from,
                        to,
                        account_ids
                    )
                    .execute(&self.pool)
                    .await?
                }
                HistoryTable::Routings => {
                    sqlx::query!(
                        "DELETE FROM routing_decisions WHERE ctid >= $1::text::tid AND ctid < $2::text::tid \
                     AND account_id = ANY($3)",
                        from,
                        to,
                        account_ids
                    )
                    .execute(&self.pool)
                    .await?
                }
                HistoryTable::Attempts => {
                    sqlx::query!(
                        "DELETE FROM attempts WHERE ctid >= $1::text::tid AND ctid < $2::text::tid \
                     AND account_id = ANY($3)",
                        from,
                        to,
                        account_ids
                    )
                    .execute(&self.pool)
                    .await?
                }
                HistoryTable::Ends => {
                    sqlx::query!(
                        "DELETE FROM ends WHERE ctid >= $1::text::tid AND ctid < $2::text::tid \
                     AND account_id = ANY($3)",
                        from,
                        to,
                        account_ids
                    )
                    .execute(&self.pool)
                    .await?
                }
                HistoryTable::Undelivered => sqlx::query!(
                    "DELETE FROM undelivered WHERE ctid >= $1::text::tid AND ctid < $2::text::tid \
                     AND account_id = ANY($3)",
                    from,
                    to,
                    account_ids
                )
                .execute(&self.pool)
                .await?,
                HistoryTable::Expired => {
                    sqlx::query!(
                        "DELETE FROM expired WHERE ctid >= $1::text::tid AND ctid < $2::text::tid \
                     AND account_id = ANY($3)",
                        from,
                        to,
                        account_ids
                    )
                    .execute(&self.pool)
                    .await?
                }
                HistoryTable::Unread => sqlx::query!(
                    "DELETE FROM unread_messages WHERE ctid >= $1::text::tid \
                     AND ctid < $2::text::tid AND account_id = ANY($3)",
                    from,
                    to,
                    account_ids
                )
                .execute(&self.pool)
                .await?,
                // Locked in the order in which they are counted in, so that neither
                // waits for the other for ever.
                HistoryTable::Statistics => {
                    sqlx::query!(
                        "DELETE FROM statistics WHERE ctid = ANY(ARRAY(SELECT ctid FROM statistics \
                     WHERE ctid >= $1::text::tid AND ctid < $2::text::tid AND account_id = ANY($3) \
                     ORDER BY account_id COLLATE \"C\", target_id, seconds, starts_at FOR UPDATE))",
                        from,
                        to,
                        account_ids
                    )
                    .execute(&self.pool)
                    .await?
                }
            };
        let next = (to_block < self.blocks(table).await?).then_some(to_block);
        Ok(ErasedPart { rows: deleted.rows_affected(), next })
    }

    /// Blocks of the largest partition of a table, or of the table itself when
    /// it has none. A range of blocks means that range of each partition.
    async fn blocks(&self, table: HistoryTable) -> Result<i64, StoreError> {
        let blocks = sqlx::query_scalar!(
            "SELECT coalesce(max(pg_relation_size(relid) \
             / current_setting('block_size')::bigint), 0) AS \"blocks!\" \
             FROM (SELECT $1::text::regclass AS relid \
             UNION SELECT relid FROM pg_partition_tree($1::text::regclass)) AS parts",
            table.as_str()
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(blocks)
    }
}
