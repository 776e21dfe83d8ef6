//! Two deployments on one broker and one database server share nothing.

use serde_json::{Value, json};
use testkit::{OwnServers, Reply};

use crate::system::{SOON, System, clicked, payload_event_id};

const REGIONS: [&str; 2] = ["us", "eu"];

async fn two_regions(servers: &OwnServers) -> [System; 2] {
    let nats_url = servers.nats.url();
    let eu = servers.postgres.create_database("postrider_eu").expect("a second database");
    [
        System::start_region(&nats_url, &servers.database_url, "us").await,
        System::start_region(&nats_url, &eu, "eu").await,
    ]
}

/// Rows of one region's database.
fn sql(servers: &OwnServers, system: &System, statement: &str) -> String {
    let tools = servers.postgres.tools();
    let rows = tools.query(system.setting("DATABASE_URL"), statement).expect("a statement");
    rows.trim().to_owned()
}

async fn with_key(system: &System, key: &str, path: &str) -> testkit::http::Response {
    testkit::http::get(system.url(path)).basic_auth("api", key).send().await.expect("answered")
}

#[tokio::test]
async fn two_regions_with_the_same_names_share_nothing() {
    let servers = OwnServers::start();
    let [us, eu] = two_regions(&servers).await;
    // The same account, domain and event type in both, to different URLs.
    for (system, path) in [(&us, "/us"), (&eu, "/eu")] {
        let url = system.receiver.url(path);
        system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    }
    for system in [&us, &eu] {
        let result = system.publish(clicked("the-same-id")).await;
        assert_eq!(result.status(), protocol::v1::publish_result::Status::Stored);
    }
    for (system, path) in [(&us, "/us"), (&eu, "/eu")] {
        let posts = system.receiver.wait_for_posts(path, 1, SOON).await;
        assert_eq!(payload_event_id(&posts[0].json()), "the-same-id");
    }

    // Settings, keys, signing keys.
    let list = "/v3/domains/mail.demo.example/webhooks";
    for (system, own, other) in [(&us, "/us", "/eu"), (&eu, "/eu", "/us")] {
        let listed = with_key(system, "key-demo", list).await.expect_status(200).text();
        assert!(listed.contains(own) && !listed.contains(other), "{listed}");
    }
    us.create_account("only-us", None).await;
    with_key(&us, "key-only-us", "/v1/alerts").await.expect_status(200);
    with_key(&eu, "key-only-us", "/v1/alerts").await.expect_status(401);
    assert_ne!(us.signing_keys("demo").await, eu.signing_keys("demo").await);

    // History.
    for (system, own) in [(&us, "/us"), (&eu, "/eu")] {
        let attempts = "SELECT url FROM attempts";
        let url = testkit::eventually(SOON, "the attempt in history", || async {
            Some(sql(&servers, system, attempts)).filter(|url| !url.is_empty())
        })
        .await;
        assert!(url.ends_with(own) && url.lines().count() == 1, "{url}");
        assert_eq!(sql(&servers, system, "SELECT count(*) FROM events"), "1");
    }

    // The broker.
    let nats_url = servers.nats.url();
    let mut seen = [0, 0];
    for stream in testkit::broker::streams(&nats_url).await {
        let region = REGIONS.iter().position(|region| {
            stream.starts_with(&format!("{region}_"))
                || stream.starts_with(&format!("KV_{region}_"))
        });
        let region = region.unwrap_or_else(|| panic!("{stream} is nobody's"));
        seen[region] += 1;
        let name = REGIONS[region];
        let ask = async |question: String| -> Value {
            testkit::broker::jetstream(&nats_url, &question, &json!({})).await
        };
        let info = ask(format!("STREAM.INFO.{stream}")).await;
        let subjects = info["config"]["subjects"].as_array().expect("subjects").clone();
        let own = |subject: &str| {
            subject.starts_with(&format!("{name}.")) || subject.starts_with(&format!("$KV.{name}_"))
        };
        assert!(subjects.iter().all(|s| s.as_str().is_some_and(own)), "{subjects:?}");
        for (subject, _) in testkit::broker::messages(&nats_url, &stream).await {
            assert!(own(&subject), "{subject} in {stream}");
        }
        let consumers = ask(format!("CONSUMER.LIST.{stream}")).await;
        for consumer in consumers["consumers"].as_array().into_iter().flatten() {
            // Those that only read for a while have no name of ours.
            let Some(durable) = consumer["config"]["durable_name"].as_str() else { continue };
            assert!(durable.starts_with(&format!("{name}_")), "{durable} on {stream}");
        }
    }
    // Three streams at least, and the settings.
    assert!(seen[0] >= 4 && seen[0] == seen[1], "{seen:?}");
}

#[tokio::test]
async fn a_region_that_stops_or_erases_does_not_touch_the_other() {
    let servers = OwnServers::start();
    let [mut us, eu] = two_regions(&servers).await;
    for system in [&us, &eu] {
        system.receiver.on_post("/hook", [Reply::status(503), Reply::status(200)]);
        let url = system.receiver.url("/hook");
        system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    }
    // A retry waits in both when one of them stops.
    for system in [&us, &eu] {
        system.publish(clicked("waits")).await;
        system.receiver.wait_for_posts("/hook", 1, SOON).await;
    }
    us.process("all").terminate(SOON).await;
    eu.receiver.wait_for_posts("/hook", 2, SOON).await;
    eu.publish(clicked("meanwhile")).await;
    eu.receiver.wait_for_posts("/hook", 3, SOON).await;
    assert_eq!(us.receiver.posts("/hook").len(), 1, "nobody else sends what waits there");
    us.run("all", None).await;
    us.receiver.wait_for_posts("/hook", 2, SOON).await;

    us.set_status("demo", "closed").await;
    let request = protocol::v1::EraseAccountRequest { account_name: "demo".into() };
    us.admin().await.erase_account(request).await.expect("erased");
    testkit::eventually(SOON, "the history of one region to be gone", || async {
        let left = sql(&servers, &us, "SELECT count(*) FROM events");
        (left == "0").then_some(())
    })
    .await;
    assert_eq!(sql(&servers, &eu, "SELECT count(*) FROM events"), "2");
    let stream = testkit::broker::messages(&servers.nats.url(), "eu_EVENTS").await;
    assert_eq!(stream.len(), 2);
    with_key(&eu, "key-demo", "/v1/alerts").await.expect_status(200);
    eu.publish(clicked("afterwards")).await;
    eu.receiver.wait_for_posts("/hook", 4, SOON).await;
}

#[tokio::test]
async fn a_database_of_another_region_is_refused_at_start() {
    let servers = OwnServers::start();
    let nats_url = servers.nats.url();
    let mut us = System::start_region(&nats_url, &servers.database_url, "us").await;
    us.process("all").terminate(SOON).await;
    let before = sql(&servers, &us, "SELECT count(*), max(version) FROM accounts");
    us.set("REGION", "eu");
    for role in ["settings-api", "archive", "all"] {
        us.begin(role, None);
        let process = us.process(role);
        let status = process.wait(SOON).await;
        assert!(!status.success(), "{role} went on");
        let said = "this database belongs to the deployment of region us, and POSTRIDER_REGION \
                    is eu; give each region a database of its own";
        assert!(process.log().contains(said), "{role}: {}", process.log());
    }
    assert_eq!(sql(&servers, &us, "SELECT count(*), max(version) FROM accounts"), before);
    us.set("REGION", "us");
    us.run("all", None).await;
}
