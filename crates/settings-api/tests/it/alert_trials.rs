//! Test calls of alerts (reference §9.1): what arrives, and what is told of it.

use std::sync::Arc;
use std::time::Duration;

use chassis::Clock;
use serde_json::{Value, json};
use testkit::http::Response;
use testkit::verify::Verifier;
use testkit::{Act, Gate, Mailbox, Receiver, Reply, Stage, TestEnv};
use tokio::task::JoinSet;

use crate::world::{DEADLINE, World, assert_answer, assert_message, send};

const WEBHOOK: &str = "/v1/alerts/webhooks/test";
const EMAIL: &str = "/v1/alerts/email/test";
const SIGNING_KEY: &str = "/v1/alerts/settings/webhooks/signing_key";

async fn with_relay(env: &TestEnv, url: &str) -> World {
    let console = ("POSTRIDER_CONSOLE_URL", "https://console.example.net");
    World::demo_configured(env, &[("POSTRIDER_SMTP_URL", url), console], Clock::system()).await
}

async fn try_webhook(world: &World, event_type: &str, url: &str) -> Response {
    send(world.call("POST", WEBHOOK).json(&json!({"event_type": event_type, "url": url}))).await
}

async fn try_email(world: &World, emails: Value) -> Response {
    let body = json!({"event_type": "ip_listed", "emails": emails});
    send(world.call("POST", EMAIL).json(&body)).await
}

async fn signing_key(world: &World) -> String {
    let list = send(world.call("GET", "/v1/alerts/settings")).await.json();
    list["webhooks"]["signing_key"].as_str().expect("a key").to_owned()
}

fn whsec(key: &str) -> String {
    use base64::Engine as _;
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode(key))
}

#[tokio::test]
async fn a_url_is_sent_what_a_delivery_would_be() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let (receiver, verifier) = (Receiver::start().await, Verifier::start());
    let key = signing_key(&world).await;
    let types = send(world.call("GET", "/v1/alerts/events")).await.json();
    for event_type in types["events"].as_array().expect("a list") {
        let event_type = event_type.as_str().expect("a name");
        receiver.forget();
        let answer = try_webhook(&world, event_type, &receiver.url("/hook?x=1")).await;
        let body = r#"{"message":"test alert sent: the webhook url returned 200"}"#;
        assert_answer(&answer, 200, body);
        let [post] = &receiver.requests()[..] else { panic!("one request") };
        assert_eq!((post.method.as_str(), post.query.as_str()), ("POST", "x=1"));
        verifier.assert_alert(post, &key);
        verifier.assert_standard_webhooks(post, &whsec(&key));
        assert_eq!(post.header("content-type"), Some("application/json"));
        assert_eq!(post.header("x-postrider-event"), Some(event_type));
        assert_eq!(post.header("x-sign-previous"), None);
        let data = &post.json()["event_data"];
        assert!(data["message"].is_string() && data["id"].is_string(), "{data}");
        if event_type.starts_with("ip_") {
            assert_eq!((&data["event"], &data["ip"]), (&json!(event_type), &json!("192.0.2.44")));
        }
    }
    // Nothing of it is left behind.
    assert!(world.account_document("demo").await.alerts.is_empty());
    world.stop().await;
}

#[tokio::test]
async fn any_2xx_is_success_and_nothing_else() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_EGRESS_TIMEOUT", "1s"), ("POSTRIDER_EGRESS_CONNECT_TIMEOUT", "1s")];
    let world = World::configured(&env, &settings, Clock::system()).await;
    world.account("demo", "").await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/hook");
    for status in [201, 204, 299] {
        receiver.on_post("/hook", [Reply::status(status)]);
        let message = format!("test alert sent: the webhook url returned {status}");
        assert_message(&try_webhook(&world, "ip_listed", &url).await, 200, &message);
    }
    let refused = "webhook url did not return a 2xx response: ";
    for status in [301, 307, 400, 404, 406, 500, 503] {
        let reply = Reply::status(status).header("location", &receiver.url("/elsewhere"));
        receiver.on_post("/hook", [reply]);
        let message = format!("{refused}it returned {status}");
        assert_message(&try_webhook(&world, "ip_listed", &url).await, 400, &message);
    }
    let requests = receiver.requests();
    assert!(requests.iter().all(|post| post.path == "/hook"), "a redirect was followed");
    assert_eq!(requests.len(), 10, "each is asked once");

    receiver.on_post("/hook", [Reply::hang()]);
    let message = format!("{refused}no answer within 1000 ms");
    assert_message(&try_webhook(&world, "ip_listed", &url).await, 400, &message);
    receiver.on_post("/hook", [Reply::close()]);
    let answer = try_webhook(&world, "ip_listed", &url).await.expect_status(400);
    assert!(answer.text().contains(refused), "{}", answer.text());
    drop(receiver);
    let answer = try_webhook(&world, "ip_listed", &url).await.expect_status(400);
    assert!(answer.text().contains(refused), "{}", answer.text());
}

