//! Why did this not fire? What became of each event at a URL, or at an alert setting.

use chrono::TimeDelta;
use model::EventType;
use serde_json::{Value, json};
use store::history::{DecisionRow, EventRow};
use testkit::TestEnv;
use testkit::http;

use crate::events::{event, row};
use crate::journeys::{decision, delivery_of, ended, id, routed};
use crate::world::{World, assert_message, send};

const PATH: &str = "/postrider/v1/why";
const URL: &str = "https://hooks.example.net/acc";
const RANGE: &str = "begin=1760000000&end=1760000060";

async fn ask(world: &World, query: &str) -> Value {
    let answer = send(world.call("GET", &format!("{PATH}?{query}"))).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()
}

fn fates(page: &Value) -> Vec<(&str, &str)> {
    let items = page["items"].as_array().expect("a list");
    let text = |value: &'_ Value| value.as_str().expect("a text").to_owned().leak() as &str;
    items.iter().map(|item| (text(&item["event"]["id"]), text(&item["fate"]))).collect()
}

/// `demo`, whose domain sends clicks to the URL, with an event for every fate, from
/// second 1 on.
async fn world(env: &TestEnv) -> World {
    let world = World::demo(env).await;
    world.domain("other.demo.example", "demo").await;
    world.account("stranger", "").await;
    let demo = world.account_document("demo").await.account_id.clone();
    let post = world.call("POST", "/v3/domains/mail.demo.example/webhooks");
    send(post.form(&[("id", "clicked"), ("url", URL)])).await.expect_status(200);

    let store = world.store();
    let mut second = 0;
    let mut make = |kind, id: &str| {
        second += 1;
        row(&demo, event(kind, id, second))
    };
    let chosen = |event: &EventRow| vec![decision(event, URL, "chosen", "domain")];
    let delivered = make(EventType::Clicked, "delivered");
    let exhausted = make(EventType::Clicked, "exhausted");
    let held = make(EventType::Clicked, "held");
    let under_way = make(EventType::Clicked, "under-way");
    let silent = make(EventType::Clicked, "silent");
    let missed = make(EventType::Clicked, "later");
    let other_type = make(EventType::Opened, "other-type");
    let not_routed = make(EventType::Clicked, "not-routed");
    let mut elsewhere = event(EventType::Clicked, "elsewhere", 9);
    elsewhere.domain = "other.demo.example".to_owned();
    let elsewhere = row(&demo, elsewhere);
    let theirs = row(&"f".repeat(24), event(EventType::Clicked, "theirs", 10));
    store
        .insert_routed(&[
            routed(&delivered, chosen(&delivered)),
            routed(&exhausted, chosen(&exhausted)),
            routed(&held, vec![decision(&held, URL, "paused", "domain")]),
            routed(&under_way, chosen(&under_way)),
            routed(&silent, vec![decision(&silent, URL, "domain_disabled", "domain")]),
            // Something else was decided about another URL.
            routed(&missed, vec![decision(&missed, "https://b.example/", "chosen", "account")]),
            routed(&other_type, Vec::new()),
            routed(&elsewhere, Vec::new()),
        ])
        .await
        .expect("inserted");
    let key = exhausted.event_key.simple().to_string();
    let target = model::message_target_id(&demo, URL);
    let first = model::delivery_id(&key, "", &target);
    let again = store::history::EndRow {
        delivery_id: id(&model::next_delivery_id(&first, &key, &target, 0).expect("an id")),
        generation: 1,
        ended_at: exhausted.accepted_at + TimeDelta::minutes(1),
        ..ended(&exhausted, URL, "rejected", "status_406")
    };
    store
        .insert_ends(&[
            ended(&delivered, URL, "delivered", "ok"),
            ended(&exhausted, URL, "exhausted", "schedule"),
            again,
            ended(&held, URL, "held", "paused"),
            // It arrived elsewhere, which says nothing of this URL.
            ended(&missed, "https://b.example/", "delivered", "ok"),
        ])
        .await
        .expect("inserted");
    let events = [
        delivered, exhausted, held, under_way, silent, missed, other_type, not_routed, elsewhere,
        theirs,
    ];
    store.insert_events(&events).await.expect("inserted");
    world
}

