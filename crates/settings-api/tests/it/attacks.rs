//! What one customer, or a page of a stranger, can do to others.

use std::time::{Duration, Instant};

use protocol::v1::{AccountStatus, Level, SetAccountStatusRequest};
use serde_json::{Value, json};
use testkit::TestEnv;
use tokio::task::JoinSet;

use crate::resends::ended_on;
use crate::world::{World, assert_message, send};

const URLS: &str = "/postrider/v1/urls";

/// Each of its calls waits for a lock, and holds a connection to the database meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn calls_of_one_tenant_that_wait_hold_up_no_other_one() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let subaccount = world.account("demo-sub", "demo").await;
    world.account("other", "").await;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            env.sql(
                "SELECT 1 FROM accounts WHERE name IN ('demo', 'demo-sub') FOR UPDATE; \
                 SELECT pg_sleep(4)",
            )
        });
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                let locked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
                testkit::eventually(Duration::from_secs(3), "the lock", || async {
                    (env.sql(locked).trim() != "0").then_some(())
                })
                .await;
                let mut calls = JoinSet::new();
                for n in 0..60 {
                    let pause = json!({"url": "https://a.example/", "paused": true});
                    let call = world.call("PUT", &format!("{URLS}/paused")).json(&pause);
                    let behalf = [call.clone(), call.header("X-Mailgun-On-Behalf-Of", &subaccount)];
                    let [own, on_behalf] = behalf;
                    calls.spawn(if n % 2 == 0 { own } else { on_behalf }.send());
                }
                // Until they have all that they can get.
                tokio::time::sleep_until((Instant::now() + Duration::from_millis(700)).into())
                    .await;
                for _ in 0..5 {
                    let began = Instant::now();
                    let call = world.anonymous("GET", "/v3/domains").basic_auth("api", "key-other");
                    send(call).await.expect_status(200);
                    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
                }
                let mut statuses = Vec::new();
                while let Some(answer) = calls.join_next().await {
                    statuses.push(answer.expect("not cancelled").expect("answered").status);
                }
                assert!(statuses.iter().all(|status| [200, 429].contains(status)), "{statuses:?}");
                assert!(statuses.contains(&200), "{statuses:?}");
            });
        });
    });
}

#[tokio::test]
async fn wrong_keys_are_answered_slowly_and_right_ones_are_not() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let call = async |key: &str| {
        let began = Instant::now();
        let answer = send(world.anonymous("GET", "/v3/domains").basic_auth("api", key)).await;
        (answer.status, began.elapsed() >= Duration::from_secs(1))
    };
    for n in 0..300 {
        assert_eq!(call(&format!("guess-{n}")).await, (401, false));
    }
    assert_eq!(call("guess-300").await, (401, true));
    assert_eq!(call("key-demo").await, (200, false));
}

/// What is deleted again was made all the same: each leaves a document with every process.
#[tokio::test]
async fn what_a_tenant_makes_is_counted_over_a_day_with_its_subaccounts() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let subaccount = world.account("demo-sub", "demo").await;
    let make = |name: &str| world.call("POST", "/v4/domains").form(&[("name", name)]);
    send(make("a.example")).await.expect_status(200);
    send(world.call("DELETE", "/v3/domains/a.example")).await.expect_status(200);
    env.sql("UPDATE tenant_windows SET count = 1999 WHERE budget = 'domains'");
    let on_behalf = make("b.example").header("X-Mailgun-On-Behalf-Of", &subaccount);
    send(on_behalf).await.expect_status(200);
    let refused = send(make("c.example")).await;
    assert_eq!(refused.status, 429, "{}", refused.text());
    assert_eq!(refused.json()["message"], "Too many domains were made in a day");
    let seconds = refused.header("retry-after").and_then(|text| text.parse::<u32>().ok());
    assert!(seconds.is_some_and(|seconds| seconds > 80_000), "{seconds:?}");
}

