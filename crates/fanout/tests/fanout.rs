//! From the stream of events to deliveries and records, on a real broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bus::{Bus, BusConfig, Settings};
use chassis::{Clock, Env, Readiness, Tasks};
use chrono::TimeDelta;
use fanout::FanoutConfig;
use futures_util::StreamExt as _;
use model::{EventType, event_key};
use prost::Message as _;
use protocol::v1::decision::Verdict;
use protocol::v1::event::Kind;
use protocol::v1::{
    AcceptedEvent, AccountDocument, AccountStatus, AlertSetting, Channel, Delivery, Event,
    OutcomeBatch, Routed, outcome,
};
use serde_json::{Value, json};
use testkit::broker::{self, jetstream};
use testkit::{eventually, within};

const SOON: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(60);

struct World {
    url: &'static str,
    region: String,
    bus: Bus,
    tasks: Tasks,
}

impl World {
    /// A running fanout, and an account `demo` with one alert setting.
    async fn start(extra: &[(&str, &str)]) -> Self {
        let (url, region) = (testkit::shared_nats_url(), testkit::fresh_region());
        let mut pairs = vec![
            ("POSTRIDER_NATS_URL", url),
            ("POSTRIDER_REGION", &region),
            ("POSTRIDER_LEASE", "1s"),
            ("POSTRIDER_DELIVERIES_DEDUP_WINDOW", "2s"),
            ("POSTRIDER_EVENTS_DEDUP_WINDOW", "2s"),
        ];
        pairs.extend(extra);
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut env = Env::from_pairs(pairs);
        let (bus_config, config) = (BusConfig::read(&mut env), FanoutConfig::read(&mut env));
        let known = env.settings().to_vec();
        env.finish(&known).expect("the settings are right");
        let tasks = Tasks::new();
        let bus = Bus::connect(bus_config, Clock::system(), &tasks).await.expect("a broker");
        let world = Self { url, region, bus, tasks };
        world.put_account("demo").await;
        let settings = Settings::watch(world.bus.clone(), &world.tasks).await.expect("watching");
        let (bus, tasks) = (world.bus.clone(), world.tasks.clone());
        let (clock, readiness) = (Clock::system(), Readiness::default());
        world.tasks.spawn(fanout::run(config, bus, settings, clock, readiness, tasks));
        world
    }

    async fn put_account(&self, account_id: &str) {
        let setting = AlertSetting {
            setting_id: format!("setting-of-{account_id}"),
            event_type: "ip_listed".into(),
            channel: Channel::Webhook.into(),
            url: "https://hooks.example.net".into(),
            ..AlertSetting::default()
        };
        let document = AccountDocument {
            account_id: account_id.into(),
            name: account_id.into(),
            status: AccountStatus::Open.into(),
            version: 1,
            alerts: vec![setting],
            ..AccountDocument::default()
        };
        self.bus.put_account(&document).await.expect("put");
    }

    /// Accepts an event as ingest does.
    async fn accept(&self, account_id: &str, id: &str, acceptance: &str) {
        let kind = Some(Kind::IpListed(Default::default()));
        let event = Event { id: id.into(), kind, ..Event::default() };
        self.accept_bytes(account_id, id, acceptance, event.encode_to_vec()).await;
    }

    async fn accept_bytes(&self, account_id: &str, id: &str, acceptance: &str, event: Vec<u8>) {
        let key = event_key(account_id, EventType::IpListed, id);
        let accepted = AcceptedEvent {
            event_key: key.clone(),
            account_id: account_id.into(),
            acceptance: acceptance.into(),
            ..AcceptedEvent::default()
        };
        // The event as field 5, whatever is in it.
        let mut payload = accepted.encode_to_vec();
        payload.push(5 << 3 | 2);
        prost::encoding::encode_varint(event.len() as u64, &mut payload);
        payload.extend(event);
        let stored = self.bus.publish_event(EventType::IpListed, account_id, &key, payload.into());
        stored.await.expect("stored");
    }

    async fn accept_many(&self, account_id: &str, count: usize) {
        let ids = (0..count).map(|number| format!("{account_id}-{number}"));
        let accepting = ids.map(|id| async move { self.accept(account_id, &id, "first").await });
        futures_util::stream::iter(accepting).buffer_unordered(256).collect::<()>().await;
    }

