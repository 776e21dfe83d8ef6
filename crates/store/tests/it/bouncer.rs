//! The store behind a real PgBouncer that pools sessions, which is its default.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use store::{DatabaseUrl, FeatureChanges, Store, StoreConfig, StoreError};
use testkit::{PgBouncer, TestEnv, eventually};

use crate::world::{account, at};

#[tokio::test]
async fn a_bouncer_with_its_own_settings_is_a_database_and_limits_hold() {
    let env = Arc::new(TestEnv::new());
    let Some(bouncer) = PgBouncer::start(&env.database_url, None).await else { return };
    let url: DatabaseUrl = bouncer.url().parse().expect("a URL");
    let open = || Store::open(&StoreConfig { url: url.clone(), max_connections: 4 });
    for _ in 0..3 {
        let store = open();
        store.migrate().await.expect("migrated");
        for pinged in join_all((0..60).map(|_| store.ping())).await {
            pinged.expect("answered");
        }
    }

    let store = open();
    let account_id = account(&store, "demo").await;
    let holding = Arc::clone(&env);
    let lock = format!(
        "BEGIN; SELECT FROM accounts WHERE account_id = '{account_id}' FOR UPDATE; \
         SELECT pg_sleep(20) AS held; COMMIT"
    );
    let holder = tokio::task::spawn_blocking(move || holding.sql(&lock));
    eventually(Duration::from_secs(10), "the lock to be held", || async {
        let held = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20) AS held%' \
                    AND pid <> pg_backend_pid() AND datname = current_database()";
        (env.sql(held).trim() == "1").then_some(())
    })
    .await;
    let began = Instant::now();
    let changes = FeatureChanges { redact_pii: Some(true), others: BTreeMap::new() };
    let waited = store.set_features(&account_id, &changes, at(0)).await;
    assert!(matches!(waited, Err(StoreError::Database(_))), "{waited:?}");
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(15), "{took:?}");
    env.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE query LIKE '%pg_sleep(20) AS held%' AND pid <> pg_backend_pid()",
    );
    assert!(holder.await.is_err(), "it was ended");
}
