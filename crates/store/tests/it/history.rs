//! History can be written again and again.

use model::event_filter::SearchTexts;
use store::history::{
    AttemptRow, DecisionRow, EndRow, EventRow, HistoryTable, NamedEvent, RoutedRow, Uuid,
};
use testkit::TestEnv;

use crate::world::{account, at, open};

/// An id that begins with this digit.
fn id(digit: &str) -> Uuid {
    store::history::id(&format!("{digit:0<32}")).expect("an id")
}

fn event(key: &str) -> EventRow {
    EventRow {
        event_key: id(key),
        account_id: "a".repeat(24),
        domain_id: None,
        event_type: "ip_listed".to_owned(),
        event_id: format!("id of {key}"),
        occurred_at: at(0),
        accepted_at: at(1),
        caller: "test".to_owned(),
        event: vec![0, 1, 2, 255],
        search: SearchTexts::default(),
    }
}

fn decision(verdict: &str) -> DecisionRow {
    DecisionRow {
        verdict: verdict.to_owned(),
        level: "account".to_owned(),
        subscription_id: "s".to_owned(),
        target_id: Some(id("7")),
        url: "https://a.example/".to_owned(),
        delivery_id: (verdict == "chosen").then(|| id("d")),
        duplicate_of: (verdict == "duplicate").then(|| "s0".to_owned()),
        disabled_at: (verdict == "disabled").then(|| at(1)),
    }
}

fn attempt(delivery_id: &str, hop: u32) -> AttemptRow {
    AttemptRow {
        delivery_id: id(delivery_id),
        hop,
        event_key: id("e"),
        account_id: "a".to_owned(),
        target_id: Some(id("7")),
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
        level: Some("account".to_owned()),
        event: (hop == 0).then(|| NamedEvent {
            event_id: "e".to_owned(),
            event_type: "clicked".to_owned(),
            domain_id: None,
        }),
    }
}

fn end(delivery_id: &str, outcome: &str) -> EndRow {
    EndRow {
        delivery_id: id(delivery_id),
        event_key: Some(id("e")),
        account_id: "a".to_owned(),
        target_id: Some(id("7")),
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
            event_key: id("e"),
            account_id: "a".to_owned(),
            routed_at: at(1),
            settings_revision: u64::MAX,
            decisions: ["chosen", "duplicate", "disabled"].map(decision).into(),
        };
        let again = RoutedRow { routed_at: at(2), decisions: Vec::new(), ..routed.clone() };
        store.insert_routed(&[routed, again]).await.expect("inserted");
        store.insert_attempts(&[attempt("d", 0), attempt("d", 1)]).await.expect("inserted");
        store.insert_ends(&[end("d", "exhausted"), end("0", "delivered")]).await.expect("inserted");
    }
    store
        .insert_events(&[EventRow { caller: "late".to_owned(), ..event("a") }])
        .await
        .expect("inserted");

    assert_eq!(
        env.sql(
            "SELECT left(event_key::text, 1), caller, encode(event, 'hex') FROM events ORDER BY 1"
        ),
        "a|test|000102ff\nb|test|000102ff"
    );
    assert_eq!(
        env.sql(
            "SELECT count(DISTINCT routed_at), min(settings_revision), min(account_id) \
             FROM routing_decisions"
        ),
        "2|9223372036854775807|a"
    );
    assert_eq!(
        env.sql("SELECT position, verdict, left(delivery_id::text, 1), duplicate_of, disabled_at IS NOT NULL FROM routing_decisions ORDER BY routed_at, position"),
        "0|chosen|d||f\n1|duplicate||s0|f\n2|disabled|||t\n0|none|||f"
    );
    assert_eq!(
        env.sql(
            "SELECT hop, attempt, status, next_attempt_at IS NOT NULL, named_event_id, \
             named_event_type, named_domain_id \
             FROM attempts ORDER BY 1"
        ),
        "0|4294967295|503|t|e|clicked|\n1|4294967295||f|||"
    );
    assert_eq!(
        env.sql("SELECT left(delivery_id::text, 1), outcome FROM ends ORDER BY 1"),
        "0|delivered\nd|exhausted"
    );
    assert_eq!(
        env.sql(
            "SELECT left(delivery_id::text, 1), outcome, encode(delivery, 'hex') FROM undelivered"
        ),
        "d|exhausted|0909"
    );
}

