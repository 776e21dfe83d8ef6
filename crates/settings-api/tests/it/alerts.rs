//! Alerts, byte for byte (reference §9.1 to §9.3).

mod refusals;

use std::time::Duration;

use chassis::Clock;
use protocol::v1::Channel;
use serde_json::{Value, json};
use testkit::http::{Request, Response};
use testkit::{Receiver, Reply, TestEnv};

use crate::world::{World, assert_answer, assert_message, send};

const EVENTS: &str = "/v1/alerts/settings/events";
const SETTINGS: &str = "/v1/alerts/settings";

fn webhook(event_type: &str, url: &str) -> Value {
    json!({"event_type": event_type, "channel": "webhook", "settings": {"url": url}})
}

fn email(event_type: &str, emails: &[&str]) -> Value {
    json!({"event_type": event_type, "channel": "email", "settings": {"emails": emails}})
}

fn id_of(response: &Response) -> String {
    response.json()["id"].as_str().expect("an id").to_owned()
}

async fn signing_key(world: &World) -> String {
    let list = send(world.call("GET", SETTINGS)).await.json();
    list["webhooks"]["signing_key"].as_str().expect("a key").to_owned()
}

#[tokio::test]
async fn the_event_types_are_listed() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let body = r#"{"events":["ip_listed","ip_delisted","domain_listed","domain_delisted","validation_job","validation_preview"]}"#;
    assert_answer(&send(world.call("GET", "/v1/alerts/events")).await, 200, body);
    assert_answer(&send(world.call("GET", "/v1/alerts")).await, 200, body);
}