    async fn deliveries(&self) -> Vec<(String, Delivery)> {
        let stream = format!("{}_DELIVERIES_0", self.region);
        let stored = broker::messages(self.url, &stream).await.into_iter();
        stored.map(|(on, bytes)| (on, Delivery::decode(&*bytes).expect("one"))).collect()
    }

    async fn routed(&self) -> Vec<Routed> {
        let stored = broker::messages(self.url, &format!("{}_OUTCOMES", self.region)).await;
        let batches = stored.iter().map(|(_, bytes)| OutcomeBatch::decode(&**bytes).expect("one"));
        let kinds = batches.flat_map(|batch| batch.outcomes).filter_map(|outcome| outcome.kind);
        let routed = kinds.filter_map(|kind| match kind {
            outcome::Kind::Routed(routed) => Some(routed),
            _ => None,
        });
        routed.collect()
    }

    /// How many events were decided about with each verdict.
    async fn verdicts(&self) -> BTreeMap<&'static str, usize> {
        let mut verdicts = BTreeMap::new();
        for routed in self.routed().await {
            for decision in routed.decisions {
                *verdicts.entry(decision.verdict().as_str_name()).or_default() += 1;
            }
        }
        verdicts
    }

    async fn ask(&self, question: &str, of: &str) -> Value {
        jetstream(self.url, &format!("{question}.{}_{of}", self.region), &json!({})).await
    }

    /// Of fanout's consumer, if somebody has made it.
    async fn consumer(&self) -> Option<Value> {
        let question = format!("CONSUMER.INFO.{0}_EVENTS.{0}_fanout", self.region);
        broker::try_jetstream(self.url, &question, &json!({})).await
    }

    /// Has the stream of deliveries take messages of so many bytes at most; all with -1.
    async fn limit_deliveries(&self, most_bytes: i64) {
        let stream = format!("{}_DELIVERIES_0", self.region);
        let info = jetstream(self.url, &format!("STREAM.INFO.{stream}"), &json!({})).await;
        let mut config = info["config"].clone();
        config["max_msg_size"] = json!(most_bytes);
        jetstream(self.url, &format!("STREAM.UPDATE.{stream}"), &config).await;
    }

    async fn unrouted(&self) -> u64 {
        self.bus.unrouted_waiting().await.expect("answered")
    }

    async fn wait_until_consumed(&self, what: &str) {
        eventually(SOON, what, || async {
            let info = self.consumer().await?;
            (info["num_pending"] == 0 && info["num_ack_pending"] == 0).then_some(())
        })
        .await;
    }

    async fn wait_for_verdicts(&self, wanted: &[(Verdict, usize)]) {
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|(verdict, count)| (verdict.as_str_name(), *count)).collect();
        eventually(LONG, &format!("{wanted:?}"), || async {
            (self.verdicts().await == wanted).then_some(())
        })
        .await;
    }
}

/// Longer than the windows within which the broker recognises an event.
async fn beyond_the_window() {
    Clock::system().sleep(Duration::from_millis(2500)).await;
}

#[tokio::test]
async fn events_that_cannot_be_routed_hold_up_no_others() {
    let world = World::start(&[("POSTRIDER_UNROUTED_PATIENCE", "8s")]).await;
    world.accept_many("lost", 4200).await;
    world.accept("demo", "one", "first").await;
    within(Duration::from_secs(15), "the other account's event to be routed", async {
        while world.deliveries().await.is_empty() {}
    })
    .await;
    world.wait_until_consumed("the floor of all events to move on").await;
    world.wait_for_verdicts(&[(Verdict::NoSettings, 4200), (Verdict::Chosen, 1)]).await;
    let keys: BTreeSet<String> =
        world.routed().await.into_iter().map(|routed| routed.event_key).collect();
    assert_eq!(keys.len(), 4201);
    eventually(SOON, "nothing to wait", || async { (world.unrouted().await == 0).then_some(()) })
        .await;
}

