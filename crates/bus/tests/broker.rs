//! What the bus promises, on a real broker.

use std::time::Duration;

use bus::{Bus, BusConfig, OutcomeKind, OutcomeWriter, Rescheduled, Settings, Stored};
use chassis::{Clock, Env, Tasks};
use chrono::TimeDelta;
use futures_util::StreamExt as _;
use model::{EventType, delivery_id, event_key, message_target_id};
use prost::Message as _;
use protocol::v1::{AccountDocument, Delivery, Ended, OutcomeBatch, Target, outcome};
use serde_json::json;
use testkit::{NatsCluster, Scratch};

async fn connect(extra: &[(&str, &str)]) -> (Bus, Tasks) {
    let mut pairs = vec![
        ("POSTRIDER_NATS_URL".to_owned(), testkit::shared_nats_url().to_owned()),
        ("POSTRIDER_REGION".to_owned(), testkit::fresh_region()),
        ("POSTRIDER_LEASE".to_owned(), "2s".to_owned()),
    ];
    pairs.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut env = Env::from_pairs(pairs);
    let config = BusConfig::read(&mut env);
    let known = env.settings().to_vec();
    env.finish(&known).expect("the settings are right");
    let tasks = Tasks::new();
    let bus = Bus::connect(config, Clock::system(), &tasks).await.expect("the broker is there");
    (bus, tasks)
}

fn delivery(name: &str) -> Delivery {
    let target_id = message_target_id("account", "https://hooks.example.net");
    let key = event_key("account", EventType::Clicked, name);
    Delivery {
        delivery_id: delivery_id(&key, "", &target_id),
        event_key: key,
        target: Some(Target { id: target_id, kind: None }),
        ..Delivery::default()
    }
}

fn in_ms(ms: i64) -> chrono::DateTime<chrono::Utc> {
    Clock::system().now() + TimeDelta::milliseconds(ms)
}

async fn pull_one(consumer: &mut bus::Consumer) -> (Delivery, bus::Pulled) {
    let mut pull = consumer.pull(1).await.expect("pulled");
    let chunk = pull.next().await.expect("a message within the pull").expect("no error");
    let pulled = chunk.into_iter().next().expect("one message");
    (Delivery::decode(pulled.payload().clone()).expect("a delivery"), pulled)
}

/// Two processes with environments of their own: the last one takes nothing back.
#[tokio::test]
async fn a_consumer_keeps_the_larger_limit_and_all_kinds() {
    let region = testkit::fresh_region();
    let own = ("POSTRIDER_REGION", region.as_str());
    let (first, _tasks) = connect(&[own]).await;
    let (second, _tasks) = connect(&[own]).await;
    first.outcomes_consumer("archive", &OutcomeKind::ALL, 500).ensure().await.expect("made");
    let fewer = [OutcomeKind::Ended];
    second.outcomes_consumer("archive", &fewer, 100).ensure().await.expect("found");
    let asked = format!("CONSUMER.INFO.{region}_OUTCOMES.{region}_archive");
    let info = testkit::broker::jetstream(testkit::shared_nats_url(), &asked, &json!({})).await;
    let config = &info["config"];
    assert_eq!(config["max_ack_pending"], 500);
    assert_eq!(config["filter_subjects"].as_array().map(Vec::len), Some(4));
    first.outcomes_consumer("archive", &OutcomeKind::ALL, 900).ensure().await.expect("found");
    let info = testkit::broker::jetstream(testkit::shared_nats_url(), &asked, &json!({})).await;
    assert_eq!(info["config"]["max_ack_pending"], 900);
}

#[tokio::test]
async fn an_event_is_stored_once_within_the_window() {
    let (bus, _tasks) = connect(&[]).await;
    let key = event_key("account", EventType::Clicked, "one");
    let publish = || bus.publish_event(EventType::Clicked, "account", &key, "body".into());
    assert_eq!(publish().await.expect("stored"), Stored::New);
    assert_eq!(publish().await.expect("answered"), Stored::Duplicate);
}

