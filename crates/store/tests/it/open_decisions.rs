//! What was decided and has no end is found, page by page, by the keys that there are.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use store::Store;
use store::history::OpenPlace;
use testkit::TestEnv;

use crate::world::{at, connections_ended, open};

/// Four in five have ended.
const FILL: &str = "INSERT INTO routing_decisions (event_key, routed_at, position, verdict, level, \
    subscription_id, url, delivery_id, target_id, account_id, settings_revision) \
    SELECT md5(n::text)::uuid, to_timestamp(1760000000 + n), 0, 'chosen', 'domain', 's', '', \
    md5('d' || n)::uuid, md5('t')::uuid, 'one', 1 FROM generate_series(1, 20000) n; \
    INSERT INTO ends (delivery_id, account_id, generation, hop, outcome, reason, ended_at, attempts) \
    SELECT delivery_id, 'one', 0, 0, 'delivered', '', routed_at, 1 FROM routing_decisions \
    WHERE extract(epoch FROM routed_at)::bigint % 5 <> 0; \
    ANALYZE";

#[tokio::test]
async fn every_open_delivery_is_found_once_and_no_page_reads_more_than_its_share() {
    let env = TestEnv::new();
    let store = open(&env).await;
    env.sql(FILL);
    store.close().await;
    connections_ended(&env).await;
    let before = scans(&env);
    let store = open(&env).await;
    let mut found = BTreeSet::new();
    let mut pages = 0;
    let mut place = Some(OpenPlace::since(at(0)));
    while let Some(after) = place {
        let older_than = at(0) + TimeDelta::days(2);
        let page = store.decided_without_end(after, older_than, 1000).await.expect("read");
        for open in page.found {
            assert!(found.insert(open.delivery_id), "{open:?} came twice");
        }
        pages += 1;
        place = page.next;
    }
    assert_eq!(found.len(), 4_000);
    assert!((20..30).contains(&pages), "{pages} pages");
    assert_eq!(older(&store, 100).await, 19);
    store.close().await;
    connections_ended(&env).await;
    assert_eq!(scans(&env), before, "no table was gone through without an index");
}

/// How many open deliveries are older than this second.
async fn older(store: &Store, second: i64) -> usize {
    let mut place = Some(OpenPlace::since(at(0)));
    let mut found = 0;
    while let Some(after) = place {
        let page = store.decided_without_end(after, at(second), 1000).await.expect("read");
        found += page.found.len();
        place = page.next;
    }
    found
}

fn scans(env: &TestEnv) -> String {
    env.sql(
        "SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE relname ~ \
         '^(routing_decisions|ends)_default$'",
    )
}
