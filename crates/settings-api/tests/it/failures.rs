//! Failure logs: which tries failed, and why.

use chrono::TimeDelta;
use model::EventType;
use serde_json::{Value, json};
use store::history::{AttemptRow, NamedEvent, Uuid};
use testkit::TestEnv;
use testkit::http;

use crate::events::{at, event, row};
use crate::world::{World, assert_answer, assert_message, send};

const PATH: &str = "/postrider/v1/failures";

fn attempt(account_id: &str, event_key: Uuid, hop: u32) -> AttemptRow {
    AttemptRow {
        delivery_id: store::history::id("0d00000000000000000000000000000d").expect("an id"),
        hop,
        event_key,
        account_id: account_id.to_owned(),
        target_id: None,
        generation: 0,
        attempt: hop + 1,
        charged: true,
        started_at: at(10) + TimeDelta::minutes(hop.into()),
        duration_ms: 12,
        url: "https://hooks.example.net/acc".to_owned(),
        status: Some(503),
        reason: "status".to_owned(),
        detail: "the receiver answered 503".to_owned(),
        response_snippet: "busy".to_owned(),
        next_attempt_at: Some(at(10) + TimeDelta::minutes(10)),
        level: Some("domain".to_owned()),
        event: None,
    }
}

/// `demo` with a clicked event that was tried in vain three times and then
/// taken, an alert that was tried in vain, and somebody else's failure. Of tries that do
/// not name their event an earlier version has told.
async fn world(env: &TestEnv) -> World {
    let world = World::start(env).await;
    let demo = world.account("demo", "").await;
    let other = world.account("other", "").await;
    world.domain("mail.demo.example", "demo").await;
    let clicked = row(&demo, event(EventType::Clicked, "clicked-1", 0));
    let alert = row(&demo, event(EventType::IpListed, "alert-1", 0));
    let of = |event_key, hop| attempt(&demo, event_key, hop);
    let named = |event_id: &str, event_type: &str, domain_id| {
        let (event_id, event_type) = (event_id.to_owned(), event_type.to_owned());
        Some(NamedEvent { event_id, event_type, domain_id })
    };
    let timeout = AttemptRow {
        status: None,
        reason: "timeout".to_owned(),
        url: "https://hooks.example.net/alerts".to_owned(),
        next_attempt_at: None,
        event: named("alert-1", "ip_listed", None),
        ..of(alert.event_key, 7)
    };
    let gone = named("opened-1", "opened", clicked.domain_id);
    let tries = [
        of(clicked.event_key, 0),
        AttemptRow {
            event: named("clicked-1", "clicked", clicked.domain_id),
            ..of(clicked.event_key, 1)
        },
        of(clicked.event_key, 2),
        AttemptRow { status: Some(200), reason: "ok".to_owned(), ..of(clicked.event_key, 3) },
        timeout,
        // The events of these are no longer there.
        AttemptRow { event: gone, ..of(Uuid::max(), 8) },
        AttemptRow { charged: false, ..of(Uuid::nil(), 9) },
        attempt(&other, clicked.event_key, 4),
    ];
    world.store().insert_events(&[clicked, alert]).await.expect("inserted");
    world.store().insert_attempts(&tries).await.expect("inserted");
    world
}

