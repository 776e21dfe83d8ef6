//! What somebody without a key can do to a running platform.

use std::time::Duration;

use testkit::http::{get, post};
use testkit::{Reply, eventually};
use tokio::net::TcpStream;

use crate::system::{SOON, System};

const EVENT: &str = include_str!("../../../../examples/events/clicked.json");

/// As many as a process may have files would stop everything that needs one.
#[tokio::test]
async fn connections_on_which_nothing_comes_take_one_door_for_seconds_and_no_other() {
    let few = [("CONNECTIONS", "40"), ("CONNECTIONS_PER_ADDRESS", "40")];
    let mut system = System::start(&few).await;
    system.process("all").terminate(SOON).await;
    let ops = system.begin("all", None);
    system.process("all").wait_ready(ops, SOON).await;
    let url = system.receiver.url("/hook");
    system.receiver.on_post("/hook", [Reply::status(200)]);
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;

    let address = system.url("/").replace("http://", "").replace('/', "");
    let mut held = Vec::new();
    for _ in 0..80 {
        held.push(TcpStream::connect(&address).await.expect("connected"));
    }
    let domains = || get(system.url("/v3/domains")).basic_auth("api", "key-demo");
    domains().send().await.expect_err("no place is left");
    for path in ["healthz", "readyz"] {
        get(format!("http://{ops}/{path}")).send().await.expect("answered").expect_status(200);
    }
    let event = post(system.ingest_http("/v1/events")).body("application/json", EVENT);
    event.send().await.expect("answered").expect_status(200);
    system.receiver.wait_for_posts("/hook", 1, SOON).await;
    let metrics = get(format!("http://{ops}/metrics")).send().await.expect("answered");
    let metrics = metrics.text();
    let refused = metrics.lines().find(|line| {
        line.starts_with("postrider_callers_refused_total{door=\"api\"") && line.contains("full")
    });
    assert!(refused.is_some(), "no connection is counted as refused");

    eventually(Duration::from_secs(20), "the silent ones to be closed", || async {
        domains().send().await.ok().filter(|answer| answer.status == 200)
    })
    .await;
}
