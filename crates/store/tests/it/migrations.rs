//! What is there already when a migration comes.

use std::borrow::Cow;

use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};
use store::history::Uuid;
use testkit::TestEnv;

use crate::world::open;

static ALL: Migrator = sqlx::migrate!("../../migrations");

/// A database as it was before this migration.
async fn before(env: &TestEnv, version: i64) {
    let earlier = ALL.iter().filter(|one| one.version < version).cloned().collect();
    let migrator = Migrator { migrations: Cow::Owned(earlier), ..Migrator::DEFAULT };
    let mut connection = PgConnection::connect(&env.database_url).await.expect("connected");
    migrator.run(&mut connection).await.expect("migrated");
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
