//! How far history is behind, as operators are told, and what never gets there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::Names;
use testkit::{OwnServers, eventually};

use crate::system::{SOON, System, alert};

/// The metrics of archive that tell of a stream, without their prefix.
async fn metrics(ops: SocketAddr, stream: &str) -> BTreeMap<String, f64> {
    let answer = testkit::http::get(format!("http://{ops}/metrics")).send().await;
    let text = answer.expect("metrics").expect_status(200).text();
    let ours = |line: &str| {
        let (name, value) = line.split_once(&format!("{{stream=\"{stream}\"}} "))?;
        let name = name.strip_prefix("postrider_archive_")?;
        Some((name.to_owned(), value.parse().expect("a number")))
    };
    text.lines().filter_map(ours).collect()
}

#[tokio::test]
async fn operators_see_how_far_history_is_behind_and_what_it_lacks() {
    let mut servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[]).await;
    system.kill9("archive").await;
    let ops = system.begin("archive", None);
    system.process("archive").wait_ready(ops, SOON).await;
    system.publish(alert("0")).await;

    // Something that was never ours stands between what is.
    let subject = Names::new(&servers.region).event("alert", "ip_listed", "nobody");
    testkit::broker::publish(&servers.nats.url(), &subject, b"\xff\xff\xff").await;
    eventually(SOON, "it to be set aside", || async {
        (metrics(ops, "events").await.get("set_aside_total") == Some(&1.0)).then_some(())
    })
    .await;
    let logs = system.logs();
    let line = logs.lines().find(|line| line.contains("history lacks something"));
    let line = line.expect("a line tells of it");
    for part in ["not a message of ours", "stream=\"events\"", "sequence=2", &subject] {
        assert!(line.contains(part), "{part} in {line}");
    }

    servers.postgres.kill9().expect("killed");
    for id in ["1", "2", "3"] {
        system.publish(alert(id)).await;
    }
    for (stream, messages) in [("events", 3.0), ("outcomes", 1.0)] {
        eventually(SOON, &format!("{stream} to lag behind"), || async {
            let told = metrics(ops, stream).await;
            let behind = told.get("pending_messages")? + told.get("unacked_messages")?;
            (behind >= messages && *told.get("lag_seconds")? > 1.0).then_some(())
        })
        .await;
    }
    servers.postgres.restart().expect("restarted");
    for stream in ["events", "outcomes"] {
        eventually(SOON, &format!("{stream} to have caught up"), || async {
            let told = metrics(ops, stream).await;
            let behind = ["pending_messages", "unacked_messages", "lag_seconds"];
            behind.iter().all(|name| told.get(*name) == Some(&0.0)).then_some(())
        })
        .await;
    }
    assert_eq!(servers.sql("SELECT count(*) FROM events").trim(), "4");
}