#[tokio::test]
async fn settings_that_the_broker_could_not_take_are_refused_and_an_operator_is_heard() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mut headers = serde_json::Map::new();
    for n in 0..10 {
        headers.insert(format!("x-h{n}-{}", "n".repeat(50)), Value::String("v".repeat(1_024)));
    }
    let mut taken = 0;
    let refusal = loop {
        let url = format!("https://hooks.example.net/{taken:03}?{}", "x".repeat(2_000));
        let put = world.call("PUT", URLS).json(&json!({"url": url, "headers": headers}));
        let answer = send(put).await;
        if answer.status != 200 {
            break answer;
        }
        taken += 1;
    };
    assert!((10..98).contains(&taken), "{taken}");
    assert_eq!(refusal.status, 400, "{}", refusal.text());
    let message = refusal.json()["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("at most 256 KiB"), "{message}");
    assert_eq!(world.account_document("demo").await.url_options.len(), taken);

    let request = SetAccountStatusRequest {
        account_name: "demo".to_owned(),
        status: "disabled".to_owned(),
        ..SetAccountStatusRequest::default()
    };
    world.admin().set_account_status(request).await.expect("disabled");
    assert_eq!(world.account_document("demo").await.status(), AccountStatus::Disabled);
}

#[tokio::test]
async fn a_subaccount_does_not_see_the_path_at_which_its_parent_hears() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let subaccount = world.account("demo-sub", "demo").await;
    let url = "https://hooks.example.net/services/PATHTOKEN?token=QUERYSECRET";
    ended_on(Level::ParentAccount, &env, &subaccount, url, "exhausted", 1);
    let own = "https://own.example.net/path?token=mine";
    ended_on(Level::Account, &env, &subaccount, own, "held", 1);
    let get = || world.anonymous("GET", "/postrider/v1/undelivered");
    let seen = send(get().basic_auth("api", "key-demo-sub")).await.expect_status(200);
    let seen = seen.text();
    assert!(seen.contains("https://hooks.example.net/…") && seen.contains(own), "{seen}");
    assert!(!seen.contains("PATHTOKEN") && !seen.contains("QUERYSECRET"), "{seen}");

    let get = get().basic_auth("api", "key-demo").header("X-Mailgun-On-Behalf-Of", &subaccount);
    let seen = send(get).await.expect_status(200).text();
    assert!(seen.contains(url), "the parent sees its own: {seen}");
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let make = || world.call("POST", "/v1/keys").form(&[("role", "admin"), ("description", "x")]);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        let answer = send(make().header(name, value)).await;
        assert_message(&answer, 403, "Changes are not taken from pages of other sites");
    }
    send(make()).await.expect_status(200);
    // A link may lead to a page that only shows something.
    let looked = world.call("GET", "/v1/keys").header("sec-fetch-site", "cross-site");
    send(looked).await.expect_status(200);
}

#[tokio::test]
async fn a_nul_is_refused_wherever_it_comes() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=b";
    let part = "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\na\0b\r\n--b--\r\n";
    for call in [
        world
            .call("POST", "/postrider/v1/resends")
            .body("application/json", r#"{"url":"http://\u0000x/"}"#),
        world
            .call("POST", "/v1/analytics/logs")
            .body("application/json", r#"{"events":["\u0000"]}"#),
        world.call("DELETE", "/postrider/v1/urls?url=%00"),
        world.call("GET", "/v3/domains/a%00b"),
        world.call("GET", "/v3/mail.demo.example/events?subject=%00"),
        world.call("POST", "/v1/keys").body(form, "role=admin&description=%00"),
        world.call("POST", "/v4/domains").body(multipart, part),
    ] {
        let answer = send(call).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(answer.text().contains("has a NUL in it"), "{}", answer.text());
    }
    // Only looks like one.
    let fine =
        world.call("POST", "/v1/keys").json(&json!({"role": "admin", "description": "\\u0000"}));
    send(fine).await.expect_status(200);
}

#[tokio::test]
async fn an_export_that_cannot_begin_says_why() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let wrong = send(world.call("GET", "/postrider/v1/failures/export?domain=0")).await;
    let list = send(world.call("GET", "/postrider/v1/failures?domain=0")).await;
    assert_eq!((wrong.status, wrong.text()), (list.status, list.text()));
    assert_eq!(wrong.status, 404);
}
