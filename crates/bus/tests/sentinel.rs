//! The sentinel finds deliveries that a real broker has lost sight of.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream;
use bus::{Bus, BusConfig, Found, Stored};
use chassis::{Clock, Env, Tasks};
use chrono::TimeDelta;
use model::{EventType, delivery_id, event_key, message_target_id};
use prost::Message as _;
use protocol::v1::{Delivery, Target};
use testkit::{Nats, NatsOptions, Scratch, eventually};

const LEASE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(15);

/// On a broker of its own.
async fn connect(nats: &Nats) -> (Bus, Tasks, jetstream::Context) {
    let pairs = [
        ("POSTRIDER_NATS_URL", nats.url()),
        ("POSTRIDER_REGION", "us".to_owned()),
        ("POSTRIDER_LEASE", format!("{}ms", LEASE.as_millis())),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    let config = BusConfig::read(&mut Env::from_pairs(pairs));
    let tasks = Tasks::new();
    let bus = Bus::connect(config, Clock::system(), &tasks).await.expect("connected");
    let client = async_nats::connect(nats.url()).await.expect("connected");
    (bus, tasks, jetstream::new(client))
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

async fn pause(long: Duration) {
    tokio::time::sleep_until((std::time::Instant::now() + long).into()).await;
}

/// The server marks a retry as being fired, and the mark stays when the store takes nothing
/// in that moment.
#[tokio::test]
async fn a_retry_that_a_full_store_swallowed_is_fired_again() {
    let scratch = Scratch::new().expect("a directory");
    let nats = Nats::start(NatsOptions::new(scratch.path())).expect("started");
    let (bus, _tasks, jetstream) = connect(&nats).await;
    let mut delivery = delivery("swallowed");
    assert_eq!(bus.publish_delivery(&delivery).await.expect("stored"), Stored::New);
    let mut consumer = bus.due_consumer(0, 100);
    let mut pull = consumer.pull(1).await.expect("pulled");
    let first = pull.next().await.expect("due").expect("read").into_iter().next().expect("one");
    delivery.hop = 1;
    let at = Clock::system().now() + TimeDelta::milliseconds(1_000);
    bus.reschedule(&delivery, &first, at).await.expect("stored");
    first.ack().await;
    drop(pull);

    set_largest_message(&jetstream, 1).await;
    pause(Duration::from_millis(2_500)).await;
    set_largest_message(&jetstream, -1).await;
    let mut sentinel = bus.sentinel(0);
    assert_eq!(sentinel.look().await.expect("looked"), Found::default(), "not overdue yet");
    pause(LEASE * 10).await;
    let mut pull = consumer.pull(1).await.expect("pulled");
    assert!(pull.next().await.is_none(), "the broker has fired it by itself");
    drop(pull);

    let found = sentinel.look().await.expect("looked");
    assert_eq!(found, Found { overdue: 1, unseen: 0 });
    let mut pull = consumer.pull(1).await.expect("pulled");
    let due = pull.next().await.expect("due").expect("read").into_iter().next().expect("one");
    assert_eq!(Delivery::decode(due.payload().clone()).expect("a delivery").hop, 1);
    due.ack().await;
    assert_eq!(sentinel.look().await.expect("looked"), Found::default());
}

async fn set_largest_message(jetstream: &jetstream::Context, bytes: i32) {
    let mut stream = jetstream.get_stream("us_DELIVERIES_0").await.expect("there");
    let mut config = stream.info().await.expect("asked").config.clone();
    config.max_message_size = bytes;
    jetstream.update_stream(config).await.expect("changed");
}

/// A broker that is killed forgets what it has removed, and not what was acknowledged: here
/// its messages are put back to an older copy, and its consumer is not.
#[tokio::test]
async fn what_stands_below_its_consumers_floor_is_handed_out_again() {
    const DONE: usize = 20;
    let scratch = Scratch::new().expect("a directory");
    let mut nats = Nats::start(NatsOptions::new(scratch.path())).expect("started");
    let (bus, _tasks, _) = connect(&nats).await;
    for number in 0..DONE {
        bus.publish_delivery(&delivery(&format!("done-{number}"))).await.expect("stored");
    }
    nats.kill9().expect("killed");
    let messages = find(scratch.path(), "us_DELIVERIES_0").join("msgs");
    let copy = scratch.path().join("copy");
    copy_files(&messages, &copy);
    nats.restart().expect("started again");

    let mut consumer = bus.due_consumer(0, 100);
    let mut done = 0;
    while done < DONE {
        let Ok(mut pull) = consumer.pull(DONE).await else { continue };
        while let Some(Ok(chunk)) = pull.next().await {
            for pulled in chunk {
                pulled.ack().await;
                done += 1;
            }
        }
    }
    eventually(SOON, "all to be gone", || async {
        (bus.deliveries_waiting().await.ok()? == 0).then_some(())
    })
    .await;
    // Until the consumer's floor is on the disk.
    pause(Duration::from_secs(1)).await;
    nats.kill9().expect("killed");
    for entry in std::fs::read_dir(&messages).expect("a directory").flatten() {
        std::fs::remove_file(entry.path()).expect("removed");
    }
    copy_files(&copy, &messages);
    nats.restart().expect("started again");

    let standing =
        eventually(SOON, "the broker to answer", || async { bus.deliveries_waiting().await.ok() })
            .await;
    assert_eq!(standing, DONE as u64, "they stand again");
    let mut pull = consumer.pull(DONE).await.expect("pulled");
    assert!(pull.next().await.is_none(), "the broker hands them out by itself");
    drop(pull);

    let mut sentinel = bus.sentinel(0);
    assert_eq!(sentinel.look().await.expect("looked"), Found::default(), "only suspected");
    pause(LEASE).await;
    let found = sentinel.look().await.expect("looked");
    assert_eq!(found, Found { overdue: 0, unseen: standing });
    let mut pull = consumer.pull(DONE).await.expect("pulled");
    let again = pull.next().await.expect("due").expect("read");
    let again = Delivery::decode(again[0].payload().clone()).expect("a delivery");
    assert!(again.may_exist && again.may_have_arrived.is_some(), "{again:?}");
}

/// The directory of this name, wherever it is.
fn find(below: &Path, name: &str) -> PathBuf {
    let mut left = vec![below.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            match entry.path() {
                path if path.ends_with(name) => return path,
                path if path.is_dir() => left.push(path),
                _ => {}
            }
        }
    }
    panic!("{name} is not there");
}

/// The copies belong to whoever owns the directory: the broker may run as another user.
fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    let owner = std::fs::metadata(to).expect("there");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let copy = to.join(entry.file_name());
        std::fs::copy(entry.path(), &copy).expect("copied");
        std::os::unix::fs::chown(&copy, Some(owner.uid()), Some(owner.gid())).expect("given");
    }
}