#[tokio::test]
async fn settings_are_made_listed_replaced_and_deleted() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let receiver = Receiver::start().await;
    let (one, two) = (receiver.url("/one?x=1"), receiver.url("/two"));
    let key = signing_key(&world).await;
    assert_eq!(key.len(), 32);
    let slack = r#""slack":{"token":"","team_id":null,"team_name":null,"scope":null}"#;
    let empty = format!(r#"{{"events":[],"webhooks":{{"signing_key":"{key}"}},{slack}}}"#);
    assert_answer(&send(world.call("GET", SETTINGS)).await, 200, &empty);

    let created = send(world.call("POST", EVENTS).json(&webhook("ip_listed", &one))).await;
    let first = id_of(&created);
    let record = |url: &str| {
        format!(
            r#""id":"{first}","event_type":"ip_listed","channel":"webhook","settings":{{"url":"{url}"}},"disabled_at":null"#
        )
    };
    assert_answer(&created, 200, &format!("{{{}}}", record(&one)));
    let [check] = &receiver.requests()[..] else { panic!("one GET") };
    assert_eq!((check.method.as_str(), check.query.as_str()), ("GET", "x=1"));

    // mailgun-go's path.
    let mail = email("ip_listed", &["ops@shop.example", "cto@shop.example", "ops@shop.example"]);
    let created = send(world.call("POST", SETTINGS).json(&mail)).await;
    let second = id_of(&created);
    let mail_record = format!(
        r#"{{"id":"{second}","event_type":"ip_listed","channel":"email","settings":{{"emails":["ops@shop.example","cto@shop.example"]}},"disabled_at":null}}"#
    );
    assert_answer(&created, 200, &mail_record);

    let both = format!(
        r#"{{"events":[{{{}}},{mail_record}],"webhooks":{{"signing_key":"{key}"}},{slack}}}"#,
        record(&one)
    );
    assert_answer(&send(world.call("GET", SETTINGS)).await, 200, &both);

    let path = format!("{EVENTS}/{first}");
    let updated = send(world.call("PUT", &path).json(&webhook("ip_listed", &two))).await;
    assert_answer(&updated, 200, &format!(r#"{{"message":"settings updated",{}}}"#, record(&two)));
    let document = world.account_document("demo").await;
    let seen = document.alerts.iter().find(|alert| alert.setting_id == first).expect("published");
    assert_eq!((seen.generation, seen.url.as_str()), (2, two.as_str()));
    assert_eq!(seen.channel(), Channel::Webhook);

    let deleted = send(world.call("DELETE", &path)).await;
    assert_answer(&deleted, 200, r#"{"message":"settings deleted"}"#);
    assert_message(&send(world.call("DELETE", &path)).await, 404, "alert setting not found");
    // mailgun-go's path.
    let deleted = send(world.call("DELETE", &format!("{SETTINGS}/{second}"))).await;
    assert_answer(&deleted, 200, r#"{"message":"settings deleted"}"#);
    assert!(world.account_document("demo").await.alerts.is_empty());
    assert_answer(&send(world.call("GET", SETTINGS)).await, 200, &empty);
    world.stop().await;
}

#[tokio::test]
async fn a_reset_signing_key_is_in_force_at_once() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let old = signing_key(&world).await;
    let sealed = world.account_document("demo").await.sealed_alerts_signing_key.clone();
    let reset = send(world.call("PUT", "/v1/alerts/settings/webhooks/signing_key")).await;
    let new = signing_key(&world).await;
    assert_answer(&reset, 200, &format!(r#"{{"signing_key":"{new}"}}"#));
    assert_ne!(old, new);
    assert!(new.len() == 32 && new.bytes().all(|b| b.is_ascii_hexdigit()), "{new}");
    assert_ne!(world.account_document("demo").await.sealed_alerts_signing_key, sealed);
    // Nothing in the database is the key itself.
    let clear = format!(
        "SELECT count(*) FROM accounts a WHERE position('{new}'::bytea IN a.sealed_alerts_signing_key) > 0"
    );
    assert_eq!(env.sql(&clear).trim(), "0");
}

#[tokio::test]
async fn a_url_has_to_answer_200_and_nothing_else() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let receiver = Receiver::start().await;
    let url = receiver.url("/hook");
    let post = || send(world.call("POST", EVENTS).json(&webhook("ip_listed", &url)));
    for status in [201, 204, 301, 302, 404, 500] {
        receiver.on_get("/hook", [Reply::status(status).header("location", &receiver.url("/"))]);
        let message = format!("webhook url did not return a 200 response: it returned {status}");
        assert_message(&post().await, 400, &message);
    }
    receiver.on_get("/hook", [Reply::close()]);
    let answer = post().await.expect_status(400);
    assert!(answer.text().contains("did not return a 200 response"), "{}", answer.text());
    assert!(
        receiver.requests().iter().all(|request| request.path == "/hook"),
        "a redirect was followed"
    );
    assert!(world.account_document("demo").await.alerts.is_empty());

    receiver.on_get("/hook", [Reply::status(200)]);
    let id = id_of(&post().await.expect_status(200));
    // The same on update: what fails leaves the setting as it was.
    receiver.on_get("/other", [Reply::status(503)]);
    let other = webhook("ip_delisted", &receiver.url("/other"));
    let put = send(world.call("PUT", &format!("{EVENTS}/{id}")).json(&other)).await;
    let message = "webhook url did not return a 200 response: it returned 503";
    assert_message(&put, 400, message);
    let document = world.account_document("demo").await;
    assert_eq!((document.alerts[0].generation, document.alerts[0].url.as_str()), (1, url.as_str()));

    let closed = webhook("ip_listed", "http://10.1.2.3/");
    let answer = send(world.call("POST", EVENTS).json(&closed)).await;
    let message = "http://10.1.2.3/ is not a valid url: addresses in 10.0.0.0/8 (private use) are not allowed";
    assert_message(&answer, 400, message);
}

#[tokio::test]
async fn the_same_alert_to_the_same_place_is_a_conflict() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let receiver = Receiver::start().await;
    let post = |body: Value| send(world.call("POST", EVENTS).json(&body));
    let (one, two) = (receiver.url("/one"), receiver.url("/two"));
    post(webhook("ip_listed", &one)).await.expect_status(200);
    post(webhook("ip_listed", &two)).await.expect_status(200);
    post(webhook("ip_delisted", &one)).await.expect_status(200);
    let mail = id_of(&post(email("ip_listed", &["ops@shop.example"])).await.expect_status(200));
    let other = id_of(&post(email("ip_delisted", &["ops@shop.example"])).await.expect_status(200));

    let message = "alert setting already exists";
    assert_message(&post(webhook("ip_listed", &one)).await, 409, message);
    assert_message(&post(email("ip_listed", &["cto@shop.example"])).await, 409, message);
    let put =
        |id: &str, body: Value| send(world.call("PUT", &format!("{EVENTS}/{id}")).json(&body));
    assert_message(&put(&mail, webhook("ip_listed", &two)).await, 409, message);
    assert_message(&put(&other, email("ip_listed", &["a@b.example"])).await, 409, message);
    // A setting is no conflict with itself.
    put(&mail, email("ip_listed", &["cto@shop.example"])).await.expect_status(200);
}

#[tokio::test]
async fn the_description_tells_of_every_call_and_not_of_aliases() {
    let env = TestEnv::new();
    let world = World::start(&env).await;
    let description = send(world.anonymous("GET", "/openapi.json")).await.json();
    let described = |path: &str, method: &str| &description["paths"][path][method]["responses"];
    for (method, path) in [
        ("put", "/v1/alerts/settings/slack"),
        ("delete", "/v1/alerts/settings/slack"),
        ("delete", "/v1/alerts/slack/oauth"),
        ("get", "/v1/alerts/slack/channels"),
        ("get", "/v1/alerts/slack/channels/{id}"),
        ("post", "/v1/alerts/slack/test"),
        ("post", EVENTS),
        ("put", "/v1/alerts/settings/events/{id}"),
    ] {
        assert!(described(path, method)["501"].is_object(), "{method} {path}");
    }
    for (method, path) in [
        ("get", "/v1/alerts"),
        ("post", "/v1/alerts/settings"),
        ("delete", "/v1/alerts/settings/{id}"),
    ] {
        assert!(described(path, method).is_null(), "{method} {path}");
    }
    assert!(described("/v1/alerts/events", "get")["429"].is_object());
}

#[tokio::test]
async fn keys_that_only_look_see_no_signing_key() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let key = signing_key(&world).await;
    let shown = |signing_key: &str| {
        format!(
            r#"{{"events":[],"webhooks":{{"signing_key":"{signing_key}"}},"slack":{{"token":"","team_id":null,"team_name":null,"scope":null}}}}"#
        )
    };
    for (role, seen) in [("admin", key.as_str()), ("developer", &key), ("basic", "")] {
        env.sql(&format!("UPDATE api_keys SET role = '{role}'"));
        assert_answer(&send(world.call("GET", SETTINGS)).await, 200, &shown(seen));
    }
    let body = email("ip_listed", &["ops@shop.example"]);
    let path = format!("{EVENTS}/5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21");
    for request in [
        world.call("POST", EVENTS).json(&body),
        world.call("PUT", &path).json(&body),
        world.call("DELETE", &path),
        world.call("PUT", "/v1/alerts/settings/webhooks/signing_key"),
        world.call("POST", "/v1/alerts/webhooks/test").json(&body),
        world.call("POST", "/v1/alerts/email/test").json(&body),
    ] {
        assert_message(&send(request).await, 403, "Forbidden");
    }
}

#[tokio::test]
async fn a_hundred_settings_are_enough() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let id = world.account_document("demo").await.account_id.clone();
    env.sql(&format!(
        "INSERT INTO alert_settings (setting_id, account_id, event_type, channel, url, created_at) \
         SELECT gen_random_uuid(), '{id}', 'ip_listed', 'webhook', 'https://a.example/' || n, now() \
         FROM generate_series(1, 100) n"
    ));
    let answer = send(world.call("POST", EVENTS).json(&email("ip_listed", &["ops@shop.example"])));
    let answer = testkit::within(Duration::from_secs(10), "the answer", answer).await;
    assert_message(&answer, 400, "an account can have at most 100 alert settings");
}

#[tokio::test]
async fn without_a_relay_no_email_alert_is_saved_and_those_there_stay() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let mail = email("ip_listed", &["ops@shop.example"]);
    let id = id_of(&send(world.call("POST", EVENTS).json(&mail)).await.expect_status(200));
    let list = send(world.call("GET", SETTINGS)).await.expect_status(200).text();
    world.stop().await;

    let world = World::configured(&env, &[("POSTRIDER_SMTP_URL", "")], Clock::system()).await;
    let message = "email alerts cannot be saved: this server has no mail relay configured";
    let other = email("ip_delisted", &["ops@shop.example"]);
    assert_message(&send(world.call("POST", EVENTS).json(&other)).await, 400, message);
    let path = format!("{EVENTS}/{id}");
    assert_message(&send(world.call("PUT", &path).json(&mail)).await, 400, message);
    assert_eq!(send(world.call("GET", SETTINGS)).await.text(), list);
    // What is wrong with the request itself is told first.
    let nobody = email("ip_listed", &["nobody"]);
    let answer = send(world.call("POST", EVENTS).json(&nobody)).await.expect_status(400);
    assert!(answer.text().contains("Invalid email address"), "{}", answer.text());
    // It can be deleted, and become a webhook.
    let receiver = Receiver::start().await;
    let body = webhook("ip_listed", &receiver.url("/hook"));
    send(world.call("PUT", &path).json(&body)).await.expect_status(200);
    send(world.call("DELETE", &path)).await.expect_status(200);
}