#[tokio::test]
async fn each_event_has_its_fate_and_settings_stand_beside() {
    let env = TestEnv::new();
    let world = Box::pin(world(&env)).await;
    let page = ask(&world, &format!("url={URL}&{RANGE}")).await;
    let wanted = [
        ("elsewhere", "other_domain"),
        ("not-routed", "not_routed"),
        ("other-type", "other_event_type"),
        ("later", "subscribed_later"),
        ("silent", "domain_disabled"),
        ("under-way", "under_way"),
        ("held", "held"),
        // Its resend, not the first delivery.
        ("exhausted", "rejected"),
        ("delivered", "delivered"),
    ];
    assert_eq!(fates(&page), wanted);
    assert_eq!(page["summary"]["events"], 9);
    assert_eq!(page["summary"]["is_whole"], true);
    assert_eq!(page["summary"]["counts"]["under_way"], 1);
    assert_eq!(page["summary"]["counts"].as_object().map(serde_json::Map::len), Some(9));
    let explanation = |place: usize| page["items"][place]["explanation"].as_str().expect("a text");
    assert_eq!(
        explanation(2),
        "Not matched: no webhook had this URL for it when it was routed; the URL is for clicked, \
         not for opened."
    );
    assert_eq!(explanation(4), "The domain was disabled.");
    assert_eq!(explanation(6), "Deliveries to this URL were paused.");
    assert_eq!(page["items"][6]["end"]["is_body_kept"], true);
    assert_eq!(page["items"][3]["decisions"], json!([]));

    let paused = json!({"url": URL, "paused": true});
    send(world.call("PUT", "/postrider/v1/urls/paused").json(&paused)).await.expect_status(200);
    let body = json!({"url": URL, "event_types": ["opened"]});
    send(world.call("POST", "/v1/webhooks").json(&body)).await.expect_status(200);
    let page = ask(&world, &format!("url={URL}&{RANGE}")).await;
    let subscriptions = page["settings"]["subscriptions"].as_array().expect("a list");
    let shown: Vec<_> = subscriptions
        .iter()
        .map(|one| (one["level"].clone(), one["event_types"].clone(), one["domain"].clone()))
        .collect();
    let wanted = [
        (json!("account"), json!(["opened"]), Value::Null),
        (json!("domain"), json!(["clicked"]), json!("mail.demo.example")),
    ];
    assert_eq!(shown, wanted);
    assert!(subscriptions.iter().all(|one| one["paused_since"].is_string()), "{page}");
    assert_eq!(fates(&page)[2], ("other-type", "subscribed_later"));
}

#[tokio::test]
async fn what_is_asked_for_has_to_hold_and_pages_follow_each_other() {
    let env = TestEnv::new();
    let world = Box::pin(world(&env)).await;
    let count = async |query: &str| fates(&ask(&world, query).await).len();
    assert_eq!(count(&format!("url={URL}&{RANGE}&event_type=opened")).await, 1);
    assert_eq!(count(&format!("url={URL}&{RANGE}&domain=other.demo.example")).await, 1);
    assert_eq!(count(&format!("url={URL}&begin=1760000002&end=1760000004")).await, 3);
    assert_eq!(count(&format!("url={URL}&begin=1760000002")).await, 8);
    // A day before now, in which there was nothing.
    assert_eq!(count(&format!("url={URL}")).await, 0);
    let nowhere = ask(&world, &format!("url=https://c.example/&{RANGE}")).await;
    assert_eq!(nowhere["settings"], json!({"url": "https://c.example/", "subscriptions": []}));
    assert!(fates(&nowhere).contains(&("delivered", "not_subscribed")));

    let mut page = ask(&world, &format!("url={URL}&{RANGE}&limit=4")).await;
    let mut seen: Vec<String> = Vec::new();
    loop {
        seen.extend(fates(&page).into_iter().map(|(id, _)| id.to_owned()));
        let Some(next) = page["paging"]["next"].as_str() else { break };
        page = send(http::get(next).basic_auth("api", "key-demo")).await.expect_status(200).json();
        assert_eq!(page["summary"], Value::Null);
    }
    assert_eq!((seen.len(), seen.first().map(String::as_str)), (9, Some("elsewhere")));

    let stranger = world.anonymous("GET", &format!("{PATH}?url={URL}&{RANGE}"));
    let theirs = send(stranger.basic_auth("api", "key-stranger")).await.expect_status(200).json();
    assert_eq!((&theirs["items"], &theirs["settings"]["subscriptions"]), (&json!([]), &json!([])));
    let first = "give url or alert_setting_id, one of them";
    for (query, message) in [
        ("", first),
        ("url=x&alert_setting_id=y", first),
        ("alert_setting_id=y", "alert_setting_id is no UUID"),
        (
            "alert_setting_id=00000000-0000-4000-8000-000000000000&domain=mail.demo.example",
            "alerts have no domain",
        ),
        ("url=x&begin=20&end=10", "begin must be before end"),
        ("url=x&event_type=y", "event_type is none that there is"),
        ("url=x&limit=0", "limit must be a number from 1 to 300"),
        ("page=x", "Invalid page: begin the list anew"),
    ] {
        assert_message(&send(world.call("GET", &format!("{PATH}?{query}"))).await, 400, message);
    }
}

