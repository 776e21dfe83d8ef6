//! History can be written again and again.

use store::history::{AttemptRow, DecisionRow, EndRow, EventRow, RoutedRow};
use testkit::TestEnv;

use crate::world::{at, open};

fn event(key: &str) -> EventRow {
    EventRow {
        event_key: key.to_owned(),
        account_id: "a".repeat(24),
        domain_id: None,
        event_type: "ip_listed".to_owned(),
        event_id: format!("id of {key}"),
        occurred_at: at(0),
        accepted_at: at(1),
        caller: "test".to_owned(),
        event: vec![0, 1, 2, 255],
    }
}

fn decision(verdict: &str) -> DecisionRow {
    DecisionRow {
        verdict: verdict.to_owned(),
        level: "account".to_owned(),
        subscription_id: "s".to_owned(),
        target_id: "t".to_owned(),
        url: "https://a.example/".to_owned(),
        delivery_id: (verdict == "chosen").then(|| "d".to_owned()),
        duplicate_of: (verdict == "duplicate").then(|| "s0".to_owned()),
        disabled_at: (verdict == "disabled").then(|| at(1)),
    }
}

fn attempt(delivery_id: &str, hop: u32) -> AttemptRow {
    AttemptRow {
        delivery_id: delivery_id.to_owned(),
        hop,
        event_key: "e".to_owned(),
        account_id: "a".to_owned(),
        target_id: "t".to_owned(),
        generation: 0,
        attempt: u32::MAX,
        charged: true,
        started_at: at(2),
        duration_ms: 12,
        url: "https://a.example/".to_owned(),
        status: (hop == 0).then_some(503),
        reason: "status".to_owned(),
        detail: String::new(),
        response_snippet: "busy".to_owned(),
        next_attempt_at: (hop == 0).then(|| at(3)),
    }
}

fn end(delivery_id: &str, outcome: &str) -> EndRow {
    EndRow {
        delivery_id: delivery_id.to_owned(),
        event_key: "e".to_owned(),
        account_id: "a".to_owned(),
        target_id: "t".to_owned(),
        generation: 0,
        hop: 1,
        outcome: outcome.to_owned(),
        reason: "schedule".to_owned(),
        ended_at: at(4),
        attempts: 2,
        last_url: None,
        last_status: Some(503),
        delivery: (outcome != "delivered").then(|| vec![9, 9]),
    }
}

#[tokio::test]
async fn every_insert_can_be_repeated_and_the_first_one_counts() {
    let env = TestEnv::new();
    let store = open(&env).await;
    for _ in 0..2 {
        store.insert_events(&[event("b"), event("a"), event("b")]).await.expect("inserted");
        let routed = RoutedRow {
            event_key: "e".to_owned(),
            account_id: "a".to_owned(),
            routed_at: at(1),
            settings_revision: u64::MAX,
            decisions: ["chosen", "duplicate", "disabled"].map(decision).into(),
        };
        let again = RoutedRow { routed_at: at(2), decisions: Vec::new(), ..routed.clone() };
        store.insert_routed(&[routed, again]).await.expect("inserted");
        store.insert_attempts(&[attempt("d", 0), attempt("d", 1)]).await.expect("inserted");
        store
            .insert_ends(&[end("d", "exhausted"), end("ok", "delivered")])
            .await
            .expect("inserted");
    }
    store
        .insert_events(&[EventRow { caller: "late".to_owned(), ..event("a") }])
        .await
        .expect("inserted");
    store.insert_ends(&[end("d", "delivered")]).await.expect("inserted");

    assert_eq!(
        env.sql("SELECT event_key, caller, encode(event, 'hex') FROM events ORDER BY 1"),
        "a|test|000102ff\nb|test|000102ff"
    );
    assert_eq!(
        env.sql("SELECT count(*), min(settings_revision) FROM routings"),
        "2|9223372036854775807"
    );
    assert_eq!(
        env.sql("SELECT position, verdict, delivery_id, duplicate_of, disabled_at IS NOT NULL FROM routing_decisions ORDER BY 1"),
        "0|chosen|d||f\n1|duplicate||s0|f\n2|disabled|||t"
    );
    assert_eq!(
        env.sql(
            "SELECT hop, attempt, status, next_attempt_at IS NOT NULL FROM attempts ORDER BY 1"
        ),
        "0|4294967295|503|t\n1|4294967295||f"
    );
    assert_eq!(
        env.sql("SELECT delivery_id, outcome FROM ends ORDER BY 1"),
        "d|exhausted\nok|delivered"
    );
    assert_eq!(
        env.sql("SELECT delivery_id, outcome, encode(delivery, 'hex') FROM undelivered"),
        "d|exhausted|0909"
    );
}

#[tokio::test]
async fn text_that_the_database_cannot_hold_does_not_stop_a_batch() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let nul = || "a\0b".to_owned();
    store
        .insert_events(&[EventRow { event_id: nul(), caller: nul(), ..event("a") }])
        .await
        .expect("inserted");
    let attempt =
        AttemptRow { response_snippet: nul(), detail: nul(), url: nul(), ..attempt("d", 0) };
    store.insert_attempts(&[attempt]).await.expect("inserted");
    let routed = RoutedRow {
        event_key: "e".to_owned(),
        account_id: "a".to_owned(),
        routed_at: at(1),
        settings_revision: 1,
        decisions: vec![DecisionRow { url: nul(), subscription_id: nul(), ..decision("chosen") }],
    };
    store.insert_routed(&[routed]).await.expect("inserted");
    store
        .insert_ends(&[EndRow { last_url: Some(nul()), ..end("d", "held") }])
        .await
        .expect("inserted");
    assert_eq!(env.sql("SELECT response_snippet FROM attempts"), "a\u{fffd}b");
}

#[tokio::test]
async fn empty_batches_are_nothing() {
    let env = TestEnv::new();
    let store = open(&env).await;
    store.insert_events(&[]).await.expect("nothing");
    store.insert_routed(&[]).await.expect("nothing");
    store.insert_attempts(&[]).await.expect("nothing");
    store.insert_ends(&[]).await.expect("nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_with_overlapping_batches_do_not_lock_each_other_out() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let forward: Vec<EventRow> = (0..500).map(|n| event(&format!("{n:032}"))).collect();
    let backward: Vec<EventRow> = forward.iter().rev().cloned().collect();
    for _ in 0..5 {
        let (a, b) = tokio::join!(store.insert_events(&forward), store.insert_events(&backward));
        a.expect("inserted");
        b.expect("inserted");
        env.sql("DELETE FROM events");
    }
}