#[tokio::test]
async fn a_fired_retry_takes_the_place_of_the_copy_that_nobody_acked() {
    let (bus, _tasks) = connect(&[]).await;
    let mut delivery = delivery("ghost");
    assert_eq!(bus.publish_delivery(&delivery).await.expect("stored"), Stored::New);
    let mut consumer = bus.due_consumer(0, 100);
    let (_, ghost) = pull_one(&mut consumer).await;
    assert!(bus.is_newest(&ghost).await.expect("answered"));

    delivery.hop = 1;
    let stored = bus.reschedule(&delivery, &ghost, in_ms(700)).await.expect("stored");
    assert_eq!(stored, Rescheduled::Stored);
    assert!(!bus.is_newest(&ghost).await.expect("answered"), "its retry waits");
    // The process dies here: hop 0 is never acked. Its lease is two seconds.
    let (fired, pulled) = pull_one(&mut consumer).await;
    assert_eq!(fired.hop, 1);
    assert!(bus.is_newest(&pulled).await.expect("answered"));
    assert!(!bus.is_newest(&ghost).await.expect("answered"), "its retry has fired");
    pulled.ack().await;

    // Nothing is handed out again, though the lease of hop 0 runs out.
    let mut pull = consumer.pull(1).await.expect("pulled");
    assert!(pull.next().await.is_none(), "the ghost came back");
    assert!(!bus.is_newest(&ghost).await.expect("answered"), "it has ended");
    assert_eq!(bus.deliveries_waiting().await.expect("answered"), 0);
}

