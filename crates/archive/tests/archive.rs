//! From the streams into a real database.

use std::time::Duration;

use archive::{ArchiveConfig, READINESS};
use bus::{Bus, BusConfig, OutcomeWriter, Stored};
use chassis::{Clock, Env, Readiness, Tasks};
use model::{EventType, event_key};
use prost::Message as _;
use protocol::Timestamp;
use protocol::v1::decision::Verdict;
use protocol::v1::ended::End;
use protocol::v1::event::Kind;
use protocol::v1::{
    AcceptedEvent, Attempted, Decision, Ended, Event, Exhausted, Level, Routed, outcome,
};
use store::Store;
use testkit::{OwnServers, TestEnv, eventually};

const SOON: Duration = Duration::from_secs(30);
const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";

struct Archive {
    bus: Bus,
    tasks: Tasks,
    readiness: Readiness,
}

/// Archive on these servers. The schema is there already.
async fn start(nats_url: &str, database_url: &str, region: &str) -> Archive {
    let (archive, config, store) = prepare(nats_url, database_url, region).await;
    store.migrate().await.expect("migrated");
    run(&archive, config, store);
    archive
}

async fn prepare(
    nats_url: &str,
    database_url: &str,
    region: &str,
) -> (Archive, ArchiveConfig, Store) {
    let mut env = Env::from_pairs([
        ("POSTRIDER_NATS_URL".to_owned(), nats_url.to_owned()),
        ("POSTRIDER_DATABASE_URL".to_owned(), database_url.to_owned()),
        ("POSTRIDER_REGION".to_owned(), region.to_owned()),
        ("POSTRIDER_LEASE".to_owned(), "2s".to_owned()),
    ]);
    let (bus_config, config) = (BusConfig::read(&mut env), ArchiveConfig::read(&mut env));
    let known = env.settings().to_vec();
    env.finish(&known).expect("the settings are right");
    let (tasks, readiness) = (Tasks::new(), Readiness::default());
    let bus = Bus::connect(bus_config, Clock::system(), &tasks).await.expect("a broker");
    let store = Store::open(&config.store);
    (Archive { bus, tasks, readiness }, config, store)
}

fn run(archive: &Archive, config: ArchiveConfig, store: Store) {
    let Archive { bus, tasks, readiness } = archive;
    let (bus, readiness) = (bus.clone(), readiness.clone());
    tasks.spawn(archive::run(config, bus, store, Clock::system(), readiness, tasks.clone()));
}

impl Archive {
    async fn publish(&self, id: &str) -> Stored {
        let key = event_key(ACCOUNT, EventType::IpListed, id);
        let accepted = AcceptedEvent {
            event_key: key.clone(),
            account_id: ACCOUNT.into(),
            accepted_at: at(1),
            event: Some(Event {
                id: id.into(),
                account: "demo".into(),
                timestamp: at(0),
                kind: Some(Kind::IpListed(Default::default())),
                ..Event::default()
            }),
            ..AcceptedEvent::default()
        };
        self.publish_bytes(&key, accepted.encode_to_vec()).await
    }

    async fn publish_bytes(&self, key: &str, payload: Vec<u8>) -> Stored {
        let stored = self.bus.publish_event(EventType::IpListed, ACCOUNT, key, payload.into());
        stored.await.expect("stored")
    }

    async fn wait_ready(&self, ready: bool) {
        eventually(SOON, &format!("readiness {ready}"), || async {
            (self.readiness.missing().contains(&READINESS) != ready).then_some(())
        })
        .await;
    }
}

fn at(second: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_760_000_000 + second, nanos: 123_456_000 })
}

