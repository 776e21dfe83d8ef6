//! A delivery stands in one place, whoever writes and however late: the broker refuses
//! every write that would put a second message of it beside the first.

use std::time::Duration;

use async_nats::HeaderMap;
use bus::{Bus, BusConfig, Consumer, Pulled, Rescheduled, Stored};
use chassis::{Clock, Env, Tasks};
use chrono::{DateTime, TimeDelta, Utc};
use model::{EventType, delivery_id, event_key, message_target_id};
use prost::Message as _;
use protocol::v1::{Delivery, Target};
use testkit::{NatsCluster, Scratch, Speech, Wire, eventually};

const SOON: Duration = Duration::from_secs(15);
/// Longer than the window in which the broker knows a write by its id.
const BEYOND_THE_WINDOW: Duration = Duration::from_millis(2500);

struct World {
    bus: Bus,
    due: Consumer,
    client: async_nats::Client,
    _tasks: Tasks,
}

impl World {
    async fn new(url: &str, replicas: &str) -> Self {
        Self::at(url, replicas, &testkit::fresh_region()).await
    }

    async fn at(url: &str, replicas: &str, region: &str) -> Self {
        let pairs = [
            ("POSTRIDER_NATS_URL", url),
            ("POSTRIDER_NATS_REPLICAS", replicas),
            ("POSTRIDER_REGION", region),
            ("POSTRIDER_LEASE", "1s"),
            ("POSTRIDER_DELIVERIES_DEDUP_WINDOW", "2s"),
            ("POSTRIDER_NATS_ACK_TIMEOUT", "4s"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = BusConfig::read(&mut Env::from_pairs(pairs));
        let tasks = Tasks::new();
        let bus = Bus::connect(config, Clock::system(), &tasks).await.expect("connected");
        let due = bus.due_consumer(0, 100);
        let client =
            async_nats::connect(url.split(',').next().expect("one")).await.expect("connected");
        Self { bus, due, client, _tasks: tasks }
    }

    async fn shared() -> Self {
        Self::new(testkit::shared_nats_url(), "1").await
    }

    /// The next delivery that is due.
    async fn pull(&mut self) -> (Delivery, Pulled) {
        for _ in 0..10 {
            let mut pull = self.due.pull(1).await.expect("pulled");
            if let Some(Ok(chunk)) = pull.next().await {
                let pulled = chunk.into_iter().next().expect("one message");
                return (Delivery::decode(pulled.payload().clone()).expect("one"), pulled);
            }
        }
        panic!("nothing is due");
    }

    async fn waiting(&self) -> u64 {
        self.bus.deliveries_waiting().await.expect("answered")
    }

    async fn wait_for_one_message(&self) {
        eventually(SOON, "the ack to have arrived", || async {
            (self.waiting().await == 1).then_some(())
        })
        .await;
    }

    /// Stores something as another version might, under this message id.
    async fn store(&self, subject: &str, id: &str, schedule: Option<(DateTime<Utc>, &str)>) {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        if let Some((at, target)) = schedule {
            headers.insert("Nats-Schedule", format!("@at {}", at.format("%Y-%m-%dT%H:%M:%SZ")));
            headers.insert("Nats-Schedule-Target", target);
        }
        let payload = Delivery { hop: 7, ..Delivery::default() }.encode_to_vec();
        let jetstream = async_nats::jetstream::new(self.client.clone());
        let sent = jetstream.publish_with_headers(subject.to_owned(), headers, payload.into());
        sent.await.expect("sent").await.expect("stored");
    }
}

fn delivery() -> Delivery {
    let target_id = message_target_id("account", "https://hooks.example.net");
    let key = event_key("account", EventType::Clicked, "one");
    Delivery {
        delivery_id: delivery_id(&key, "first", &target_id),
        event_key: key,
        target: Some(Target { id: target_id, kind: None }),
        ..Delivery::default()
    }
}

fn in_seconds(seconds: i64) -> DateTime<Utc> {
    Clock::system().now() + TimeDelta::seconds(seconds)
}

/// A fanout that was frozen, or is handed the event again, writes hop 0 when the broker
/// has forgotten the first one: the delivery waits for its retry, or is due at a later hop.
async fn hop_0_is_refused_beside_a_later_hop(mut world: World) {
    let first = delivery();
    assert_eq!(world.bus.publish_delivery(&first).await.expect("stored"), Stored::New);
    let (mut hop, held) = world.pull().await;
    hop.hop = 1;
    let stored = world.bus.reschedule(&hop, &held, in_seconds(8)).await.expect("stored");
    assert_eq!(stored, Rescheduled::Stored);
    held.ack().await;
    Clock::system().sleep(BEYOND_THE_WINDOW).await;
    world.wait_for_one_message().await;

    let again = world.bus.publish_delivery(&first).await.expect("answered");
    assert_eq!(again, Stored::Duplicate, "beside the retry that waits");
    assert_eq!(world.waiting().await, 1);

    // The retry fires, and is due.
    let (due, held) = world.pull().await;
    assert_eq!(due.hop, 1);
    let again = world.bus.publish_delivery(&first).await.expect("answered");
    assert_eq!(again, Stored::Duplicate, "beside what is due");
    assert!(world.bus.is_newest(&held).await.expect("answered"));
    held.ack().await;
    eventually(SOON, "the end", || async { (world.waiting().await == 0).then_some(()) }).await;
}

#[tokio::test]
async fn hop_0_is_refused_while_a_later_hop_waits_or_is_due() {
    hop_0_is_refused_beside_a_later_hop(World::shared().await).await;
}

#[tokio::test]
async fn hop_0_is_refused_in_a_cluster_too() {
    let scratch = Scratch::new().expect("a directory");
    let cluster = NatsCluster::start(scratch.path()).expect("a cluster");
    let world = World::new(&cluster.url(), "3").await;
    hop_0_is_refused_beside_a_later_hop(world).await;
}

/// Two hold the same copy, and the second one writes when the broker has forgotten the
/// first one's write.
#[tokio::test]
async fn a_retry_is_not_written_over_the_one_that_waits() {
    let mut world = World::shared().await;
    world.bus.publish_delivery(&delivery()).await.expect("stored");
    let (mut hop, held_by_a) = world.pull().await;
    let (_, held_by_b) = world.pull().await;
    (hop.hop, hop.attempt) = (1, 1);
    world.bus.reschedule(&hop, &held_by_a, in_seconds(60)).await.expect("stored");
    Clock::system().sleep(BEYOND_THE_WINDOW).await;
    let late = world.bus.reschedule(&hop, &held_by_b, in_seconds(120)).await.expect("answered");
    assert_eq!(late, Rescheduled::Superseded);
}

/// The broker says `Duplicate` to a hop that stands nowhere: it must be stored, because
/// the copy is acked next.
#[tokio::test]
async fn a_retry_that_is_refused_though_nothing_is_there_is_written_again() {
    let mut world = World::shared().await;
    let first = delivery();
    world.bus.publish_delivery(&first).await.expect("stored");
    let (mut hop, held) = world.pull().await;
    let names = world.bus.config().names.clone();
    let elsewhere = names.due(0, "target", "delivery");
    world.store(&elsewhere, &format!("{}:1", first.delivery_id), None).await;
    hop.hop = 1;
    let stored = world.bus.reschedule(&hop, &held, in_seconds(60)).await.expect("stored");
    assert_eq!(stored, Rescheduled::Stored);
    held.ack().await;
    eventually(SOON, "the retry and the other one", || async {
        (world.waiting().await == 2).then_some(())
    })
    .await;
    assert!(!world.bus.is_newest(&held).await.expect("answered"));
}

/// A version before stream layout 2 has scheduled a retry: it is seen, and it fires.
#[tokio::test]
async fn a_retry_of_the_last_release_is_seen_and_fires() {
    let mut world = World::shared().await;
    let first = delivery();
    world.bus.publish_delivery(&first).await.expect("stored");
    let (_, held) = world.pull().await;
    let names = world.bus.config().names.clone();
    let due = held.subject().to_owned();
    let retry = names.old_retry_of(&due).expect("a subject");
    world.store(&retry, &format!("{}:7", first.delivery_id), Some((in_seconds(3), &due))).await;
    assert!(!world.bus.is_newest(&held).await.expect("answered"), "its retry waits");
    held.ack().await;
    let (fired, _) = world.pull().await;
    assert_eq!(fired.hop, 7);
}

/// A write that was not confirmed may have been stored, and its delivery have ended, before it
/// is repeated beyond the window: the end is to be looked for.
#[tokio::test]
async fn a_first_write_that_is_repeated_says_that_it_may_exist() {
    let region = testkit::fresh_region();
    let nats = testkit::shared_nats_url();
    let broker = nats.rsplit('/').next().and_then(|address| address.parse().ok()).expect("one");
    let wire = Wire::lay(broker, Speech::Nats).await.expect("laid");
    let through = format!("nats://{}", wire.address());
    let writer = World::at(&through, "1", &region).await;
    let mut world = World::at(nats, "1", &region).await;

    wire.tamper(|now| now.lose_confirmations = true);
    let first = delivery();
    let tasks = Tasks::new();
    let written = tasks.spawn(async move { writer.bus.publish_delivery(&first).await });
    let (taken, held) = world.pull().await;
    assert!(!taken.may_exist, "as it was made");
    held.ack().await;
    Clock::system().sleep(BEYOND_THE_WINDOW).await;
    wire.tamper(|now| now.lose_confirmations = false);
    assert_eq!(written.await.expect("ran").expect("stored"), Stored::New);
    let (again, held) = world.pull().await;
    assert!(again.may_exist, "the first one has ended");
    held.ack().await;
}

/// A message that was on its way for longer than its lease was handed to somebody else
/// meanwhile, who may be done with it: the broker says that it was never handed out before.
#[tokio::test]
async fn what_comes_later_than_its_lease_may_have_been_worked_on() {
    let region = testkit::fresh_region();
    let nats = testkit::shared_nats_url();
    let broker = nats.rsplit('/').next().and_then(|address| address.parse().ok()).expect("one");
    let wire = Wire::lay(broker, Speech::Nats).await.expect("laid");
    let mut slow = World::at(&format!("nats://{}", wire.address()), "1", &region).await;
    let mut other = World::at(nats, "1", &region).await;
    other.due.ensure().await.expect("found");
    // Longer than clocks may differ: before that, nothing is believed to be new.
    Clock::system().sleep(Duration::from_secs(6)).await;

    let mut pull = slow.due.pull(1).await.expect("asked");
    Clock::system().sleep(Duration::from_millis(300)).await;
    wire.tamper(|now| now.hold_to_process = true);
    other.bus.publish_delivery(&delivery()).await.expect("stored");
    Clock::system().sleep(Duration::from_millis(1_500)).await;
    let (_, held) = other.pull().await;
    held.ack().await;
    wire.tamper(|now| now.hold_to_process = false);
    let late = pull.next().await.expect("it comes").expect("read").remove(0);
    assert!(late.may_be_redelivered() && late.may_have_been_tried());

    // A message that comes at once is new, however long it was waited for.
    let mut pull = slow.due.pull(1).await.expect("asked");
    Clock::system().sleep(Duration::from_millis(1_500)).await;
    let next = Delivery { delivery_id: "ab".repeat(16), ..delivery() };
    other.bus.publish_delivery(&next).await.expect("stored");
    let fresh = pull.next().await.expect("it comes").expect("read").remove(0);
    assert!(!fresh.may_be_redelivered() && !fresh.may_have_been_tried());
}