async fn list(world: &World, query: &str) -> Value {
    let answer = send(world.call("GET", &format!("{PATH}?{query}"))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn attempts(page: &Value) -> Vec<i64> {
    let items = page["items"].as_array().expect("a list");
    items.iter().map(|item| item["attempt"].as_i64().expect("a number")).collect()
}

#[tokio::test]
async fn an_entry_tells_what_was_tried_and_what_came_of_it() {
    let env = TestEnv::new();
    let world = world(&env).await;
    let answer = send(world.call("GET", &format!("{PATH}?event_type=clicked&limit=5"))).await;
    let entry = |attempt: u32, minute: u32| {
        format!(
            "{{\"timestamp\":\"2025-10-09T08:{minute}:30.000Z\",\
             \"delivery_id\":\"0d00000000000000000000000000000d\",\"event_id\":\"clicked-1\",\
             \"event_type\":\"clicked\",\"url\":\"https://hooks.example.net/acc\",\
             \"attempt\":{attempt},\"charged\":true,\"reason\":\"status\",\
             \"detail\":\"the receiver answered 503\",\"status\":503,\"response\":\"busy\",\
             \"duration_ms\":12,\"next_attempt_at\":\"2025-10-09T09:03:30.000Z\"}}"
        )
    };
    let items = [entry(3, 55), entry(2, 54), entry(1, 53)].join(",");
    assert_answer(&answer, 200, &format!(r#"{{"items":[{items}],"paging":{{"next":null}}}}"#));
}

#[tokio::test]
async fn what_is_asked_for_has_to_hold() {
    let env = TestEnv::new();
    let world = world(&env).await;
    for (query, wanted) in [
        ("", &[10, 9, 8, 3, 2, 1][..]),
        ("domain=mail.demo.example", &[9, 3, 2, 1]),
        ("event_type=opened", &[9]),
        ("event_type=ip_listed", &[8]),
        ("reason=timeout", &[8]),
        ("status=503", &[10, 9, 3, 2, 1]),
        ("status=404", &[]),
        ("url=https://hooks.example.net/alerts", &[8]),
        ("delivery_id=0d00000000000000000000000000000d&begin=1760000060", &[10, 9, 8, 3, 2]),
        ("begin=1760000070&end=1760000130", &[3, 2]),
        ("domain=mail.unknown.example", &[]),
    ] {
        assert_eq!(attempts(&list(&world, query).await), wanted, "{query}");
    }
    for (query, message) in [
        ("status=x", "status must be an HTTP status"),
        ("limit=0", "limit must be a number from 1 to 300"),
        ("event_type=x", "event_type is none that there is"),
        ("delivery_id=x", "delivery_id must be 32 hex characters"),
        ("page=x", "Invalid page: begin the list anew"),
        ("begin=x", "begin must be an RFC 2822 or RFC 3339 date, or seconds since the epoch"),
    ] {
        let answer = send(world.call("GET", &format!("{PATH}?{query}"))).await;
        assert_message(&answer, 400, message);
    }
    let theirs = world.anonymous("GET", PATH).basic_auth("api", "key-other");
    let page: Value = send(theirs).await.json();
    assert_eq!(attempts(&page), [5]);
    // Its event is another account's, of which nothing is told.
    assert_eq!(page["items"][0]["event_id"], json!(""));
}

#[tokio::test]
async fn pages_follow_each_other_by_their_links() {
    let env = TestEnv::new();
    let world = world(&env).await;
    let mut page = list(&world, "limit=2").await;
    let mut seen = attempts(&page);
    while let Some(next) = page["paging"]["next"].as_str() {
        page = send(http::get(next).basic_auth("api", "key-demo")).await.json();
        seen.extend(attempts(&page));
    }
    assert_eq!(seen, [10, 9, 8, 3, 2, 1]);
}

#[tokio::test]
async fn an_export_has_what_the_pages_have() {
    let env = TestEnv::new();
    let world = world(&env).await;
    let answer = send(world.call("GET", "/postrider/v1/failures/export?status=503")).await;
    let lines: Vec<Value> =
        answer.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(json!(lines), list(&world, "status=503").await["items"]);
    let csv =
        send(world.call("GET", "/postrider/v1/failures/export?reason=timeout&format=csv")).await;
    assert_eq!(
        csv.text(),
        "timestamp,delivery_id,event_id,event_type,url,attempt,charged,reason,detail,status,\
         response,duration_ms,next_attempt_at\r\n\
         2025-10-09T09:00:30.000Z,0d00000000000000000000000000000d,alert-1,ip_listed,\
         https://hooks.example.net/alerts,8,true,timeout,the receiver answered 503,,busy,12,\r\n"
    );
}
