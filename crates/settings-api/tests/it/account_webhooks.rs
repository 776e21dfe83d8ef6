//! Account webhooks, byte for byte (reference §5).

mod refusals;

use std::time::Duration;

use chassis::Clock;
use testkit::TestEnv;
use testkit::http::{Request, Response};

use crate::world::{World, assert_answer, assert_common_headers, assert_message, send};

const BASE: &str = "/v1/webhooks";
/// 2026-02-16T19:06:01.5Z
const NOW_MS: i64 = 1_771_268_761_500;
const UNKNOWN: &str = "66f0c1de9a7b4e0012ab34cd";

fn clock() -> Clock {
    Clock::fixed(chrono::DateTime::from_timestamp_millis(NOW_MS).expect("a moment"))
}

async fn world(env: &TestEnv, clock: &Clock) -> World {
    let world = World::configured(env, &[], clock.clone()).await;
    world.account("demo", "").await;
    world
}

fn post(world: &World, url: &str, event_types: &[&str]) -> Request {
    world.call("POST", BASE).form(&fields(url, event_types))
}

fn put(world: &World, id: &str, url: &str, event_types: &[&str]) -> Request {
    world.call("PUT", &format!("{BASE}/{id}")).form(&fields(url, event_types))
}

fn fields<'a>(url: &'a str, event_types: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let event_types = event_types.iter().map(|event_type| ("event_types", *event_type));
    [("url", url)].into_iter().chain(event_types).collect()
}