#[tokio::test]
async fn wrong_requests_are_told_what_is_wrong() {
    let env = TestEnv::new();
    let world = with_relay(&env, "").await;
    let url = "https://hooks.example.net/";
    for (body, message) in [
        (json!({}), "Missing parameter 'event_type'"),
        (json!({"url": url}), "Missing parameter 'event_type'"),
        (json!({"event_type": "clicked", "url": url}), "Invalid event_type: clicked"),
        (json!({"event_type": "ip_listed"}), "Missing parameter 'url'"),
        (json!({"event_type": "ip_listed", "url": ""}), "Missing parameter 'url'"),
        (
            json!({"event_type": "ip_listed", "url": "ftp://a.example/"}),
            "ftp://a.example/ is not a valid url: invalid URL scheme",
        ),
        (
            json!({"event_type": "ip_listed", "url": "http://169.254.169.254/latest/meta-data"}),
            "http://169.254.169.254/latest/meta-data is not a valid url: addresses in 169.254.0.0/16 (link-local) are not allowed",
        ),
        (
            json!({"event_type": "ip_listed", "url": "https://u:p@hooks.example.net/"}),
            "https://u:p@hooks.example.net/ is not a valid url: user names and passwords are not allowed in a URL",
        ),
    ] {
        assert_message(&send(world.call("POST", WEBHOOK).json(&body)).await, 400, message);
    }
    let ops = ["ops@shop.example"];
    let form = "this is not an address such as name@example.com";
    for (body, message) in [
        (json!({}), "Missing parameter 'event_type'".to_owned()),
        (json!({"event_type": "x", "emails": ops}), "Invalid event_type: x".into()),
        (json!({"event_type": "ip_listed"}), "Missing parameter 'emails'".into()),
        (json!({"event_type": "ip_listed", "emails": []}), "Missing parameter 'emails'".into()),
        (
            json!({"event_type": "ip_listed", "emails": ["nobody"]}),
            format!("Invalid email address: nobody: {form}"),
        ),
        (
            json!({"event_type": "ip_listed", "emails": vec![ops[0]; 51]}),
            // The same address is one.
            "email cannot be tested: this server has no mail relay configured".into(),
        ),
    ] {
        assert_message(&send(world.call("POST", EMAIL).json(&body)).await, 400, &message);
    }
}

