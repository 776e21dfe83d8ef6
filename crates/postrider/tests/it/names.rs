//! Receivers whose names nobody can tell.

use std::time::{Duration, Instant};

use testkit::{NameServer, eventually};

use crate::system::{SOON, System, clicked, opened};

const EVENTS: usize = 120;

/// Two of three receivers have name servers that are silent or fail. Their deliveries wait and
/// are charged; the third one hears of everything at once.
#[tokio::test]
async fn names_that_nobody_answers_hold_up_no_other_receiver_and_are_charged() {
    let names = NameServer::start([127, 0, 0, 1].into()).await;
    let server = names.address().to_string();
    let system = System::start(&[("EGRESS_NAME_SERVERS", &server)]).await;
    let url = |name: &str| {
        let url = system.receiver.url("/hook");
        let port = url.rsplit_once(':').map_or("", |(_, port)| port);
        format!("http://{name}:{port}")
    };
    let urls = [url("good.example"), url("a.hole.test"), url("a.broken.test")];
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    // A name that is found speaks for the resolver.
    system.add_domain_webhook("demo", "mail.demo.example", "opened", &urls[..1]).await;
    system.publish(opened("first")).await;
    system.receiver.wait_for_posts("/hook", 1, SOON).await;
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &urls).await;

    let began = Instant::now();
    system.publish_all((0..EVENTS).map(|n| clicked(&format!("event-{n}")))).await;
    system.receiver.wait_for_posts("/hook", EVENTS + 1, SOON).await;
    let took = began.elapsed();
    assert!(took < Duration::from_secs(3), "they waited for the others: {took:?}");

    eventually(SOON, "tries of both to be charged", || async {
        let hosts = "SELECT count(DISTINCT url) FROM attempts WHERE reason = 'dns' AND charged";
        (system.sql(hosts).trim() == "2").then_some(())
    })
    .await;
    let ours = "SELECT count(*) FROM attempts WHERE reason = 'resolver' OR NOT charged";
    let ours = system.sql(&format!(
        "{ours} AND reason NOT LIKE 'target%' AND reason NOT IN \
        ('breaker_open', 'unproven_share')"
    ));
    assert_eq!(ours.trim(), "0", "a zone that is silent is not a fault of ours");
}
