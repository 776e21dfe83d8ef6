//! What the dashboard asks for is there once everything runs.

use std::path::Path;

use serde_json::Value;
use testkit::{Prometheus, eventually};

use crate::rig::{Rig, publish};
use crate::system::{SOON, clicked};

/// Panels that tell nothing before something goes wrong.
const SILENT: [&str; 11] = [
    "Sent to a later moment",
    "Retries begin late by",
    "Left alone",
    "Mail",
    "Refused",
    "Faults",
    "Settings that are not in force yet",
    "Sent again",
    "Alerts that were disabled",
    "Not ready",
    "Set aside and given up",
];

/// Panels by title, each with its queries.
fn panels() -> Vec<(String, Vec<String>)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../deploy/helm/postrider/dashboards/postrider.json");
    let dashboard = std::fs::read_to_string(file).expect("a dashboard");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let with_queries = panels.filter_map(|panel| {
        let targets = panel["targets"].as_array()?.iter();
        let queries = targets.filter_map(|target| target["expr"].as_str());
        let queries = queries
            .map(|query| query.replace("$__rate_interval", "1m").replace("$namespace", ".*"));
        Some((panel["title"].as_str()?.to_owned(), queries.collect()))
    });
    with_queries.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_of_the_dashboard_is_answered_by_a_scrape() {
    let rig = Rig::start().await;
    let targets: Vec<_> =
        rig.replicas().iter().map(|replica| (replica.role(), replica.ops)).collect();
    let prometheus = Prometheus::start(&targets).await;
    let doors = rig.doors();
    for number in 0..20 {
        let event = clicked(&format!("event-{number}"));
        assert!(publish(doors[number % doors.len()], vec![event]).await, "stored");
    }
    rig.receiver.wait_for_posts("/hook", 20, SOON).await;
    let panels = panels();
    assert!(panels.len() > 20, "{} panels", panels.len());
    for (title, queries) in panels {
        let is_silent = SILENT.contains(&title.as_str());
        eventually(SOON, &format!("something to show on {title:?}"), || async {
            let mut series = 0;
            for query in &queries {
                series += prometheus.query(query).await.len();
            }
            (series > 0 || is_silent).then_some(())
        })
        .await;
    }
}
