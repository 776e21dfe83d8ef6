//! Sending again what was not delivered.

use std::time::Duration;

use chassis::Clock;
use model::End;
use prost::Message as _;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{
    AcceptedEvent, BlocklistedIp, Delivery, Event, Level, MessageTarget, Target, event,
};
use serde_json::{Value, json};
use testkit::{SlowLink, TestEnv, eventually};

use crate::world::{DEADLINE, Servers, World, assert_message, send};

const RESENDS: &str = "/postrider/v1/resends";
const URL: &str = "https://hooks.example.net/mail";

/// An event that can be read.
pub(crate) fn accepted_event() -> Vec<u8> {
    let kind = Some(event::Kind::IpListed(BlocklistedIp::default()));
    let event = Some(Event { id: "one".to_owned(), kind, ..Event::default() });
    AcceptedEvent { event, ..AcceptedEvent::default() }.encode_to_vec()
}

/// Puts into history that deliveries to a URL ended in this way.
fn ended(env: &TestEnv, account_id: &str, url: &str, outcome: &str, count: u32) -> Vec<String> {
    ended_on(Level::Account, env, account_id, url, outcome, count)
}

pub(crate) fn ended_on(
    level: Level,
    env: &TestEnv,
    account_id: &str,
    url: &str,
    outcome: &str,
    count: u32,
) -> Vec<String> {
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
            level: level.into(),
            accepted_event: accepted_event().into(),
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
    eventually(DEADLINE, &format!("the resend to be {state}"), || async {
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
    let body = json!({"outcomes": ["rejected"], "per_second": 2});
    let other = send(world.call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    wait_for_state(&world, other["id"].as_str().expect("an id"), "done").await;
    assert_eq!(waiting(&env), left, "nothing is sent while it is paused");
    set("running").await.expect_status(200);
    eventually(DEADLINE, "more to be sent", || async { (waiting(&env) != left).then_some(()) })
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
            "outcomes: \"delivered\" is none of held, exhausted, rejected, expired, suppressed, \
             poisoned",
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
    let of_nobody = "url: this account has no webhook with the URL \\\"https://hooks.example.net/mail\\\", \
                     and nothing is undelivered there; GET /postrider/v1/undelivered lists the \
                     targets for which something is";
    assert_message(
        &send(world.call("POST", RESENDS).json(&json!({"url": URL}))).await,
        400,
        of_nobody,
    );
    let id = "5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21";
    let of_no_setting = format!("alert_setting_id: there is no alert setting {id}");
    let answer = send(world.call("POST", RESENDS).json(&json!({"alert_setting_id": id}))).await;
    assert_message(&answer, 400, &of_no_setting);
    // With a webhook there may be something later.
    ended(&env, "another", URL, "held", 1);
    assert_message(
        &send(world.call("POST", RESENDS).json(&json!({"url": URL}))).await,
        400,
        of_nobody,
    );
    let webhook =
        world.call("POST", "/v1/webhooks").form(&[("url", URL), ("event_types", "clicked")]);
    send(webhook).await.expect_status(200);
    let made = send(world.call("POST", RESENDS).json(&json!({"url": URL}))).await;
    let made = made.expect_status(200).json()["id"].as_str().expect("an id").to_owned();
    wait_for_state(&world, &made, "done").await;
    let path = format!("{RESENDS}/00000000-0000-4000-8000-000000000000");
    assert_message(&send(world.call("GET", &path)).await, 404, "resend not found");
}

/// Whatever a newer version calls an end, what can be done about each of them is
/// decided in one place.
#[tokio::test]
async fn every_end_but_delivered_is_sent_again_by_a_job() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    let described = send(world.call("GET", "/openapi.json")).await.expect_status(200).json();
    let described = &described["components"]["schemas"]["ResendForm"]["properties"]["outcomes"];
    let described = described["items"]["enum"].as_array().expect("a list of names").clone();
    for end in End::ALL {
        let is_resent = end != End::Delivered;
        assert_eq!(described.contains(&json!(end.as_str())), is_resent, "{end:?}");
        if is_resent {
            ended(&env, &account_id, URL, end.as_str(), 2);
        }
        let body = json!({"outcomes": [end.as_str()]});
        let made = send(world.call("POST", RESENDS).json(&body)).await;
        if !is_resent {
            assert_eq!(made.status, 400, "{end:?}");
            continue;
        }
        let made = made.expect_status(200).json();
        let done = wait_for_state(&world, made["id"].as_str().expect("an id"), "done").await;
        assert_eq!((&done["sent"], &done["passed_over"]), (&json!(2), &json!(0)), "{end:?}");
    }
    assert_eq!(waiting(&env), "0");
}

#[tokio::test]
async fn what_was_set_aside_unread_is_passed_over_and_counted() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    // More of them than a batch, all at one moment, before what can be read.
    ended(&env, &account_id, URL, "poisoned", 9);
    env.sql("UPDATE undelivered SET delivery = '\\xff', ended_at = now() - interval '1 hour'");
    ended(&env, &account_id, URL, "held", 2);
    let unread = send(world.call("GET", "/postrider/v1/undelivered")).await.json();
    assert_eq!(unread["undelivered"].as_array().map(Vec::len), Some(2), "{unread}");
    let body = json!({"outcomes": ["held", "poisoned"], "per_second": 20});
    let made = send(world.call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    let done = wait_for_state(&world, made["id"].as_str().expect("an id"), "done").await;
    assert_eq!((&done["sent"], &done["passed_over"]), (&json!(2), &json!(9)));
    assert_eq!(waiting(&env), "9", "they stay where they are");
    let one = env.sql("SELECT delivery_id FROM undelivered WHERE sent_again_at IS NULL LIMIT 1");
    let path = format!("/postrider/v1/deliveries/{}/resend", one.trim());
    let unread = "this delivery was set aside unread, and cannot be sent";
    assert_message(&send(world.call("POST", &path)).await, 400, unread);
}

/// What the page says to operators at three in the morning is done here to the letter.
#[tokio::test]
async fn what_the_runbook_of_poisoned_deliveries_says_works() {
    let page = include_str!("../../../../docs/runbooks/PostriderPoisoned.md");
    let within = |begin: &str, end: &str| {
        let rest = page.split_once(begin).unwrap_or_else(|| panic!("no {begin} on the page")).1;
        rest.split_once(end).unwrap_or_else(|| panic!("no {end} on the page")).0.to_owned()
    };
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    ended(&env, &account_id, URL, "poisoned", 3);
    env.sql(&within("```sql\n", "```"));
    let call = within("```http\n", "```");
    let (line, body) = call.split_once("\n\n").expect("a line, and a body");
    let (method, path) = line.split_once(' ').expect("a method, and a path");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let made = send(world.call(method, path).json(&body)).await.expect_status(200).json();
    let done = wait_for_state(&world, made["id"].as_str().expect("an id"), "done").await;
    assert_eq!(done["sent"], 3);
    assert_eq!(waiting(&env), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_gets_on_with_a_broker_that_is_slower_than_the_databases_patience() {
    let env = TestEnv::new();
    let broker = env.nats_url.trim_start_matches("nats://").parse().expect("an address");
    let link = SlowLink::to(broker).await;
    let nats_url = format!("nats://{}", link.address());
    let database_url =
        format!("{}?options=-c%20idle_in_transaction_session_timeout%3D500ms", env.database_url);
    let servers = Servers { nats_url: &nats_url, database_url: &database_url, region: &env.region };
    let world = World::demo_configured(servers, &[], Clock::system()).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    ended(&env, &account_id, URL, "held", 22);
    link.delay(Duration::from_millis(900));
    let body = json!({"url": URL, "per_second": 200});
    let made = send(world.call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    let id = made["id"].as_str().expect("an id");
    // Each group is noted when it is stored, not all at the end.
    let mut seen = Vec::new();
    eventually(DEADLINE, "the job to get on group by group", || {
        let left = waiting(&env);
        if seen.last() != Some(&left) {
            seen.push(left);
        }
        let is_done = seen.last().is_some_and(|left| left == "0");
        async move { is_done.then_some(()) }
    })
    .await;
    assert!(seen.len() >= 4, "{seen:?}");
    let done = wait_for_state(&world, id, "done").await;
    assert_eq!(done["sent"], 22);
    let stream = format!("{}_DELIVERIES_0", env.region);
    assert_eq!(testkit::broker::messages(&env.nats_url, &stream).await.len(), 22);
}
