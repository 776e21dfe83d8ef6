//! All webhooks of an account in one list, and the test call for any of them.

use serde_json::{Value, json};
use testkit::{Receiver, Reply, TestEnv};

use crate::world::{World, assert_message, send};

const PATH: &str = "/postrider/v1/webhooks";
const TEST: &str = "/postrider/v1/webhooks/test";

async fn list(world: &World, query: &str) -> Value {
    send(world.call("GET", &format!("{PATH}{query}"))).await.expect_status(200).json()
}

/// Domain and URL of each, in their order.
fn names(page: &Value) -> Vec<String> {
    let items = page["items"].as_array().expect("items").iter();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    items.map(|item| format!("{} {}", text(&item["domain"]), text(&item["url"]))).collect()
}

async fn world(env: &TestEnv) -> World {
    let world = World::demo(env).await;
    world.domain("a.demo.example", "demo").await;
    for (url, description) in [("https://b.example/", "For Billing"), ("https://a.example/", "")] {
        let fields =
            json!({"url": url, "event_types": ["opened", "clicked"], "description": description});
        send(world.call("POST", "/v1/webhooks").json(&fields)).await.expect_status(200);
    }
    for (domain, url) in [
        ("mail.demo.example", "https://a.example/"),
        ("a.demo.example", "https://z.example/"),
        ("a.demo.example", "https://y.example/%F0"),
    ] {
        let fields = json!({"url": url, "event_types": ["permanent_fail", "accepted"]});
        let path = format!("/v4/domains/{domain}/webhooks");
        send(world.call("POST", &path).json(&fields)).await.expect_status(200);
    }
    world
}

#[tokio::test]
async fn webhooks_of_every_level_are_in_one_list() {
    let env = TestEnv::new();
    let world = world(&env).await;
    let pause = json!({"url": "https://a.example/", "paused": true});
    send(world.call("PUT", "/postrider/v1/urls/paused").json(&pause)).await.expect_status(200);
    let all = list(&world, "").await;
    let expected = [
        "- https://a.example/",
        "- https://b.example/",
        "a.demo.example https://y.example/%F0",
        "a.demo.example https://z.example/",
        "mail.demo.example https://a.example/",
    ];
    assert_eq!(names(&all), expected);
    assert_eq!(all["paging"]["next"], Value::Null);
    let items = &all["items"];
    assert_eq!(items[1]["event_types"], json!(["opened", "clicked"]), "as they were given");
    assert_eq!(items[1]["description"], "For Billing");
    assert_eq!(items[1]["webhook_id"].as_str().map(str::len), Some(24));
    assert_eq!(items[2]["event_types"], json!(["accepted", "permanent_fail"]));
    assert_eq!(items[2]["webhook_id"], Value::Null);
    let target = |at: usize| items[at]["target_id"].as_str().map(str::to_owned);
    assert_eq!(target(0).map(|id| id.len()), Some(32));
    assert!(target(0) == target(4) && target(0) != target(1), "one URL is one target");
    for (at, is_paused) in [(0, true), (1, false), (2, false), (4, true)] {
        assert_eq!(items[at]["paused_at"].is_string(), is_paused, "{at}");
    }
    assert_eq!(names(&list(&world, "?domain=A.demo.example").await), expected[2..4]);
    assert_eq!(names(&list(&world, "?search=billing").await), expected[1..2]);
    assert_eq!(names(&list(&world, "?search=A.EXAMPLE").await), [expected[0], expected[4]]);
    assert_eq!(names(&list(&world, "?search=%25").await), expected[2..3]);
    assert_eq!(names(&list(&world, "?domain=other.example").await), [""; 0]);
    for (query, status) in [("?limit=0", 400), ("?domain=a%20b", 404), ("?page=AAAA", 400)] {
        send(world.call("GET", &format!("{PATH}{query}"))).await.expect_status(status);
    }

    // Every page has what is behind the one before, whatever their size.
    for limit in 1..=4 {
        let (mut found, mut query) = (Vec::new(), format!("?limit={limit}"));
        loop {
            let page = list(&world, &query).await;
            found.extend(names(&page));
            let Some(next) = page["paging"]["next"].as_str() else { break };
            query = next.split_once(PATH).expect("a link to the list").1.to_owned();
        }
        assert_eq!(found, expected, "{limit} a page");
    }
}

#[tokio::test]
async fn a_test_call_shows_what_the_receiver_says() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let receiver = Receiver::start().await;
    receiver.on_post("/teapot", [Reply::status(418).body("I am <b>one</b>")]);
    let trial = |body: &Value| world.call("POST", TEST).json(body);
    let url = receiver.url("/teapot");
    let tried = |body: Value| async move { send(trial(&body)).await.expect_status(200).json() };
    for event_type in ["clicked", "ip_listed"] {
        let answer = tried(json!({"url": url, "event_type": event_type})).await;
        assert_eq!(
            (&answer["status"], &answer["answer"]),
            (&json!(418), &json!("I am <b>one</b>"))
        );
        assert!(answer["reason"].is_null() && answer["duration_ms"].is_u64(), "{answer}");
    }
    let port = testkit::free_port().expect("a free port");
    let nowhere = format!("http://127.0.0.1:{port}/");
    let nobody = tried(json!({"url": nowhere, "event_type": "clicked"})).await;
    assert!(nobody["status"].is_null() && nobody["reason"].is_string(), "{nobody}");

    let named = json!({"url": url, "event_type": "clicked", "domain": "other.example"});
    assert_message(&send(trial(&named)).await, 404, "Domain not found");
    let unknown = json!({"url": url, "event_type": "nothing"});
    assert_message(&send(trial(&unknown)).await, 400, "event_type is none that there is");
    let ftp = json!({"url": "ftp://a.example/", "event_type": "clicked"});
    assert_message(
        &send(trial(&ftp)).await,
        400,
        "ftp://a.example/ is not a valid url: invalid URL scheme",
    );
}
