//! The servers die: NATS, PostgreSQL, and a stream that takes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::v1::PublishRequest;
use serde_json::json;
use testkit::{OwnServers, Receiver, Reply, eventually};

use crate::system::{SOON, System, alert, clicked, payload_event_id};

const LONG: Duration = Duration::from_secs(60);

async fn seen(receiver: &Receiver, path: &str) -> BTreeSet<String> {
    receiver.posts(path).iter().map(|post| payload_event_id(&post.json()).to_owned()).collect()
}

/// Publishes until it is stored, as a careful caller would.
async fn publish_patiently(system: &System, id: &str) {
    eventually(LONG, &format!("{id} to be accepted"), || async {
        let mut client = system.try_ingest().await?;
        let request = PublishRequest { events: vec![clicked(id)] };
        client.publish(request).await.ok().map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_is_killed_under_load_loses_nothing() {
    let mut servers = OwnServers::start();
    let system = System::start_separately(&servers, &[("SEND_RETRY_SCHEDULE", "1s,2s,4s")]).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system
        .receiver
        .on_post("/hook", (0..100).map(|n| Reply::status(if n % 3 == 0 { 500 } else { 200 })));
    for crash in 0..3 {
        let ids: Vec<String> = (0..30).map(|n| format!("crash{crash}-{n}")).collect();
        let publishing = async {
            for id in &ids {
                publish_patiently(&system, id).await;
            }
        };
        let receiver = &system.receiver;
        let servers = &mut servers;
        let killing = async move {
            let first = format!("crash{crash}-5");
            receiver
                .wait_for("the load to be under way", LONG, |requests| {
                    requests
                        .iter()
                        .any(|r| r.path == "/hook" && payload_event_id(&r.json()) == first)
                })
                .await;
            servers.nats.kill9().expect("killed");
            servers.nats.restart().expect("restarted");
        };
        tokio::join!(publishing, killing);
        let wanted: BTreeSet<String> = ids.iter().cloned().collect();
        eventually(LONG, "every event to arrive", || async {
            wanted.is_subset(&seen(&system.receiver, "/hook").await).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn retries_that_were_scheduled_before_a_broker_crash_fire_after_it() {
    let mut servers = OwnServers::start();
    let system = System::start_separately(&servers, &[("SEND_RETRY_SCHEDULE", "4s")]).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.receiver.on_post("/hook", [Reply::status(500)]);
    for n in 0..20 {
        system.publish(clicked(&format!("scheduled-{n}"))).await;
    }
    system.receiver.wait_for_posts("/hook", 20, SOON).await;
    // All twenty wait in the broker.
    let stream = format!("STREAM.INFO.{}_DELIVERIES_0", servers.region);
    let url = servers.nats.url();
    eventually(SOON, "twenty schedules", || async {
        let info = testkit::broker::jetstream(
            &url,
            &stream,
            &json!({"subjects_filter": "*.deliveries.0.retry.*.*"}),
        )
        .await;
        (info["state"]["subjects"].as_object().map_or(0, serde_json::Map::len) == 20).then_some(())
    })
    .await;
    servers.nats.kill9().expect("killed");
    system.receiver.on_post("/hook", [Reply::status(200)]);
    servers.nats.restart().expect("restarted");
    let posts = system.receiver.wait_for_posts("/hook", 40, LONG).await;
    let second = posts.iter().filter(|post| post.header("x-postrider-attempt") == Some("2"));
    let ids: BTreeSet<String> =
        second.map(|post| payload_event_id(&post.json()).to_owned()).collect();
    assert_eq!(ids.len(), 20);
    // History has both tries of each, though the broker died between them.
    eventually(LONG, "history to be complete", || async {
        let tries = servers.sql("SELECT hop, count(*) FROM attempts GROUP BY hop ORDER BY hop");
        let ended = servers.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (tries.trim() == "0|20\n1|20" && ended.trim() == "20").then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_the_broker_ingest_says_unavailable_and_nothing_is_half_done() {
    let mut servers = OwnServers::start();
    let system = System::start_separately(&servers, &[]).await;
    servers.nats.kill9().expect("killed");
    eventually(SOON, "ingest to notice", || async {
        let request = PublishRequest { events: vec![clicked("away")] };
        let status = system.ingest().await.publish(request).await.err()?;
        (status.code() == tonic::Code::Unavailable).then_some(())
    })
    .await;
    let body = serde_json::to_string(&clicked("away")).expect("JSON");
    let request =
        testkit::http::post(system.ingest_http("/v1/events")).body("application/json", body);
    request.send().await.expect("answered").expect_status(503);
    // A change of settings is refused, and not made.
    let request = testkit::http::post(system.url("/v3/domains/mail.demo.example/webhooks"));
    let fields = [("id", "clicked"), ("url", "http://127.0.0.1:9090/x")];
    let request = request.basic_auth("api", "key-demo").form(&fields);
    request.send().await.expect("answered").expect_status(503);
    servers.nats.restart().expect("restarted");
    publish_patiently(&system, "back").await;
    assert_eq!(servers.sql("SELECT count(*) FROM domain_webhooks").trim(), "0");
}

#[tokio::test]
async fn without_postgres_events_flow_through_restarted_services_and_history_is_complete_afterwards()
 {
    let mut servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[]).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    servers.postgres.kill9().expect("killed");
    for role in ["ingest", "fanout", "dispatcher"] {
        system.kill9(role).await;
        system.run(role, None).await;
    }
    for n in 0..50 {
        system.publish(clicked(&format!("dark-{n}"))).await;
    }
    system.receiver.wait_for_posts("/hook", 50, SOON).await;
    servers.postgres.restart().expect("restarted");
    eventually(LONG, "history to be complete", || async {
        let ended = servers.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        let accepted = servers.sql("SELECT count(*) FROM events");
        (ended.trim() == "50" && accepted.trim() == "50").then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/hook").len(), 50);
}

#[tokio::test]
async fn outcomes_that_are_refused_for_a_while_re_send_nothing() {
    let servers = OwnServers::start();
    let system = System::start_separately(&servers, &[("DISPATCHER_SLOTS", "16")]).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    publish_patiently(&system, "before").await;
    system.receiver.wait_for_posts("/hook", 1, SOON).await;

    let nats = servers.nats.url();
    let name = format!("{}_OUTCOMES", servers.region);
    let info = testkit::broker::jetstream(&nats, &format!("STREAM.INFO.{name}"), &json!({})).await;
    let config = info["config"].clone();
    let mut refusing = config.clone();
    refusing["max_msg_size"] = json!(1);
    testkit::broker::jetstream(&nats, &format!("STREAM.UPDATE.{name}"), &refusing).await;

    // fanout cannot record what it decides, but deliveries are stored first or
    // with it: some are attempted, their answers are kept, pulling stops.
    let ids: Vec<String> = (0..40).map(|n| format!("refused-{n}")).collect();
    for id in &ids {
        system.publish(clicked(id)).await;
    }
    system.receiver.wait_for_posts("/hook", 2, SOON).await;
    // Two leases long: whatever is held has its lease kept alive.
    let quiet = tokio::time::Instant::now() + Duration::from_secs(7);
    tokio::time::sleep_until(quiet).await;
    testkit::broker::jetstream(&nats, &format!("STREAM.UPDATE.{name}"), &config).await;

    eventually(LONG, "every event to arrive and end", || async {
        let ended = servers.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (ended.trim() == "41").then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/hook").len(), 41, "something was sent again");
}

#[tokio::test]
async fn a_stop_in_order_drains_and_loses_nothing() {
    let servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[]).await;
    let id = system.add_alert("demo", "ip_listed", &system.receiver.url("/slow")).await;
    assert!(!id.is_empty());
    system.receiver.on_post("/slow", [Reply::status(200).after(Duration::from_secs(2))]);
    for n in 0..10 {
        system.publish(alert(&format!("drain-{n}"))).await;
    }
    system.receiver.wait_for_posts("/slow", 10, SOON).await;
    // All ten wait for their answers now.
    let began = tokio::time::Instant::now();
    let status = system.process("dispatcher").terminate(SOON).await;
    assert!(status.success(), "{status}");
    let took = began.elapsed();
    assert!(took < Duration::from_secs(15), "the stop waited for something: {took:?}");
    system.run("dispatcher", None).await;
    eventually(SOON, "ten ends", || async {
        (servers.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'").trim() == "10")
            .then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/slow").len(), 10, "something was sent again");
}
