//! What PostgreSQL does for a journey, and for the question why, on enough rows to
//! matter. What counts is what was done: the scans that it has counted.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use store::Store;
use store::history::{Addressee, Retention, Uuid, WhySearch};
use testkit::TestEnv;

use crate::world::{connections_ended, open};

const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
const URL: &str = "https://hooks.example.net/acc";
const SETTING: &str = "11111111-1111-4111-8111-111111111111";
/// Of each table but attempts, which has a third of it more.
const ROWS: i64 = 300_000;
const DAYS: i64 = 6;

/// Six days of two accounts. Each event goes to one URL; one in three is tried in
/// vain first, one in fifty is never delivered. One in a thousand is an alert.
async fn fill(env: &TestEnv, store: &Store) -> DateTime<Utc> {
    let noon = env.sql("SELECT extract(epoch FROM date_trunc('day', now(), 'UTC'))::bigint");
    let noon: i64 = noon.trim().parse().expect("a number");
    let noon = DateTime::from_timestamp(noon + 43_200, 0).expect("a moment");
    let retention = Retention {
        events_days: 30,
        routings_days: 30,
        attempts_days: 30,
        ends_days: 30,
        undelivered_days: 30,
        statistics_days: 90,
    };
    for day in 0..DAYS {
        store.keep_days(&retention, noon - TimeDelta::days(day)).await.expect("kept");
    }
    let target = model::message_target_id(ACCOUNT, URL);
    env.sql(&format!(
        "CREATE TABLE made AS SELECT n, md5(n::text)::uuid AS event_key, \
         md5('delivery' || n)::uuid AS delivery_id, \
         CASE WHEN n % 2 = 0 THEN '{ACCOUNT}' ELSE repeat('b', 24) END AS account_id, \
         CASE WHEN n % 1000 = 0 THEN NULL ELSE md5('domain' || n % 6)::uuid END AS domain_id, \
         to_timestamp({}) - (({ROWS} - n) * interval '1.5 seconds') AS at \
         FROM generate_series(1, {ROWS}) AS n",
        noon.timestamp()
    ));
    for statement in [
        "INSERT INTO events (event_key, account_id, domain_id, event_type, event_id, \
         occurred_at, accepted_at, position, caller, event) SELECT event_key, account_id, \
         domain_id, CASE WHEN domain_id IS NULL THEN 'ip_listed' WHEN n % 10 = 4 THEN 'opened' \
         ELSE 'clicked' END, 'e' || n, at - interval '2 seconds', at, n, '', '\\x00' FROM made",
        &format!(
            "INSERT INTO routing_decisions (event_key, routed_at, position, account_id, \
             settings_revision, verdict, level, subscription_id, target_id, url, delivery_id) \
             SELECT event_key, at, 0, account_id, 1, 'chosen', 'domain', CASE WHEN domain_id IS NULL THEN '{SETTING}' ELSE 's' END, '{target}', \
             '{URL}', delivery_id FROM made"
        ),
        &format!(
            "INSERT INTO attempts (event_key, delivery_id, hop, started_at, account_id, \
             target_id, generation, attempt, charged, duration_ms, url, status, reason, detail, \
             response_snippet) SELECT event_key, delivery_id, hop, at + hop * interval '1 minute', \
             account_id, '{target}', 0, hop + 1, true, 12, '{URL}', 200, \
             CASE WHEN hop = 0 AND n % 3 = 0 THEN 'status' ELSE 'ok' END, '', '' FROM made, \
             generate_series(0, CASE WHEN n % 3 = 0 THEN 1 ELSE 0 END) AS hop"
        ),
        &format!(
            "INSERT INTO ends (delivery_id, event_key, account_id, target_id, generation, hop, \
             outcome, reason, ended_at, attempts) SELECT delivery_id, event_key, account_id, \
             '{target}', 0, 1, CASE WHEN n % 50 = 0 THEN 'exhausted' ELSE 'delivered' END, 'ok', \
             at, 1 FROM made WHERE n % 500 <> 0"
        ),
        "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
         SELECT delivery_id, account_id, target_id, outcome, ended_at, '\\x00' FROM ends \
         WHERE outcome <> 'delivered'",
        "DROP TABLE made",
        "ANALYZE events, routing_decisions, attempts, ends, undelivered",
    ] {
        env.sql(statement);
    }
    noon
}

