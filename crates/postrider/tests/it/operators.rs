//! What operators see, and what they do by hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use signing::{Sealed, SecretKey};
use testkit::{OwnServers, Reply, eventually};

use crate::rig::LONG;
use crate::system::{BINARY, SOON, System, alert, clicked};

fn repository(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)
}

/// Every series that a process serves.
async fn series(ops: std::net::SocketAddr) -> BTreeMap<String, f64> {
    let answer = testkit::http::get(format!("http://{ops}/metrics")).send().await;
    let text = answer.expect("metrics").expect_status(200).text();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
}

#[tokio::test]
async fn what_is_served_is_what_is_listed_and_tells_what_waits() {
    let mut system = System::start_apart(&[]).await;
    let ops = ["fanout", "dispatcher", "archive"].map(|role| {
        let ops = system.begin(role, None);
        (role, ops)
    });
    for (role, ops) in ops {
        system.process(role).wait_ready(ops, SOON).await;
    }
    system.receiver.on_post("/hook", [500, 200].map(Reply::status));
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    system.publish(clicked("one")).await;
    system.wait_for_end("one", "delivered").await;

    let page = std::fs::read_to_string(repository("docs/metrics.md")).expect("the page");
    for (role, ops) in ops {
        let served = eventually(SOON, "everything to be told", || async {
            let served = series(ops).await;
            let lag = format!("postrider_{role}_lag_seconds");
            served.keys().any(|name| name.starts_with(&lag)).then_some(served)
        })
        .await;
        for name in served.keys() {
            let name = name.split('{').next().unwrap_or_default();
            let parts = ["_bucket", "_sum", "_count"];
            let histogram = parts.iter().find_map(|part| name.strip_suffix(part));
            let is_listed = [Some(name), histogram]
                .into_iter()
                .flatten()
                .any(|name| page.contains(&format!("| `{name}` |")));
            assert!(is_listed, "{role} serves {name}");
        }
        for part in [role, "broker"] {
            assert_eq!(served.get(&format!("postrider_ready{{part=\"{part}\"}}")), Some(&1.0));
        }
    }
    let [(_, fanout), (_, dispatcher), _] = ops;
    let told = series(fanout).await;
    assert_eq!(told.get("postrider_fanout_lag_seconds"), Some(&0.0));
    assert_eq!(told.get("postrider_deliveries_high_water"), Some(&5_000_000.0));
    let told = series(dispatcher).await;
    assert_eq!(told.get("postrider_dispatcher_lag_seconds{shard=\"0\"}"), Some(&0.0));
    let all = "{family=\"message\",le=\"+Inf\"}";
    assert_eq!(told.get(&format!("postrider_due_wait_seconds_bucket{all}")), Some(&2.0));
    assert_eq!(told.get(&format!("postrider_retry_lateness_seconds_bucket{all}")), Some(&1.0));
    assert_eq!(
        told.get(&format!("postrider_first_attempt_latency_seconds_bucket{all}")),
        Some(&1.0)
    );
}

