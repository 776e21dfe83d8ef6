//! One event id, accepted more than once.

use std::collections::BTreeMap;
use std::time::Duration;

use chassis::Clock;
use protocol::v1::publish_result::Status;
use testkit::{Reply, eventually};

use crate::system::{SOON, System, clicked};

/// Short, so that a test outlives it; longer than the lease, as it has to be.
const WINDOW: [(&str, &str); 3] =
    [("EVENTS_DEDUP_WINDOW", "2s"), ("DELIVERIES_DEDUP_WINDOW", "4s"), ("LEASE", "3s")];

/// The same id once more, until the broker has forgotten the first.
async fn publish_beyond_the_window(system: &System, id: &str) {
    eventually(SOON, "the event to be accepted as another one", || async {
        let result = system.publish(clicked(id)).await;
        (result.status() == Status::Stored).then_some(())
    })
    .await;
}

/// The delivery ids of all posts, with the numbers of their tries in the order of time.
fn tries(system: &System) -> BTreeMap<String, Vec<String>> {
    let mut tries: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for post in system.receiver.posts("/hook") {
        let header = |name| post.header(name).expect("a header").to_owned();
        let number = header("x-postrider-attempt");
        tries.entry(header("x-postrider-delivery")).or_default().push(number);
    }
    tries
}

async fn ends(system: &System) -> Vec<(String, String)> {
    let rows = "SELECT replace(delivery_id::text, '-', ''), outcome FROM ends ORDER BY ended_at";
    let rows = system.sql(rows);
    let rows = rows.lines().filter_map(|row| row.split_once('|'));
    rows.map(|(id, outcome)| (id.to_owned(), outcome.to_owned())).collect()
}

#[tokio::test]
async fn an_event_that_is_accepted_again_while_a_retry_waits_is_delivered_twice_and_nothing_forks()
{
    let mut extra = WINDOW.to_vec();
    extra.push(("SEND_RETRY_SCHEDULE", "8s,8s"));
    let system = System::start_apart(&extra).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    // The first try fails; its retry waits beyond both windows.
    system.receiver.on_post("/hook", [500, 200].map(Reply::status));
    system.publish(clicked("one")).await;
    system.receiver.wait_for_posts("/hook", 1, SOON).await;
    Clock::system().sleep(Duration::from_secs(5)).await;
    publish_beyond_the_window(&system, "one").await;
    system.receiver.wait_for_posts("/hook", 3, SOON).await;
    let ends = eventually(SOON, "both to end", || async {
        let ends = ends(&system).await;
        (ends.len() == 2).then_some(ends)
    })
    .await;
    assert!(ends.iter().all(|(_, outcome)| outcome == "delivered"), "{ends:?}");
    let tries = tries(&system);
    let mut numbers: Vec<&[String]> = tries.values().map(Vec::as_slice).collect();
    numbers.sort_unstable_by_key(|numbers| numbers.len());
    assert_eq!(numbers, [&["1"][..], &["1", "2"]], "each has its own tries: {tries:?}");
    assert!(ends.iter().all(|(id, _)| tries.contains_key(id)), "{ends:?} {tries:?}");

    // Both are of the one event: its journey tells of two routings and two deliveries.
    let path = "/postrider/v1/events/one/journey";
    let asked = testkit::http::get(system.url(path)).basic_auth("api", "key-demo").send().await;
    let journey = asked.expect("answered").expect_status(200).json();
    assert_eq!(journey["routings"].as_array().map(Vec::len), Some(2), "{journey}");
    assert_eq!(journey["deliveries"].as_array().map(Vec::len), Some(2), "{journey}");
}

/// What a dispatcher remembers of the first acceptance says nothing of the second.
#[tokio::test]
async fn an_event_that_is_accepted_again_is_sent_again_by_the_dispatcher_that_sent_it_before() {
    let system = System::start(&WINDOW).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    system.publish(clicked("one")).await;
    system.receiver.wait_for_posts("/hook", 1, SOON).await;
    // Well within the ten leases for which it remembers what it has settled.
    publish_beyond_the_window(&system, "one").await;
    system.receiver.wait_for_posts("/hook", 2, SOON).await;
    eventually(SOON, "both to end", || async { (ends(&system).await.len() == 2).then_some(()) })
        .await;
    assert_eq!(tries(&system).len(), 2, "each has an id of its own");
    // A resend of each is a delivery of its own, too.
    let body = serde_json::json!({"all": true});
    let again = testkit::http::post(system.url("/postrider/v1/events/one/resend"));
    let again = again.basic_auth("api", "key-demo").json(&body).send().await;
    let again = again.expect("answered").expect_status(200).json();
    assert_eq!(again["sent"].as_array().map(Vec::len), Some(2), "{again}");
    system.receiver.wait_for_posts("/hook", 4, SOON).await;
    assert_eq!(tries(&system).len(), 4);
}
