//! Outcomes that the broker does not take, what is known of those that it has, and the ack
//! and the clock that it confirms.

use std::time::Duration;

use bus::{Acks, Bus, BusConfig, OutcomeWriter, Past, RecentOutcomes};
use chassis::{Clock, Env, Tasks};
use chrono::TimeDelta;
use prost::Message as _;
use protocol::v1::ended::End;
use protocol::v1::{Attempted, Delivery, Ended, OutcomeBatch, Target, outcome};
use serde_json::json;
use testkit::{Nats, NatsOptions, Scratch, within};

const SOON: Duration = Duration::from_secs(20);

async fn connect() -> (Bus, Tasks) {
    connect_to(testkit::shared_nats_url()).await
}

async fn connect_to(url: &str) -> (Bus, Tasks) {
    let pairs = [
        ("POSTRIDER_NATS_URL", url.to_owned()),
        ("POSTRIDER_REGION", testkit::fresh_region()),
        ("POSTRIDER_LEASE", "2s".to_owned()),
    ];
    let mut env = Env::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value)));
    let config = BusConfig::read(&mut env);
    let known = env.settings().to_vec();
    env.finish(&known).expect("the settings are right");
    let tasks = Tasks::new();
    let bus = Bus::connect(config, Clock::system(), &tasks).await.expect("the broker is there");
    (bus, tasks)
}

/// Lets the stream of outcomes take messages of this size at most.
async fn limit(bus: &Bus, most_bytes: i32) {
    let (url, name) = (testkit::shared_nats_url(), bus.config().names.outcomes_stream());
    let info = testkit::broker::jetstream(url, &format!("STREAM.INFO.{name}"), &json!({})).await;
    let mut config = info["config"].clone();
    config["max_msg_size"] = json!(most_bytes);
    testkit::broker::jetstream(url, &format!("STREAM.UPDATE.{name}"), &config).await;
}

fn id(n: u32) -> String {
    format!("{n:032x}")
}

fn ended(n: u32, body_bytes: usize) -> outcome::Kind {
    outcome::Kind::Ended(Ended {
        delivery_id: id(n),
        end: End::Exhausted.into(),
        reason: "schedule".into(),
        delivery: vec![7; body_bytes].into(),
        ..Ended::default()
    })
}

fn attempted(n: u32, hop: u32, reason: &str) -> outcome::Kind {
    let reason = reason.into();
    outcome::Kind::Attempted(Attempted { delivery_id: id(n), hop, reason, ..Attempted::default() })
}

async fn stored(bus: &Bus) -> Vec<outcome::Kind> {
    let stream = bus.config().names.outcomes_stream();
    let messages = testkit::broker::messages(testkit::shared_nats_url(), &stream).await;
    let batches = messages.iter().map(|(_, bytes)| OutcomeBatch::decode(&**bytes).expect("read"));
    batches.flat_map(|batch| batch.outcomes).filter_map(|outcome| outcome.kind).collect()
}

