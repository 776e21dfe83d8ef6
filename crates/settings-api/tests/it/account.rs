//! The account itself (reference §6.2), and what is known of it.

use chassis::Clock;
use serde_json::json;
use testkit::TestEnv;

use crate::world::{World, assert_answer, assert_message, send};

const MAILGUNS: &str = "/v5/accounts";
const OURS: &str = "/postrider/v1/account";
const BEHALF: &str = "X-Mailgun-On-Behalf-Of";

#[tokio::test]
async fn an_account_is_called_what_its_owner_says() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let done = r#"{"message":"Account info has been updated"}"#;
    let put = |query: &str| world.call("PUT", &format!("{MAILGUNS}{query}"));
    let long = "ä".repeat(128);
    for (request, name) in [
        (put("").form(&[("name", "Shop & Söhne")]), "Shop & Söhne"),
        (put("").multipart(&[("name", "Two")]), "Two"),
        (put("?name=Three+3"), "Three 3"),
        (put("").json(&json!({"name": "Four"})), "Four"),
        (put("").form(&[("name", &long)]), long.as_str()),
        // The settings of Mailgun's control panel are checked, and that is all.
        (
            put("").form(&[
                ("inactive_session_timeout", "900"),
                ("absolute_session_timeout", "86400"),
                ("logout_redirect_url", "https://shop.example/bye"),
            ]),
            long.as_str(),
        ),
    ] {
        assert_answer(&send(request).await, 200, done);
        assert_eq!(send(world.call("GET", OURS)).await.json()["name"], name);
    }

    for (fields, message) in [
        (
            vec![],
            "at least one of name, inactive_session_timeout, absolute_session_timeout and logout_redirect_url must be given",
        ),
        (
            vec![("name", "")],
            "at least one of name, inactive_session_timeout, absolute_session_timeout and logout_redirect_url must be given",
        ),
        (
            vec![("inactive_session_timeout", "soon"), ("name", "x")],
            "inactive_session_timeout must be a whole number of seconds",
        ),
        (
            vec![("absolute_session_timeout", "-1")],
            "absolute_session_timeout must be a whole number of seconds",
        ),
        (
            vec![("logout_redirect_url", "javascript:alert(1)")],
            "logout_redirect_url must be an http or https URL",
        ),
        (
            vec![("name", "two\nlines")],
            "name must be 1 to 128 characters without control characters",
        ),
    ] {
        assert_message(&send(put("").form(&fields)).await, 400, message);
    }
    let too_long = format!("{long}ä");
    let answer = send(put("").form(&[("name", &too_long)])).await;
    assert_message(&answer, 400, "name must be 1 to 128 characters without control characters");
    assert_eq!(send(world.call("GET", OURS)).await.json()["name"], long);
}

#[tokio::test]
async fn an_account_is_shown_with_what_it_has_and_may_have() {
    let env = TestEnv::new();
    let clock = Clock::fixed("2025-10-09T08:53:20Z".parse().expect("a moment"));
    let settings = [("POSTRIDER_QUOTA_WEBHOOKS", "7")];
    let world = World::configured(&env, &settings, clock).await;
    let demo = world.account("demo", "").await;
    world.domain("mail.demo.example", "demo").await;
    let sub = world.account("demo-sub", "demo").await;
    let url = "https://hooks.example.net/a";
    let webhook = world.call("POST", "/v3/domains/mail.demo.example/webhooks");
    send(webhook.form(&[("id", "clicked"), ("url", url)])).await.expect_status(200);

    let shown = send(world.call("GET", OURS)).await;
    let body = format!(
        r#"{{"id":"{demo}","name":"demo","status":"open","parent_id":null,"contact_email":null,"key_role":"admin","features":{{"webhooks_redact_pii":{{"enabled":false}}}},"quotas":{{"webhooks":{{"used":1,"limit":7}},"alert_settings":{{"used":0,"limit":100}},"domains":{{"used":1,"limit":1000}},"api_keys":{{"used":1,"limit":100}},"subaccounts":{{"used":1,"limit":1000}}}}}}"#
    );
    assert_answer(&shown, 200, &body);

    let shown = send(world.call("GET", OURS).header(BEHALF, &sub)).await.json();
    assert_eq!(shown["id"], sub);
    assert_eq!(shown["parent_id"], demo);
    assert_eq!(shown["quotas"]["webhooks"]["used"], 0);
}

#[tokio::test]
async fn a_contact_is_one_address_or_none() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let put = || world.call("PUT", OURS);
    let contact =
        |answer: testkit::http::Response| answer.expect_status(200).json()["contact_email"].clone();
    let given = send(put().form(&[("contact_email", "ops@shop.example")])).await;
    assert_eq!(contact(given), "ops@shop.example");
    let given = send(put().json(&json!({"contact_email": " ops@bücher.example "}))).await;
    assert_eq!(contact(given), "ops@xn--bcher-kva.example");
    let shown = send(world.call("GET", OURS)).await;
    assert_eq!(contact(shown), "ops@xn--bcher-kva.example");

    let missing = "Missing parameter 'contact_email'";
    assert_message(&send(put()).await, 400, missing);
    for wrong in ["ops", "a@b@c.example", "ops@shop.example, you@shop.example"] {
        let answer = send(put().form(&[("contact_email", wrong)])).await;
        assert_eq!(answer.status, 400, "{wrong}");
        let message = answer.json()["message"].as_str().expect("a message").to_owned();
        assert!(message.starts_with("contact_email is not a valid email address: "), "{message}");
    }
    let shown = send(world.call("GET", OURS)).await;
    assert_eq!(contact(shown), "ops@xn--bcher-kva.example");

    let cleared = send(put().form(&[("contact_email", "")])).await;
    assert_eq!(contact(cleared), serde_json::Value::Null);
}

#[tokio::test]
async fn only_an_admin_changes_the_account() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    for (role, reads, writes) in
        [("developer", 200, 403), ("basic", 200, 403), ("sending", 403, 403), ("admin", 200, 200)]
    {
        env.sql(&format!("UPDATE api_keys SET role = '{role}'"));
        assert_eq!(send(world.call("GET", OURS)).await.status, reads, "{role}");
        let label = world.call("PUT", MAILGUNS).form(&[("name", "x")]);
        assert_eq!(send(label).await.status, writes, "{role}");
        let contact = world.call("PUT", OURS).form(&[("contact_email", "")]);
        assert_eq!(send(contact).await.status, writes, "{role}");
    }
}