#[tokio::test]
async fn of_a_batch_that_is_there_in_part_the_rest_is_inserted() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let routed = |digit| RoutedRow {
        event_key: id(digit),
        account_id: "a".to_owned(),
        routed_at: at(1),
        settings_revision: 1,
        decisions: vec![decision("chosen")],
    };
    for digits in [&["3"][..], &["1", "3", "5"], &["1", "2", "3", "4", "5"]] {
        let events: Vec<EventRow> = digits.iter().map(|digit| event(digit)).collect();
        store.insert_events(&events).await.expect("inserted");
        let routings: Vec<RoutedRow> = digits.iter().map(|digit| routed(digit)).collect();
        store.insert_routed(&routings).await.expect("inserted");
        let tries: Vec<AttemptRow> = digits.iter().map(|digit| attempt(digit, 0)).collect();
        store.insert_attempts(&tries).await.expect("inserted");
        let ends: Vec<EndRow> = digits.iter().map(|digit| end(digit, "held")).collect();
        store.insert_ends(&ends).await.expect("inserted");
    }
    for table in ["events", "routing_decisions"] {
        let keys = format!(
            "SELECT string_agg(left(event_key::text, 1), '' ORDER BY event_key) FROM {table}"
        );
        assert_eq!(env.sql(&keys).trim(), "12345", "{table}");
    }
    for table in ["attempts", "ends", "undelivered"] {
        let ids = format!(
            "SELECT string_agg(left(delivery_id::text, 1), '' ORDER BY delivery_id) FROM {table}"
        );
        assert_eq!(env.sql(&ids).trim(), "12345", "{table}");
    }
    // Whoever has seen a position goes on behind it.
    let positions = "SELECT string_agg(left(event_key::text, 1), '' ORDER BY position) FROM events";
    assert_eq!(env.sql(positions).trim(), "31524");
}

#[tokio::test]
async fn a_hop_that_was_tried_twice_has_both_tries() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let again = AttemptRow { started_at: at(9), ..attempt("d", 0) };
    for _ in 0..2 {
        let tries = [again.clone(), attempt("d", 0), attempt("d", 0)];
        store.insert_attempts(&tries).await.expect("inserted");
    }
    assert_eq!(
        env.sql("SELECT hop, started_at - min(started_at) OVER () FROM attempts ORDER BY 2"),
        "0|00:00:00\n0|00:00:07"
    );
}

#[tokio::test]
async fn a_delivery_ends_once_whatever_is_reported_later() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let later = |digit, outcome| EndRow { ended_at: at(5), ..end(digit, outcome) };
    // Reported again in another batch.
    store.insert_ends(&[end("1", "delivered"), end("2", "exhausted")]).await.expect("inserted");
    store.insert_ends(&[later("1", "exhausted"), later("2", "delivered")]).await.expect("inserted");
    // Reported twice in one batch, whatever the order.
    let both = [later("3", "exhausted"), end("3", "delivered"), end("4", "exhausted")];
    store.insert_ends(&both).await.expect("inserted");
    // The same end, told twice.
    store.insert_ends(&[end("5", "held"), end("5", "held")]).await.expect("inserted");

    assert_eq!(
        env.sql("SELECT left(delivery_id::text, 1), outcome FROM ends ORDER BY 1"),
        "1|delivered\n2|exhausted\n3|delivered\n4|exhausted\n5|held"
    );
    assert_eq!(
        env.sql("SELECT left(delivery_id::text, 1), outcome FROM undelivered ORDER BY 1"),
        "2|exhausted\n4|exhausted\n5|held"
    );
}

