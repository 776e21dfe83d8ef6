//! How deliveries are made, where an account wants it otherwise.

use protocol::v1::policy_override::{Preset, Success};
use serde_json::{Value, json};
use testkit::TestEnv;
use testkit::http::Response;

use crate::world::{World, assert_answer, assert_message, send};

const POLICIES: &str = "/postrider/v1/policies";
const URLS: &str = "/postrider/v1/urls";
const URL: &str = "https://hooks.example.net/mail";

async fn put(world: &World, path: &str, body: &Value) -> Response {
    send(world.call("PUT", path).json(body)).await
}

#[tokio::test]
async fn policies_are_those_of_the_deployment_until_an_account_says_otherwise() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let message = r#""in_force":{"waits":["10m","10m","15m","30m","1h","2h","4h"],"success":"200","stop":[406],"retry_delivered":false}"#;
    let alert = r#""in_force":{"waits":["1m","2m","4m","8m","16m","32m","64m","128m","225m"],"success":"2xx","stop":[],"disable_alerts":true}"#;
    let shown = format!(
        "{{\"message\":{{\"otherwise\":{{}},{message}}},\"alert\":{{\"otherwise\":{{}},{alert}}}}}"
    );
    assert_answer(&send(world.call("GET", POLICIES)).await, 200, &shown);

    let wanted = json!({
        "message": {"preset": "resilient", "waits": ["5s", "1h"], "stop": [406, 410]},
        "alert": {"disable_alerts": false},
    });
    let answer = put(&world, POLICIES, &wanted).await.expect_status(200).json();
    assert_eq!(answer["message"]["otherwise"], wanted["message"]);
    let in_force = json!({
        "waits": ["5s", "1h"], "success": "2xx", "stop": [406, 410], "retry_delivered": true,
    });
    assert_eq!(answer["message"]["in_force"], in_force);
    assert_eq!(answer["alert"]["in_force"]["disable_alerts"], false);
    assert_eq!(send(world.call("GET", POLICIES)).await.json(), answer);

    let document = world.account_document("demo").await;
    let policy = document.message_policy.as_ref().expect("a policy");
    assert_eq!((policy.preset(), policy.success()), (Preset::Resilient, Success::Unspecified));
    assert_eq!(policy.waits.as_ref().expect("waits").seconds, [5, 3_600]);

    let answer = put(&world, POLICIES, &json!({})).await.expect_status(200);
    assert_answer(&answer, 200, &shown);
    assert_eq!(world.account_document("demo").await.message_policy, None);
}

#[tokio::test]
async fn policies_that_make_no_sense_are_refused_and_change_nothing() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    for (body, message) in [
        (
            json!({"message": {"waits": ["soon"]}}),
            r#"message.waits: expected a duration such as 250ms, 10s, 15m, 4h or 3d, found "soon""#,
        ),
        (json!({"alert": {"waits": ["4d"]}}), "alert.waits: at most 72h in all"),
        (
            json!({"alert": {"stop": [204]}}),
            "alert.stop: expected HTTP statuses from 300 to 599, found 204",
        ),
    ] {
        let message = message.replace('"', "\\\"");
        assert_message(&put(&world, POLICIES, &body).await, 400, &message);
    }
    for body in [json!({"messages": {}}), json!({"message": {"stop": ["406"]}}), json!([])] {
        let message = put(&world, POLICIES, &body).await.expect_status(400).json();
        let message = message["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with("the body has wrong fields: "), "{message}");
    }
    assert_eq!(world.account_document("demo").await.message_policy, None);
}

#[tokio::test]
async fn what_is_said_of_a_url_is_kept_and_secrets_are_never_shown() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    assert_answer(&send(world.call("GET", URLS)).await, 200, r#"{"urls":[]}"#);
    let secret = "Bearer never-shown";
    let body = json!({
        "url": URL, "headers": {"Authorization": secret, "X-Tenant": "a"},
        "policy": {"success": "2xx"}, "legacy_payload": true,
    });
    let shown = r#"{"url":"https://hooks.example.net/mail","paused_at":null,"policy":{"success":"2xx"},"headers":["authorization","x-tenant"],"legacy_payload":true}"#;
    assert_answer(&put(&world, URLS, &body).await, 200, shown);
    assert_answer(&send(world.call("GET", URLS)).await, 200, &format!("{{\"urls\":[{shown}]}}"));
    let stored = env.sql("SELECT sealed FROM url_headers");
    assert!(!stored.contains(&hex::encode("never-shown")) && !stored.contains("never-shown"));
    let options = &world.account_document("demo").await.url_options;
    assert_eq!(options.len(), 1);
    let sealed = options[0].headers[0].sealed.clone();

    // One header stays as it is, one is new, one goes.
    let body = json!({"url": URL, "headers": {"authorization": null, "x-new": "b"}});
    let answer = put(&world, URLS, &body).await.expect_status(200).json();
    assert_eq!(answer["headers"], json!(["authorization", "x-new"]));
    assert_eq!(answer["policy"], json!({}));
    let document = world.account_document("demo").await;
    assert_eq!(document.url_options[0].headers[0].sealed, sealed);

    let unknown = json!({"url": URL, "headers": {"x-gone": null}});
    let message = "a header that is to be kept not found";
    assert_message(&put(&world, URLS, &unknown).await, 404, message);
    let document = world.account_document("demo").await;
    assert_eq!(document.url_options[0].headers.len(), 2, "nothing was changed");

    let path = format!("{URLS}?url={URL}");
    let deleted = r#"{"message":"URL options have been deleted"}"#;
    assert_answer(&send(world.call("DELETE", &path)).await, 200, deleted);
    let message = "options for this URL not found";
    assert_message(&send(world.call("DELETE", &path)).await, 404, message);
    let message = "Missing parameter 'url'";
    assert_message(&send(world.call("DELETE", URLS)).await, 400, message);
    assert!(world.account_document("demo").await.url_options.is_empty());
}