#[tokio::test]
async fn settings_that_are_newer_on_the_broker_are_published_anew_by_hand() {
    let servers = OwnServers::start();
    let system = System::start_separately(&servers, &[]).await;
    republish(&system).await;
    assert_eq!(servers.sql("SELECT count(*) FROM settings_outbox").trim(), "0");

    // The database is older than the broker: the versions there are lower, and nobody
    // has published anything anew. What is changed from now on is in force all the same.
    for number in 0..5 {
        let path = format!("/before-{number}");
        let url = system.receiver.url(&path);
        system.add_domain_webhook("demo", "mail.demo.example", "opened", &[&url]).await;
        let delete = "/v3/domains/mail.demo.example/webhooks/opened";
        let delete = testkit::http::delete(system.url(delete)).basic_auth("api", "key-demo");
        delete.send().await.expect("answered").expect_status(200);
    }
    let other = system.receiver.url("/other");
    system.add_domain_webhook("demo", "mail.demo.example", "unsubscribed", &[&other]).await;
    servers.sql("UPDATE accounts SET version = 1; UPDATE domains SET version = 1");
    system.add_domain_webhook("demo", "mail.demo.example", "opened", &[&other]).await;
    system.publish(crate::system::opened("two")).await;
    system.receiver.wait_for_posts("/other", 1, SOON).await;

    // What was not changed since is as the database has it once all is published.
    servers.sql(
        "UPDATE domains SET version = 1; DELETE FROM domain_webhooks WHERE event_type = 'opened'",
    );
    republish(&system).await;
    system.publish(crate::system::opened("three")).await;
    eventually(SOON, "the event to be routed to nobody", || async {
        let routed = "SELECT count(*) FROM routing_decisions JOIN events USING (event_key) \
                      WHERE event_id = 'three' AND verdict = 'none'";
        (servers.sql(routed).trim() == "1").then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/other").len(), 1);
}

/// As an operator does it; twice, which is no different.
async fn republish(system: &System) {
    for _ in 0..2 {
        assert_eq!(republish_once(system).await, "2 documents are published anew.\n");
    }
}

async fn republish_once(system: &System) -> String {
    let address = format!("http://{}", system.setting("ADMIN_ADDR"));
    let arguments = ["admin", "settings", "republish", "--addr", &address];
    let none: [(&str, &str); 0] = [];
    testkit::process::run(BINARY, &arguments, none).await.expect("published")
}

/// Events of these accounts, each delivered, each with a call of a customer and one in vain.
async fn use_it(system: &System, accounts: std::ops::Range<u32>) {
    for number in accounts {
        let (account, domain) = (format!("shop-{number}"), format!("mail.shop-{number}.example"));
        system.create_account(&account, None).await;
        system.create_domain(&domain, &account).await;
        let hook = system.receiver.url(&format!("/hooks/{number}"));
        system.add_domain_webhook(&account, &domain, "clicked", &[&hook]).await;
        let wrong =
            testkit::http::get(system.url(&format!("/v3/domains/{domain}/webhooks/nothing")));
        wrong.basic_auth("api", &format!("key-{account}")).send().await.expect("answered");
        let id = format!("event-{number}");
        system.publish(protocol::v1::Event { domain: domain.clone(), ..clicked(&id) }).await;
        system.receiver.wait_for_posts(&format!("/hooks/{number}"), 1, SOON).await;
    }
    eventually(SOON, "all ends in history", || async {
        let ends = "SELECT count(*) = (SELECT count(*) FROM events) FROM ends";
        (system.sql(ends).trim() == "t").then_some(())
    })
    .await;
}

/// Puts accounts into the database as they would be made, but all at once. Each tenth
/// wants to hear at this URL of IP addresses that are listed.
fn insert_accounts(system: &System, numbers: std::ops::Range<u32>, url: &str) {
    let secret_key: SecretKey = system.setting("SECRET_KEY").parse().expect("a key");
    let seal = |context: Sealed<'_>| {
        hex::encode(secret_key.seal(&[b'1'; 32], Default::default(), &context.context()))
    };
    let numbers: Vec<u32> = numbers.collect();
    for numbers in numbers.chunks(200) {
        let row = |number: &u32| {
            let id = format!("{number:024x}");
            let (http, alerts) = (Sealed::HttpSigningKey(&id), Sealed::AlertsSigningKey(&id));
            let (http, alerts) = (seal(http), seal(alerts));
            format!("('{id}', 'shop-{number}', '\\x{http}', '\\x{alerts}', now(), now())")
        };
        let rows: Vec<String> = numbers.iter().map(row).collect();
        system.sql(&format!(
            "WITH made AS (INSERT INTO accounts (account_id, name, sealed_http_signing_key, \
             sealed_alerts_signing_key, created_at, updated_at) VALUES {} RETURNING account_id, name) \
             INSERT INTO alert_settings (setting_id, account_id, event_type, channel, url, created_at) \
             SELECT gen_random_uuid(), account_id, 'ip_listed', 'webhook', '{url}', now() FROM made \
             WHERE name LIKE '%0'",
            rows.join(", ")
        ));
    }
}

/// An alert of each of these accounts, until all of them are in history.
async fn alert_all(system: &System, numbers: std::ops::Range<u32>) {
    let alerts = numbers.clone().map(|number| {
        let account = format!("shop-{number}");
        protocol::v1::Event { account, ..alert(&format!("alert-{number}")) }
    });
    system.publish_all(alerts).await;
    let wanted = format!("{}|{}", numbers.end, numbers.end.div_ceil(10));
    eventually(LONG, "all of it in history", || async {
        let there = "SELECT (SELECT count(DISTINCT event_key) FROM routing_decisions), \
                     (SELECT count(*) FROM ends)";
        (system.sql(there).trim() == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_number_of_series_is_that_of_ten_accounts_with_ten_thousand() {
    let mut system = System::start(&[("LOG", "warn")]).await;
    let ops = system.begin("all", None);
    system.process("all").wait_ready(ops, LONG).await;
    let hook = system.receiver.url("/hook");
    insert_accounts(&system, 0..10, &hook);
    republish_once(&system).await;
    alert_all(&system, 0..10).await;
    let few = series(ops).await;
    insert_accounts(&system, 10..10_000, &hook);
    let published = republish_once(&system).await;
    assert_eq!(published, "10002 documents are published anew.\n");
    alert_all(&system, 10..10_000).await;
    let many = series(ops).await;
    println!("{} series with ten accounts, {} with ten thousand", few.len(), many.len());
    // A few appear because something is told for the first time.
    assert!(many.len() < few.len() + 30, "{} after {}: {many:#?}", many.len(), few.len());
    assert!(many.keys().all(|name| !name.contains("shop-")), "{many:#?}");
}

#[tokio::test]
async fn the_number_of_series_does_not_grow_with_domains_urls_and_calls() {
    let mut system = System::start(&[]).await;
    let ops = system.begin("all", None);
    system.process("all").wait_ready(ops, SOON).await;
    use_it(&system, 0..5).await;
    let few = series(ops).await;
    use_it(&system, 5..50).await;
    let many = series(ops).await;
    // What tells of an account, a domain or a URL has 45 more now. A few appear because
    // something is told for the first time, or went wrong once.
    assert!(many.len() < few.len() + 30, "{} after {}: {many:#?}", many.len(), few.len());
    assert!(many.keys().all(|name| !name.contains("shop-")), "{many:#?}");
}
