//! What a receiver says the second time, when the dispatcher has died after the first.
//!
//! Receivers that know what they have already taken answer a repeated try with 409. That
//! answer must not make a delivery worse than it is known to be.

use serde_json::json;
use testkit::{OwnServers, Reply, eventually};

use crate::system::{SOON, System, alert, clicked};

const SETTINGS: [(&str, &str); 3] =
    [("ALERTS_RETRY_SCHEDULE", "1s,1s"), ("SEND_RETRY_SCHEDULE", "1s,1s"), ("LEASE", "2s")];

async fn start(servers: &OwnServers) -> System {
    let mut system = System::start_separately(servers, &SETTINGS).await;
    system.process("dispatcher").terminate(SOON).await;
    system
}

/// Lets the dispatcher die at this point, and starts it again.
async fn die_and_come_back(system: &mut System, point: &str) {
    let status = system.process("dispatcher").wait(SOON).await;
    assert!(!status.success(), "the dispatcher did not die at {point}");
    system.run("dispatcher", None).await;
}

/// How the only delivery ended, and why, once nothing of it is left to do.
async fn end(servers: &OwnServers) -> String {
    let (url, region) = (servers.nats.url(), &servers.region);
    eventually(SOON, "the end of the delivery", || async {
        let end = servers.sql("SELECT outcome, reason FROM ends");
        let stream = format!("STREAM.INFO.{region}_DELIVERIES_0");
        let info = testkit::broker::jetstream(&url, &stream, &json!({})).await;
        (info["state"]["messages"] == 0
            && !end.trim().is_empty()
            && testkit::broker::is_consumed(&url, &format!("{region}_OUTCOMES")).await)
            .then(|| end.trim().to_owned())
    })
    .await
}

async fn is_disabled(system: &System) -> bool {
    let settings = system.alert_settings("demo").await;
    settings["events"].as_array().expect("settings").iter().any(|s| s["disabled_at"].is_string())
}

fn numbers(system: &System, path: &str) -> Vec<String> {
    let posts = system.receiver.posts(path);
    let number = |post: &testkit::Received| post.header("x-postrider-attempt").map(str::to_owned);
    posts.iter().filter_map(number).collect()
}

#[tokio::test]
async fn an_alert_that_may_have_arrived_disables_nothing_when_its_repeats_are_refused() {
    let servers = OwnServers::start();
    let mut system = start(&servers).await;
    system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    system.receiver.on_post("/alert", [200, 409].map(Reply::status));
    let point = "dispatcher.answered";
    system.run("dispatcher", Some(&format!("{point}=return"))).await;
    system.publish(alert("taken")).await;
    die_and_come_back(&mut system, point).await;

    assert_eq!(end(&servers).await, "exhausted|may_have_arrived");
    assert_eq!(numbers(&system, "/alert"), ["1", "1", "2", "3"]);
    assert!(!is_disabled(&system).await, "a delivered alert disabled its setting");
}

#[tokio::test]
async fn what_is_known_to_be_delivered_is_not_asked_for_again_after_a_death() {
    let servers = OwnServers::start();
    let mut system = start(&servers).await;
    system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    system.receiver.on_post("/alert", [200, 409].map(Reply::status));
    let point = "dispatcher.outcome_stored";
    system.run("dispatcher", Some(&format!("{point}=return"))).await;
    system.publish(alert("taken")).await;
    die_and_come_back(&mut system, point).await;

    assert_eq!(end(&servers).await, "delivered|ok");
    assert_eq!(numbers(&system, "/alert"), ["1"]);
    assert!(!is_disabled(&system).await, "a delivered alert disabled its setting");
}

#[tokio::test]
async fn a_failed_try_whose_outcome_is_stored_is_not_made_again_after_a_death() {
    let servers = OwnServers::start();
    let mut system = start(&servers).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.receiver.on_post("/hook", [500, 200].map(Reply::status));
    let point = "dispatcher.outcome_stored";
    system.run("dispatcher", Some(&format!("{point}=return"))).await;
    system.publish(clicked("failed")).await;
    die_and_come_back(&mut system, point).await;

    assert_eq!(end(&servers).await, "delivered|ok");
    assert_eq!(numbers(&system, "/hook"), ["1", "2"]);
    let tries = servers.sql("SELECT hop, attempt, charged FROM attempts ORDER BY hop");
    assert_eq!(tries.lines().next(), Some("0|1|t"));
}
