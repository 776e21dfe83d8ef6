//! Journeys: how an event is found, and who sees what of it. What journeys tell is
//! in the golden files of the whole system.

use chrono::TimeDelta;
use model::EventType;
use protocol::v1::Event;
use serde_json::{Value, json};
use store::history::{AttemptRow, DecisionRow, EndRow, EventRow, RoutedRow, Uuid};
use testkit::TestEnv;

use crate::events::{event, row};
use crate::world::{World, assert_message, send};

pub(crate) const URL: &str = "https://hooks.example.net/acc?token=secret";

pub(crate) fn id(hex: &str) -> Uuid {
    store::history::id(hex).expect("an id")
}

/// The target of an event, and its first delivery there.
pub(crate) fn delivery_of(event: &EventRow, url: &str) -> (Uuid, Uuid) {
    let target = model::message_target_id(&event.account_id, url);
    let key = event.event_key.simple().to_string();
    (id(&target), id(&model::delivery_id(&key, "", &target)))
}

/// What was decided about a URL.
pub(crate) fn decision(event: &EventRow, url: &str, verdict: &str, level: &str) -> DecisionRow {
    let (target_id, delivery_id) = delivery_of(event, url);
    DecisionRow {
        verdict: verdict.to_owned(),
        level: level.to_owned(),
        subscription_id: format!("webhook of the {level}"),
        target_id: Some(target_id),
        url: url.to_owned(),
        delivery_id: matches!(verdict, "chosen" | "paused").then_some(delivery_id),
        duplicate_of: (verdict == "duplicate").then(|| "webhook of the parent_account".to_owned()),
        disabled_at: None,
    }
}

pub(crate) fn routed(event: &EventRow, decisions: Vec<DecisionRow>) -> RoutedRow {
    RoutedRow {
        event_key: event.event_key,
        account_id: event.account_id.clone(),
        routed_at: event.accepted_at + TimeDelta::seconds(1),
        settings_revision: 7,
        decisions,
    }
}

/// A first try that failed.
pub(crate) fn failed(event: &EventRow, url: &str) -> AttemptRow {
    let (target_id, delivery_id) = delivery_of(event, url);
    AttemptRow {
        delivery_id,
        hop: 0,
        event_key: event.event_key,
        account_id: event.account_id.clone(),
        target_id: Some(target_id),
        generation: 0,
        attempt: 1,
        charged: true,
        started_at: event.accepted_at + TimeDelta::seconds(2),
        duration_ms: 12,
        url: "https://hooks.example.net/acc?…".to_owned(),
        status: Some(503),
        reason: "status".to_owned(),
        detail: String::new(),
        response_snippet: "busy".to_owned(),
        next_attempt_at: Some(event.accepted_at + TimeDelta::minutes(10)),
        level: None,
        event: None,
    }
}

/// The end of a delivery to a URL.
pub(crate) fn ended(event: &EventRow, url: &str, outcome: &str, reason: &str) -> EndRow {
    let (target_id, delivery_id) = delivery_of(event, url);
    EndRow {
        delivery_id,
        event_key: Some(event.event_key),
        account_id: event.account_id.clone(),
        target_id: Some(target_id),
        generation: 0,
        hop: 1,
        outcome: outcome.to_owned(),
        reason: reason.to_owned(),
        ended_at: event.accepted_at + TimeDelta::seconds(5),
        attempts: 1,
        last_url: None,
        last_status: None,
        delivery: (outcome != "delivered").then(Vec::new),
    }
}

async fn journey(world: &World, event_id: &str) -> Value {
    let path = format!("/postrider/v1/events/{event_id}/journey");
    let answer = send(world.call("GET", &path)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn an_event_is_found_by_its_id_and_its_type_where_that_is_needed() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("other", "").await;
    let demo = world.account_document("demo").await.account_id.clone();
    let odd = "<a/b c?d#e%2F>@x";
    let events = [
        event(EventType::Opened, "same", 0),
        event(EventType::Clicked, "same", 1),
        event(EventType::TemporaryFail, "failure", 2),
        event(EventType::Clicked, odd, 3),
        Event { domain: String::new(), ..event(EventType::IpListed, "alert", 4) },
    ];
    let rows: Vec<EventRow> = events.into_iter().map(|event| row(&demo, event)).collect();
    world.store().insert_events(&rows).await.expect("inserted");

    let path = |id: &str| format!("/postrider/v1/events/{id}/journey");
    let several = send(world.call("GET", &path("same"))).await;
    let message = "several events have this id; give event_type: clicked, opened";
    assert_message(&several, 409, message);
    for (query, wanted) in [
        ("same/journey?event_type=opened", "opened"),
        ("same/journey?event_type=clicked", "clicked"),
        ("failure/journey", "temporary_fail"),
        ("failure/journey?event_type=failed", "temporary_fail"),
        ("%3Ca%2Fb%20c%3Fd%23e%252F%3E%40x/journey", "clicked"),
        ("alert/journey", "ip_listed"),
    ] {
        let answer = send(world.call("GET", &format!("/postrider/v1/events/{query}"))).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.text());
        assert_eq!(answer.json()["event"]["event_type"], wanted, "{query}");
    }
    for (query, status, message) in [
        ("same/journey?event_type=accepted", 404, "event not found"),
        ("nowhere/journey", 404, "event not found"),
        ("same/journey?event_type=bounce", 400, "event_type is none that there is"),
    ] {
        let answer = send(world.call("GET", &format!("/postrider/v1/events/{query}"))).await;
        assert_message(&answer, status, message);
    }
    let stranger = world.anonymous("GET", &path("alert")).basic_auth("api", "key-other");
    assert_message(&send(stranger).await, 404, "event not found");
}

