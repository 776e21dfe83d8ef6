//! Sending again what was not delivered.

use prost::Message as _;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{Delivery, MessageTarget, Target};
use serde_json::{Value, json};
use testkit::{TestEnv, eventually};

use crate::world::{World, assert_answer, assert_message, send};

const RESENDS: &str = "/postrider/v1/resends";
const URL: &str = "https://hooks.example.net/mail";

/// Puts into history that deliveries to a URL ended in this way.
fn ended(env: &TestEnv, account_id: &str, url: &str, outcome: &str, count: u32) -> Vec<String> {
    let target_id = model::message_target_id(account_id, url);
    let ids = (0..count).map(|n| {
        let event_key = model::delivery_id(outcome, &n.to_string(), url);
        let id = model::delivery_id(&event_key, "", &target_id);
        let kind = MessageTarget { account_id: account_id.into(), url: url.into() };
        let delivery = Delivery {
            delivery_id: id.clone(),
            event_key,
            target: Some(Target { id: target_id.clone(), kind: Some(TargetKind::Message(kind)) }),
            attempt: 8,
            hop: 11,
            accepted_event: b"an event".to_vec().into(),
            ..Delivery::default()
        };
        let bytes = hex::encode(delivery.encode_to_vec());
        env.sql(&format!(
            "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
             VALUES ('{id}', '{account_id}', '{target_id}', '{outcome}', \
             now() - interval '1 minute' * ({n} + 1), '\\x{bytes}')"
        ));
        id
    });
    ids.collect()
}

async fn wait_for_state(world: &World, id: &str, state: &str) -> Value {
    let path = format!("{RESENDS}/{id}");
    eventually(std::time::Duration::from_secs(20), &format!("the resend to be {state}"), || async {
        let shown = send(world.call("GET", &path)).await.expect_status(200).json();
        (shown["state"] == state).then_some(shown)
    })
    .await
}

fn waiting(env: &TestEnv) -> String {
    env.sql("SELECT count(*) FROM undelivered WHERE sent_again_at IS NULL").trim().to_owned()
}