#[tokio::test]
async fn an_event_is_routed_when_its_account_is_there_again() {
    let world = World::start(&[]).await;
    world.accept("lost", "one", "first").await;
    eventually(SOON, "it to wait", || async { (world.unrouted().await == 1).then_some(()) }).await;
    world.wait_until_consumed("it to hold no place").await;
    assert!(world.routed().await.is_empty());
    world.put_account("lost").await;
    world.wait_for_verdicts(&[(Verdict::Chosen, 1)]).await;
    let (_, delivery) = world.deliveries().await.remove(0);
    let event = AcceptedEvent::decode(delivery.accepted_event).expect("an event");
    assert_eq!((event.account_id.as_str(), event.acceptance.as_str()), ("lost", "first"));
    eventually(SOON, "nothing to wait", || async { (world.unrouted().await == 0).then_some(()) })
        .await;
}

#[tokio::test]
async fn more_than_may_wait_is_given_up_at_once() {
    let world = World::start(&[("POSTRIDER_UNROUTED_ACCOUNT_EVENTS", "5")]).await;
    world.accept_many("lost", 20).await;
    world.wait_for_verdicts(&[(Verdict::TooManyUnrouted, 15)]).await;
    assert_eq!(world.unrouted().await, 5);
    world.wait_until_consumed("none to hold a place").await;
}

/// A newer version accepts a kind that this one does not know.
/// An event whose deliveries are too large for their stream holds no place meanwhile, goes out
/// if that changes, and otherwise ends under a name of its own.
#[tokio::test]
async fn a_delivery_that_the_broker_finds_too_large_ends_under_that_name() {
    let world = World::start(&[("POSTRIDER_UNROUTED_PATIENCE", "9s")]).await;
    let waits = || async { (world.unrouted().await == 1).then_some(()) };
    world.limit_deliveries(100).await;
    world.accept("demo", "one", "first").await;
    eventually(LONG, "it to wait", waits).await;
    world.wait_until_consumed("it to hold no place").await;
    world.wait_for_verdicts(&[(Verdict::TooLarge, 1)]).await;
    let decision = world.routed().await.remove(0).decisions.remove(0);
    assert_eq!(
        (decision.url.as_str(), decision.delivery_id.as_str()),
        ("https://hooks.example.net", "")
    );

    world.accept("demo", "two", "first").await;
    eventually(LONG, "it to wait", waits).await;
    world.limit_deliveries(-1).await;
    world.wait_for_verdicts(&[(Verdict::TooLarge, 1), (Verdict::Chosen, 1)]).await;
    assert_eq!(world.deliveries().await.len(), 1);
}

/// However long an event has stood before: that it was refused for a moment gives it up as
/// little as a new one.
#[tokio::test]
async fn an_old_event_that_is_refused_for_a_moment_is_not_given_up() {
    let world = World::start(&[("POSTRIDER_UNROUTED_PATIENCE", "1s")]).await;
    world.limit_deliveries(100).await;
    world.accept("demo", "one", "first").await;
    eventually(LONG, "it to be handed out four times", || async {
        let info = world.consumer().await?;
        (info["delivered"]["consumer_seq"].as_u64()? >= 4).then_some(())
    })
    .await;
    world.limit_deliveries(-1).await;
    world.wait_for_verdicts(&[(Verdict::Chosen, 1)]).await;
}

#[tokio::test]
async fn an_event_of_an_unknown_kind_waits_and_is_never_dropped_silently() {
    let world = World::start(&[("POSTRIDER_UNROUTED_KIND_PATIENCE", "5s")]).await;
    // A message of kind 999, which is empty.
    let mut event = Event { id: "new".into(), ..Event::default() }.encode_to_vec();
    event.extend([0xba, 0x3e, 0x00]);
    world.accept_bytes("demo", "new", "first", event).await;
    eventually(SOON, "it to wait", || async { (world.unrouted().await == 1).then_some(()) }).await;
    world.wait_until_consumed("it to hold no place").await;
    assert!(world.routed().await.is_empty());
    world.wait_for_verdicts(&[(Verdict::UnknownKind, 1)]).await;
    assert!(world.deliveries().await.is_empty());
}

