//! Each of the fourteen kinds, from the example file to the receiver.

use model::{EventType, Family};
use testkit::verify::Verifier;

use crate::system::{SOON, System, example, kind, payload_event_id};

#[tokio::test]
async fn every_kind_is_delivered_signed_and_once() {
    let system = System::start(&[]).await;
    let verifier = Verifier::start();
    let keys = system.signing_keys("demo").await;
    for event_type in EventType::ALERTS {
        let url = system.receiver.url(&format!("/{event_type}"));
        system.add_alert("demo", event_type.as_str(), &url).await;
    }
    for event_type in EventType::WEBHOOKS {
        let url = system.receiver.url(&format!("/{event_type}"));
        system.add_domain_webhook("demo", "mail.demo.example", event_type.as_str(), &[&url]).await;
    }
    for event_type in EventType::ALERTS.into_iter().chain(EventType::WEBHOOKS) {
        let event = example(event_type.as_str());
        assert_eq!(EventType::of(kind(&event)), event_type);
        let id = system.publish(event).await.id;
        let path = format!("/{event_type}");
        let posts = system.receiver.wait_for_posts(&path, 1, SOON).await;
        let post = &posts[0];
        assert_eq!(post.header("content-type"), Some("application/json"));
        assert_eq!(post.header("x-postrider-event"), Some(event_type.as_str()));
        assert_eq!(post.header("x-postrider-attempt"), Some("1"));
        assert_eq!(payload_event_id(&post.json()), id);
        let key = match event_type.family() {
            Family::Alert => {
                verifier.assert_alert(post, &keys.alerts_signing_key);
                &keys.alerts_signing_key
            }
            Family::Message => {
                verifier.assert_send(post, &keys.http_signing_key, None);
                assert!(post.header("x-sign").is_none());
                &keys.http_signing_key
            }
        };
        let secret = signing::standard_webhooks_secret(&signing::SigningKey::new(key));
        verifier.assert_standard_webhooks(post, &secret);
    }
    // All fourteen arrived; nothing arrived twice.
    let posts = system.receiver.requests().into_iter().filter(|r| r.method == "POST").count();
    assert_eq!(posts, 14);
}

#[tokio::test]
async fn a_subaccounts_event_carries_both_signatures() {
    let system = System::start(&[]).await;
    let verifier = Verifier::start();
    system.create_account("demo-sub", Some("demo")).await;
    system.create_domain("mail.sub.example", "demo-sub").await;
    let url = system.receiver.url("/sub");
    system.add_domain_webhook("demo-sub", "mail.sub.example", "opened", &[&url]).await;
    let mut event = example("opened");
    event.account = String::new();
    event.domain = "Mail.Sub.Example".into();
    system.publish(event).await;
    let post = system.receiver.wait_for_posts("/sub", 1, SOON).await.remove(0);
    let own = system.signing_keys("demo-sub").await.http_signing_key;
    let parent = system.signing_keys("demo").await.http_signing_key;
    verifier.assert_send(&post, &own, Some(&parent));
}
