//! What replacing a signing key means for a retry that is waiting.

use protocol::v1::Event;
use testkit::verify::{SendKeys, Verifier};
use testkit::{Reply, http};

use crate::system::{SOON, System, clicked};

const SUB: &str = "demo-sub";
const DOMAIN: &str = "mail.sub.example";

/// A platform with a subaccount, and an event of it whose first try has failed;
/// the next one is four seconds away.
async fn with_a_retry_pending() -> System {
    let system = System::start(&[("SEND_RETRY_SCHEDULE", "4s")]).await;
    system.create_account(SUB, Some("demo")).await;
    system.create_domain(DOMAIN, SUB).await;
    system.receiver.on_post("/hook", [500, 200].map(Reply::status));
    let url = system.receiver.url("/hook");
    system.add_domain_webhook(SUB, DOMAIN, "clicked", &[&url]).await;
    let event = clicked("rotated");
    system.publish(Event { account: SUB.into(), domain: DOMAIN.into(), ..event }).await;
    system.receiver.wait_for_posts("/hook", 1, SOON).await;
    system
}

async fn key_of(system: &System, account: &str) -> String {
    system.signing_keys(account).await.http_signing_key
}

/// Replaces the key of an account; returns the new one.
async fn regenerate(system: &System, account: &str, query: &str) -> String {
    let request = http::post(system.url(&format!("/v5/accounts/http_signing_key{query}")));
    let request = request.basic_auth("api", &format!("key-{account}"));
    let answer = request.send().await.expect("answered").expect_status(200).json();
    answer["http_signing_key"].as_str().expect("a key").to_owned()
}

/// The form in which libraries of Standard Webhooks take a key.
fn secret(key: &str) -> String {
    signing::standard_webhooks_secret(&signing::SigningKey::new(key))
}

#[tokio::test]
async fn in_an_overlap_a_waiting_retry_is_signed_with_both_keys() {
    let verifier = Verifier::start();
    let system = with_a_retry_pending().await;
    let (old, old_parent) = (key_of(&system, SUB).await, key_of(&system, "demo").await);
    let new = regenerate(&system, SUB, "?overlap_seconds=3600").await;
    let new_parent = regenerate(&system, "demo", "?overlap_seconds=3600").await;

    let posts = system.receiver.wait_for_posts("/hook", 2, SOON).await;
    verifier.assert_send(&posts[0], &old, Some(&old_parent));
    let both = SendKeys {
        key: &new,
        parent: Some(&new_parent),
        previous: Some(&old),
        previous_parent: Some(&old_parent),
    };
    verifier.assert_send_keys(&posts[1], both);
    for key in [&new, &old] {
        verifier.assert_standard_webhooks(&posts[1], &secret(key));
    }
    system.wait_for_end("rotated", "delivered").await;
}

#[tokio::test]
async fn without_an_overlap_a_waiting_retry_is_signed_with_the_new_key_alone() {
    let verifier = Verifier::start();
    let system = with_a_retry_pending().await;
    let (old, parent) = (key_of(&system, SUB).await, key_of(&system, "demo").await);
    let new = regenerate(&system, SUB, "").await;
    assert_ne!(new, old);

    let posts = system.receiver.wait_for_posts("/hook", 2, SOON).await;
    verifier.assert_send(&posts[0], &old, Some(&parent));
    verifier.assert_send(&posts[1], &new, Some(&parent));
    verifier.assert_standard_webhooks(&posts[1], &secret(&new));
    let signatures = posts[1].header("webhook-signature").expect("a signature");
    assert!(!signatures.contains(' '), "{signatures}");
    system.wait_for_end("rotated", "delivered").await;
}
