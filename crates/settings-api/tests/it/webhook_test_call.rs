//! The test call of domain webhooks (reference §3.6).

use model::WebhookId;
use protocol::v1;
use testkit::verify::Verifier;
use testkit::{Receiver, Reply, TestEnv};

use crate::world::{World, assert_answer, assert_message, send};

const BASE: &str = "/v3/domains/mail.demo.example/webhooks";

async fn http_signing_key(world: &World, account_name: &str) -> String {
    let request = v1::GetSigningKeysRequest { account_name: account_name.into() };
    let keys = world.admin().get_signing_keys(request).await.expect("shown").into_inner();
    keys.http_signing_key
}

#[tokio::test]
async fn every_id_sends_a_signed_sample_of_its_type() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let (receiver, verifier) = (Receiver::start().await, Verifier::start());
    let key = http_signing_key(&world, "demo").await;
    let account_id = world.account_document("demo").await.account_id.clone();
    let thanks = Reply::status(200).body(r#"{"message":"Post received. Thanks!"}"#);
    let mut ids = std::collections::BTreeSet::new();
    for id in WebhookId::ALL {
        let path = format!("/{}", id.as_str());
        receiver.on_post(&path, [thanks.clone()]);
        let request = world.call("PUT", &format!("{BASE}{path}/test"));
        let answer = send(request.form(&[("url", &receiver.url(&path))])).await;
        assert_answer(
            &answer,
            200,
            r#"{"code":null,"message":"{\"message\":\"Post received. Thanks!\"}"}"#,
        );
        let [post] = &receiver.posts(&path)[..] else { panic!("one post") };
        verifier.assert_send(post, &key, None);
        let secret = signing::standard_webhooks_secret(&signing::SigningKey::new(&key));
        verifier.assert_standard_webhooks(post, &secret);
        assert_eq!(post.header("content-type"), Some("application/json"));
        assert_eq!(post.header("x-postrider-event"), Some(id.event_type().as_str()));
        assert_eq!(post.header("x-postrider-attempt"), Some("1"));
        let event = &post.json()["event-data"];
        assert_eq!(event["event"], id.event_type().payload_name());
        assert_eq!(event["flags"]["is-system-test"], true);
        assert_eq!(event["flags"]["is-test-mode"], true);
        assert_eq!(event["account"]["id"], account_id);
        assert_eq!(event["domain"]["name"], "mail.demo.example");
        assert!(ids.insert(event["id"].as_str().expect("an id").to_owned()));
    }
    // Nothing was stored, and nothing is configured.
    assert_answer(&send(world.call("GET", BASE)).await, 200, r#"{"webhooks":{}}"#);
    assert_eq!(receiver.requests().len(), WebhookId::ALL.len());
}

#[tokio::test]
async fn what_the_endpoint_does_is_the_answer() {
    let env = TestEnv::new();
    let settings = [("POSTRIDER_EGRESS_TIMEOUT", "2s"), ("POSTRIDER_EGRESS_CONNECT_TIMEOUT", "1s")];
    let world = World::demo_configured(&env, &settings, chassis::Clock::system()).await;
    let receiver = Receiver::start().await;
    let test = async |url: &str| {
        let request = world.call("PUT", &format!("{BASE}/clicked/test"));
        send(request.form(&[("url", url)])).await
    };
    for (reply, body) in [
        (Reply::status(200), r#"{"code":null,"message":""}"#),
        (Reply::status(204), r#"{"code":204,"message":""}"#),
        (Reply::status(500).body("out of order\n"), r#"{"code":500,"message":"out of order\n"}"#),
        (Reply::status(406).body("no \"thanks\""), r#"{"code":406,"message":"no \"thanks\""}"#),
        // Not followed.
        (Reply::redirect(302, &receiver.url("/secret")), r#"{"code":302,"message":""}"#),
        (Reply::hang(), r#"{"code":0,"message":"no answer within 2000 ms"}"#),
    ] {
        receiver.on_post("/hook", [reply]);
        assert_answer(&test(&receiver.url("/hook")).await, 200, body);
    }
    assert!(receiver.posts("/secret").is_empty());

    receiver.on_post("/endless", [Reply::endless(200)]);
    let endless = test(&receiver.url("/endless")).await.expect_status(200).json();
    assert_eq!(endless["code"], serde_json::Value::Null);
    assert_eq!(endless["message"].as_str().map(str::len), Some(4 * 1024));

    let address = receiver.address();
    drop(receiver);
    let refused = test(&format!("http://{address}/")).await.expect_status(200).json();
    assert_eq!(refused["code"], 0);
    let message = refused["message"].as_str().expect("text");
    assert!(message.to_lowercase().contains("refused"), "{message}");
    // RFC 6761: there is no such name.
    let nowhere = test("https://hooks.invalid/").await.expect_status(200).json();
    assert_eq!(nowhere["code"], 0);
    assert!(!nowhere["message"].as_str().expect("text").is_empty());
}

#[tokio::test]
async fn wrong_test_calls_ask_nobody() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("other", "").await;
    world.domain("mail.other.example", "other").await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/hook");
    let put = |path: &str| world.call("PUT", path);
    for domain in ["nowhere.example", "mail.other.example"] {
        let path = format!("/v3/domains/{domain}/webhooks/clicked/test");
        assert_message(&send(put(&path).form(&[("url", &url)])).await, 404, "Domain not found");
    }
    for name in ["xyz", "ip_listed", "test"] {
        let answer = send(put(&format!("{BASE}/{name}/test")).form(&[("url", &url)])).await;
        assert_message(&answer, 404, "Webhook not found");
    }
    let clicked = || put(&format!("{BASE}/clicked/test"));
    for (request, message) in [
        (clicked(), "Missing parameter 'url'".to_owned()),
        (clicked().form(&[("url", "")]), "Missing parameter 'url'".to_owned()),
        (
            clicked().form(&[("url", &url), ("url", &url)]),
            "Parameter 'url' must be given once".to_owned(),
        ),
        (
            clicked().form(&[("url", "ftp://hooks.example.net/")]),
            "ftp://hooks.example.net/ is not a valid url: invalid URL scheme".to_owned(),
        ),
        (
            clicked().form(&[("url", "http://10.0.0.1/")]),
            "http://10.0.0.1/ is not a valid url: addresses in 10.0.0.0/8 (private use) are not allowed".to_owned(),
        ),
    ] {
        let body = format!(r#"{{"message":"{message}","Reason":"{message}"}}"#);
        assert_answer(&send(request).await, 400, &body);
    }
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn a_subaccounts_test_has_both_signatures_and_the_parents_redaction() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("demo-sub", "demo").await;
    world.domain("mail.sub.example", "demo-sub").await;
    let (receiver, verifier) = (Receiver::start().await, Verifier::start());
    let test = || {
        world
            .anonymous("PUT", "/v3/domains/mail.sub.example/webhooks/delivered/test")
            .basic_auth("api", "key-demo-sub")
            .form(&[("url", &receiver.url("/sub"))])
    };
    send(test()).await.expect_status(200);
    env.sql("UPDATE accounts SET redact_pii = true WHERE name = 'demo'");
    send(test()).await.expect_status(200);
    let [open, redacted] = &receiver.posts("/sub")[..] else { panic!("two posts") };
    let own = http_signing_key(&world, "demo-sub").await;
    let parent = http_signing_key(&world, "demo").await;
    verifier.assert_send(open, &own, Some(&parent));
    verifier.assert_send(redacted, &own, Some(&parent));
    assert_eq!(open.json()["event-data"]["recipient"], "ada@customer.example");
    assert_eq!(redacted.json()["event-data"]["recipient"], "[REDACTED]");
    // Token and event are fresh each time.
    for field in ["/signature/token", "/event-data/id"] {
        assert_ne!(open.json().pointer(field), redacted.json().pointer(field), "{field}");
    }
}