#[tokio::test]
async fn an_outcome_that_is_too_large_is_stored_without_its_body_and_holds_up_no_other() {
    let (bus, tasks) = connect().await;
    limit(&bus, 2_000).await;
    let writer = OutcomeWriter::start(bus.clone(), &tasks);
    let records = (0..60_u32).map(|n| {
        let (writer, body_bytes) = (writer.clone(), if n % 6 == 0 { 100_000 } else { 100 });
        async move { writer.record(&format!("a{}", n % 5), ended(n, body_bytes)).await }
    });
    within(SOON, "all outcomes to be stored", futures_util::future::join_all(records)).await;
    let mut found: Vec<(String, usize)> = stored(&bus)
        .await
        .into_iter()
        .filter_map(|kind| match kind {
            outcome::Kind::Ended(ended) => Some((ended.delivery_id, ended.delivery.len())),
            _ => None,
        })
        .collect();
    found.sort();
    found.dedup();
    let wanted: Vec<_> = (0..60).map(|n| (id(n), if n % 6 == 0 { 0 } else { 100 })).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn what_is_refused_though_it_is_small_waits_and_is_stored_in_full_afterwards() {
    let (bus, tasks) = connect().await;
    // Without its body it would fit.
    limit(&bus, 5_000).await;
    let writer = OutcomeWriter::start(bus.clone(), &tasks);
    let waiting = tasks.spawn({
        let writer = writer.clone();
        async move { writer.record("a", ended(1, 10_000)).await }
    });
    testkit::eventually(SOON, "the refusal", || async { writer.is_refusing().then_some(()) }).await;
    limit(&bus, -1).await;
    within(SOON, "the outcome to be stored", waiting).await.expect("recorded");
    let outcome::Kind::Ended(ended) = stored(&bus).await.remove(0) else { panic!("no end") };
    assert_eq!(ended.delivery.len(), 10_000);
}

#[tokio::test]
async fn what_has_become_of_a_delivery_is_known_once_it_is_stored() {
    let (bus, tasks) = connect().await;
    let writer = OutcomeWriter::start(bus.clone(), &tasks);
    let recent = RecentOutcomes::start(bus.clone(), &tasks, |attempted| attempted.reason != "wait");
    let since = Clock::system().now() - TimeDelta::seconds(30);
    assert_eq!(recent.of(&id(1), 0, since).await, Past::Nothing, "of an empty stream");
    for n in 0..300 {
        writer.record(&format!("a{}", n % 7), ended(n, 10)).await;
    }
    writer.record("a", attempted(1_000, 3, "wait")).await;
    writer.record("a", attempted(1_000, 3, "status")).await;
    writer.record("a", attempted(1_000, 3, "timeout")).await;
    for n in [0, 299] {
        let Past::Ended { end, reason } = recent.of(&id(n), 5, since).await else {
            panic!("the end of {n} is not known")
        };
        assert_eq!((end, &*reason), (End::Exhausted, "schedule"));
    }
    let Past::Attempted(attempted) = recent.of(&id(1_000), 3, since).await else {
        panic!("the try is not known")
    };
    assert_eq!(attempted.reason, "status", "the first one counts");
    assert_eq!(recent.of(&id(1_000), 4, since).await, Past::Nothing);
    // What comes while it is followed, and what lies further back than was asked for before.
    writer.record("a", ended(2_000, 0)).await;
    assert!(matches!(recent.of(&id(2_000), 0, since).await, Past::Ended { .. }));
    let long_ago = since - TimeDelta::hours(1);
    assert!(matches!(recent.of(&id(7), 0, long_ago).await, Past::Ended { .. }));
    assert_eq!(recent.of(&id(3_000), 0, long_ago).await, Past::Nothing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_become_of_a_delivery_is_looked_up_until_the_broker_is_back() {
    let scratch = Scratch::new().expect("a directory");
    let mut nats = Nats::start(NatsOptions::new(scratch.path().join("nats"))).expect("a broker");
    let (bus, tasks) = connect_to(&nats.url()).await;
    let writer = OutcomeWriter::start(bus.clone(), &tasks);
    writer.record("account", ended(1, 10)).await;
    let recent = RecentOutcomes::start(bus.clone(), &tasks, |_| true);
    let since = Clock::system().now() - TimeDelta::minutes(1);
    nats.kill9().expect("killed");
    // Longer than a request to the broker waits for its answer.
    let comes_back = async {
        Clock::system().sleep(Duration::from_secs(8)).await;
        nats.restart().expect("restarted");
    };
    let id = id(1);
    let asked = async { tokio::join!(recent.of(&id, 0, since), comes_back).0 };
    let past = within(2 * SOON, "an answer", asked).await;
    assert!(matches!(past, Past::Ended { .. }), "{past:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_of_life_that_no_broker_hears_keeps_no_lease() {
    let scratch = Scratch::new().expect("a directory");
    let nats = Nats::start(NatsOptions::new(scratch.path().join("nats"))).expect("a broker");
    let (bus, _tasks) = connect_to(&nats.url()).await;
    let delivery = Delivery {
        delivery_id: id(1),
        target: Some(Target { id: "t".into(), kind: None }),
        ..Delivery::default()
    };
    bus.publish_delivery(&delivery).await.expect("stored");
    let mut due = bus.due_consumer(0, 10);
    let mut pull = due.pull(1).await.expect("pulled");
    let chunk = pull.next().await.expect("one").expect("no error");
    let (lease, clock) = (bus.config().lease, Clock::system());
    let keep = async || {
        bus::keeping_leases(&chunk, lease, &clock, clock.sleep(lease * 5 / 3)).await;
        chunk[0].lease_may_be_lost(lease)
    };
    assert!(!keep().await, "it was heard");
    // The connection stands, and nothing comes through.
    let pid = nats.pid().expect("it runs").to_string();
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args([name, &pid]).status();
        assert!(sent.expect("kill runs").success());
    };
    signal("-STOP");
    let is_lost = keep().await;
    signal("-CONT");
    assert!(is_lost, "nobody has heard it");
}

#[tokio::test]
async fn an_ack_is_confirmed_by_the_broker() {
    let (bus, tasks) = connect().await;
    let target = Some(Target { id: "target".into(), kind: None });
    let delivery = Delivery { delivery_id: id(1), target, ..Delivery::default() };
    let mut consumer = bus.due_consumer(0, 10);
    // What was stored before there was this consumer may have been handed out by another.
    consumer.ensure().await.expect("made");
    bus.publish_delivery(&delivery).await.expect("stored");
    let mut pull = consumer.pull(1).await.expect("pulled");
    let pulled = pull.next().await.expect("one").expect("no error").remove(0);
    assert_eq!(pulled.times_handed_out(), 1);
    assert!(!pulled.may_have_been_tried());
    let acks = Acks::new(bus.clone(), tasks.clone(), "a test's");
    acks.ack_confirmed(&pulled).await;
    // A stop waits for the confirmation, and a message that is confirmed is done.
    tasks.stop();
    assert!(tasks.wait(Duration::from_secs(10)).await, "confirmed");
    assert_eq!(bus.deliveries_waiting().await.expect("answered"), 0);
}

#[tokio::test]
async fn the_clock_of_the_broker_is_that_of_this_machine() {
    let (bus, _tasks) = connect().await;
    let ahead = bus.ahead_of_broker().await.expect("answered");
    assert!(ahead.abs() < TimeDelta::seconds(1), "{ahead}");
}
