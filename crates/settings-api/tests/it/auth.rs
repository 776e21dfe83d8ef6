//! Who may call, and for whom (reference §1.2, §1.3).

use base64::Engine as _;
use protocol::v1;
use testkit::TestEnv;
use testkit::http::Response;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{World, assert_answer, assert_common_headers, assert_message, send};

const LIST: &str = "/v3/domains/mail.demo.example/webhooks";
const ALERTS: &str = "/v1/alerts/settings";
const BEHALF: &str = "X-Mailgun-On-Behalf-Of";

#[track_caller]
fn assert_unauthorized(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (401, "Forbidden"));
    assert_eq!(response.header("www-authenticate"), Some("Basic realm=\"MG API\""));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_common_headers(response);
}

#[tokio::test]
async fn without_a_valid_key_every_call_is_refused() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    for path in [LIST, ALERTS, "/v1/alerts/events", "/v1/alerts"] {
        assert_unauthorized(&send(world.anonymous("GET", path)).await);
        let get = || world.anonymous("GET", path);
        assert_unauthorized(&send(get().basic_auth("api", "key-other")).await);
        assert_unauthorized(&send(get().basic_auth("user", "key-demo")).await);
        assert_unauthorized(&send(get().header("Authorization", "Bearer key-demo")).await);
        send(get().basic_auth("api", "key-demo")).await.expect_status(200);
    }
    // Refused before the body is looked at.
    let post = world.anonymous("POST", LIST).body("application/json", "{");
    assert_unauthorized(&send(post).await);
}

#[tokio::test]
async fn who_is_refused_early_can_finish_writing_and_read_why() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let address = world.base.strip_prefix("http://").expect("a URL").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.expect("connected");
    let head = format!("POST {LIST} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 200000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    // Each part has arrived before the next one is sent, by the answer to
    // another call; a connection that was closed early would be reset by now.
    for _ in 0..20 {
        send(world.anonymous("GET", LIST)).await;
        stream.write_all(&[b'x'; 10_000]).await.expect("written");
    }
    let mut answer = vec![0; 4_096];
    let count = stream.read(&mut answer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test]
async fn a_key_works_until_it_is_revoked() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let request = v1::CreateKeyRequest { account_name: "demo".into(), ..Default::default() };
    let made = world.admin().create_key(request).await.expect("made").into_inner();
    let key_id = made.key.expect("a key").key_id;
    let get = || world.anonymous("GET", LIST).basic_auth("api", &made.api_key);
    let answer = send(get()).await.expect_status(200);
    assert_eq!(answer.header("x-mailgun-key-id"), Some(key_id.as_str()));
    assert_eq!(env.sql("SELECT count(*) FROM api_keys WHERE last_used_at IS NOT NULL").trim(), "1");

    let revoke = v1::RevokeKeyRequest { key_id };
    world.admin().revoke_key(revoke).await.expect("revoked");
    assert_unauthorized(&send(get()).await);
}

#[tokio::test]
async fn a_parents_key_acts_for_its_subaccounts_alone() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let sub = world.account("demo-sub", "demo").await;
    let demo = world.account_document("demo").await.account_id.clone();
    let other = world.account("other", "").await;
    world.domain("mail.sub.example", "demo-sub").await;
    let path = "/v3/domains/mail.sub.example/webhooks";

    // Without the header the parent has no such domain; with it, it has.
    assert_message(&send(world.call("GET", path)).await, 404, "Domain not found");
    let form = [("id", "clicked"), ("url", "https://hooks.example.net/")];
    let post = world.call("POST", path).header(BEHALF, &sub).form(&form);
    send(post).await.expect_status(200);
    let own = world.anonymous("GET", path).basic_auth("api", "key-demo-sub");
    assert_answer(
        &send(own).await,
        200,
        r#"{"webhooks":{"clicked":{"urls":["https://hooks.example.net/"]}}}"#,
    );
    send(world.call("GET", LIST).header(BEHALF, &demo)).await.expect_status(200);
    send(world.call("GET", LIST).header(BEHALF, "")).await.expect_status(200);

    for foreign in [other.as_str(), "66f0c1de9a7b4e0012ab34cd", "not an id", "demo-sub"] {
        let get = world.call("GET", LIST).header(BEHALF, foreign);
        assert_message(&send(get).await, 403, "Forbidden");
    }
    // A subaccount's key does not act for its parent.
    let upwards = world.anonymous("GET", LIST).basic_auth("api", "key-demo-sub");
    assert_message(&send(upwards.header(BEHALF, &demo)).await, 403, "Forbidden");
}

#[tokio::test]
async fn an_account_that_is_not_open_can_do_nothing() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let sub = world.account("demo-sub", "demo").await;
    let set = |status: &str| v1::SetAccountStatusRequest {
        account_name: sub.clone(),
        status: status.to_owned(),
        reason: String::new(),
    };
    let mut admin = world.admin();
    admin.set_account_status(set("disabled")).await.expect("disabled");
    let own = || world.anonymous("GET", ALERTS).basic_auth("api", "key-demo-sub");
    assert_message(&send(own()).await, 403, "Account is disabled");
    let parents = || world.call("GET", ALERTS).header(BEHALF, &sub);
    assert_message(&send(parents()).await, 403, "Account is disabled");
    send(world.call("GET", ALERTS)).await.expect_status(200);

    admin.set_account_status(set("open")).await.expect("open");
    send(own()).await.expect_status(200);
    send(parents()).await.expect_status(200);

    // Its keys are revoked with it; its parent is told.
    admin.set_account_status(set("closed")).await.expect("closed");
    assert_unauthorized(&send(own()).await);
    assert_message(&send(parents()).await, 403, "Account is closed");
}

#[tokio::test]
async fn credentials_that_are_no_text_are_refused() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let bytes = base64::engine::general_purpose::STANDARD.encode(b"api:\xff\xfe");
    let get = world.anonymous("GET", LIST).header("Authorization", &format!("Basic {bytes}"));
    assert_unauthorized(&send(get).await);
}