#[tokio::test]
async fn a_replaced_key_also_signs_for_as_long_as_was_asked() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let (receiver, verifier) = (Receiver::start().await, Verifier::start());
    let url = receiver.url("/hook");
    let post = async || {
        receiver.forget();
        try_webhook(&world, "ip_listed", &url).await.expect_status(200);
        receiver.requests().remove(0)
    };
    let old = signing_key(&world).await;
    let reset = send(world.call("PUT", SIGNING_KEY).json(&json!({"overlap_seconds": 3600}))).await;
    let new = signing_key(&world).await;
    assert_answer(&reset, 200, &format!(r#"{{"signing_key":"{new}"}}"#));
    assert_ne!(old, new);
    let overlapping = post().await;
    verifier.assert_alert(&overlapping, &new);
    let previous = overlapping.header("x-sign-previous").expect("the old key's signature");
    verifier.alert(&overlapping.body, previous, &old).expect("made with the old key");
    for key in [&old, &new] {
        verifier.assert_standard_webhooks(&overlapping, &whsec(key));
    }

    // In the query as well; 0 ends the overlap at once.
    let path = format!("{SIGNING_KEY}?overlap_seconds=0");
    send(world.call("PUT", &path)).await.expect_status(200);
    let newest = signing_key(&world).await;
    let alone = post().await;
    verifier.assert_alert(&alone, &newest);
    assert_eq!(alone.header("x-sign-previous"), None);
    assert!(!alone.header("webhook-signature").expect("signed").contains(' '));

    for wrong in ["-1", "1.5", "604801", "x"] {
        let path = format!("{SIGNING_KEY}?overlap_seconds={wrong}");
        let message = "overlap_seconds must be a whole number from 0 to 604800";
        assert_message(&send(world.call("PUT", &path)).await, 400, message);
    }
    assert_eq!(signing_key(&world).await, newest);
}

#[tokio::test]
async fn mailboxes_get_a_mail_that_says_it_is_a_test() {
    let env = TestEnv::new();
    let mailbox = Mailbox::start().await;
    let world = with_relay(&env, &mailbox.url()).await;
    let answer = try_email(&world, json!(["ops@shop.example"])).await;
    assert_message(&answer, 200, "test alert sent to 1 address");
    let emails = json!(["ops@shop.example", " cto@shop.example ", "ops@shop.example"]);
    assert_message(&try_email(&world, emails).await, 200, "test alert sent to 2 addresses");

    let letters = mailbox.wait_for(2, DEADLINE).await;
    assert_eq!(letters[0].recipients, ["ops@shop.example"]);
    assert_eq!(letters[1].recipients, ["ops@shop.example", "cto@shop.example"]);
    let letter = &letters[0];
    assert_eq!(letter.sender, "alerts@example.net");
    assert_eq!(letter.subject(), "[Test] IP 192.0.2.44 was blocklisted by Example BL");
    let text = letter.text();
    assert!(text.starts_with("This is a test, which somebody"), "{text}");
    for line in ["IP address:  192.0.2.44", "Alert:       ip_listed"] {
        assert!(text.lines().any(|there| there == line), "{text}");
    }
    assert!(text.contains("a test call of account demo"), "{text}");
    assert!(text.contains("https://console.example.net/"), "{text}");
    let html = letter.html().expect("a part for those who prefer it");
    assert!(html.contains("This is a test.") && html.contains("192.0.2.44"), "{html}");
    assert_eq!(letter.header("Auto-Submitted").as_deref(), Some("auto-generated"));
}

#[tokio::test]
async fn what_the_mail_server_said_is_told() {
    let env = TestEnv::new();
    let mailbox = Mailbox::start().await;
    let world = with_relay(&env, &mailbox.url()).await;
    let gone = Act::reply(550, "5.1.1 no such user");
    mailbox.on_recipient("gone@shop.example", [gone]);
    let answer = try_email(&world, json!(["gone@shop.example"])).await;
    let message = "test alert not sent: the mail relay refused the mail: 550 5.1.1 no such user";
    assert_message(&answer, 400, message);
    assert!(mailbox.letters().is_empty());

    // One of two: the other has its mail, and the caller is told who has not.
    let answer = try_email(&world, json!(["ops@shop.example", "gone@shop.example"])).await;
    let message = "test alert not sent to everybody: the mail relay refused gone@shop.example: 550 5.1.1 no such user";
    assert_message(&answer, 400, message);
    assert_eq!(mailbox.wait_for(1, DEADLINE).await[0].recipients, ["ops@shop.example"]);

    // The relay's own trouble is ours.
    mailbox.at(Stage::Sender, [Act::reply(421, "4.3.2 shutting down")]);
    let answer = try_email(&world, json!(["ops@shop.example"])).await.expect_status(503);
    assert!(answer.text().contains("421 4.3.2 shutting down"), "{}", answer.text());
    drop(mailbox);
    let answer = try_email(&world, json!(["ops@shop.example"])).await.expect_status(503);
    let message = answer.json()["message"].as_str().expect("a message").to_owned();
    assert!(message.starts_with("test alert not sent: "), "{message}");
}

#[tokio::test]
async fn without_a_relay_there_is_no_mail() {
    let env = TestEnv::new();
    let world = with_relay(&env, "").await;
    let message = "email cannot be tested: this server has no mail relay configured";
    assert_message(&try_email(&world, json!(["ops@shop.example"])).await, 400, message);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_four_requests_under_way_at_once() {
    let env = TestEnv::new();
    let world = Arc::new(World::demo(&env).await);
    world.account("other", "").await;
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.on_post("/slow", [Reply::status(200).behind(&gate)]);
    receiver.on_get("/slow", [Reply::status(200).behind(&gate)]);
    let url = receiver.url("/slow");
    let mut calls = JoinSet::new();
    for _ in 0..9 {
        let (world, url) = (Arc::clone(&world), url.clone());
        calls.spawn(async move { try_webhook(&world, "ip_listed", &url).await.status });
    }
    // Others do not wait for it, and the check of a setting's URL counts as well.
    receiver.wait_for_posts("/slow", 4, DEADLINE).await;
    let setting =
        json!({"event_type": "ip_listed", "channel": "webhook", "settings": {"url": url}});
    let create = world.call("POST", "/v1/alerts/settings").json(&setting);
    calls.spawn(async move { send(create).await.status });
    let body = json!({"event_type": "ip_listed", "url": receiver.url("/fast")});
    let other = world.anonymous("POST", WEBHOOK).basic_auth("api", "key-other").json(&body);
    testkit::within(Duration::from_secs(5), "another account's call", send(other))
        .await
        .expect_status(200);
    assert_eq!(receiver.posts("/slow").len(), 4);
    gate.open();
    assert_eq!(calls.join_all().await, vec![200; 10], "who waits gets through");
    assert_eq!(receiver.most_at_once("/slow"), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_too_long_is_told_to_come_back() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_EGRESS_TIMEOUT", "20s")];
    let world = World::configured(&env, &settings, Clock::system()).await;
    world.account("demo", "").await;
    let receiver = Receiver::start().await;
    receiver.on_post("/hang", [Reply::hang()]);
    let body = json!({"event_type": "ip_listed", "url": receiver.url("/hang")});
    let mut hanging = JoinSet::new();
    for _ in 0..4 {
        hanging.spawn(send(world.call("POST", WEBHOOK).json(&body)));
    }
    receiver.wait_for_posts("/hang", 4, DEADLINE).await;
    let answer = send(world.call("POST", WEBHOOK).json(&body)).await;
    let body = r#"{"retry-seconds":5,"message":"Too many test calls and checks of URLs at once"}"#;
    assert_answer(&answer, 429, body);
    assert_eq!(answer.header("retry-after"), Some("5"));
    assert_eq!(receiver.posts("/hang").len(), 4);
}
