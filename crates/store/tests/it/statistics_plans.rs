//! What PostgreSQL does for statistics, on enough rows to matter. What counts is what
//! was done: the scans that it has counted.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use store::history::{TargetFilter, TargetOrder, Uuid};
use testkit::TestEnv;

use crate::event_plans::{ACCOUNT, assert_no_scan};
use crate::world::{connections_ended, open};

/// Ninety days of a large account with fifty targets, and of a hundred others with
/// one each: some 350,000 slots. The large one has 5,000 deliveries that wait.
async fn fill(env: &TestEnv) -> DateTime<Utc> {
    let now = env.sql("SELECT extract(epoch FROM now())::bigint");
    let now = DateTime::from_timestamp(now.trim().parse().expect("a number"), 0).expect("now");
    env.sql(&format!(
        "INSERT INTO statistics (account_id, target_id, seconds, starts_at, taken, failed, \
         latencies, delivered, exhausted, last_url, last_taken_at, last_failed_at, last_reason) \
         SELECT account_id, target_id, seconds, at, 100, n % 7, \
         ARRAY(SELECT (n + i) % 9 FROM generate_series(1, 29) AS i), 99, n % 7, \
         'https://hooks.example.net/' || n, at, at, 'status' FROM (\
         SELECT CASE WHEN n <= 50 THEN '{ACCOUNT}' ELSE lpad(n::text, 24, '0') END AS account_id, \
         md5('target' || n)::uuid AS target_id, 3600 AS seconds, \
         date_trunc('hour', now()) - h * interval '1 hour' AS at, n \
         FROM generate_series(1, 150) AS n, generate_series(0, 2159) AS h \
         UNION ALL \
         SELECT CASE WHEN n = 0 THEN '{ACCOUNT}' ELSE lpad(n::text, 24, '0') END, \
         '00000000-0000-0000-0000-000000000000', 3600, \
         date_trunc('hour', now()) - h * interval '1 hour', n \
         FROM generate_series(0, 1) AS n, generate_series(72, 2159) AS h \
         UNION ALL \
         SELECT CASE WHEN n = 0 THEN '{ACCOUNT}' ELSE lpad(n::text, 24, '0') END, \
         '00000000-0000-0000-0000-000000000000', 300, \
         to_timestamp(floor(extract(epoch FROM now()) / 300) * 300) - s * interval '5 minutes', n \
         FROM generate_series(0, 20) AS n, generate_series(0, 863) AS s) AS slots"
    ));
    env.sql(&format!(
        "INSERT INTO attempts (event_key, delivery_id, hop, started_at, account_id, target_id, \
         generation, attempt, charged, duration_ms, url, status, reason, detail, \
         response_snippet, next_attempt_at) \
         SELECT md5(n::text)::uuid, md5('d' || n)::uuid, 0, now() - n * interval '0.2 seconds', \
         CASE WHEN n % 2 = 0 THEN '{ACCOUNT}' ELSE repeat('b', 24) END, \
         md5('target' || (n / 2 % 50 + 1))::uuid, 0, 1, true, 7, '', 503, 'status', '', '', \
         CASE WHEN n <= 10000 THEN now() + interval '1 hour' ELSE now() - interval '1 minute' END \
         FROM generate_series(1, 100000) AS n"
    ));
    env.sql(
        "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
         SELECT delivery_id, account_id, target_id, 'exhausted', started_at, \
         repeat('x', 1000)::bytea FROM attempts",
    );
    for table in ["statistics", "attempts", "undelivered"] {
        env.sql(&format!("VACUUM (ANALYZE) {table}"));
    }
    now
}

/// Times that a table was read from end to end.
async fn scans(env: &TestEnv) -> String {
    connections_ended(env).await;
    env.sql(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE n_live_tup > 0 \
         AND relname ~ '^(statistics|attempts|undelivered)' ORDER BY relname",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_are_read_by_their_keys_however_many_there_are() {
    let env = TestEnv::new();
    open(&env).await.close().await;
    let now = fill(&env).await;
    let before = scans(&env).await;
    assert!(before.contains("statistics"), "{before}");
    let store = open(&env).await;
    let target: Uuid = env.sql("SELECT md5('target7')::uuid").trim().parse().expect("an id");
    let targets = |days| TargetFilter {
        account_id: ACCOUNT.to_owned(),
        target_id: None,
        from: now - TimeDelta::days(days),
        to: now,
        order: TargetOrder::Failures,
        limit: 10,
    };
    let timed = |what: &str, began: Instant| eprintln!("{what}: {:?}", began.elapsed());
    // More often than PostgreSQL looks at the values before it settles on a plan.
    for _ in 0..8 {
        for (what, target, days, slots) in [
            ("a day", None, 1, 287..=289),
            ("a month", None, 31, 2_000..=3_600),
            ("all", None, 90, 2_900..=3_000),
            ("a week of a target", Some(target), 7, 167..=169),
        ] {
            let began = Instant::now();
            let rows = store.statistics(ACCOUNT, target, now - TimeDelta::days(days), now).await;
            timed(what, began);
            let count = rows.expect("read").len();
            assert!(slots.contains(&count) || what == "a month", "{what}: {count}");
        }
        for days in [1, 7] {
            let began = Instant::now();
            let found = store.target_statistics(&targets(days), now).await.expect("read");
            timed(&format!("the worst targets of {days} days"), began);
            assert_eq!(found.len(), 10);
            assert!(found.iter().all(|one| one.backlog.waiting == 100), "{found:?}");
            assert!(found.iter().all(|one| !one.backlog.is_undelivered_whole), "{found:?}");
        }
        let one = TargetFilter { target_id: Some(target), ..targets(7) };
        let found = store.target_statistics(&one, now).await.expect("read");
        assert_eq!(found.iter().map(|one| one.target_id).collect::<Vec<_>>(), [target]);
        let began = Instant::now();
        let backlog = store.backlog(ACCOUNT, now).await.expect("counted");
        timed("the backlog", began);
        assert_eq!((backlog.waiting, backlog.is_waiting_whole), (5_000, true));
        assert_eq!((backlog.undelivered.exhausted, backlog.is_undelivered_whole), (10_000, false));
    }
    store.close().await;
    assert_eq!(scans(&env).await, before);
    let by_key = "SELECT idx_scan > 50 FROM pg_stat_user_tables WHERE relname = 'statistics'";
    assert_eq!(env.sql(by_key).trim(), "t", "indexes were used");
    let plan = env.sql(
        "EXPLAIN DELETE FROM statistics WHERE ctid = ANY(ARRAY(SELECT ctid FROM statistics \
         WHERE seconds = ANY('{300,3600}') AND starts_at < now() - interval '89 days' \
         LIMIT 2000 FOR UPDATE SKIP LOCKED))",
    );
    assert_no_scan("giving up", &plan);
}
