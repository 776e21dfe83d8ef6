//! The broker or the database is away.

use testkit::{OwnServers, eventually};

use crate::world::{DEADLINE, Servers, World, assert_answer, send};

const BASE: &str = "/v3/domains/mail.demo.example/webhooks";

fn servers<'a>(own: &'a OwnServers, nats_url: &'a str) -> Servers<'a> {
    Servers { nats_url, database_url: &own.database_url, region: &own.region }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_nothing_is_changed_and_everything_can_be_read() {
    let mut own = OwnServers::start();
    let nats_url = own.nats.url();
    let world = World::demo(servers(&own, &nats_url)).await;
    let form = [("id", "clicked"), ("url", "https://hooks.example.net/")];
    own.nats.kill9().expect("killed");
    eventually(DEADLINE, "the loss to be noticed", || async {
        (!world.bus.is_connected()).then_some(())
    })
    .await;

    let post = || world.call("POST", BASE).form(&form);
    assert_answer(
        &send(post()).await,
        503,
        r#"{"message":"The message broker is not available; nothing was changed. Try again"}"#,
    );
    assert_answer(&send(world.call("GET", BASE)).await, 200, r#"{"webhooks":{}}"#);
    send(world.call("GET", "/v1/alerts/settings")).await.expect_status(200);
    assert_eq!(own.sql("SELECT count(*) FROM settings_outbox").trim(), "0");

    own.nats.restart().expect("back");
    eventually(DEADLINE, "the change to be taken", || async {
        (send(post()).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(world.webhooks("mail.demo.example").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_calls_are_told_to_try_again() {
    let mut own = OwnServers::start();
    let nats_url = own.nats.url();
    let world = World::demo(servers(&own, &nats_url)).await;
    own.postgres.kill9().expect("killed");
    assert_answer(
        &send(world.call("GET", BASE)).await,
        503,
        r#"{"message":"The database is not available. Try again"}"#,
    );
    own.postgres.restart().expect("back");
    eventually(DEADLINE, "an answer", || async {
        (send(world.call("GET", BASE)).await.status == 200).then_some(())
    })
    .await;
}

/// Stops or continues a process, as a machine that hangs would.
fn signal(pid: u32, signal: &str) {
    let mut kill = std::process::Command::new("kill");
    let status = kill.args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "kill {signal} {pid}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_broker_does_not_confirm_is_stored_and_published_later() {
    let own = OwnServers::start();
    let nats_url = own.nats.url();
    let world = World::demo(servers(&own, &nats_url)).await;
    let pid = own.nats.pid().expect("a process");
    signal(pid, "-STOP");
    let form = [("id", "clicked"), ("url", "https://hooks.example.net/")];
    let answer = send(world.call("POST", BASE).form(&form)).await;
    signal(pid, "-CONT");
    assert_answer(
        &answer,
        503,
        r#"{"message":"The change is stored, but the message broker has not confirmed it yet; it comes into force without being asked for again"}"#,
    );
    send(world.call("GET", &format!("{BASE}/clicked"))).await.expect_status(200);
    eventually(DEADLINE, "the relay", || async {
        (world.webhooks("mail.demo.example").await.len() == 1).then_some(())
    })
    .await;
}