async fn made(request: Request) -> String {
    let answer = send(request).await;
    let id = answer.json()["webhook_id"].as_str().expect("an id").to_owned();
    assert!(id.len() == 24 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert_answer(&answer, 200, &format!(r#"{{"webhook_id":"{id}"}}"#));
    id
}

async fn list(world: &World) -> String {
    send(world.call("GET", BASE)).await.expect_status(200).text()
}

/// What has no body has no type and no length either, and the headers of every
/// other answer.
#[track_caller]
fn assert_no_content(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (204, ""));
    assert_common_headers(response);
    for name in ["content-type", "content-length", "transfer-encoding"] {
        assert_eq!(response.header(name), None, "{name}");
    }
    for name in ["x-mailgun-key-id", "x-ratelimit-remaining"] {
        assert!(response.header(name).is_some(), "{name}");
    }
}

/// `{"message":"M","Description":"M"}`
#[track_caller]
fn assert_described(response: &Response, status: u16, message: &str) {
    let body = format!(r#"{{"message":"{message}","Description":"{message}"}}"#);
    assert_answer(response, status, &body);
}

/// `{"message":"Invalid parameter: F V","Field":"F","Value":"V"}`
#[track_caller]
fn assert_parameter(response: &Response, field: &str, value: &str) {
    assert_parameter_because(response, field, value, "");
}

#[track_caller]
fn assert_parameter_because(response: &Response, field: &str, value: &str, why: &str) {
    let body = format!(
        r#"{{"message":"Invalid parameter: {field} {value}{why}","Field":"{field}","Value":"{value}"}}"#
    );
    assert_answer(response, 400, &body);
}

#[tokio::test]
async fn webhooks_are_made_shown_replaced_and_deleted() {
    let env = TestEnv::new();
    let clock = clock();
    let world = world(&env, &clock).await;
    assert_answer(&send(world.call("GET", BASE)).await, 200, r#"{"webhooks":[]}"#);

    let first = made(world.call("POST", BASE).multipart(&[
        ("description", "Prod sink"),
        ("url", "https://hooks.example.net/all"),
        ("event_types", "permanent_fail"),
        ("event_types", "delivered"),
    ]))
    .await;
    clock.advance(Duration::from_secs(60));
    let second = made(post(&world, "https://hooks.example.net/b?x=1&y=2", &["clicked"])).await;

    // Event types stand in the order in which they were given.
    let first_record = format!(
        r#"{{"webhook_id":"{first}","description":"Prod sink","url":"https://hooks.example.net/all","event_types":["permanent_fail","delivered"],"created_at":"2026-02-16T19:06:01Z"}}"#
    );
    let second_record = format!(
        r#"{{"webhook_id":"{second}","description":"","url":"https://hooks.example.net/b?x=1&y=2","event_types":["clicked"],"created_at":"2026-02-16T19:07:01Z"}}"#
    );
    let get = |id: &str| send(world.call("GET", &format!("{BASE}/{id}")));
    assert_answer(&get(&first).await, 200, &first_record);
    assert_answer(&get(&second).await, 200, &second_record);
    let both = format!(r#"{{"webhooks":[{first_record},{second_record}]}}"#);
    assert_answer(&send(world.call("GET", BASE)).await, 200, &both);

    // The order of a list is that of the making, whatever the order asked for.
    let filtered = |ids: &str| send(world.call("GET", &format!("{BASE}?webhook_ids={ids}")));
    assert_answer(&filtered(&format!("{second},{first}")).await, 200, &both);
    assert_answer(&filtered("").await, 200, &both);
    let one = format!(r#"{{"webhooks":[{second_record}]}}"#);
    assert_answer(&filtered(&format!("{UNKNOWN},{second}")).await, 200, &one);
    assert_answer(&filtered(UNKNOWN).await, 200, r#"{"webhooks":[]}"#);

    // A replacement keeps nothing but id and age.
    clock.advance(Duration::from_secs(60));
    let replaced = put(&world, &first, "https://hooks.example.net/new", &["opened", "accepted"]);
    assert_no_content(&send(replaced).await);
    let replaced = format!(
        r#"{{"webhook_id":"{first}","description":"","url":"https://hooks.example.net/new","event_types":["opened","accepted"],"created_at":"2026-02-16T19:06:01Z"}}"#
    );
    assert_answer(&get(&first).await, 200, &replaced);
    let document = world.account_document("demo").await;
    let seen = document.webhooks.iter().find(|webhook| webhook.webhook_id == first);
    let seen = seen.expect("published before the answer");
    assert_eq!(seen.url, "https://hooks.example.net/new");
    let mut event_types = seen.event_types.clone();
    event_types.sort();
    assert_eq!(event_types, ["accepted", "opened"]);

    assert_no_content(&send(world.call("DELETE", &format!("{BASE}/{first}"))).await);
    assert_described(&get(&first).await, 404, "webhook not found");
    assert_answer(&send(world.call("GET", BASE)).await, 200, &one);
    assert_eq!(world.account_document("demo").await.webhooks.len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn every_encoding_and_every_type_is_taken() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    let all = [
        "accepted",
        "delivered",
        "opened",
        "clicked",
        "unsubscribed",
        "complained",
        "temporary_fail",
        "permanent_fail",
    ];
    let json = serde_json::json!({"url": "https://a.example/", "event_types": all});
    let id = made(world.call("POST", BASE).json(&json)).await;
    let shown = send(world.call("GET", &format!("{BASE}/{id}"))).await.json();
    assert_eq!(shown["event_types"], json["event_types"]);
    let php = [("url", "https://b.example/"), ("event_types[]", "opened")];
    made(world.call("POST", BASE).form(&php)).await;
    let query = format!("{BASE}?url=https%3A%2F%2Fc.example%2F&event_types=opened");
    made(world.call("POST", &query)).await;
    let multipart = [("url", "https://d.example/"), ("event_types", "delivered")];
    let put = world.call("PUT", &format!("{BASE}/{id}")).multipart(&multipart);
    assert_no_content(&send(put).await);
}

#[tokio::test]
async fn an_event_type_has_three_urls_and_each_once() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    let url = |n: u8| format!("https://hooks.example.net/{n}");
    let first = made(post(&world, &url(1), &["delivered", "clicked"])).await;
    let second = made(post(&world, &url(2), &["delivered"])).await;
    made(post(&world, &url(3), &["delivered"])).await;
    // The same URL for other types is another webhook.
    let other = made(post(&world, &url(1), &["opened"])).await;
    let before = list(&world).await;
    let version = world.account_document("demo").await.version;

    let full = "unable to add more than 3 urls for event type delivered";
    let exists = |n: u8, event_type: &str| {
        format!("url {} already exists for event type {event_type}", url(n))
    };
    // All of it or nothing: what would be free is not taken either.
    let fourth = post(&world, &url(4), &["accepted", "delivered"]);
    assert_described(&send(fourth).await, 409, full);
    let again = post(&world, &url(1), &["accepted", "clicked"]);
    assert_described(&send(again).await, 409, &exists(1, "clicked"));
    let again = put(&world, &other, &url(1), &["opened", "clicked"]);
    assert_described(&send(again).await, 409, &exists(1, "clicked"));
    let fourth = put(&world, &other, &url(4), &["delivered"]);
    assert_described(&send(fourth).await, 409, full);
    assert_eq!(list(&world).await, before, "nothing was changed");
    assert_eq!(world.account_document("demo").await.version, version);

    // A webhook is not in its own way: not with its URL, not with its slot.
    assert_no_content(&send(put(&world, &first, &url(1), &["delivered", "clicked"])).await);
    assert_no_content(&send(put(&world, &second, &url(5), &["delivered", "opened"])).await);
    // What it no longer has is free for others.
    assert_no_content(&send(put(&world, &first, &url(1), &["clicked"])).await);
    made(post(&world, &url(6), &["delivered"])).await;
    assert_described(&send(post(&world, &url(7), &["delivered"])).await, 409, full);
}

#[tokio::test]
async fn several_are_deleted_or_none() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    let delete = |query: &str| send(world.call("DELETE", &format!("{BASE}{query}")));
    let none = "no webhooks found for account";
    assert_described(&delete("?all=true").await, 404, none);
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(made(post(&world, &format!("https://{n}.example/"), &["clicked"])).await);
    }
    let [a, b, c] = &ids[..] else { panic!("three") };
    let before = list(&world).await;

    let value = "one of webhook_ids and all=true is required";
    for query in ["", "?all=false", "?limit=1"] {
        assert_parameter(&delete(query).await, "webhook_ids", value);
    }
    assert_parameter(&delete("?all=maybe").await, "all", "must be true or false");
    let empty = "malformed webhook_ids parameter: empty values not allowed";
    for list in ["", ",", &format!("{a},"), &format!("{a},,{b}")] {
        // An empty list never means all of them.
        let answer = delete(&format!("?webhook_ids={list}&all=true")).await;
        assert_parameter(&answer, "webhook_ids", empty);
    }
    let malformed = delete(&format!("?webhook_ids={a},nonsense")).await;
    let value = "malformed webhook_ids parameter: 'nonsense' is not valid";
    assert_parameter(&malformed, "webhook_ids", value);
    let missing = delete(&format!("?webhook_ids={a},{UNKNOWN},{b}")).await;
    assert_described(&missing, 404, &format!("webhook_id not found: {UNKNOWN}"));
    assert_eq!(list(&world).await, before, "nothing was deleted");

    // The list goes before `all`; an id that stands there twice is one.
    assert_no_content(&delete(&format!("?webhook_ids={a},{c},{a}&all=true")).await);
    let left = send(world.call("GET", BASE)).await.json();
    assert_eq!(left["webhooks"].as_array().map(Vec::len), Some(1));
    assert_eq!(left["webhooks"][0]["webhook_id"], *b);
    assert_no_content(&delete("?all=true").await);
    assert_described(&delete("?all=true").await, 404, none);
    assert!(world.account_document("demo").await.webhooks.is_empty());
}

#[tokio::test]
async fn a_quota_counts_urls_over_all_types() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_QUOTA_WEBHOOKS", "3")];
    let world = World::configured(&env, &settings, clock()).await;
    world.account("demo", "").await;
    let id = made(post(&world, "https://a.example/", &["clicked", "opened"])).await;
    let message = "an account can have at most 3 webhook URLs";
    let two = post(&world, "https://b.example/", &["clicked", "opened"]);
    assert_message(&send(two).await, 400, message);
    made(post(&world, "https://b.example/", &["clicked"])).await;
    let grown = put(&world, &id, "https://a.example/", &["clicked", "opened", "accepted"]);
    assert_message(&send(grown).await, 400, message);
    // What there is can still be changed, also when the quota was lowered since.
    env.sql("UPDATE accounts SET max_webhooks = 1 WHERE name = 'demo'");
    assert_no_content(&send(put(&world, &id, "https://c.example/", &["opened", "accepted"])).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_writers_never_exceed_three_urls_and_leave_nothing_half_done() {
    let env = TestEnv::new();
    let world = world(&env, &clock()).await;
    let second = World::configured(&env, &[], clock()).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let event_types = [["clicked", "opened"], ["accepted", "complained"]][n % 2];
        ids.push(made(post(&world, &format!("https://{n}.example/"), &event_types)).await);
    }
    // Each of them wants both types of one of the pairs, or one of each; on two replicas.
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..40_usize {
        let replica = if n % 2 == 0 { &world } else { &second };
        let event_types: [&[&str]; 4] = [
            &["clicked", "opened"],
            &["opened", "accepted", "clicked"],
            &["complained", "accepted"],
            &["clicked"],
        ];
        let (url, event_types) = (format!("https://{}.example/", n % 6), event_types[n % 4]);
        let request = match n % 5 {
            0..3 => put(replica, &ids[n % 4], &url, event_types),
            3 => post(replica, &url, event_types),
            _ => replica.call("DELETE", &format!("{BASE}/{}", ids[n % 4])),
        };
        writers.spawn(send(request));
    }
    for answer in writers.join_all().await {
        let status = answer.status;
        assert!([200, 204, 404, 409].contains(&status), "{status}: {}", answer.text());
    }

    let listed = send(world.call("GET", BASE)).await.json();
    let listed = listed["webhooks"].as_array().expect("a list");
    let mut urls = std::collections::BTreeMap::<&str, Vec<&str>>::new();
    for webhook in listed {
        let event_types = webhook["event_types"].as_array().expect("a list");
        assert!(!event_types.is_empty(), "{webhook}");
        for event_type in event_types {
            let of_type = urls.entry(event_type.as_str().expect("a name")).or_default();
            of_type.push(webhook["url"].as_str().expect("a URL"));
        }
    }
    for (event_type, mut urls) in urls {
        let count = urls.len();
        urls.sort_unstable();
        urls.dedup();
        assert!(count <= 3 && urls.len() == count, "{event_type}: {urls:?}");
    }
    // The delivery path sees what the last answer left.
    let document = world.account_document("demo").await;
    let seen: Vec<_> = document.webhooks.iter().map(|webhook| &webhook.webhook_id).collect();
    let shown: Vec<_> =
        listed.iter().map(|webhook| webhook["webhook_id"].as_str().expect("an id")).collect();
    assert_eq!(seen, shown);
    assert_eq!(env.sql("SELECT count(*) FROM settings_outbox").trim(), "0");
}