#[tokio::test]
async fn two_writers_that_end_a_delivery_at_once_leave_one_end() {
    let env = TestEnv::new();
    let store = open(&env).await;
    for round in 0..10 {
        let ends = |outcome: &str, seconds: i64| -> Vec<EndRow> {
            let digits = (0..8).map(|n| format!("{round}{n}"));
            digits.map(|digits| EndRow { ended_at: at(seconds), ..end(&digits, outcome) }).collect()
        };
        let (first, second) = (ends("delivered", 0), ends("exhausted", 5));
        let (first, second) = tokio::join!(store.insert_ends(&first), store.insert_ends(&second));
        first.expect("inserted");
        second.expect("inserted");
    }
    assert_eq!(env.sql("SELECT count(*), count(DISTINCT delivery_id) FROM ends"), "80|80");
}

#[tokio::test]
async fn ids_that_could_not_be_read_are_left_out() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let account_id = "unknown".to_owned();
    let poisoned = EndRow { event_key: None, target_id: None, account_id, ..end("d", "poisoned") };
    store.insert_ends(&[poisoned, end("e", "delivered")]).await.expect("inserted");
    let missing = "SELECT count(*) FROM ends JOIN undelivered USING (delivery_id, account_id) \
                   WHERE event_key IS NULL AND undelivered.target_id IS NULL";
    assert_eq!(env.sql(missing), "1");
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
        event_key: id("e"),
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
async fn what_the_database_will_never_take_is_told_from_trouble() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let too_long: String = (0..300).map(|n| model::domain_id(&n.to_string())).collect();
    let too_early = chrono::DateTime::from_timestamp(-8_000_000_000_000, 0).expect("a moment");
    for bad in [
        EventRow { account_id: "a\0b".to_owned(), ..event("a") },
        EventRow { account_id: too_long, ..event("a") },
        EventRow { accepted_at: too_early, ..event("a") },
    ] {
        let error = store.insert_events(&[event("b"), bad]).await.expect_err("refused");
        assert!(error.is_about_the_data(), "{error}");
    }
    env.sql("DROP TABLE events");
    let error = store.insert_events(&[event("b")]).await.expect_err("no table");
    assert!(!error.is_about_the_data(), "{error}");
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
    let forward: Vec<EventRow> = (0..500).map(|n| event(&format!("{n:032x}"))).collect();
    let backward: Vec<EventRow> = forward.iter().rev().cloned().collect();
    for _ in 0..5 {
        let (a, b) = tokio::join!(store.insert_events(&forward), store.insert_events(&backward));
        a.expect("inserted");
        b.expect("inserted");
        env.sql("DELETE FROM events");
    }
}

fn routed(account_id: &str, key: &str) -> RoutedRow {
    RoutedRow {
        event_key: id(key),
        account_id: account_id.to_owned(),
        routed_at: at(1),
        settings_revision: 1,
        decisions: vec![decision("chosen"), decision("duplicate")],
    }
}

/// A row of each table for each of these accounts, and for somebody without a row.
async fn insert_all(store: &store::Store, accounts: [&str; 2]) {
    let owners = [(accounts[0], "1"), (accounts[1], "2"), ("nobody", "3")];
    let owned = |account_id: &str| account_id.to_owned();
    let events = owners.map(|(a, key)| EventRow { account_id: owned(a), ..event(key) });
    store.insert_events(&events).await.expect("inserted");
    store.insert_routed(&owners.map(|(a, key)| routed(a, key))).await.expect("inserted");
    let attempts = owners.map(|(a, key)| AttemptRow { account_id: owned(a), ..attempt(key, 0) });
    store.insert_attempts(&attempts).await.expect("inserted");
    let ends = owners.map(|(a, key)| EndRow { account_id: owned(a), ..end(key, "exhausted") });
    store.insert_ends(&ends).await.expect("inserted");
}

const COUNTS: &str = "SELECT (SELECT count(*) FROM events), \
    (SELECT count(*) FROM routing_decisions), (SELECT count(*) FROM attempts), \
    (SELECT count(*) FROM ends), (SELECT count(*) FROM undelivered)";

