//! Sending one event again, to its targets.

use chrono::TimeDelta;
use model::EventType;
use prost::Message as _;
use protocol::v1::target::Kind as TargetKind;
use protocol::v1::{AcceptedEvent, Delivery, Level, MessageTarget, Target};
use serde_json::{Value, json};
use store::history::{DecisionRow, EndRow, EventRow, Uuid};
use testkit::TestEnv;

use crate::events::{event, row};
use crate::journeys::{decision, delivery_of, ended, id, routed};
use crate::world::{World, assert_message, send};

const DELIVERED: &str = "https://hooks.example.net/delivered?key=1";
const EXHAUSTED: &str = "https://hooks.example.net/exhausted";
const UNDER_WAY: &str = "https://hooks.example.net/under-way";
const PATH: &str = "/postrider/v1/events/one/resend";

/// The first delivery of an event to a URL, as its end keeps it.
pub(crate) fn body(event: &EventRow, url: &str) -> Vec<u8> {
    let (target_id, delivery_id) = delivery_of(event, url);
    let kind = MessageTarget { account_id: event.account_id.clone(), url: url.to_owned() };
    Delivery {
        delivery_id: hex(delivery_id),
        event_key: hex(event.event_key),
        target: Some(Target { id: hex(target_id), kind: Some(TargetKind::Message(kind)) }),
        accepted_event: crate::resends::accepted_event().into(),
        ..Delivery::default()
    }
    .encode_to_vec()
}

fn hex(id: Uuid) -> String {
    id.simple().to_string()
}

/// `demo` with an event that was delivered to one URL, not to another one, and is
/// under way to a third.
async fn world(env: &TestEnv) -> (World, EventRow) {
    let world = World::demo(env).await;
    world.account("other", "").await;
    let demo = world.account_document("demo").await.account_id.clone();
    let event = row(&demo, event(EventType::Clicked, "one", 0));
    let store = world.store();
    let levels = [(DELIVERED, "account"), (EXHAUSTED, "domain"), (UNDER_WAY, "domain")];
    let decisions = levels.map(|(url, level)| decision(&event, url, "chosen", level));
    store.insert_events(std::slice::from_ref(&event)).await.expect("inserted");
    store.insert_routed(&[routed(&event, decisions.into())]).await.expect("inserted");
    let exhausted = EndRow {
        delivery: Some(body(&event, EXHAUSTED)),
        ..ended(&event, EXHAUSTED, "exhausted", "schedule")
    };
    let ends = [ended(&event, DELIVERED, "delivered", "ok"), exhausted];
    store.insert_ends(&ends).await.expect("inserted");
    (world, event)
}

