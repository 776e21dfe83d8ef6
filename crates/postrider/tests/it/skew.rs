//! Two versions side by side: what a newer one has added to a message is passed over.

use prost::Message as _;
use protocol::v1::{AcceptedEvent, Delivery};
use testkit::{broker, eventually};

use crate::system::{SOON, System, clicked};

/// Two fields that no version has yet: number 15000 is 7, number 15001 is "new".
const ADDED: [u8; 11] = [0xc0, 0xa9, 0x07, 0x07, 0xca, 0xa9, 0x07, 0x03, b'n', b'e', b'w'];

/// Writes every message of a stream again, with something in it that is new.
async fn add_to_all(url: &str, stream: &str) {
    for (subject, payload) in broker::messages(url, stream).await {
        broker::publish(url, &subject, &[&payload, &ADDED[..]].concat()).await;
    }
}

#[tokio::test]
async fn what_a_newer_version_adds_is_passed_over() {
    let mut system = System::start_apart(&[]).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    system.kill9("fanout").await;
    system.kill9("dispatcher").await;
    let url = system.setting("NATS_URL").to_owned();
    let stream = |name: &str| format!("{}_{name}", system.setting("REGION"));
    let (events, deliveries) = (stream("EVENTS"), stream("DELIVERIES_0"));
    let settings = format!("KV_{}", stream("settings"));

    add_to_all(&url, &settings).await;
    system.publish(clicked("one")).await;
    let (subject, payload) = broker::messages(&url, &events).await.remove(0);
    let mut event = AcceptedEvent::decode(payload.as_slice()).expect("an event");
    event.event_key = event.event_key.chars().rev().collect();
    let payload = [event.encode_to_vec(), ADDED.to_vec()].concat();
    broker::publish(&url, &subject, &payload).await;

    system.run("fanout", None).await;
    eventually(SOON, "both to be due", || async {
        (broker::messages(&url, &deliveries).await.len() == 2).then_some(())
    })
    .await;
    add_to_all(&url, &deliveries).await;
    system.run("dispatcher", None).await;
    system.receiver.wait_for_posts("/hook", 2, SOON).await;
    eventually(SOON, "history to have both", || async {
        let ends = system.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (ends.trim() == "2").then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/hook").len(), 2, "each once");
}

#[tokio::test]
async fn a_delivery_of_an_event_that_a_newer_version_knows_goes_back_and_ends_only_after_hours() {
    let mut system = System::start_apart(&[]).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    system.kill9("dispatcher").await;
    let url = system.setting("NATS_URL").to_owned();
    let deliveries = format!("{}_DELIVERIES_0", system.setting("REGION"));
    system.publish(clicked("newer")).await;
    eventually(SOON, "the delivery to be due", || async {
        (broker::messages(&url, &deliveries).await.len() == 1).then_some(())
    })
    .await;
    // Its kind is one that this version does not have.
    let (subject, payload) = broker::messages(&url, &deliveries).await.remove(0);
    let mut delivery = Delivery::decode(payload.as_slice()).expect("a delivery");
    let mut event = AcceptedEvent::decode(delivery.accepted_event.clone()).expect("an event");
    event.event.as_mut().expect("there").kind = None;
    delivery.accepted_event = event.encode_to_vec().into();
    broker::publish(&url, &subject, &delivery.encode_to_vec()).await;

    system.run("dispatcher", None).await;
    let returned = eventually(SOON, "it to be handed back twice", || async {
        let (_, payload) = broker::messages(&url, &deliveries).await.pop()?;
        let delivery = Delivery::decode(payload.as_slice()).ok()?;
        (delivery.uncharged_returns >= 2).then_some(delivery)
    })
    .await;
    assert_eq!(returned.accepted_event, delivery.accepted_event, "its event is untouched");
    assert_eq!(system.sql("SELECT count(*) FROM ends").trim(), "0");
    assert!(system.receiver.posts("/hook").is_empty());

    // After twenty returns it is given up, by name.
    delivery.uncharged_returns = 20;
    delivery.hop = 50;
    broker::publish(&url, &subject, &delivery.encode_to_vec()).await;
    eventually(SOON, "the end of it", || async {
        let ends = system.sql("SELECT outcome, reason FROM ends");
        (ends.trim() == "poisoned|newer_event").then_some(())
    })
    .await;
}
