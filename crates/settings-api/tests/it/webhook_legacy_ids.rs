//! The webhook ids from before 2018 (reference §2.1), in each of the three modes.

use chassis::Clock;
use testkit::TestEnv;

use crate::world::{World, assert_answer, assert_message, send};

const BASE: &str = "/v3/domains/mail.demo.example/webhooks";
const V4: &str = "/v4/domains/mail.demo.example/webhooks";
const A: &str = "https://hooks.example.net/a";
const B: &str = "https://hooks.example.net/b?x=1&y=<2>";

async fn world(env: &TestEnv, mode: &str) -> World {
    let settings = [("POSTRIDER_LEGACY_WEBHOOK_IDS", mode)];
    World::demo_configured(env, &settings, Clock::system()).await
}

#[tokio::test]
async fn older_ids_keep_their_names_and_deliver_what_they_stand_for() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    for (id, url) in
        [("deliver", A), ("delivered", B), ("unsubscribe", A), ("bounce", A), ("drop", A)]
    {
        let answer = send(world.call("POST", BASE).form(&[("id", id), ("url", url)])).await;
        let shown = if id == "delivered" {
            format!(r#"{{"urls":["{url}"]}}"#)
        } else {
            format!(r#"{{"url":"{url}"}}"#)
        };
        let body = format!(r#"{{"message":"Webhook has been created","webhook":{shown}}}"#);
        assert_answer(&answer, 200, &body);
    }
    let one = send(world.call("GET", &format!("{BASE}/deliver"))).await;
    assert_answer(&one, 200, r#"{"webhook":{"url":"https://hooks.example.net/a"}}"#);
    let list = send(world.call("GET", BASE)).await;
    let a = r#"{"url":"https://hooks.example.net/a"}"#;
    let b = r#"{"urls":["https://hooks.example.net/b?x=1&y=<2>"]}"#;
    let body = format!(
        r#"{{"webhooks":{{"delivered":{b},"bounce":{a},"deliver":{a},"drop":{a},"unsubscribe":{a}}}}}"#
    );
    assert_answer(&list, 200, &body);

    let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
    let mut seen = world.webhooks("mail.demo.example").await;
    seen.sort();
    assert_eq!(
        seen,
        [
            ("delivered".to_owned(), urls(&[B, A])),
            ("permanent_fail".to_owned(), urls(&[A])),
            ("unsubscribed".to_owned(), urls(&[A])),
        ]
    );

    let one = format!("{BASE}/drop");
    let updated =
        send(world.call("PUT", &one).form(&[("url", "https://hooks.example.net/c")])).await;
    let c = r#"{"url":"https://hooks.example.net/c"}"#;
    let body = format!(r#"{{"message":"Webhook has been updated","webhook":{c}}}"#);
    assert_answer(&updated, 200, &body);
    let two = [("url", A), ("url", "https://hooks.example.net/c")];
    let message = "unable to add more than 1 url for event type drop";
    let refused = format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
    assert_answer(&send(world.call("PUT", &one).form(&two)).await, 400, &refused);
    let deleted = send(world.call("DELETE", &one)).await;
    let body = format!(r#"{{"message":"Webhook has been deleted","webhook":{c}}}"#);
    assert_answer(&deleted, 200, &body);
}

#[tokio::test]
async fn a_type_has_three_urls_whichever_ids_have_them() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let three = ["1", "2", "3"].map(|path| ("url", format!("https://hooks.example.net/{path}")));
    let three: Vec<(&str, &str)> = three.iter().map(|(name, url)| (*name, url.as_str())).collect();
    let form = [vec![("id", "delivered")], three].concat();
    send(world.call("POST", BASE).form(&form)).await.expect_status(200);
    let fourth = send(world.call("POST", BASE).form(&[("id", "deliver"), ("url", A)])).await;
    let message = "unable to add more than 3 urls for event type delivered";
    let refused = format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
    assert_answer(&fourth, 400, &refused);
    let same = [("id", "deliver"), ("url", "https://hooks.example.net/2")];
    send(world.call("POST", BASE).form(&same)).await.expect_status(200);
    let twice = [("id", "opened"), ("id", "clicked"), ("url", A)];
    let message = "Parameter 'id' must be given once";
    let refused = format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
    assert_answer(&send(world.call("POST", BASE).form(&twice)).await, 400, &refused);
}

#[tokio::test]
async fn as_aliases_older_ids_are_other_names_of_todays() {
    let env = TestEnv::new();
    let world = world(&env, "alias").await;
    let form = [("id", "click"), ("url", A)];
    let created = send(world.call("POST", BASE).form(&form)).await;
    assert_answer(
        &created,
        200,
        r#"{"message":"Webhook has been created","webhook":{"urls":["https://hooks.example.net/a"]}}"#,
    );
    let list = r#"{"webhooks":{"clicked":{"urls":["https://hooks.example.net/a"]}}}"#;
    assert_answer(&send(world.call("GET", BASE)).await, 200, list);
    for name in ["click", "clicked"] {
        let one = send(world.call("GET", &format!("{BASE}/{name}"))).await;
        assert_answer(&one, 200, r#"{"webhook":{"urls":["https://hooks.example.net/a"]}}"#);
        let again = send(world.call("POST", BASE).form(&[("id", name), ("url", B)])).await;
        assert_answer(
            &again,
            400,
            r#"{"message":"Webhook already exists","Reason":"Webhook already exists"}"#,
        );
    }
    // Both names of one id are one event type, twice.
    let form = [("url", B), ("event_types", "click"), ("event_types", "clicked")];
    let twice = send(world.call("POST", V4).form(&form)).await;
    let message = "duplicate event types: 'clicked'";
    assert_answer(&twice, 400, &format!(r#"{{"message":"{message}","Reason":"{message}"}}"#));
    send(world.call("PUT", &format!("{BASE}/click")).form(&[("url", B)])).await.expect_status(200);
    send(world.call("DELETE", &format!("{BASE}/click"))).await.expect_status(200);
    assert_answer(&send(world.call("GET", BASE)).await, 200, r#"{"webhooks":{}}"#);
}

#[tokio::test]
async fn refused_older_ids_can_still_be_read_and_removed() {
    let env = TestEnv::new();
    let distinct = world(&env, "distinct").await;
    send(distinct.call("POST", BASE).form(&[("id", "drop"), ("url", A)])).await.expect_status(200);
    distinct.stop().await;

    let world =
        World::configured(&env, &[("POSTRIDER_LEGACY_WEBHOOK_IDS", "reject")], Clock::system())
            .await;
    let message = "Webhook id 'drop' can no longer be written; use 'permanent_fail'";
    let refused = format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
    let one = format!("{BASE}/drop");
    for request in [
        world.call("POST", BASE).form(&[("id", "drop"), ("url", B)]),
        world.call("PUT", &one).form(&[("url", B)]),
        world.call("POST", V4).form(&[("url", B), ("event_types", "drop")]),
        world.call("PUT", V4).form(&[("url", A), ("event_types", "drop")]),
    ] {
        assert_answer(&send(request).await, 400, &refused);
    }
    let got = send(world.call("GET", &one)).await;
    assert_answer(&got, 200, r#"{"webhook":{"url":"https://hooks.example.net/a"}}"#);
    send(world.call("DELETE", &one)).await.expect_status(200);
    assert_message(&send(world.call("GET", &one)).await, 404, "Webhook not found");
}