/// The scans from end to end of what has rows, since the counters began.
fn scans(env: &TestEnv) -> String {
    env.sql(
        "SELECT s.relname, s.seq_scan FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid \
         WHERE c.reltuples > 0 AND s.seq_scan > 0 \
         AND s.relname ~ '^(events|routing_decisions|attempts|ends|undelivered)_'",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn journeys_and_whys_are_read_by_their_keys() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let noon = fill(&env, &store).await;
    // Days are made by reading them from end to end, while they are empty.
    store.close().await;
    connections_ended(&env).await;
    env.sql("SELECT pg_stat_reset()");
    let store = open(&env).await;

    let id = |text: String| -> Uuid {
        env.sql(&format!("SELECT md5('{text}')::uuid")).trim().parse().expect("an id")
    };
    // More often than PostgreSQL looks at the values before it settles on a plan.
    for n in (30_000..30_000 + 8 * 3_000).step_by(3_000) {
        let event_key = id(n.to_string());
        let began = Instant::now();
        let accepted = store.accepted_events(ACCOUNT, &[event_key; 14]).await.expect("read");
        let journey = store.journey(ACCOUNT, event_key, &[]).await.expect("read");
        let took = began.elapsed();
        assert_eq!((accepted.len(), journey.routings.len(), journey.is_whole), (1, 1, true));
        assert_eq!((journey.attempts.len(), journey.ends.len()), (2, usize::from(n % 500 != 0)));
        // Under way, and found by the try that failed.
        let delivery_id = id(format!("delivery{n}"));
        let found = store.event_of_delivery(ACCOUNT, delivery_id).await.expect("read");
        assert_eq!(found, Some(event_key));
        let stranger = "c".repeat(24);
        assert_eq!(store.event_of_delivery(&stranger, delivery_id).await.expect("read"), None);
        assert_eq!(store.journey(&stranger, event_key, &[]).await.expect("read").routings, []);
        eprintln!("a journey: {took:?}");
    }
    let search = |addressee: Addressee, days: i64| WhySearch {
        account_id: ACCOUNT.to_owned(),
        addressee,
        from: noon - TimeDelta::days(days),
        to: noon,
        domain_id: None,
        event_type: None,
    };
    let url = search(Addressee::Url(URL.to_owned()), 1);
    for (name, search, count) in [
        ("a day of a URL", url.clone(), 1_000),
        (
            "a day of a domain",
            WhySearch { domain_id: Some(id("domain4".to_owned())), ..url.clone() },
            1_000,
        ),
        ("a type", WhySearch { event_type: Some("opened".to_owned()), ..url }, 1_000),
        ("five days of alerts", search(Addressee::AlertSetting(SETTING.to_owned()), 5), 288),
    ] {
        for _ in 0..6 {
            let began = Instant::now();
            let found = store.considered(&search, None, 1_000).await.expect("read");
            eprintln!("{name}, {} events: {:?}", found.len(), began.elapsed());
            assert_eq!(found.len(), count, "{name}");
            assert!(found.iter().all(|event| event.is_routed && event.decisions.len() == 1));
            assert!(found.is_sorted_by(|a, b| a.place > b.place));
        }
    }
    store.close().await;
    connections_ended(&env).await;
    let by_key = "SELECT sum(idx_scan) > 8 FROM pg_stat_user_tables WHERE relname ~ '^ends_2'";
    assert_eq!(env.sql(by_key).trim(), "t", "indexes were used");
    assert_eq!(scans(&env).trim(), "", "these were read from end to end");
}