#[tokio::test]
async fn an_alert_setting_tells_since_when_it_is_disabled() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let body = json!({
        "event_type": "ip_listed", "channel": "email", "settings": {"emails": ["a@demo.example"]}
    });
    let made = send(world.call("POST", "/v1/alerts/settings/events").json(&body)).await;
    let made = made.expect_status(200).json();
    let setting_id = made["id"].as_str().expect("an id");
    env.sql(
        "UPDATE alert_settings SET disabled_at = to_timestamp(1760000000), \
         disabled_reason = 'schedule'",
    );
    let alert = |kind, id: &str, second| {
        let mut event = event(kind, id, second);
        event.domain.clear();
        row(&demo, event)
    };
    let held = alert(EventType::IpListed, "held", 1);
    let other = alert(EventType::IpDelisted, "other", 2);
    let target = id(&model::alert_target_id(setting_id));
    let decided = DecisionRow {
        verdict: "disabled".to_owned(),
        level: "alert".to_owned(),
        subscription_id: setting_id.to_owned(),
        target_id: Some(target),
        url: String::new(),
        delivery_id: Some(delivery_of(&held, "").1),
        duplicate_of: None,
        disabled_at: chrono::DateTime::from_timestamp(1_760_000_000, 0),
    };
    let end =
        store::history::EndRow { target_id: Some(target), ..ended(&held, "", "held", "disabled") };
    let message = row(&demo, event(EventType::Clicked, "no alert", 3));
    let store = world.store();
    let routings = [routed(&held, vec![decided]), routed(&other, Vec::new())];
    store.insert_routed(&routings).await.expect("inserted");
    store.insert_ends(&[end]).await.expect("inserted");
    store.insert_events(&[held, other, message]).await.expect("inserted");

    let page = ask(&world, &format!("alert_setting_id={setting_id}&{RANGE}")).await;
    assert_eq!(fates(&page), [("other", "other_event_type"), ("held", "held")]);
    assert_eq!(
        page["items"][1]["decisions"][0]["explanation"],
        "The alert setting was disabled since 2025-10-09T08:53:20.000Z: its delivery is held."
    );
    let settings = &page["settings"];
    assert_eq!(settings["disabled_since"], "2025-10-09T08:53:20.000Z");
    assert_eq!(
        (&settings["disabled_reason"], &settings["channel"]),
        (&json!("schedule"), &json!("email"))
    );
    let path = format!("/v1/alerts/settings/events/{setting_id}");
    send(world.call("DELETE", &path)).await.expect_status(200);
    let page = ask(&world, &format!("alert_setting_id={setting_id}&{RANGE}")).await;
    assert_eq!(
        (&page["settings"]["is_there"], &page["settings"]["channel"]),
        (&json!(false), &Value::Null)
    );
    assert_eq!(fates(&page), [("other", "not_subscribed"), ("held", "held")]);
}