#[tokio::test]
async fn a_chain_of_retries_never_forks() {
    let (bus, _tasks) = connect(&[]).await;
    let mut delivery = delivery("fork");
    bus.publish_delivery(&delivery).await.expect("stored");
    let mut consumer = bus.due_consumer(0, 100);
    let (_, first) = pull_one(&mut consumer).await;
    // It comes again: nobody acked it within its lease.
    let (_, second) = pull_one(&mut consumer).await;
    delivery.hop = 1;
    let stored = bus.reschedule(&delivery, &first, in_ms(60_000)).await.expect("stored");
    assert_eq!(stored, Rescheduled::Stored);
    let again = bus.reschedule(&delivery, &second, in_ms(60_000)).await.expect("answered");
    assert_eq!(again, Rescheduled::Superseded);
    second.ack().await;
    let late = bus.reschedule(&delivery, &first, in_ms(60_000)).await.expect("answered");
    assert_eq!(late, Rescheduled::Superseded);
    testkit::eventually(Duration::from_secs(5), "one message to be left", || async {
        (bus.deliveries_waiting().await.expect("answered") == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn parking_and_retrying_within_the_dedup_window_are_different_writes() {
    let (bus, _tasks) = connect(&[("POSTRIDER_DELIVERIES_DEDUP_WINDOW", "2m")]).await;
    let mut consumer = bus.due_consumer(0, 100);
    let mut delivery = delivery("hops");
    assert_eq!(bus.publish_delivery(&delivery).await.expect("stored"), Stored::New);
    for hop in 1..=4 {
        let (due, pulled) = pull_one(&mut consumer).await;
        assert_eq!(due.hop, hop - 1);
        delivery.hop = hop;
        let stored = bus.reschedule(&delivery, &pulled, in_ms(50)).await.expect("stored");
        assert_eq!(stored, Rescheduled::Stored, "hop {hop}");
        pulled.ack().await;
    }
}

#[tokio::test]
async fn a_delivery_that_exists_is_not_made_again() {
    let (bus, _tasks) = connect(&[]).await;
    let mut first = delivery("again");
    assert_eq!(bus.publish_delivery(&first).await.expect("stored"), Stored::New);
    first.may_exist = true;
    assert_eq!(bus.publish_delivery(&first).await.expect("answered"), Stored::Duplicate);
    assert_eq!(bus.deliveries_waiting().await.expect("answered"), 1);
}

#[tokio::test]
async fn a_schedule_is_never_early() {
    let (bus, _tasks) = connect(&[]).await;
    let mut consumer = bus.due_consumer(0, 100);
    for number in 0..20 {
        let mut delivery = delivery(&format!("early-{number}"));
        bus.publish_delivery(&delivery).await.expect("stored");
        let (_, pulled) = pull_one(&mut consumer).await;
        delivery.hop = 1;
        let at = in_ms(300);
        bus.reschedule(&delivery, &pulled, at).await.expect("stored");
        pulled.ack().await;
        let (_, pulled) = pull_one(&mut consumer).await;
        let now = Clock::system().now();
        assert!(now >= at, "{}", at - now);
        assert!(now < at + TimeDelta::milliseconds(1500), "{}", now - at);
        pulled.ack().await;
    }
}

#[tokio::test]
async fn the_fence_shows_every_change_that_was_made_before_it() {
    let (bus, tasks) = connect(&[]).await;
    let reader = Settings::watch(bus.clone(), &tasks).await.expect("watching");
    for version in 1..=200 {
        let name = "demo".to_owned();
        let document = AccountDocument {
            account_id: "a1".into(),
            name,
            version,
            ..AccountDocument::default()
        };
        bus.put_account(&document).await.expect("put");
        reader.fence().await.expect("fenced");
        let seen = reader.read(|documents| documents.account_named("demo").map(|a| a.version));
        assert_eq!(seen, Some(version));
    }
    // A reader that starts now has it all from the broker.
    let late = Settings::watch(bus, &tasks).await.expect("watching");
    assert_eq!(late.read(|documents| documents.account("a1").map(|a| a.version)), Some(200));
}

#[tokio::test]
async fn an_older_document_never_replaces_a_newer_one() {
    let (bus, tasks) = connect(&[]).await;
    let put = async |version| {
        let account_id = "a1".to_owned();
        let document = AccountDocument { account_id, version, ..AccountDocument::default() };
        bus.put_account(&document).await.expect("put");
    };
    put(3).await;
    put(2).await;
    let settings = Settings::watch(bus.clone(), &tasks).await.expect("watching");
    assert_eq!(settings.read(|documents| documents.account("a1").map(|a| a.version)), Some(3));
    // Many at once, in any order: the newest stands in the end.
    futures_util::future::join_all((4..=9).rev().map(&put)).await;
    settings.fence().await.expect("fenced");
    assert_eq!(settings.read(|documents| documents.account("a1").map(|a| a.version)), Some(9));
}

#[tokio::test]
async fn outcomes_are_batched_by_kind_and_account_and_all_arrive() {
    let (bus, tasks) = connect(&[]).await;
    let writer = OutcomeWriter::start(bus.clone(), &tasks);
    let records = (0..500).map(|number| {
        let writer = writer.clone();
        async move {
            let account = format!("account{}", number % 3);
            let ended = Ended { delivery_id: number.to_string(), ..Ended::default() };
            writer.record(&account, outcome::Kind::Ended(ended)).await;
        }
    });
    futures_util::future::join_all(records).await;
    let mut consumer = bus.outcomes_consumer("test", &OutcomeKind::ALL, 10_000);
    let (mut seen, mut messages) = (std::collections::BTreeSet::new(), 0);
    while seen.len() < 500 {
        let mut pull = consumer.pull(100).await.expect("pulled");
        while let Some(chunk) = pull.next().await {
            for pulled in chunk.expect("no error") {
                let batch = OutcomeBatch::decode(pulled.payload().clone()).expect("a batch");
                messages += 1;
                for outcome in batch.outcomes {
                    let Some(outcome::Kind::Ended(ended)) = outcome.kind else {
                        panic!("not ended")
                    };
                    seen.insert(ended.delivery_id);
                }
                pulled.ack().await;
            }
            if seen.len() == 500 {
                break;
            }
        }
    }
    assert!(messages < 250, "{messages} messages for 500 outcomes");
}

#[tokio::test]
async fn a_pull_takes_no_more_than_its_bytes_and_ends_in_order() {
    let (bus, _tasks) = connect(&[]).await;
    const EVENTS: usize = 7;
    for n in 0..EVENTS {
        let key = event_key("account", EventType::Clicked, &n.to_string());
        let body = vec![0; 300_000].into();
        bus.publish_event(EventType::Clicked, "account", &key, body).await.expect("stored");
    }
    let mut consumer = bus.events_consumer("test", 100);
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < EVENTS {
        // Raised to what one message can have: a megabyte and a little.
        let mut pull = consumer.pull_bytes(100, 1).await.expect("pulled");
        let mut size = 0;
        while let Some(chunk) = pull.next().await {
            for pulled in chunk.expect("running out of bytes is no error") {
                assert_eq!(pulled.times_handed_out(), 1);
                pulled.ack().await;
                size += 1;
            }
        }
        sizes.push(size);
    }
    assert_eq!(sizes, [3, 3, 1]);
}

/// With copies the broker tells the end of a pull at once, and hands out what belongs to it
/// when its followers know: what comes behind the end is no less a part of the pull.
#[tokio::test]
async fn what_a_cluster_hands_out_behind_the_end_of_a_pull_belongs_to_it() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = NatsCluster::start(scratch.path()).expect("a cluster");
    let region = testkit::fresh_region();
    let copies = ("POSTRIDER_NATS_REPLICAS", "3");
    let lease = ("POSTRIDER_LEASE", "30s");
    let url = cluster.url();
    let at = ("POSTRIDER_NATS_URL", url.as_str());
    let (bus, _tasks) = connect(&[at, ("POSTRIDER_REGION", &region), copies, lease]).await;
    for n in 0..9 {
        let key = event_key("account", EventType::Clicked, &n.to_string());
        let body = vec![0; 300_000].into();
        bus.publish_event(EventType::Clicked, "account", &key, body).await.expect("stored");
    }
    bus.events_consumer("test", 100).ensure().await.expect("made");
    let client = async_nats::connect(cluster.nodes()[0].url()).await.expect("connected");
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream(format!("{region}_EVENTS")).await.expect("there");
    let consumer = stream.consumers().next().await.expect("one").expect("told");
    let leader = consumer.cluster.and_then(|cluster| cluster.leader).expect("a leader");
    let (leader, followers): (Vec<_>, Vec<_>) =
        cluster.nodes().iter().partition(|node| node.name() == leader);

    // At the leader itself, so that only what it asks its followers has to wait for them.
    let url = leader[0].url();
    let at = ("POSTRIDER_NATS_URL", url.as_str());
    let (bus, _tasks) = connect(&[at, ("POSTRIDER_REGION", &region), copies, lease]).await;
    let mut consumer = bus.events_consumer("test", 100);
    let mut pull = consumer.pull(1).await.expect("pulled");
    let first = pull.next().await.expect("one").expect("one");
    first[0].ack().await;
    for (way, most, all) in [("all that it asked for", 2, 2), ("no more bytes", 100, 3)] {
        let signal = |name: &str| {
            for node in &followers {
                let pid = node.pid().expect("it runs").to_string();
                let sent = std::process::Command::new("kill").args([name, &pid]).status();
                assert!(sent.expect("kill runs").success());
            }
        };
        signal("-STOP");
        let mut pull = consumer.pull_bytes(most, 1).await.expect("pulled");
        let nothing = tokio::time::timeout(Duration::from_millis(500), pull.next()).await;
        signal("-CONT");
        assert!(nothing.is_err(), "{way}: {nothing:?} came though no follower knows");
        let mut came = 0;
        while let Some(chunk) = pull.next().await {
            for pulled in chunk.unwrap_or_else(|error| panic!("{way}: {error}")) {
                assert_eq!(pulled.times_handed_out(), 1, "{way}");
                pulled.ack().await;
                came += 1;
            }
        }
        assert_eq!(came, all, "{way}");
    }
}

#[tokio::test]
async fn fewer_shards_are_refused_while_one_that_goes_still_holds_something() {
    let region = testkit::fresh_region();
    let extra =
        |shards| [("POSTRIDER_REGION", region.as_str()), ("POSTRIDER_DELIVERY_SHARDS", shards)];
    let (bus, _tasks) = connect(&extra("4")).await;
    let mut number = 0;
    // Targets spread over the shards: write until the last one has something.
    loop {
        let target_id = message_target_id("account", &number.to_string());
        let mut delivery = delivery("shards");
        delivery.target = Some(Target { id: target_id.clone(), kind: None });
        bus.publish_delivery(&delivery).await.ok();
        if model::shard_of(&target_id, 4) == 3 {
            break;
        }
        number += 1;
    }
    let mut env = Env::from_pairs([
        ("POSTRIDER_NATS_URL".to_owned(), testkit::shared_nats_url().to_owned()),
        ("POSTRIDER_REGION".to_owned(), region.clone()),
        ("POSTRIDER_DELIVERY_SHARDS".to_owned(), "2".to_owned()),
    ]);
    let config = BusConfig::read(&mut env);
    let refused = Bus::connect(config, Clock::system(), &Tasks::new()).await;
    let error = refused.err().expect("refused").to_string();
    assert!(error.contains("POSTRIDER_DELIVERY_SHARDS"), "{error}");
}

#[tokio::test]
async fn what_waits_for_its_time_is_not_due_and_not_behind() {
    let (bus, _tasks) = connect(&[]).await;
    let mut consumer = bus.due_consumer(0, 100);
    let mut later = delivery("later");
    bus.publish_delivery(&later).await.expect("stored");
    let (_, pulled) = pull_one(&mut consumer).await;
    let lag = consumer.lag().await.expect("told");
    assert_eq!((lag.pending, lag.unacked), (0, 1), "somebody is at it");
    assert!(lag.oldest.is_some());

    later.hop = 1;
    bus.reschedule(&later, &pulled, in_ms(60_000)).await.expect("stored");
    pulled.ack().await;
    let is_idle = || async {
        let lag = consumer.lag().await.expect("told");
        (lag == bus::Lag::default()).then_some(())
    };
    testkit::eventually(Duration::from_secs(5), "nothing to be due", is_idle).await;

    let before = Clock::system().now();
    bus.publish_delivery(&delivery("now")).await.expect("stored");
    let lag = consumer.lag().await.expect("told");
    assert_eq!((lag.pending, lag.unacked), (1, 0));
    // That of the delivery that is due, not of the retry that stands before it.
    let oldest = lag.oldest.expect("told");
    assert!(oldest >= before - TimeDelta::seconds(1), "{oldest}");
    assert_eq!(bus.deliveries_waiting().await.expect("answered"), 2);
}

#[tokio::test]
async fn a_role_that_starts_makes_no_window_and_no_stream_smaller() {
    let (url, region) = (testkit::shared_nats_url(), testkit::fresh_region());
    let with = |window, bytes| {
        let region = region.clone();
        async move {
            let settings = [
                ("POSTRIDER_REGION", region.as_str()),
                ("POSTRIDER_EVENTS_DEDUP_WINDOW", window),
                ("POSTRIDER_EVENTS_MAX_BYTES", bytes),
            ];
            connect(&settings).await;
            let question = format!("STREAM.INFO.{region}_EVENTS");
            let info = testkit::broker::jetstream(url, &question, &serde_json::json!({})).await;
            let config = &info["config"];
            (config["duplicate_window"].as_u64(), config["max_bytes"].as_u64())
        }
    };
    let (minute, gib) = (60_000_000_000, 1 << 30);
    assert_eq!(with("1h", "16GiB").await, (Some(60 * minute), Some(16 * gib)));
    assert_eq!(with("10m", "8GiB").await, (Some(60 * minute), Some(16 * gib)));
    assert_eq!(with("2h", "32GiB").await, (Some(120 * minute), Some(32 * gib)));
}

#[tokio::test]
async fn a_document_that_operators_delete_is_gone_from_running_processes() {
    let (bus, tasks) = connect(&[]).await;
    let reader = Settings::watch(bus.clone(), &tasks).await.expect("watching");
    let (account_id, name) = ("a1".to_owned(), "demo".to_owned());
    let document = AccountDocument { account_id, name, version: 1, ..AccountDocument::default() };
    bus.put_account(&document).await.expect("put");
    reader.fence().await.expect("fenced");
    assert!(reader.read(|documents| documents.account_named("demo").is_some()));
    let client = async_nats::connect(testkit::shared_nats_url()).await.expect("connected");
    let jetstream = async_nats::jetstream::new(client);
    let bucket = jetstream.get_key_value(bus.config().names.settings_bucket()).await;
    bucket.expect("the bucket").delete("account.a1").await.expect("deleted");
    reader.fence().await.expect("fenced");
    assert!(reader.read(|documents| documents.account("a1").is_none()));
    assert!(reader.read(|documents| documents.account_named("demo").is_none()));
    // Put again, it is there again.
    bus.put_account(&document).await.expect("put");
    reader.fence().await.expect("fenced");
    assert!(reader.read(|documents| documents.account_named("demo").is_some()));
}

/// A process that was silent for a lease says that it is alive: another one may have
/// the message all the same.
#[tokio::test]
async fn a_lease_that_was_lost_stays_lost() {
    let (bus, _tasks) = connect(&[("POSTRIDER_LEASE", "1s")]).await;
    bus.publish_delivery(&delivery("frozen")).await.expect("stored");
    let mut consumer = bus.due_consumer(0, 100);
    let (_, held) = pull_one(&mut consumer).await;
    let lease = Duration::from_secs(1);
    held.still_working().await;
    assert!(!held.lease_may_be_lost(lease));
    Clock::system().sleep(lease).await;
    held.still_working().await;
    assert!(held.lease_may_be_lost(lease));
}

#[tokio::test]
async fn streams_are_put_right_and_those_of_others_are_not_touched() {
    let (url, region) = (testkit::shared_nats_url(), testkit::fresh_region());
    let settings = [("POSTRIDER_REGION", region.as_str())];
    let (_bus, _tasks) = connect(&settings).await;
    let stream = format!("{region}_EVENTS");
    let question = format!("STREAM.INFO.{stream}");
    let info = testkit::broker::jetstream(url, &question, &serde_json::json!({})).await;
    let mut config = info["config"].clone();
    assert_eq!(config["metadata"]["postrider-layout"], "2");

    // Somebody lets events go after an hour.
    config["max_age"] = 3_600_000_000_000_u64.into();
    testkit::broker::jetstream(url, &format!("STREAM.UPDATE.{stream}"), &config).await;
    connect(&settings).await;
    let info = testkit::broker::jetstream(url, &question, &serde_json::json!({})).await;
    assert_eq!(info["config"]["max_age"], 0);

    // Somebody else has a stream of the same name.
    let region = testkit::fresh_region();
    let name = format!("{region}_EVENTS");
    let theirs = serde_json::json!({"name": name, "subjects": [format!("orders.{region}.>")], "storage": "file"});
    testkit::broker::jetstream(url, &format!("STREAM.CREATE.{name}"), &theirs).await;
    let pairs = [("POSTRIDER_NATS_URL", url), ("POSTRIDER_REGION", region.as_str())];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut env = Env::from_pairs(pairs);
    let config = BusConfig::read(&mut env);
    let refusal = Bus::connect(config, Clock::system(), &Tasks::new()).await;
    let refusal = refusal.err().expect("it is not ours").to_string();
    assert!(refusal.contains("not Postrider's"), "{refusal}");
}