async fn wait_for(query: &str, expected: &str, sql: impl Fn(&str) -> String) {
    eventually(SOON, &format!("{query} to say {expected}"), || async {
        (sql(query).trim() == expected).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journey_becomes_rows() {
    let env = TestEnv::new();
    let archive = start(&env.nats_url, &env.database_url, &env.region).await;
    archive.wait_ready(true).await;
    archive.publish("one").await;
    let key = event_key(ACCOUNT, EventType::IpListed, "one");

    let attempted = |hop: u32, status: u32| Attempted {
        delivery_id: "d1".into(),
        event_key: key.clone(),
        account_id: ACCOUNT.into(),
        hop,
        attempt: hop + 1,
        charged: true,
        started_at: at(2),
        url: "https://hooks.demo.example/".into(),
        status,
        // What a receiver answers may hold anything.
        response_snippet: "a\0b".into(),
        ..Attempted::default()
    };
    let routed = Routed {
        event_key: key.clone(),
        account_id: ACCOUNT.into(),
        at: at(2),
        settings_revision: 7,
        decisions: vec![Decision {
            verdict: Verdict::Chosen.into(),
            level: Level::Alert.into(),
            subscription_id: "s1".into(),
            delivery_id: "d1".into(),
            ..Decision::default()
        }],
    };
    let ended = Ended {
        delivery_id: "d1".into(),
        event_key: key.clone(),
        account_id: ACCOUNT.into(),
        hop: 1,
        end: End::Exhausted.into(),
        reason: "schedule".into(),
        at: at(9),
        attempts: 2,
        last_attempt: Some(attempted(1, 503)),
        delivery: "kept".into(),
        ..Ended::default()
    };
    let writer = OutcomeWriter::start(archive.bus.clone(), &archive.tasks);
    for outcome in [
        outcome::Kind::Routed(routed.clone()),
        outcome::Kind::Attempted(attempted(0, 0)),
        // Told twice, as after a crash between outcome and ack.
        outcome::Kind::Attempted(attempted(0, 0)),
        outcome::Kind::Routed(routed),
        outcome::Kind::Exhausted(Exhausted { account_id: ACCOUNT.into(), ..Exhausted::default() }),
        outcome::Kind::Ended(ended.clone()),
        outcome::Kind::Ended(ended),
    ] {
        writer.record(ACCOUNT, outcome).await;
    }

    let journey = "SELECT event_id, event_type, verdict, level, ends.outcome, last_status, \
                   convert_from(delivery, 'UTF8') FROM events \
                   JOIN routing_decisions USING (event_key) JOIN ends USING (delivery_id) \
                   JOIN undelivered USING (delivery_id)";
    let expected = "one|ip_listed|chosen|alert|exhausted|503|kept";
    wait_for(journey, expected, |query| env.sql(query)).await;
    let attempts = "SELECT string_agg(hop || ':' || coalesce(status, -1), ' ' ORDER BY hop), \
                    min(response_snippet) FROM attempts";
    wait_for(attempts, "0:-1 1:503|a\u{fffd}b", |query| env.sql(query)).await;
    let times = "SELECT extract(epoch FROM occurred_at), accepted_at - occurred_at FROM events";
    wait_for(times, "1760000000.123456|00:00:01", |query| env.sql(query)).await;

    archive.tasks.stop();
    drop(writer);
    assert!(archive.tasks.wait(SOON).await, "everything has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_holds_up_nothing() {
    let env = TestEnv::new();
    let archive = start(&env.nats_url, &env.database_url, &env.region).await;
    archive.publish("before").await;
    archive.publish_bytes("garbage", b"\xff\xff\xff".to_vec()).await;
    // Readable, but its time is none that the database knows.
    let beyond = AcceptedEvent {
        event_key: "beyond".into(),
        accepted_at: Some(Timestamp { seconds: 8_000_000_000_000, nanos: 0 }),
        event: Some(Event {
            timestamp: at(0),
            kind: Some(Kind::IpListed(Default::default())),
            ..Event::default()
        }),
        ..AcceptedEvent::default()
    };
    archive.publish_bytes("beyond", beyond.encode_to_vec()).await;
    archive.publish("after").await;
    let ids = "SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM events";
    wait_for(ids, "after before", |query| env.sql(query)).await;
    archive.wait_ready(true).await;
    archive.tasks.stop();
    assert!(archive.tasks.wait(SOON).await, "everything has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_history_waits_and_then_catches_up() {
    let mut servers = OwnServers::start();
    let (nats_url, database_url) = (servers.nats.url(), servers.database_url.clone());
    let archive = start(&nats_url, &database_url, &servers.region).await;
    archive.wait_ready(true).await;
    archive.publish("0").await;
    wait_for("SELECT count(*) FROM events", "1", |query| servers.sql(query)).await;

    servers.postgres.kill9().expect("killed");
    for n in 1..50 {
        archive.publish(&n.to_string()).await;
    }
    archive.wait_ready(false).await;
    servers.postgres.restart().expect("restarted");
    wait_for("SELECT count(*) FROM events", "50", |query| servers.sql(query)).await;
    archive.wait_ready(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_there_yet_is_waited_for() {
    let env = TestEnv::new();
    let (archive, config, store) = prepare(&env.nats_url, &env.database_url, &env.region).await;
    archive.publish("early").await;
    run(&archive, config, store.clone());
    // The first try has failed once this is known to be a message handed out.
    archive.wait_ready(true).await;
    archive.wait_ready(false).await;
    store.migrate().await.expect("migrated");
    wait_for("SELECT event_id FROM events", "early", |query| env.sql(query)).await;
    archive.tasks.stop();
    assert!(archive.tasks.wait(SOON).await, "everything has ended");
}