async fn resend(world: &World, body: &Value) -> Value {
    let answer = send(world.call("POST", PATH).json(body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What stands in the broker, by the URL that it goes to.
async fn stored(env: &TestEnv) -> Vec<(String, Delivery)> {
    let stream = format!("{}_DELIVERIES_0", env.region);
    let stored = testkit::broker::messages(&env.nats_url, &stream).await;
    let stored = stored.into_iter().map(|(_, bytes)| {
        let delivery = Delivery::decode(&*bytes).expect("a delivery");
        let kind = delivery.target.as_ref().and_then(|target| target.kind.as_ref());
        let Some(TargetKind::Message(target)) = kind else { panic!("{delivery:?}") };
        (target.url.clone(), delivery)
    });
    stored.collect()
}

/// The ids of deliveries that were not sent, and why.
fn not_sent(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let all = answer["not_sent"].as_array().expect("a list");
    all.iter().map(|one| (text(&one["delivery_id"]), text(&one["reason"]))).collect()
}

fn generation(event: &EventRow, url: &str, generation: u32) -> String {
    let target = model::message_target_id(&event.account_id, url);
    let key = hex(event.event_key);
    (0..generation).fold(model::delivery_id(&key, "", &target), |id, generation| {
        model::next_delivery_id(&id, &key, &target, generation).expect("an id")
    })
}

/// History hears that the resend to the first URL has arrived.
async fn arrived(world: &World, event: &EventRow) {
    let end = EndRow {
        delivery_id: id(&generation(event, DELIVERED, 1)),
        generation: 1,
        ended_at: event.accepted_at + TimeDelta::minutes(1),
        ..ended(event, DELIVERED, "delivered", "ok")
    };
    world.store().insert_ends(&[end]).await.expect("inserted");
}

#[tokio::test]
async fn what_was_not_delivered_is_sent_again_once() {
    let env = TestEnv::new();
    let (world, event) = world(&env).await;
    let answer = send(world.call("POST", PATH)).await.expect_status(200).json();
    let first = |url| generation(&event, url, 0);
    let sent_as = generation(&event, EXHAUSTED, 1);
    assert_eq!(answer["sent"], json!([{"delivery_id": first(EXHAUSTED), "sent_as": sent_as}]));
    let kept =
        [(first(DELIVERED), "delivered".to_owned()), (first(UNDER_WAY), "under_way".to_owned())];
    assert_eq!(not_sent(&answer), kept);
    let stored = stored(&env).await;
    assert_eq!(stored.len(), 1);
    let (url, delivery) = &stored[0];
    assert_eq!((url.as_str(), &delivery.delivery_id), (EXHAUSTED, &sent_as));
    assert_eq!((delivery.generation, delivery.hop, delivery.may_exist), (1, 0, true));

    let answer = resend(&world, &json!({})).await;
    assert_eq!(answer["sent"], json!([]));
    assert!(not_sent(&answer).contains(&(sent_as.clone(), "under_way".to_owned())), "{answer}");
    let journey = world.call("GET", "/postrider/v1/events/one/journey");
    let journey = send(journey).await.expect_status(200).json();
    let told: Vec<_> = journey["deliveries"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["generation"].as_u64(), one["next"]["state"].as_str()))
        .collect();
    let wanted = [(0, "ended"), (0, "ended"), (1, "due"), (0, "due")];
    assert_eq!(told, wanted.map(|(generation, state)| (Some(generation), Some(state))));
    assert_eq!(journey["deliveries"][1]["end"]["sent_again_as"], json!(sent_as));
    // A job that comes later finds nothing.
    assert_eq!(env.sql("SELECT count(*) FROM undelivered WHERE sent_again_at IS NULL").trim(), "0");
}

#[tokio::test]
async fn what_was_delivered_is_made_anew_and_a_generation_goes_again_once() {
    let env = TestEnv::new();
    let (world, event) = world(&env).await;
    let all = json!({"all": true});
    let answer = resend(&world, &all).await;
    assert_eq!(answer["sent"].as_array().map(Vec::len), Some(2), "{answer}");
    let stored = stored(&env).await;
    let anew = stored.iter().find(|(url, _)| url == DELIVERED).map(|(_, delivery)| delivery);
    let anew = anew.expect("it is on its way");
    assert_eq!(anew.delivery_id, generation(&event, DELIVERED, 1));
    assert_eq!((anew.level(), anew.generation, anew.may_exist), (Level::Account, 1, true));
    let accepted = AcceptedEvent::decode(&*anew.accepted_event).expect("an event");
    assert_eq!(accepted.event_key, hex(event.event_key));
    assert_eq!(accepted.domain_id, hex(event.domain_id.expect("a domain")));
    assert_eq!(accepted.event.expect("an event").encode_to_vec(), event.event);

    // Under way, and when it has arrived.
    assert_eq!(resend(&world, &all).await["sent"], json!([]));
    arrived(&world, &event).await;
    let answer = resend(&world, &all).await;
    assert_eq!(answer["sent"], json!([]));
    let resent = (generation(&event, DELIVERED, 1), "is_resend".to_owned());
    assert!(not_sent(&answer).contains(&resent), "{answer}");
    // Asked for by its number it goes once more, and once.
    let next = json!({"all": true, "generation": 1});
    let answer = resend(&world, &next).await;
    let sent = json!([{"delivery_id": resent.0, "sent_as": generation(&event, DELIVERED, 2)}]);
    assert_eq!(answer["sent"], sent);
    assert_eq!(resend(&world, &next).await["sent"], json!([]));
    assert_eq!(resend(&world, &all).await["sent"], json!([]));
    assert_eq!(stored_count(&env).await, 3);
}

async fn stored_count(env: &TestEnv) -> usize {
    stored(env).await.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_calls_at_once_one_sends() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    let all = json!({"all": true});
    let calls = (0..8).map(|_| resend(&world, &all));
    let answers = futures_util::future::join_all(calls).await;
    let sent: usize = answers.iter().filter_map(|one| one["sent"].as_array()).map(Vec::len).sum();
    assert_eq!((sent, stored_count(&env).await), (2, 2), "{answers:?}");
}

#[tokio::test]
async fn one_delivery_that_arrived_is_sent_again_once_and_by_its_owner_alone() {
    let env = TestEnv::new();
    let (world, event) = world(&env).await;
    let path = format!("/postrider/v1/deliveries/{}/resend", generation(&event, DELIVERED, 0));
    let missing = "a delivery of this id that has ended not found";
    let stranger = world.anonymous("POST", &path).basic_auth("api", "key-other");
    assert_message(&send(stranger).await, 404, missing);
    assert_eq!(stored_count(&env).await, 0);
    let answer = send(world.call("POST", &path)).await.expect_status(200).json();
    assert_eq!(answer["delivery_id"], generation(&event, DELIVERED, 1));
    let again = "this delivery was sent again already";
    assert_message(&send(world.call("POST", &path)).await, 409, again);
    let path = format!("/postrider/v1/deliveries/{}/resend", generation(&event, UNDER_WAY, 0));
    assert_message(&send(world.call("POST", &path)).await, 404, missing);
    assert_eq!(stored_count(&env).await, 1);
}

#[tokio::test]
async fn an_alert_goes_to_its_setting_as_it_is_now_or_nowhere() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let setting = json!({
        "event_type": "ip_listed", "channel": "email", "settings": {"emails": ["a@demo.example"]}
    });
    let made = send(world.call("POST", "/v1/alerts/settings/events").json(&setting)).await;
    let setting_id = made.expect_status(200).json()["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/alerts/settings/events/{setting_id}");
    send(world.call("PUT", &path).json(&setting)).await.expect_status(200);
    let mut alert = event(EventType::IpListed, "one", 0);
    alert.domain.clear();
    let alert = row(&demo, alert);
    let target_id = model::alert_target_id(&setting_id);
    let delivery_id = id(&model::delivery_id(&hex(alert.event_key), "", &target_id));
    let chosen = DecisionRow {
        level: "alert".to_owned(),
        subscription_id: setting_id.clone(),
        target_id: Some(id(&target_id)),
        url: String::new(),
        delivery_id: Some(delivery_id),
        ..decision(&alert, "", "chosen", "alert")
    };
    let end = EndRow {
        delivery_id,
        target_id: Some(id(&target_id)),
        ..ended(&alert, "", "delivered", "ok")
    };
    let store = world.store();
    store.insert_routed(&[routed(&alert, vec![chosen])]).await.expect("inserted");
    store.insert_ends(&[end]).await.expect("inserted");
    store.insert_events(&[alert]).await.expect("inserted");

    let all = json!({"all": true});
    let answer = resend(&world, &all).await;
    assert_eq!(answer["sent"].as_array().map(Vec::len), Some(1), "{answer}");
    let stream = format!("{}_DELIVERIES_0", env.region);
    let messages = testkit::broker::messages(&env.nats_url, &stream).await;
    let delivery = Delivery::decode(&*messages[0].1).expect("a delivery");
    let kind = delivery.target.and_then(|target| target.kind);
    let Some(TargetKind::Alert(target)) = kind else { panic!("{kind:?}") };
    // Saved twice.
    assert_eq!((target.setting_id.as_str(), target.setting_generation), (&*setting_id, 2));

    env.sql("UPDATE ends SET sent_again_at = NULL");
    send(world.call("DELETE", &path)).await.expect_status(200);
    let answer = resend(&world, &all).await;
    assert_eq!(not_sent(&answer)[0].1, "deleted", "{answer}");
}

#[tokio::test]
async fn wrong_calls_are_refused_and_change_nothing() {
    let env = TestEnv::new();
    let (world, _) = world(&env).await;
    for (body, message) in [
        (json!({"generation": 1}), "generation is about what was delivered: give all"),
        (
            json!({"all": false, "generation": 0}),
            "generation is about what was delivered: give all",
        ),
    ] {
        assert_message(&send(world.call("POST", PATH).json(&body)).await, 400, message);
    }
    for body in [json!({"every": true}), json!({"all": "yes"}), json!([true])] {
        assert_eq!(send(world.call("POST", PATH).json(&body)).await.status, 400, "{body}");
    }
    let stranger = world.anonymous("POST", PATH).basic_auth("api", "key-other");
    assert_message(&send(stranger).await, 404, "event not found");
    assert_eq!(stored_count(&env).await, 0);
}
