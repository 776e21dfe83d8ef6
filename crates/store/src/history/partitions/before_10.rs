//! Decisions as they stood before migration 10, which would rewrite all of them in one transaction.
//!
//! Where there are many, whoever migrates sets both tables aside, so that the migration meets
//! empty ones and is over in a moment. The rows follow in parts, each a transaction of
//! its own, while everything else goes on; dying between two of them leaves the rest to
//! the next pass. Until a row has followed, journeys do not show it.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{DECISIONS, briefly, run};
use crate::StoreError;

/// Rows that the migration may well rewrite itself.
const FEW: i64 = 50_000;
/// Blocks of one transaction.
const BLOCKS: i64 = 128;
/// Transactions of one pass.
const PARTS: usize = 2_000;

/// What does not stand in the new table yet, by the tables that are set aside. Decisions come
/// first: theirs is what their routing says.
const STEPS: [(&str, &str); 2] = [
    (
        "routing_decisions_before_10",
        "INSERT INTO routing_decisions (event_key, routed_at, position, verdict, level, \
         subscription_id, target_id, url, delivery_id, duplicate_of, disabled_at, account_id, \
         settings_revision) SELECT m.event_key, m.routed_at, m.position, m.verdict, m.level, \
         m.subscription_id, m.target_id, m.url, m.delivery_id, m.duplicate_of, m.disabled_at, \
         r.account_id, r.settings_revision FROM moved m \
         JOIN routings_before_10 r USING (event_key, routed_at) WHERE true",
    ),
    (
        "routings_before_10",
        "INSERT INTO routing_decisions (event_key, routed_at, position, verdict, level, \
         subscription_id, url, account_id, settings_revision) SELECT event_key, routed_at, 0, \
         'none', '', '', '', account_id, settings_revision FROM moved r WHERE NOT EXISTS \
         (SELECT FROM routing_decisions d WHERE d.event_key = r.event_key \
         AND d.routed_at = r.routed_at)",
    ),
];

/// Sets the tables aside where they are large, before migration 10 comes.
pub(crate) async fn set_aside(connection: &mut PgConnection) -> Result<(), StoreError> {
    let mut tx = connection.begin().await?;
    // Replicas that start together wait for each other.
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('before_10', 0))")
        .execute(&mut *tx)
        .await?;
    let is_there: bool = sqlx::query_scalar("SELECT to_regclass('routings') IS NOT NULL")
        .fetch_one(&mut *tx)
        .await?;
    let many = format!("SELECT EXISTS (SELECT FROM routing_decisions OFFSET {FEW})");
    if !is_there || !sqlx::query_scalar::<_, bool>(AssertSqlSafe(many)).fetch_one(&mut *tx).await? {
        return Ok(());
    }
    for table in ["routings", "routing_decisions"] {
        let parts: Vec<String> = sqlx::query_scalar(
            "SELECT relid::regclass::text FROM pg_partition_tree($1::text::regclass) WHERE isleaf",
        )
        .bind(table)
        .fetch_all(&mut *tx)
        .await?;
        for part in parts {
            run(&mut tx, format!("ALTER TABLE {part} RENAME TO {part}_before_10")).await?;
        }
        for statement in [
            format!("ALTER TABLE {table} RENAME TO {table}_before_10"),
            format!(
                "CREATE TABLE {table} (LIKE {table}_before_10 INCLUDING ALL) \
                 PARTITION BY RANGE (routed_at)"
            ),
            format!("CREATE TABLE {table}_default PARTITION OF {table} DEFAULT"),
        ] {
            run(&mut tx, statement).await?;
        }
    }
    // Dying before this leaves all as it was; after it, the migration finds empty tables.
    Ok(tx.commit().await?)
}

/// Moves what was set aside to where it belongs; says whether all of it has been moved.
pub(super) async fn move_on(session: &mut PgConnection) -> Result<bool, StoreError> {
    let mut parts_left = PARTS;
    for (aside, insert) in STEPS {
        // The newest day first, which is asked for most.
        let leaves: Vec<String> = sqlx::query_scalar(
            "SELECT relid::regclass::text FROM pg_partition_tree(to_regclass($1)) \
             WHERE isleaf ORDER BY 1 DESC",
        )
        .bind(aside)
        .fetch_all(&mut *session)
        .await?;
        for leaf in leaves {
            if let Some(day) =
                DECISIONS.day(&leaf.replace("_before_10", "").replace("routings", DECISIONS.name))
            {
                DECISIONS.make_day(session, day).await?;
            }
            if !move_leaf(session, &leaf, insert, &mut parts_left).await? {
                return Ok(false);
            }
        }
    }
    for (aside, _) in STEPS {
        run(session, format!("DROP TABLE IF EXISTS {aside}")).await?;
    }
    Ok(true)
}

/// Moves the rows of one day, from its first block to its last. Those that were moved already are
/// no longer there. `false` when this pass has done enough.
async fn move_leaf(
    session: &mut PgConnection,
    leaf: &str,
    insert: &str,
    parts_left: &mut usize,
) -> Result<bool, StoreError> {
    let blocks: i64 = sqlx::query_scalar(AssertSqlSafe(format!(
        "SELECT pg_relation_size('{leaf}') / current_setting('block_size')::bigint"
    )))
    .fetch_one(&mut *session)
    .await?;
    let mut from = 0;
    while from < blocks {
        if *parts_left == 0 {
            return Ok(false);
        }
        *parts_left -= 1;
        let to = from + BLOCKS;
        let mut tx = briefly(session).await?;
        run(
            &mut tx,
            format!(
                "WITH moved AS (DELETE FROM {leaf} WHERE ctid >= '({from},0)'::tid \
                 AND ctid < '({to},0)'::tid RETURNING *) {insert} AND NOT EXISTS \
                 (SELECT FROM accounts a WHERE a.account_id = r.account_id \
                 AND a.erased_at IS NOT NULL) ON CONFLICT DO NOTHING"
            ),
        )
        .await?;
        tx.commit().await?;
        from = to;
    }
    Ok(true)
}