#[tokio::test]
async fn nothing_of_an_erased_account_is_inserted() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let [erased, other] = [account(&store, "one").await, account(&store, "two").await];
    let seal = |_: &str| store::SealedKeys { http_signing_key: vec![], alerts_signing_key: vec![] };
    let closed = store::AccountStatus::Closed;
    store.change_account_status(&erased, closed, None, at(1)).await.expect("closed");
    store.erase_account(&erased, seal, at(2)).await.expect("erased");
    insert_all(&store, [&erased, &other]).await;
    // Of the other one, and of somebody whom settings do not know.
    assert_eq!(env.sql(COUNTS).trim(), "2|4|2|2|2");
    let theirs = format!("SELECT count(*) FROM ends WHERE account_id = '{erased}'");
    assert_eq!(env.sql(&theirs).trim(), "0");

    // Those who are met on the broker all the same are noted, each time.
    for _ in 0..2 {
        store.note_late_messages(&["nobody", &erased, &other]).await.expect("noted");
    }
    let purges = store.erasures_to_purge().await.expect("read");
    assert_eq!(purges.len(), 1);
    // What is noted after a purge was read is not covered by it.
    store.note_late_messages(&[&erased]).await.expect("noted");
    store.erasure_purged(&purges[0]).await.expect("noted");
    let again = store.erasures_to_purge().await.expect("read");
    assert_eq!(again.len(), 1);
    store.erasure_purged(&again[0]).await.expect("noted");
    assert!(store.erasures_to_purge().await.expect("read").is_empty());
}

#[tokio::test]
async fn history_is_erased_block_by_block() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let [one, two] = [account(&store, "one").await, account(&store, "two").await];
    insert_all(&store, [&one, &two]).await;
    env.sql(&format!(
        "INSERT INTO expired SELECT id, current_date, 'held', 1 \
         FROM unnest('{{{one},{two}}}'::text[]) AS id"
    ));
    env.sql(&format!(
        "INSERT INTO unread_messages (stream, sequence, account_id, stored_at, is_newer, reason, \
         payload) SELECT 'outcomes', 1, id, now(), true, '', id::bytea \
         FROM unnest('{{{one},{two}}}'::text[]) AS id"
    ));
    let accounts = [one];
    for table in HistoryTable::ALL {
        // The first block is another part's.
        let part = store.erase_history_part(table, &accounts, 1).await.expect("erased");
        assert_eq!((part.rows, part.next), (0, None), "{table:?}");
    }
    assert_eq!(env.sql(COUNTS).trim(), "3|6|3|3|3");
    for table in HistoryTable::ALL {
        let part = store.erase_history_part(table, &accounts, 0).await.expect("erased");
        let rows = match table {
            // A slot of the account, and one of its target.
            HistoryTable::Routings | HistoryTable::Statistics => 2,
            _ => 1,
        };
        assert_eq!((part.rows, part.next), (rows, None), "{table:?}");
    }
    assert_eq!(env.sql(COUNTS).trim(), "2|4|2|2|2");

    // A table that is longer than one part says where the next one begins; here,
    // as one that is partitioned would be.
    env.sql(
        "ALTER TABLE attempts RENAME TO attempts_old; \
         CREATE TABLE attempts (LIKE attempts_old) PARTITION BY RANGE (started_at); \
         CREATE TABLE attempts_all PARTITION OF attempts DEFAULT; \
         ALTER TABLE attempts_all ALTER COLUMN detail SET STORAGE PLAIN; \
         INSERT INTO attempts SELECT gen_random_uuid(), gen_random_uuid(), 0, now(), 'x', NULL, \
         0, 1, true, 1, '', NULL, '', repeat('x', 7000), '', NULL FROM generate_series(1, 8300)",
    );
    let everybody = ["x".to_owned()];
    let attempts = HistoryTable::Attempts;
    let part = store.erase_history_part(attempts, &everybody, 0).await.expect("erased");
    assert_eq!((part.rows, part.next), (8192, Some(8192)));
    let part = store.erase_history_part(attempts, &everybody, 8192).await.expect("erased");
    assert_eq!((part.rows, part.next), (108, None));
}
