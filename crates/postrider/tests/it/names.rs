//! Receivers whose names nobody can tell.

use std::time::{Duration, Instant};

use protocol::v1::Event;
use testkit::network::{ONLY_V4, run_in_a_network};
use testkit::{NameServer, OwnServers, eventually};

use crate::system::{SOON, System, clicked, example, opened};

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

#[test]
fn without_ipv6_and_beside_zones_in_trouble_others_hear_as_soon_as_before() {
    run_in_a_network(ONLY_V4, "names::without_ipv6_and_beside_zones_in_trouble");
}

/// The longest that an event took to arrive, of a hundred that are handed over one after the
/// other, each behind one of either other kind.
async fn slowest(system: &System, name: &str) -> Duration {
    let before = system.receiver.posts("/good").len();
    let mut slowest = Duration::ZERO;
    for number in 1..=100 {
        let id = format!("{name}-{number}");
        let delivered = Event { id: format!("delivered-{id}"), ..example("delivered") };
        system.publish_all([clicked(&format!("clicked-{id}")), delivered]).await;
        let began = Instant::now();
        system.publish(opened(&id)).await;
        system.receiver.wait_for_posts("/good", before + number, SOON).await;
        slowest = slowest.max(began.elapsed());
    }
    slowest
}

#[tokio::test]
#[ignore = "runs in a network of its own"]
async fn without_ipv6_and_beside_zones_in_trouble() {
    let servers = OwnServers::start();
    let names = NameServer::start([127, 0, 0, 1].into()).await;
    let server = names.address().to_string();
    let system = System::start_separately(&servers, &[("EGRESS_NAME_SERVERS", &server)]).await;
    let receiver = system.receiver.url("/good");
    let port = receiver.trim_end_matches("/good").rsplit_once(':').expect("a port").1.to_owned();
    let url = |name: &str| format!("http://{name}:{port}/good");
    let domain = "mail.demo.example";
    // One of its two addresses has no way there.
    system.add_domain_webhook("demo", domain, "opened", &[&url("a.both.test")]).await;
    let quiet = slowest(&system, "quiet").await;

    let dead = ["a.hole.test", "b.hole.test", "c.hole.test"].map(url);
    let dead: Vec<&str> = dead.iter().map(String::as_str).collect();
    system.add_domain_webhook("demo", domain, "clicked", &dead).await;
    for name in ["d.hole.test", "e.hole.test"] {
        system.add_account_webhook("demo", &url(name), &["clicked"]).await;
    }
    let other = ["a.broken.test", "a.refused.test", "a.six.test"].map(url);
    let other: Vec<&str> = other.iter().map(String::as_str).collect();
    system.add_domain_webhook("demo", domain, "delivered", &other).await;
    let beside = slowest(&system, "beside").await;
    println!("the slowest of a hundred: {quiet:?}, and beside zones in trouble {beside:?}");
    // The shortest wait for a name server is a second: none of them has waited for one.
    assert!(beside < Duration::from_millis(500).max(quiet * 2), "{beside:?} instead of {quiet:?}");

    for (zone, reason, hosts) in [
        ("hole.test", "dns", "5"),
        ("broken.test", "dns", "1"),
        ("refused.test", "dns", "1"),
        ("six.test", "connect", "1"),
    ] {
        eventually(SOON, &format!("tries at {zone} to be charged"), || async {
            let count = servers.sql(&format!(
                "SELECT count(DISTINCT url) FROM attempts \
                 WHERE url LIKE '%{zone}%' AND reason = '{reason}' AND charged"
            ));
            (count.trim() == hosts).then_some(())
        })
        .await;
    }
    let ours = "SELECT count(*) FROM attempts WHERE reason IN ('resolver', 'local')";
    assert_eq!(servers.sql(ours).trim(), "0", "nothing of it is a fault of ours");
}