#[tokio::test]
async fn what_is_not_routed_yet_is_told_and_so_is_that_it_came_twice() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let first = row(&demo, event(EventType::Clicked, "twice", 0));
    let again = EventRow {
        accepted_at: first.accepted_at + TimeDelta::hours(1),
        caller: "another".to_owned(),
        ..first.clone()
    };
    world.store().insert_events(&[again, first]).await.expect("inserted");
    let journey = journey(&world, "twice").await;
    assert_eq!(
        (&journey["routings"], &journey["deliveries"], &journey["is_whole"]),
        (&json!([]), &json!([]), &json!(true))
    );
    let explanation = journey["explanation"].as_str().expect("a sentence");
    assert!(explanation.contains("No routing of it is known"), "{explanation}");
    let accepted = json!([
        {"at": "2025-10-09T08:53:21.000Z", "caller": "test"},
        {"at": "2025-10-09T09:53:21.000Z", "caller": "another"},
    ]);
    assert_eq!(journey["event"]["accepted"], accepted);
    assert_eq!(journey["event"]["payload"]["id"], "twice");
}

#[tokio::test]
async fn a_subaccount_sees_that_its_parent_hears_of_it_and_not_by_what() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let sub = world.account("demo-sub", "demo").await;
    let event = row(&sub, event(EventType::Clicked, "of-sub", 0));
    let decisions = vec![
        decision(&event, URL, "chosen", "parent_account"),
        decision(&event, URL, "duplicate", "domain"),
    ];
    let store = world.store();
    store.insert_events(std::slice::from_ref(&event)).await.expect("inserted");
    store.insert_routed(&[routed(&event, decisions)]).await.expect("inserted");

    let path = "/postrider/v1/events/of-sub/journey";
    let own = world.anonymous("GET", path).basic_auth("api", "key-demo-sub");
    let parents = world.call("GET", path).header("X-Mailgun-On-Behalf-Of", &sub);
    let view = async |request| {
        let journey = send(request).await.expect_status(200).json();
        let fields = |decision: &Value| {
            ["subscription_id", "url", "duplicate_of"].map(|name| decision[name].clone())
        };
        let decisions = journey["routings"][0]["decisions"].as_array().expect("a list").clone();
        let decided: Vec<_> = decisions.iter().map(fields).collect();
        (decided, journey["deliveries"][0]["url"].clone())
    };
    let seen = json!("https://hooks.example.net/…");
    let (of_parent, of_domain) = ("webhook of the parent_account", "webhook of the domain");
    assert_eq!(
        view(own).await,
        (
            vec![
                [Value::Null, seen.clone(), Value::Null],
                [json!(of_domain), json!(URL), Value::Null],
            ],
            seen
        )
    );
    assert_eq!(
        view(parents).await,
        (
            vec![
                [json!(of_parent), json!(URL), Value::Null],
                [json!(of_domain), json!(URL), json!(of_parent)],
            ],
            json!(URL)
        )
    );
}

#[tokio::test]
async fn a_delivery_is_found_by_its_id_by_its_owner_alone() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("other", "").await;
    let demo = world.account_document("demo").await.account_id.clone();
    let under_way = row(&demo, event(EventType::Clicked, "under-way", 0));
    let over = row(&demo, event(EventType::Clicked, "over", 0));
    let store = world.store();
    // Its event is there no longer, or not yet.
    store.insert_events(std::slice::from_ref(&under_way)).await.expect("inserted");
    store.insert_attempts(&[failed(&under_way, URL)]).await.expect("inserted");
    store.insert_ends(&[ended(&over, URL, "held", "paused")]).await.expect("inserted");

    let path = |event: &EventRow| {
        format!("/postrider/v1/deliveries/{}", delivery_of(event, URL).1.simple())
    };
    let shown = send(world.call("GET", &path(&under_way))).await.expect_status(200).json();
    assert_eq!(shown["event"]["id"], "under-way");
    let delivery = &shown["delivery"];
    assert_eq!((&delivery["attempts"][0]["status"], &delivery["end"]), (&json!(503), &Value::Null));
    let next = json!({
        "state": "waiting", "at": "2025-10-09T09:03:21.000Z",
        "explanation": "Try 2 is due at 2025-10-09T09:03:21.000Z."
    });
    assert_eq!(delivery["next"], next);
    // What was decided is not there, so that the tries tell where it went.
    assert_eq!(delivery["url"], "https://hooks.example.net/acc?…");

    let shown = send(world.call("GET", &path(&over))).await.expect_status(200).json();
    assert_eq!(
        (&shown["event"], &shown["delivery"]["end"]["outcome"]),
        (&Value::Null, &json!("held"))
    );
    let nobodys = format!("/postrider/v1/deliveries/{}", "0".repeat(32));
    for request in [
        world.anonymous("GET", &path(&under_way)).basic_auth("api", "key-other"),
        world.anonymous("GET", &path(&over)).basic_auth("api", "key-other"),
        world.call("GET", &nobodys),
        world.call("GET", "/postrider/v1/deliveries/nonsense"),
    ] {
        assert_message(&send(request).await, 404, "delivery not found");
    }
}
