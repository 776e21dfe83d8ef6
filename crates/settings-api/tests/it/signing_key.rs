//! The HTTP signing key, byte for byte (reference §6.1), and the time in which
//! a replaced key also signs.

use chassis::Clock;
use protocol::v1;
use signing::{Sealed, SecretKey};
use testkit::TestEnv;

use crate::world::{World, assert_answer, assert_message, send};

const KEY: &str = "/v5/accounts/http_signing_key";
const ALIAS: &str = "/v5/accounts/http/signing/key";
const BEHALF: &str = "X-Mailgun-On-Behalf-Of";
const NOW: &str = "2025-10-09T08:53:20Z";
const NOW_SECONDS: i64 = 1_760_000_000;

async fn stored_key(world: &World, account: &str) -> String {
    let request = v1::GetSigningKeysRequest { account_name: account.to_owned() };
    let keys = world.admin().get_signing_keys(request).await.expect("keys");
    keys.into_inner().http_signing_key
}

fn key_of(answer: &testkit::http::Response) -> String {
    answer.json()["http_signing_key"].as_str().expect("a key").to_owned()
}

/// The replaced key in the account's document, and the second until which it signs.
async fn previous(world: &World, account: &str) -> Option<(String, i64)> {
    let document = world.account_document(account).await;
    let previous = document.previous_http_signing_key.clone()?;
    let secret_key: SecretKey = "5e".repeat(32).parse().expect("a key");
    let context = Sealed::HttpSigningKey(&document.account_id).context();
    let key = secret_key.unseal(&previous.sealed, &context).expect("ours");
    let until = previous.until.expect("a moment").seconds;
    Some((String::from_utf8(key).expect("text"), until))
}

#[tokio::test]
async fn the_key_is_shown_and_replaced_in_mailguns_bytes() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let sub = world.account("demo-sub", "demo").await;
    for path in [KEY, ALIAS] {
        let before = stored_key(&world, "demo").await;
        let shown = send(world.call("GET", path)).await;
        assert_answer(&shown, 200, &format!(r#"{{"http_signing_key":"{before}"}}"#));

        let version = world.account_document("demo").await.version;
        // mailgun.js sends a type with the empty body.
        let post = world.call("POST", path).body("application/x-www-form-urlencoded", "");
        let replaced = send(post).await;
        let key = stored_key(&world, "demo").await;
        let message = "regenerated HTTP signing key for account";
        let body = format!(r#"{{"message":"{message}","http_signing_key":"{key}"}}"#);
        assert_answer(&replaced, 200, &body);
        assert_ne!(key, before);
        assert_eq!(key.strip_prefix("key-").map(str::len), Some(32));
        assert!(world.account_document("demo").await.version > version);
        assert_eq!(previous(&world, "demo").await, None);
    }

    // A subaccount has a key of its own, which its parent may replace.
    let own = stored_key(&world, "demo-sub").await;
    let parents = stored_key(&world, "demo").await;
    let shown = send(world.call("GET", KEY).header(BEHALF, &sub)).await;
    assert_answer(&shown, 200, &format!(r#"{{"http_signing_key":"{own}"}}"#));
    send(world.call("POST", KEY).header(BEHALF, &sub)).await.expect_status(200);
    assert_ne!(stored_key(&world, "demo-sub").await, own);
    assert_eq!(stored_key(&world, "demo").await, parents);
}

#[tokio::test]
async fn a_replaced_key_is_kept_for_as_long_as_the_call_says() {
    let env = TestEnv::new();
    let clock = Clock::fixed(NOW.parse().expect("a moment"));
    let world = World::configured(&env, &[], clock.clone()).await;
    world.account("demo", "").await;
    let post = |query: &str| world.call("POST", &format!("{KEY}{query}"));
    let json = serde_json::json!({"overlap_seconds": 60});
    let requests = [
        post("?overlap_seconds=60"),
        post("").form(&[("overlap_seconds", "60")]),
        post("").multipart(&[("overlap_seconds", "60")]),
        post("").json(&json),
    ];
    for request in requests {
        let before = stored_key(&world, "demo").await;
        send(request).await.expect_status(200);
        // Only the last one is kept, whatever was kept before.
        assert_eq!(previous(&world, "demo").await, Some((before, NOW_SECONDS + 60)));
    }
    let account = send(world.call("GET", "/postrider/v1/account")).await.json();
    assert_eq!(account["signing_key_overlap_until"], "2025-10-09T08:54:20Z");
    clock.advance(std::time::Duration::from_secs(60));
    let account = send(world.call("GET", "/postrider/v1/account")).await.json();
    assert_eq!(account.get("signing_key_overlap_until"), None);

    // A key that was found out signs nothing more, nor does the one before it.
    send(post("?overlap_seconds=0")).await.expect_status(200);
    assert_eq!(previous(&world, "demo").await, None);

    let key = stored_key(&world, "demo").await;
    for wrong in ["604801", "-1", "1.5", "a day", "99999999999999999999"] {
        let answer = send(post("").form(&[("overlap_seconds", wrong)])).await;
        assert_message(&answer, 400, "overlap_seconds must be a whole number from 0 to 604800");
    }
    assert_eq!(stored_key(&world, "demo").await, key);
    send(post("?overlap_seconds=604800")).await.expect_status(200);
}

#[tokio::test]
async fn operators_say_how_long_a_replaced_key_is_kept_by_default() {
    let env = TestEnv::new();
    let clock = Clock::fixed(NOW.parse().expect("a moment"));
    let settings = [("POSTRIDER_SIGNING_KEY_OVERLAP", "1h")];
    let world = World::configured(&env, &settings, clock).await;
    world.account("demo", "").await;
    let before = key_of(&send(world.call("GET", KEY)).await);
    send(world.call("POST", KEY)).await.expect_status(200);
    assert_eq!(previous(&world, "demo").await, Some((before, NOW_SECONDS + 3600)));
    send(world.call("POST", &format!("{KEY}?overlap_seconds=0"))).await.expect_status(200);
    assert_eq!(previous(&world, "demo").await, None);
}

#[tokio::test]
async fn a_key_that_may_only_look_does_not_see_it() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let key = stored_key(&world, "demo").await;
    for (role, status) in [("basic", 403), ("sending", 403), ("developer", 200)] {
        env.sql(&format!("UPDATE api_keys SET role = '{role}'"));
        for (method, path) in [("GET", KEY), ("GET", ALIAS), ("POST", KEY), ("POST", ALIAS)] {
            let answer = send(world.call(method, path)).await;
            assert_eq!(answer.status, status, "{role} {method} {path}");
            if status == 403 {
                assert_message(&answer, 403, "Forbidden");
                assert_eq!(stored_key(&world, "demo").await, key);
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_opened_is_told_in_mailguns_words() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    env.sql(r"UPDATE accounts SET sealed_http_signing_key = '\x00'");
    let answer = send(world.call("GET", KEY)).await;
    assert_message(&answer, 400, "could not get HSK for account");
    // Replacing it helps.
    send(world.call("POST", KEY)).await.expect_status(200);
    send(world.call("GET", KEY)).await.expect_status(200);
}
