//! What PostgreSQL does for a page of failures, and for what was not delivered,
//! on enough rows to matter.

use chrono::TimeDelta;
use store::history::{AttemptPlace, FailureSearch, Uuid};
use store::{AfterNote, NewResend};
use testkit::TestEnv;

use crate::event_plans::{ACCOUNT, ROWS, assert_no_scan, fill};
use crate::world::{connections_ended, open};

/// A try for each event, of which one in fifty failed, and one in a hundred for good.
async fn fill_attempts(env: &TestEnv) {
    env.sql(
        "INSERT INTO attempts (event_key, delivery_id, hop, started_at, account_id, target_id, \
         generation, attempt, charged, duration_ms, url, status, reason, detail, response_snippet, \
         named_event_id, named_event_type, named_domain_id) \
         SELECT event_key, md5('d' || position)::uuid, 0, accepted_at, account_id, \
         md5(account_id || position % 6)::uuid, 0, 1, true, 7, \
         'https://hooks.example.net/' || position % 6, \
         CASE WHEN position % 50 < 2 THEN 503 ELSE 200 END, \
         CASE WHEN position % 50 < 2 THEN 'status' ELSE 'ok' END, '', '', \
         CASE WHEN position % 50 < 2 THEN event_id END, \
         CASE WHEN position % 50 < 2 THEN event_type END, \
         CASE WHEN position % 50 < 2 THEN domain_id END FROM events",
    );
    env.sql(
        "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
         SELECT delivery_id, account_id, target_id, 'held', started_at, repeat('x', 1000)::bytea \
         FROM attempts WHERE reason <> 'ok'",
    );
    env.sql("VACUUM (ANALYZE) attempts");
    env.sql("VACUUM (ANALYZE) undelivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_and_what_waits_are_read_from_indexes() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let noon = fill(&env, &store).await;
    fill_attempts(&env).await;
    let account_id = ACCOUNT.to_owned();
    let search = || FailureSearch { account_id: account_id.clone(), ..FailureSearch::default() };
    let domain_id: Uuid = env.sql("SELECT md5('domain4')::uuid").trim().parse().expect("an id");
    let delivery_id: Uuid = env.sql("SELECT md5('d100')::uuid").trim().parse().expect("an id");
    let place = AttemptPlace { started_at: noon - TimeDelta::days(2), delivery_id, hop: 0 };
    let url = "https://hooks.example.net/4".to_owned();
    for (search, behind) in [
        (search(), None),
        (search(), Some(place)),
        (FailureSearch { from: Some(noon - TimeDelta::days(1)), ..search() }, None),
        (FailureSearch { to: Some(noon - TimeDelta::days(1)), ..search() }, None),
        (FailureSearch { url: Some(url), ..search() }, None),
        (FailureSearch { status: Some(503), reason: Some("status".into()), ..search() }, None),
        (FailureSearch { delivery_id: Some(delivery_id), ..search() }, None),
        (FailureSearch { domain_id: Some(domain_id), ..search() }, None),
        (FailureSearch { event_type: Some("accepted".into()), ..search() }, None),
    ] {
        let plan = store.explain_failures(&search, behind, 100).await.expect("explained");
        assert_no_scan(&format!("{search:?} behind {behind:?}"), &plan);
        let index = if search.delivery_id.is_some() { "delivery_id_idx" } else { "started_at_idx" };
        assert!(plan.contains(index), "{search:?} by {index}:\n{plan}");
        if search.domain_id.is_some() || search.event_type.is_some() {
            // A page ends the work early.
            assert!(!plan.contains("->  Sort"), "{search:?} sorts:\n{plan}");
        }
    }
}

/// Times that each table with rows was read from end to end.
async fn scans(env: &TestEnv) -> String {
    connections_ended(env).await;
    env.sql(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE n_live_tup > 0 \
         AND relname ~ '^(events|attempts|undelivered)_' ORDER BY relname",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_counted_and_sent_again_by_indexes() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let noon = fill(&env, &store).await;
    fill_attempts(&env).await;
    env.sql(&format!(
        "INSERT INTO accounts (account_id, name, status, sealed_http_signing_key, \
         sealed_alerts_signing_key, created_at, updated_at) \
         VALUES ('{ACCOUNT}', 'demo', 'open', '', '', now(), now())"
    ));
    store.close().await;
    let before = scans(&env).await;
    let store = open(&env).await;
    assert!(before.contains("undelivered_"), "{before}");
    let groups = store.undelivered(ACCOUNT).await.expect("counted");
    assert_eq!(groups.iter().map(|group| group.count).sum::<i64>(), ROWS / 50);
    let delivery_id = env.sql("SELECT md5('d100')::uuid").trim().parse().expect("an id");
    let one = store.take_undelivered(ACCOUNT, delivery_id).await.expect("taken");
    one.sent(&[delivery_id], noon).await.expect("noted");
    let target_id = env.sql(&format!("SELECT md5('{ACCOUNT}' || 2)::uuid"));
    for target_id in [None, Some(target_id.trim().parse().expect("an id"))] {
        let outcomes = ["held".to_owned()];
        let (target, since) = ("", None);
        let (named_by, outcomes) = (ACCOUNT, outcomes.as_slice());
        let job = NewResend { target_id, target, named_by, outcomes, since, per_second: 1_000 };
        let now = noon + TimeDelta::days(1);
        store.create_resend(ACCOUNT, Uuid::from_u128(1), &job, now).await.expect("made");
        // PostgreSQL settles on a plan for all values after a few times.
        let mut at = now;
        for batch in 0..10 {
            let claim = Uuid::from_u128(batch);
            let taken = store.next_resend_batch(claim, at).await.expect("asked");
            let mut taken = taken.expect("due");
            let ids: Vec<Uuid> = taken.next(100).map(|(id, _)| id).collect();
            assert_eq!(ids.len(), 100, "batch {batch}");
            taken.looked_at(100, ids);
            let goes_on = store.note_resent(&mut taken, AfterNote::LetGo, at).await.expect("noted");
            at = goes_on.expect("it goes on");
        }
        env.sql("DELETE FROM resends");
    }
    store.close().await;
    assert_eq!(scans(&env).await, before);
}
