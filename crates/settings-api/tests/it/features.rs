//! Switches of an account, byte for byte (reference §6.2).

use serde_json::json;
use testkit::TestEnv;

use crate::world::{World, assert_answer, assert_message, send};

const FEATURES: &str = "/v5/accounts/features";
const REDACT: &str = "webhooks_redact_pii";
const ON: &str = r#"{"enabled":true}"#;
const OFF: &str = r#"{"enabled":false}"#;

async fn shown(world: &World) -> String {
    send(world.call("GET", "/postrider/v1/account")).await.json()["features"].to_string()
}

#[tokio::test]
async fn switches_are_set_in_every_encoding_and_the_others_stay() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let put = || world.call("PUT", FEATURES);
    assert_eq!(shown(&world).await, r#"{"webhooks_redact_pii":{"enabled":false}}"#);

    // As mailgun.js sends it.
    let both = [(REDACT, ON), ("ai_insights", OFF)];
    assert_answer(&send(put().form(&both)).await, 200, r#"{"success":true}"#);
    assert!(world.account_document("demo").await.redact_pii);
    let expected = r#"{"ai_insights":{"enabled":false},"webhooks_redact_pii":{"enabled":true}}"#;
    assert_eq!(shown(&world).await, expected);

    assert_answer(&send(put().multipart(&[("sending", ON)])).await, 200, r#"{"success":true}"#);
    assert!(world.account_document("demo").await.redact_pii, "what is not given stays");
    let object = json!({REDACT: {"enabled": false}, "validations": {"enabled": true}});
    send(put().json(&object)).await.expect_status(200);
    assert!(!world.account_document("demo").await.redact_pii);
    send(put().json(&json!({"ai_insights": ON}))).await.expect_status(200);
    let query = format!("{FEATURES}?email_preview=%7B%22enabled%22%3Atrue%7D");
    send(world.call("PUT", &query)).await.expect_status(200);
    let expected = r#"{"ai_insights":{"enabled":true},"email_preview":{"enabled":true},"sending":{"enabled":true},"validations":{"enabled":true},"webhooks_redact_pii":{"enabled":false}}"#;
    assert_eq!(shown(&world).await, expected);
}

#[tokio::test]
async fn nothing_known_or_nothing_readable_changes_nothing() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let version = world.account_document("demo").await.version;
    let put = || world.call("PUT", FEATURES);
    for request in [
        put(),
        put().body("application/x-www-form-urlencoded", ""),
        put().form(&[("colour", ON)]),
        put().form(&[(REDACT, "")]),
        put().json(&json!({})),
        put().json(&json!({REDACT: null})),
    ] {
        assert_message(&send(request).await, 400, "No valid updates provided");
    }
    let wrong =
        r#"{"message":"webhooks_redact_pii must be a JSON object such as {\"enabled\":true}"}"#;
    for value in ["true", "{", "[]", r#"{"enabled":"true"}"#, r#"{"enabled":null}"#, "{}"] {
        // One that is wrong spoils all.
        let answer = send(put().form(&[("sending", ON), (REDACT, value)])).await;
        assert_answer(&answer, 400, wrong);
    }
    assert_answer(&send(put().json(&json!({REDACT: true}))).await, 400, wrong);
    let answer = send(put().json(&json!({REDACT: [{"enabled": true}]}))).await;
    assert_message(&answer, 400, "field 'webhooks_redact_pii' must be a string or a list of them");
    assert_message(&send(put().json(&json!([]))).await, 400, "the body must be a JSON object");
    assert_eq!(world.account_document("demo").await.version, version);
    assert_eq!(shown(&world).await, r#"{"webhooks_redact_pii":{"enabled":false}}"#);
}

#[tokio::test]
async fn a_subaccount_has_switches_of_its_own_and_looking_is_not_switching() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let sub = world.account("demo-sub", "demo").await;
    let put = world.call("PUT", FEATURES).header("X-Mailgun-On-Behalf-Of", &sub);
    send(put.form(&[(REDACT, ON)])).await.expect_status(200);
    assert!(world.account_document("demo-sub").await.redact_pii);
    assert!(!world.account_document("demo").await.redact_pii);

    // By itself it neither sees the switch nor sets it; others it may.
    let own = |method: &'static str, path: &'static str| {
        world.anonymous(method, path).basic_auth("api", "key-demo-sub")
    };
    let refused = send(own("PUT", FEATURES).form(&[(REDACT, ON)])).await;
    let message = "webhooks_redact_pii is the parent account's to set; a domain has its own";
    assert_message(&refused, 403, message);
    send(own("PUT", FEATURES).form(&[("sending", ON)])).await.expect_status(200);
    let account = send(own("GET", "/postrider/v1/account")).await.expect_status(200).json();
    assert_eq!(account["features"], json!({"sending": {"enabled": true}}));

    for (role, status) in [("basic", 403), ("sending", 403), ("developer", 200)] {
        env.sql(&format!("UPDATE api_keys SET role = '{role}'"));
        let put = world.call("PUT", FEATURES).form(&[(REDACT, ON)]);
        assert_eq!(send(put).await.status, status, "{role}");
    }
}