/// The broker takes no deliveries for a while, and then it does.
#[tokio::test]
async fn a_routing_is_recorded_once_and_only_after_its_deliveries_are_stored() {
    let world = World::start(&[]).await;
    let stream = format!("{}_DELIVERIES_0", world.region);
    let config = world.ask("STREAM.INFO", "DELIVERIES_0").await["config"].clone();
    let mut refusing = config.clone();
    refusing["max_msg_size"] = json!(1);
    jetstream(world.url, &format!("STREAM.UPDATE.{stream}"), &refusing).await;
    world.accept("demo", "one", "first").await;
    eventually(SOON, "it to have been tried three times", || async {
        let delivered = world.consumer().await?["delivered"]["consumer_seq"].as_u64()?;
        (delivered >= 3).then_some(())
    })
    .await;
    assert_eq!(world.routed().await, []);
    jetstream(world.url, &format!("STREAM.UPDATE.{stream}"), &config).await;
    world.wait_until_consumed("it to be routed").await;
    assert_eq!(world.deliveries().await.len(), 1);
    let routed = world.routed().await;
    assert_eq!(routed.len(), 1, "{routed:?}");
    // Handed out again, it is the same record.
    let message = jetstream(
        world.url,
        &format!("STREAM.MSG.GET.{}_EVENTS", world.region),
        &json!({"seq": 1}),
    )
    .await;
    let at: chrono::DateTime<chrono::Utc> =
        message["message"]["time"].as_str().expect("a time").parse().expect("a time");
    assert_eq!(routed[0].at, Some(at.into()));
}

/// The same id again, beyond its window, while the first delivery waits for its retry.
#[tokio::test]
async fn an_event_that_is_accepted_again_is_another_delivery() {
    let world = World::start(&[]).await;
    world.accept("demo", "one", "first").await;
    let mut due = world.bus.due_consumer(0, 100);
    let held = within(SOON, "the delivery", async {
        loop {
            let mut pull = due.pull(1).await.expect("pulled");
            if let Some(Ok(mut chunk)) = pull.next().await {
                return chunk.remove(0);
            }
        }
    })
    .await;
    let mut delivery = Delivery::decode(held.payload().clone()).expect("one");
    delivery.hop = 1;
    let at = Clock::system().now() + TimeDelta::seconds(60);
    world.bus.reschedule(&delivery, &held, at).await.expect("stored");
    held.ack().await;
    beyond_the_window().await;

    world.accept("demo", "one", "second").await;
    world.wait_for_verdicts(&[(Verdict::Chosen, 2)]).await;
    let stored = world.deliveries().await;
    let places: BTreeMap<&str, u32> =
        stored.iter().map(|(_, delivery)| (&*delivery.delivery_id, delivery.hop)).collect();
    assert_eq!(places.len(), 2, "each has an id of its own");
    assert_eq!(places[&*delivery.delivery_id], 1);
    let made: BTreeSet<String> = world
        .routed()
        .await
        .into_iter()
        .flat_map(|routed| routed.decisions)
        .map(|decision| decision.delivery_id)
        .collect();
    assert_eq!(made.len(), 2);
}

#[tokio::test]
async fn a_durable_consumer_that_is_lost_goes_on_where_it_was() {
    let world = World::start(&[]).await;
    world.accept_many("demo", 100).await;
    world.wait_until_consumed("all to be routed").await;
    eventually(SOON, "the floor to be noted", || async {
        let notes = broker::messages(world.url, &format!("KV_{}_floors", world.region)).await;
        notes.iter().any(|(_, note)| note.ends_with(b" 100")).then_some(())
    })
    .await;
    // Beyond what the broker knows of deliveries.
    beyond_the_window().await;
    let name = format!("EVENTS.{}_fanout", world.region);
    world.ask("CONSUMER.DELETE", &name).await;
    world.accept("demo", "one more", "first").await;
    let info = eventually(SOON, "it to be routed by a consumer that was made anew", || async {
        let info = world.consumer().await?;
        (info["ack_floor"]["stream_seq"] == 101).then_some(info)
    })
    .await;
    let handed_out = info["delivered"]["consumer_seq"].as_u64().expect("a number");
    assert!(handed_out < 10, "{handed_out} events were routed, all but one of them a second time");
    assert_eq!(world.deliveries().await.len(), 101);
}