#[tokio::test]
async fn a_job_sends_what_it_names_at_its_rate_and_nothing_twice() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    ended(&env, &account_id, URL, "held", 12);
    ended(&env, &account_id, URL, "exhausted", 3);
    ended(&env, &account_id, "https://hooks.example.net/other", "held", 2);
    let shown = send(world.call("GET", "/postrider/v1/undelivered")).await.json();
    let groups = shown["undelivered"].as_array().expect("groups");
    assert_eq!(groups.len(), 3, "{shown}");
    assert_eq!((&groups[0]["url"], &groups[0]["count"]), (&json!(URL), &json!(12)));
    assert_eq!(groups[0]["outcome"], "held");

    let began = std::time::Instant::now();
    let body = json!({"url": URL, "per_second": 5});
    let made = send(world.call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    assert_eq!((&made["outcomes"], &made["per_second"]), (&json!(["held"]), &json!(5)));
    let id = made["id"].as_str().expect("an id");
    let done = wait_for_state(&world, id, "done").await;
    assert_eq!(done["sent"], 12);
    assert!(began.elapsed().as_millis() >= 1_900, "five a second: {:?}", began.elapsed());
    assert_eq!(waiting(&env), "5");
    // Each is the next generation, from its beginning.
    let region = &env.region;
    let stored = testkit::broker::messages(&env.nats_url, &format!("{region}_DELIVERIES_0")).await;
    let stored = stored.into_iter().map(|(_, bytes)| Delivery::decode(&*bytes).expect("one"));
    let stored: Vec<Delivery> = stored.collect();
    assert_eq!(stored.len(), 12);
    for delivery in &stored {
        let target_id = &delivery.target.as_ref().expect("a target").id;
        let first = model::delivery_id(&delivery.event_key, "", target_id);
        let id = model::next_delivery_id(&first, &delivery.event_key, target_id, 0).expect("one");
        assert_eq!((delivery.delivery_id == id, delivery.generation), (true, 1));
        assert_eq!((delivery.hop, delivery.attempt, delivery.may_exist), (0, 0, true));
        assert!(delivery.first_due.is_some());
    }
    let again = send(world.call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    let done = wait_for_state(&world, again["id"].as_str().expect("an id"), "done").await;
    assert_eq!(done["sent"], 0);
}

#[tokio::test]
async fn a_job_is_paused_runs_on_and_is_cancelled() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    ended(&env, &account_id, URL, "held", 30);
    let body = json!({"per_second": 2});
    let made = send(world.call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    let path = format!("{RESENDS}/{}", made["id"].as_str().expect("an id"));
    let set =
        async |state: &str| send(world.call("PUT", &path).json(&json!({"state": state}))).await;
    let paused = set("paused").await.expect_status(200).json();
    let sent = paused["sent"].as_i64().expect("a number");
    let left = waiting(&env);
    assert_eq!(left, (30 - sent).to_string());
    // Another job runs to its end, and this one stays as it was.
    let body = json!({"url": "https://hooks.example.net/other", "per_second": 2});
    let other = send(world.call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    wait_for_state(&world, other["id"].as_str().expect("an id"), "done").await;
    assert_eq!(waiting(&env), left, "nothing is sent while it is paused");
    set("running").await.expect_status(200);
    eventually(std::time::Duration::from_secs(20), "more to be sent", || async {
        (waiting(&env) != left).then_some(())
    })
    .await;
    set("cancelled").await.expect_status(200);
    assert_message(&set("running").await, 409, "the resend has ended");
    assert_eq!(set("cancelled").await.status, 200, "saying it again is no error");
    let list = send(world.call("GET", RESENDS)).await.json();
    assert_eq!(list["resends"].as_array().expect("a list").len(), 2);
    assert_eq!(list["resends"][1]["state"], "cancelled");
}

#[tokio::test]
async fn one_delivery_is_sent_again_once_and_by_its_owner_alone() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("other", "").await;
    let account_id = world.account_document("demo").await.account_id.clone();
    let ids = ended(&env, &account_id, URL, "exhausted", 1);
    let path = format!("/postrider/v1/deliveries/{}/resend", ids[0]);
    let missing = "a delivery of this id that has ended not found";
    let stranger = world.anonymous("POST", &path).basic_auth("api", "key-other");
    assert_message(&send(stranger).await, 404, missing);
    assert_eq!(waiting(&env), "1");
    let answer = send(world.call("POST", &path)).await.expect_status(200).json();
    let delivery_id = answer["delivery_id"].as_str().expect("an id");
    assert_ne!(delivery_id, ids[0]);
    let message = "this delivery was sent again already";
    assert_message(&send(world.call("POST", &path)).await, 409, message);
    let path = "/postrider/v1/deliveries/nonsense/resend";
    assert_message(&send(world.call("POST", path)).await, 404, missing);
}

#[tokio::test]
async fn wrong_jobs_are_refused() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    for (body, message) in [
        (json!({"url": URL, "alert_setting_id": "x"}), "give url or alert_setting_id, not both"),
        (json!({"alert_setting_id": "x"}), "alert_setting_id: x is no UUID"),
        (json!({"outcomes": []}), "outcomes: at least one"),
        (
            json!({"outcomes": ["delivered"]}),
            "outcomes: \"delivered\" is none of held, exhausted, rejected, expired, suppressed",
        ),
        (json!({"per_second": 0}), "per_second: expected 1 to 1000, found 0"),
        (
            json!({"since": "yesterday"}),
            "since: expected a moment such as 2026-11-21T08:00:00Z, found \"yesterday\"",
        ),
    ] {
        let message = message.replace('"', "\\\"");
        assert_message(&send(world.call("POST", RESENDS).json(&body)).await, 400, &message);
    }
    let path = format!("{RESENDS}/00000000-0000-4000-8000-000000000000");
    assert_message(&send(world.call("GET", &path)).await, 404, "resend not found");
    assert_answer(&send(world.call("GET", RESENDS)).await, 200, r#"{"resends":[]}"#);
}
