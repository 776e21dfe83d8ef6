//! How often an account may call (reference §1.7).

use std::time::Duration;

use chassis::Clock;
use testkit::TestEnv;
use testkit::http::{Request, Response};

use crate::world::{World, assert_answer, send};

/// 2026-02-16T19:06:01.25Z; its minute ends at .25 as well.
const NOW_MS: i64 = 1_771_268_761_250;
/// The end of that minute, rounded up to seconds.
const RESET: &str = "1771268822";
const LIMITED: &str = "/v1/alerts/events";
const FREE: &str = "/v5/accounts/http_signing_key";
const BEHALF: &str = "X-Mailgun-On-Behalf-Of";

fn clock() -> Clock {
    Clock::fixed(chrono::DateTime::from_timestamp_millis(NOW_MS).expect("a moment"))
}

async fn world(env: &TestEnv, limit: &str, clock: &Clock) -> World {
    let settings = [("POSTRIDER_SETTINGS_RATE_LIMIT", limit)];
    World::configured(env, &settings, clock.clone()).await
}

#[track_caller]
fn assert_counted(response: &Response, limit: &str, remaining: &str) {
    assert_eq!(response.status, 200, "{}", response.text());
    for (name, value) in [
        ("x-ratelimit-limit", Some(limit)),
        ("x-ratelimit-remaining", Some(remaining)),
        ("x-ratelimit-reset", Some(RESET)),
        ("retry-after", None),
    ] {
        assert_eq!(response.header(name), value, "{name}");
    }
}

#[track_caller]
fn assert_refused(response: &Response, limit: &str, seconds: &str) {
    let body = format!(r#"{{"retry-seconds":{seconds},"message":"Too many requests"}}"#);
    assert_answer(response, 429, &body);
    for (name, value) in [
        ("retry-after", seconds),
        ("x-ratelimit-limit", limit),
        ("x-ratelimit-remaining", "0"),
        ("x-ratelimit-reset", RESET),
    ] {
        assert_eq!(response.header(name), Some(value), "{name}");
    }
    assert!(response.header("x-mailgun-key-id").is_some());
}

#[tokio::test]
async fn the_three_hundred_and_first_call_is_one_too_many() {
    let env = TestEnv::new();
    let clock = clock();
    let world = World::configured(&env, &[], clock.clone()).await;
    world.account("demo", "").await;
    let call = || send(world.call("GET", LIMITED));
    assert_counted(&call().await, "300", "299");
    for _ in 0..298 {
        call().await.expect_status(200);
    }
    assert_counted(&call().await, "300", "0");
    assert_refused(&call().await, "300", "60");

    // Who waits as long as it was told gets through, and no sooner.
    clock.advance(Duration::from_millis(59_500));
    assert_refused(&call().await, "300", "1");
    clock.advance(Duration::from_millis(499));
    assert_refused(&call().await, "300", "1");
    clock.advance(Duration::from_millis(1));
    let next = call().await.expect_status(200);
    assert_eq!(next.header("x-ratelimit-remaining"), Some("299"));
    assert_eq!(next.header("x-ratelimit-reset"), Some("1771268882"));
}

#[tokio::test]
async fn all_settings_calls_count_together_and_no_others() {
    let env = TestEnv::new();
    let world = world(&env, "6", &clock()).await;
    world.account("demo", "").await;
    world.domain("mail.demo.example", "demo").await;
    let v3 = "/v3/domains/mail.demo.example/webhooks";
    let calls: [Request; 6] = [
        world.call("GET", LIMITED),
        world.call("GET", "/v1/webhooks"),
        world.call("GET", v3),
        // What is refused has been a call too.
        world.call("POST", v3).form(&[("id", "nonsense")]),
        world.call("DELETE", "/v1/alerts/settings/slack"),
        world.call("GET", &v3.replace("v3", "v4")),
    ];
    for (call, remaining) in calls.into_iter().zip(["5", "4", "3", "2", "1", "0"]) {
        // These are not counted, and not told of the count.
        let free = send(world.call("GET", FREE)).await.expect_status(200);
        assert_eq!(free.header("x-ratelimit-limit"), None);
        let answer = send(call).await;
        assert_eq!(answer.header("x-ratelimit-remaining"), Some(remaining), "{}", answer.text());
    }
    for path in [LIMITED, "/v1/webhooks", v3] {
        assert_refused(&send(world.call("GET", path)).await, "6", "60");
    }
    // A wrong key is not the account's call.
    let wrong = world.anonymous("GET", LIMITED).basic_auth("api", "key-wrong");
    send(wrong).await.expect_status(401);
    send(world.call("GET", FREE)).await.expect_status(200);
}

#[tokio::test]
async fn each_primary_account_has_a_count_of_its_own() {
    let env = TestEnv::new();
    let world = world(&env, "2", &clock()).await;
    world.account("demo", "").await;
    world.account("other", "").await;
    let sub_id = world.account("demo-sub", "demo").await;
    let mine = || send(world.call("GET", LIMITED));
    let on_behalf = || send(world.call("GET", LIMITED).header(BEHALF, &sub_id));
    let with_key = |key: &str| send(world.anonymous("GET", LIMITED).basic_auth("api", key));
    assert_counted(&mine().await, "2", "1");
    assert_counted(&mine().await, "2", "0");
    assert_refused(&mine().await, "2", "60");
    assert_counted(&with_key("key-other").await, "2", "1");
    // A subaccount's calls are its primary account's, whoever makes them.
    assert_refused(&on_behalf().await, "2", "60");
    assert_refused(&with_key("key-demo-sub").await, "2", "60");
    assert_counted(&with_key("key-other").await, "2", "0");
}

#[tokio::test]
async fn replicas_count_together() {
    let env = TestEnv::new();
    let clock = clock();
    let (one, two) = (world(&env, "10", &clock).await, world(&env, "10", &clock).await);
    one.account("demo", "").await;
    let calls = (0..24).map(|n| {
        let replica = if n % 2 == 0 { &one } else { &two };
        send(replica.call("GET", LIMITED))
    });
    let mut running = tokio::task::JoinSet::new();
    for call in calls {
        running.spawn(call);
    }
    let answers = running.join_all().await;
    let let_in = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!((let_in, answers.len()), (10, 24));
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert_refused(answer, "10", "60");
    }
}
