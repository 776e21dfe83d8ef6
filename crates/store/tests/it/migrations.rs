//! What is there already when a migration comes.

use std::borrow::Cow;

use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};
use store::history::{Retention, Uuid};
use testkit::TestEnv;

use crate::world::{at, open, open_at};

static ALL: Migrator = sqlx::migrate!("../../migrations");

/// A database as it was before this migration.
async fn before(env: &TestEnv, version: i64) {
    let earlier = ALL.iter().filter(|one| one.version < version).cloned().collect();
    let migrator = Migrator { migrations: Cow::Owned(earlier), ..Migrator::DEFAULT };
    let mut connection = PgConnection::connect(&env.database_url).await.expect("connected");
    migrator.run(&mut connection).await.expect("migrated");
}

#[tokio::test]
async fn why_a_database_cannot_be_used_is_told_with_its_address() {
    let env = TestEnv::new();
    let (server, _) = env.database_url.rsplit_once('/').expect("a database");
    let closed = format!("127.0.0.1:{}", testkit::free_port().expect("a free port"));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = silent.local_addr().expect("its address").to_string();
    for (url, at, reason, may_pass) in [
        (format!("postgres://postgres@{closed}/a"), &*closed, "Connection refused", true),
        (format!("postgres://postgres@{silent}/a"), &*silent, "it has not answered for 5 s", true),
        (format!("{server}/nobodys"), "/nobodys", "database \"nobodys\" does not exist", false),
    ] {
        let error = open_at(&url).migrate().await.expect_err("it cannot be used");
        let text = error.to_string();
        assert!(text.contains(at) && text.contains(reason), "{text}");
        assert_eq!(error.is_unavailable(), may_pass, "{text}");
    }
}

#[tokio::test]
async fn what_was_decided_is_told_in_one_table_from_two() {
    let env = TestEnv::new();
    before(&env, 10).await;
    // Two routings of one event, one that nobody was found by, and decisions of a routing
    // that is kept no longer.
    env.sql(
        "INSERT INTO routings VALUES (lpad('1', 32, '0')::uuid, 'epoch', 'one', 7), \
         (lpad('1', 32, '0')::uuid, 'yesterday', 'one', 9), \
         (lpad('2', 32, '0')::uuid, 'epoch', 'two', 8); \
         INSERT INTO routing_decisions (event_key, routed_at, position, verdict, level, \
         subscription_id, url, delivery_id) SELECT lpad(key, 32, '0')::uuid, routed_at, position, \
         'chosen', 'domain', 's', 'https://hooks.example.net/' || position, gen_random_uuid() \
         FROM (VALUES ('1', 'epoch'::timestamptz, 0), ('1', 'epoch', 1), ('1', 'yesterday', 0), \
         ('3', 'epoch', 0)) AS made (key, routed_at, position)",
    );
    let store = open(&env).await;
    let rows = "SELECT right(event_key::text, 1), position, verdict, account_id, settings_revision \
                FROM routing_decisions ORDER BY 1, routed_at, 2";
    assert_eq!(
        env.sql(rows).trim(),
        "1|0|chosen|one|7\n1|1|chosen|one|7\n1|0|chosen|one|9\n2|0|none|two|8"
    );
    let journey = async |account_id, key| {
        let journey = store.journey(account_id, Uuid::from_u128(key), &[]).await.expect("read");
        let routings = journey.routings.iter();
        routings.map(|one| (one.settings_revision, one.decisions.len())).collect::<Vec<_>>()
    };
    assert_eq!(journey("one", 1).await, [(7, 2), (9, 1)]);
    assert_eq!(journey("two", 2).await, [(8, 0)]);
    assert_eq!(journey("two", 1).await, []);
}

#[tokio::test]
async fn migration_10_is_over_at_once_where_history_is_long_and_its_rows_follow() {
    let env = TestEnv::new();
    before(&env, 10).await;
    const EVENTS: i64 = 30_000;
    // Two decisions each, some days old, in days of their own and in none.
    env.sql(&format!(
        "CREATE TABLE routing_decisions_20251009 PARTITION OF routing_decisions \
         FOR VALUES FROM ('2025-10-09T00:00:00Z') TO ('2025-10-10T00:00:00Z'); \
         INSERT INTO routings SELECT lpad(to_hex(n), 32, '0')::uuid, \
         to_timestamp(1760000000 + n * 4), 'one', 7 FROM generate_series(1, {EVENTS}) n; \
         INSERT INTO routing_decisions (event_key, routed_at, position, verdict, level, \
         subscription_id, url, delivery_id) SELECT event_key, routed_at, position, 'chosen', \
         'domain', 's', '', gen_random_uuid() FROM routings, generate_series(0, 1) position; \
         INSERT INTO routings VALUES (lpad('f', 32, 'f')::uuid, to_timestamp(1760000000), 'two', 8)"
    ));
    let store = open(&env).await;
    assert_eq!(env.sql("SELECT count(*) FROM routing_decisions").trim(), "0");
    let ever = Retention {
        events_days: 3650,
        routings_days: 3650,
        attempts_days: 3650,
        ends_days: 3650,
        undelivered_days: 3650,
        statistics_days: 3650,
    };
    // A pass that dies leaves the rest to the next one.
    env.sql("DELETE FROM routing_decisions_before_10 WHERE position = 1 AND event_key < lpad('9', 32, '0')::uuid");
    let done = store.keep_days(&ever, at(0)).await.expect("kept").expect("alone");
    assert!(done.left.is_empty() && !done.has_more, "{done:?}");
    let counts = "SELECT count(*), count(*) FILTER (WHERE verdict = 'none'), \
                  count(DISTINCT account_id), max(settings_revision) FROM routing_decisions";
    assert_eq!(env.sql(counts).trim(), format!("{}|1|2|8", EVENTS * 2 - 8 + 1));
    assert_eq!(env.sql("SELECT count(*) FROM routing_decisions_default").trim(), "0");
    assert_eq!(env.sql("SELECT to_regclass('routings_before_10') IS NULL").trim(), "t");
    let journey = store.journey("one", Uuid::from_u128(77), &[]).await.expect("read");
    assert_eq!(journey.routings.len(), 1);
    assert_eq!(journey.routings[0].decisions.len(), 2);
}

/// What rewrites rows or scans a table under a lock is no migration but a job of archive, in parts
/// that can be resumed; what an older process cannot live with waits for the release after the next.
#[test]
fn migrations_from_12_on_only_add() {
    for migration in ALL.iter().filter(|one| one.version >= 12) {
        let sql = migration.sql.as_str().to_uppercase();
        for word in ["UPDATE ", "DELETE ", "DROP ", "RENAME ", "SET NOT NULL", "ALTER COLUMN"] {
            assert!(!sql.contains(word), "{} has {word}", migration.version);
        }
    }
}