#[tokio::test]
async fn pausing_keeps_all_else_that_is_said() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let body = json!({"url": URL, "headers": {"x-tenant": "a"}});
    put(&world, URLS, &body).await.expect_status(200);
    let path = format!("{URLS}/paused");
    let paused = put(&world, &path, &json!({"url": URL, "paused": true})).await;
    let paused = paused.expect_status(200).json();
    assert!(paused["paused_at"].is_string(), "{paused}");
    let again = put(&world, &path, &json!({"url": URL, "paused": true})).await;
    assert_eq!(again.json(), paused, "it is paused since then");
    assert!(world.account_document("demo").await.url_options[0].paused_at.is_some());
    let on = put(&world, &path, &json!({"url": URL, "paused": false})).await.json();
    assert_eq!((&on["paused_at"], &on["headers"]), (&Value::Null, &json!(["x-tenant"])));
    let other = json!({"url": "https://hooks.example.net/other", "paused": true});
    put(&world, &path, &other).await.expect_status(200);
    assert_eq!(world.account_document("demo").await.url_options.len(), 2);
}

#[tokio::test]
async fn headers_and_urls_that_cannot_be_are_refused() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let many: serde_json::Map<String, Value> =
        (0..11).map(|n| (format!("x-{n}"), json!("1"))).collect();
    let long = "x".repeat(1_025);
    let value = "must be 1 to 1024 printable ASCII characters";
    for (headers, why) in [
        (json!({"host": "evil.example"}), "host is said by Postrider itself"),
        (json!({"Content-Length": "1"}), "content-length is said by Postrider itself"),
        (json!({"content-type": "text/plain"}), "content-type is said by Postrider itself"),
        (json!({"Webhook-Signature": "v1,x"}), "webhook-signature is said by Postrider itself"),
        (json!({"X-Postrider-Event": "x"}), "x-postrider-event is said by Postrider itself"),
        (json!({"x-sign": "x"}), "x-sign is said by Postrider itself"),
        (json!({"transfer-encoding": "x"}), "transfer-encoding is said by Postrider itself"),
        (json!({"a b": "x"}), "\"a b\" is not the name of a header"),
        (json!({"": "x"}), "\"\" is not the name of a header"),
        (json!({"x-a": ""}), &format!("the value of x-a {value}")),
        (json!({"x-a": "a\r\nx-b: c"}), &format!("the value of x-a {value}")),
        (json!({"x-a": "größer"}), &format!("the value of x-a {value}")),
        (json!({"x-a": long}), &format!("the value of x-a {value}")),
        (json!({"x-a": "1", "X-A": "2"}), "x-a is given twice"),
        (json!(many), "at most 10, found 11"),
    ] {
        let answer = put(&world, URLS, &json!({"url": URL, "headers": headers})).await;
        let why = why.replace('"', "\\\"");
        assert_message(&answer, 400, &format!("headers: {why}"));
    }
    for url in ["ftp://hooks.example.net/", "http://10.0.0.1/", "https://a:b@hooks.example.net/"] {
        let answer = put(&world, URLS, &json!({"url": url})).await.expect_status(400).json();
        let message = answer["message"].as_str().expect("a message");
        assert!(message.starts_with(&format!("{url} is not a valid url: ")), "{message}");
    }
    assert_answer(&send(world.call("GET", URLS)).await, 200, r#"{"urls":[]}"#);
}

#[tokio::test]
async fn an_account_has_options_for_a_hundred_urls_whoever_races() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    env.sql(
        "INSERT INTO url_options (account_id, url, updated_at) \
         SELECT account_id, 'https://hooks.example.net/' || n, now() \
         FROM accounts, generate_series(1, 97) n WHERE name = 'demo'",
    );
    let new = |n: usize| {
        let body = json!({"url": format!("https://hooks.example.net/new-{n}")});
        let request = world.call("PUT", URLS).json(&body);
        async move { send(request).await.status }
    };
    let (a, b, c, d, e) = tokio::join!(new(1), new(2), new(3), new(4), new(5));
    let taken = [a, b, c, d, e].iter().filter(|status| **status == 200).count();
    assert_eq!(taken, 3);
    let message = "an account can have options for at most 100 URLs";
    let body = json!({"url": "https://hooks.example.net/one-more"});
    assert_message(&put(&world, URLS, &body).await, 400, message);
}
