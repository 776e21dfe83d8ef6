//! Interleavings that once broke a promise of the bus; the comment of each says
//! what happens.

use std::sync::Arc;
use std::time::Duration;

use bus::{Bus, BusConfig, OutcomeKind, OutcomeWriter, Rescheduled, Settings, Stored};
use chassis::{Clock, Env, Tasks};
use chrono::TimeDelta;
use model::{EventType, delivery_id, event_key, message_target_id};
use prost::Message as _;
use protocol::v1::{AccountDocument, Delivery, Ended, Target, outcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

async fn connect_to(url: &str, region: &str, extra: &[(&str, &str)]) -> (Bus, Tasks) {
    let mut pairs = vec![
        ("POSTRIDER_NATS_URL".to_owned(), url.to_owned()),
        ("POSTRIDER_REGION".to_owned(), region.to_owned()),
        ("POSTRIDER_LEASE".to_owned(), "1s".to_owned()),
        ("POSTRIDER_DELIVERIES_DEDUP_WINDOW".to_owned(), "2s".to_owned()),
        ("POSTRIDER_NATS_ACK_TIMEOUT".to_owned(), "1s".to_owned()),
    ];
    pairs.retain(|(name, _)| extra.iter().all(|(other, _)| name != other));
    pairs.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut env = Env::from_pairs(pairs);
    let config = BusConfig::read(&mut env);
    let known = env.settings().to_vec();
    env.finish(&known).expect("the settings are right");
    let tasks = Tasks::new();
    let bus = Bus::connect(config, Clock::system(), &tasks).await.expect("the broker is there");
    (bus, tasks)
}

async fn connect(extra: &[(&str, &str)]) -> (Bus, Tasks) {
    connect_to(testkit::shared_nats_url(), &testkit::fresh_region(), extra).await
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

async fn sleep_ms(ms: u64) {
    Clock::system().sleep(Duration::from_millis(ms)).await;
}

async fn pull_one(consumer: &mut bus::Consumer) -> (Delivery, bus::Pulled) {
    for _ in 0..100 {
        let mut pull = consumer.pull(1).await.expect("pulled");
        if let Some(Ok(chunk)) = pull.next().await {
            let pulled = chunk.into_iter().next().expect("one message");
            return (Delivery::decode(pulled.payload().clone()).expect("a delivery"), pulled);
        }
        sleep_ms(50).await;
    }
    panic!("no message");
}

fn account(version: u64) -> AccountDocument {
    AccountDocument {
        account_id: "a1".into(),
        name: "demo".into(),
        version,
        ..AccountDocument::default()
    }
}

/// `reschedule`: a dispatcher that was frozen after the POST thaws when another
/// one has taken the copy over and ended it. Its retry finds `retry` vacant and
/// the id forgotten, and the delivery rises from the dead.
#[tokio::test]
async fn a_frozen_dispatcher_does_not_revive_what_has_ended() {
    let (bus, _tasks) = connect(&[]).await;
    let first = delivery("frozen");
    assert_eq!(bus.publish_delivery(&first).await.expect("stored"), Stored::New);
    let mut consumer = bus.due_consumer(0, 100);
    // A takes it, asks the receiver, and freezes.
    let (mut held_by_a, pulled_by_a) = pull_one(&mut consumer).await;
    // The lease runs out: B gets it, needs a retry, which succeeds.
    let (mut held_by_b, pulled_by_b) = pull_one(&mut consumer).await;
    assert!(pulled_by_b.may_be_redelivered());
    held_by_b.hop = 1;
    assert_eq!(
        bus.reschedule(&held_by_b, &pulled_by_b, in_ms(100)).await.expect("ok"),
        Rescheduled::Stored
    );
    pulled_by_b.ack().await;
    let (hop_1, pulled) = pull_one(&mut consumer).await;
    assert_eq!(hop_1.hop, 1);
    pulled.ack().await;
    // A thaws once the broker has forgotten B's write.
    sleep_ms(2500).await;
    assert_eq!(bus.deliveries_waiting().await.expect("answered"), 0);
    held_by_a.hop = 1;
    let revived = bus.reschedule(&held_by_a, &pulled_by_a, in_ms(100)).await;
    let waiting = bus.deliveries_waiting().await.expect("answered");
    assert_eq!(waiting, 0, "an ended delivery is on its way again: {revived:?}");
    assert_eq!(revived.expect("answered"), Rescheduled::Superseded);
}

/// `publish_delivery`: a fanout that was frozen before its first write (which
/// has no condition) pushes a later hop off `due`, tries charged and all.
#[tokio::test]
async fn a_frozen_fanout_does_not_push_out_a_later_hop() {
    let (bus, _tasks) = connect(&[]).await;
    let frozen = delivery("pushed-out");
    // B was handed the event after A's lease had run out.
    let mut from_b = frozen.clone();
    from_b.may_exist = true;
    assert_eq!(bus.publish_delivery(&from_b).await.expect("stored"), Stored::New);
    let mut consumer = bus.due_consumer(0, 100);
    let (mut hop, pulled) = pull_one(&mut consumer).await;
    (hop.hop, hop.attempt, hop.may_exist) = (1, 1, false);
    assert_eq!(bus.reschedule(&hop, &pulled, in_ms(100)).await.expect("ok"), Rescheduled::Stored);
    pulled.ack().await;
    sleep_ms(2500).await;
    // Hop 1 is due and nobody has taken it yet. A thaws.
    let written = bus.publish_delivery(&frozen).await;
    let (due, _pulled) = pull_one(&mut consumer).await;
    assert_eq!((due.hop, due.attempt), (1, 1), "hop 1 is gone: {written:?}");
}

/// The fence trusts `applied` after the bucket was made anew (or restored to
/// an older state): its sequences are low again, so every fence passes at once.
#[tokio::test]
async fn the_fence_holds_after_the_bucket_was_made_anew() {
    let url = testkit::shared_nats_url();
    let region = testkit::fresh_region();
    let (bus, tasks) = connect_to(url, &region, &[]).await;
    let reader = Settings::watch(bus.clone(), &tasks).await.expect("watching");
    for version in 1..=50 {
        bus.put_account(&account(version)).await.expect("put");
    }
    reader.fence().await.expect("fenced");
    let client = async_nats::connect(url).await.expect("connected");
    let jetstream = async_nats::jetstream::new(client);
    jetstream.delete_stream(format!("KV_{region}_settings")).await.expect("deleted");
    let (writer, _tasks) = connect_to(url, &region, &[]).await;
    writer.put_account(&account(51)).await.expect("put");
    let revision = reader.fence().await;
    let seen = reader.read(|documents| documents.account("a1").map(|a| a.version));
    assert_eq!(seen, Some(51), "the fence said {revision:?}");
}

/// The same, where the new bucket has more sequences than the old one had.
#[tokio::test]
async fn the_fence_notices_a_new_bucket_that_is_longer_than_the_old_one() {
    let url = testkit::shared_nats_url();
    let region = testkit::fresh_region();
    let (bus, tasks) = connect_to(url, &region, &[]).await;
    let reader = Settings::watch(bus.clone(), &tasks).await.expect("watching");
    bus.put_account(&account(1)).await.expect("put");
    reader.fence().await.expect("fenced");
    let client = async_nats::connect(url).await.expect("connected");
    let jetstream = async_nats::jetstream::new(client);
    jetstream.delete_stream(format!("KV_{region}_settings")).await.expect("deleted");
    let (writer, _tasks) = connect_to(url, &region, &[]).await;
    for version in 2..=9 {
        writer.put_account(&account(version)).await.expect("put");
    }
    reader.fence().await.expect("fenced");
    assert_eq!(reader.read(|documents| documents.account("a1").map(|a| a.version)), Some(9));
}

/// A proxy that holds back what goes to the broker from the first bytes that
/// contain `trigger` on, until it is told to let go.
async fn holding_proxy(
    trigger: &'static [u8],
    tasks: &Tasks,
) -> (String, watch::Sender<bool>, watch::Receiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let url = format!("nats://{}", listener.local_addr().expect("bound"));
    let (armed, is_armed) = watch::channel(false);
    let (caught, is_caught) = watch::channel(false);
    let caught = Arc::new(caught);
    let spawner = tasks.clone();
    tasks.spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let broker = testkit::shared_nats_url().trim_start_matches("nats://");
            let broker = TcpStream::connect(broker).await.expect("the broker is there");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_broker, mut to_broker) = broker.into_split();
            let (mut armed, caught) = (is_armed.clone(), Arc::clone(&caught));
            spawner.spawn(async move {
                tokio::io::copy(&mut from_broker, &mut to_client).await.ok();
            });
            spawner.spawn(async move {
                let mut buffer = vec![0; 65_536];
                loop {
                    let read = from_client.read(&mut buffer).await.unwrap_or(0);
                    if read == 0 {
                        return;
                    }
                    let hit = buffer[..read].windows(trigger.len()).any(|window| window == trigger);
                    if hit && *armed.borrow() {
                        caught.send_replace(true);
                        armed.wait_for(|armed| !armed).await.ok();
                    }
                    let written = to_broker.write_all(&buffer[..read]).await;
                    if written.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, armed, is_caught)
}

/// `put`: replica A's write of version 1 is held up on its way (a network that
/// stalls for some seconds, or a process that freezes under its lock). A gives
/// up, its lock ends with its transaction, B puts version 2 and empties the
/// outbox. Then A's write arrives, and version 1 stands for good.
#[tokio::test]
async fn a_late_write_does_not_bring_back_older_settings() {
    let region = testkit::fresh_region();
    let tasks = Tasks::new();
    let (proxy, armed, mut caught) = holding_proxy(b"PUB $KV.", &tasks).await;
    let (b, b_tasks) = connect_to(testkit::shared_nats_url(), &region, &[]).await;
    let (a, _a_tasks) = connect_to(&proxy, &region, &[]).await;
    armed.send_replace(true);
    let given_up = a.put_account(&account(1)).await;
    assert!(given_up.is_err(), "not confirmed in time");
    caught.wait_for(|caught| *caught).await.expect("caught");
    b.put_account(&account(2)).await.expect("put");
    armed.send_replace(false);
    sleep_ms(500).await;
    let reader = Settings::watch(b, &b_tasks).await.expect("watching");
    let seen = reader.read(|documents| documents.account("a1").map(|a| a.version));
    assert_eq!(seen, Some(2));
}

/// `place`: the shard is worked out anew from today's number of shards. While
/// that number grows, a ghost in the old stream looks for its retry in the new
/// one, does not find it, and writes a second one there: the chain forks.
#[tokio::test]
async fn a_growing_number_of_shards_does_not_fork_a_delivery() {
    let url = testkit::shared_nats_url();
    let region = testkit::fresh_region();
    let (old, _old) = connect_to(url, &region, &[]).await;
    let (new, _new) = connect_to(url, &region, &[("POSTRIDER_DELIVERY_SHARDS", "2")]).await;
    let mut first = delivery("grown");
    let moved = (0..).map(|n: u32| message_target_id("account", &n.to_string()));
    let target_id = moved.into_iter().find(|id| model::shard_of(id, 2) == 1).expect("one");
    first.target = Some(Target { id: target_id.clone(), kind: None });
    assert_eq!(old.publish_delivery(&first).await.expect("stored"), Stored::New);
    // A, of the old size, writes the retry and dies before its ack.
    let mut consumer = old.due_consumer(0, 100);
    let (mut hop, ghost) = pull_one(&mut consumer).await;
    hop.hop = 1;
    assert_eq!(old.reschedule(&hop, &ghost, in_ms(60_000)).await.expect("ok"), Rescheduled::Stored);
    let is_there = new.has_delivery(&target_id, &first.delivery_id).await.expect("answered");
    assert!(is_there, "it waits in the old stream");
    // B, of the new size, is handed the ghost.
    let mut consumer = new.due_consumer(0, 100);
    let (mut again, pulled) = pull_one(&mut consumer).await;
    assert!(pulled.may_be_redelivered());
    assert!(!new.is_newest(&pulled).await.expect("answered"), "its retry waits in the old stream");
    again.hop = 1;
    let written = new.reschedule(&again, &pulled, in_ms(60_000)).await.expect("answered");
    pulled.ack().await;
    assert_eq!(written, Rescheduled::Superseded);
    testkit::eventually(Duration::from_secs(5), "one message to be left", || async {
        (new.deliveries_waiting().await.expect("answered") == 1).then_some(())
    })
    .await;
}

/// A stream that is over its budget is trimmed to it, though no alert was ever
/// exhausted and so one consumer's ack floor never moves; but nothing that is
/// younger than a minute goes, and nothing that archive has not acked.
#[tokio::test]
async fn outcomes_are_trimmed_to_their_budget_once_they_are_settled() {
    let clock = Clock::fixed(Clock::system().now());
    let region = testkit::fresh_region();
    let mut env = Env::from_pairs([
        ("POSTRIDER_NATS_URL".to_owned(), testkit::shared_nats_url().to_owned()),
        ("POSTRIDER_REGION".to_owned(), region),
        ("POSTRIDER_OUTCOMES_REPLAY_BYTES".to_owned(), "8KiB".to_owned()),
    ]);
    let config = BusConfig::read(&mut env);
    let tasks = Tasks::new();
    let bus = Bus::connect(config, clock.clone(), &tasks).await.expect("the broker is there");
    let mut trimmer = bus.outcomes_trimmer();
    let mut archive = bus.outcomes_consumer("archive", &OutcomeKind::ALL, 1000);
    let mut settings = bus.outcomes_consumer("settings-api", &[OutcomeKind::Exhausted], 1000);
    archive.ensure().await.expect("made");
    settings.ensure().await.expect("made");
    let writer = OutcomeWriter::start(bus.clone(), &tasks);
    for number in 0..100 {
        let ended = Ended { delivery_id: format!("{number:0>300}"), ..Ended::default() };
        writer.record("a1", outcome::Kind::Ended(ended)).await;
    }
    let waiting = async || {
        let stream = format!("STREAM.INFO.{}", bus.config().names.outcomes_stream());
        let url = testkit::shared_nats_url();
        let info = testkit::broker::jetstream(url, &stream, &serde_json::json!({})).await;
        info["state"]["messages"].as_u64().expect("a count")
    };
    let all = waiting().await;
    trimmer.look().await.expect("looked");
    clock.advance(Duration::from_secs(120));
    trimmer.look().await.expect("looked");
    assert_eq!(waiting().await, all, "archive has seen nothing yet");

    let mut pull = archive.pull(1000).await.expect("pulled");
    let mut taken = Vec::new();
    while (taken.len() as u64) < all {
        taken.extend(pull.next().await.expect("more").expect("no error"));
    }
    // Between its pull and its commit.
    trimmer_look(&bus, &clock).await;
    assert_eq!(waiting().await, all, "archive has taken everything and has acked nothing");
    for pulled in taken {
        pulled.ack().await;
    }
    testkit::eventually(Duration::from_secs(10), "a purge", || async {
        trimmer_look(&bus, &clock).await;
        (waiting().await < all / 2).then_some(())
    })
    .await;
    assert!(waiting().await > 0, "what is within the budget stays");
}

/// Two looks, more than a minute apart by the clock.
async fn trimmer_look(bus: &Bus, clock: &Clock) {
    let mut trimmer = bus.outcomes_trimmer();
    trimmer.look().await.expect("looked");
    clock.advance(Duration::from_secs(61));
    trimmer.look().await.expect("looked");
}
