//! From the streams into a real database.

use std::time::Duration;

use archive::{ArchiveConfig, READINESS};
use bus::{Bus, BusConfig, OutcomeWriter, Stored};
use chassis::{Clock, Env, Readiness, Tasks};
use model::{EventType, event_key};
use prost::Message as _;
use protocol::v1::decision::Verdict;
use protocol::v1::ended::End;
use protocol::v1::event::Kind;
use protocol::v1::{
    AcceptedEvent, Attempted, Decision, Ended, Event, Exhausted, Level, Outcome, OutcomeBatch,
    Routed, outcome,
};
use protocol::{Names, Timestamp};
use store::Store;
use testkit::broker::jetstream;
use testkit::{OwnServers, TestEnv, eventually};

const SOON: Duration = Duration::from_secs(30);
const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
const DELIVERY: &str = "0d00000000000000000000000000000d";

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
        // What the tests tell of happened long ago.
        ("POSTRIDER_RETENTION_EVENTS_DAYS".to_owned(), "3650".to_owned()),
        ("POSTRIDER_RETENTION_ROUTINGS_DAYS".to_owned(), "3650".to_owned()),
        ("POSTRIDER_RETENTION_ATTEMPTS_DAYS".to_owned(), "3650".to_owned()),
        ("POSTRIDER_RETENTION_ENDS_DAYS".to_owned(), "3650".to_owned()),
        ("POSTRIDER_RETENTION_UNDELIVERED_DAYS".to_owned(), "3650".to_owned()),
    ]);
    let (bus_config, config) = (BusConfig::read(&mut env), ArchiveConfig::read(&mut env));
    let known = env.settings().to_vec();
    env.finish(&known).expect("the settings are right");
    let (tasks, readiness) = (Tasks::new(), Readiness::default());
    // Before it runs, so that nobody takes it for ready by then.
    readiness.expect(READINESS);
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

    /// Stores outcomes as another version may have written them.
    async fn publish_outcomes(&self, env: &TestEnv, kind: &str, payload: &[u8]) {
        let subject = Names::new(&env.region).outcomes(kind, ACCOUNT);
        testkit::broker::publish(&env.nats_url, &subject, payload).await;
    }

    /// Waits until so many messages of outcomes are pulled and not acked, and none is to come.
    async fn wait_unacked(&self, env: &TestEnv, messages: u64) {
        let names = Names::new(&env.region);
        let question = format!("CONSUMER.LIST.{}", names.outcomes_stream());
        eventually(SOON, &format!("{messages} messages to wait"), || async {
            let list = jetstream(&env.nats_url, &question, &serde_json::json!({})).await;
            // Nobody else takes outcomes in these tests.
            let info = &list["consumers"][0];
            assert_eq!(info["name"], names.consumer("archive"));
            (info["num_ack_pending"] == messages && info["num_pending"] == 0).then_some(())
        })
        .await;
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
        delivery_id: DELIVERY.into(),
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
            delivery_id: DELIVERY.into(),
            ..Decision::default()
        }],
    };
    let ended = Ended {
        delivery_id: DELIVERY.into(),
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
async fn the_days_are_made_before_the_first_row_comes() {
    let env = TestEnv::new();
    let archive = start(&env.nats_url, &env.database_url, &env.region).await;
    archive.wait_ready(true).await;
    let days = "SELECT count(DISTINCT inhparent) FROM pg_inherits WHERE inhrelid::regclass::text \
                LIKE '%' || to_char(now() AT TIME ZONE 'UTC', '_YYYYMMDD')";
    assert_eq!(env.sql(days).trim(), "5", "one of today for each table of history");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_holds_up_nothing() {
    let env = TestEnv::new();
    let archive = start(&env.nats_url, &env.database_url, &env.region).await;
    archive.publish("before").await;
    archive.publish_bytes("garbage", b"\xff\xff\xff".to_vec()).await;
    // Readable, but its time is none that the database knows.
    let key = event_key(ACCOUNT, EventType::IpListed, "beyond");
    let beyond = AcceptedEvent {
        event_key: key.clone(),
        accepted_at: Some(Timestamp { seconds: -8_000_000_000_000, nanos: 0 }),
        event: Some(Event {
            id: "beyond".into(),
            timestamp: at(0),
            kind: Some(Kind::IpListed(Default::default())),
            ..Event::default()
        }),
        ..AcceptedEvent::default()
    };
    archive.publish_bytes(&key, beyond.encode_to_vec()).await;
    archive.publish("after").await;
    let ids = "SELECT string_agg(event_id, ' ' ORDER BY event_id) FROM events";
    wait_for(ids, "after before", |query| env.sql(query)).await;
    let kept =
        "SELECT count(*), bool_or(is_newer), min(octet_length(payload)) FROM unread_messages";
    wait_for(kept, "2|f|3", |query| env.sql(query)).await;
    archive.wait_ready(true).await;
    archive.tasks.stop();
    assert!(archive.tasks.wait(SOON).await, "everything has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_outcome_takes_no_other_with_it() {
    let env = TestEnv::new();
    let archive = start(&env.nats_url, &env.database_url, &env.region).await;
    archive.wait_ready(true).await;
    let try_number = |hop: u32| Attempted {
        delivery_id: DELIVERY.into(),
        event_key: DELIVERY.into(),
        account_id: ACCOUNT.into(),
        hop,
        started_at: at(2),
        ..Attempted::default()
    };
    let encoded = |attempted| Outcome { kind: Some(outcome::Kind::Attempted(attempted)) };
    let batch: Vec<Outcome> = (0..128)
        .map(|hop| match hop {
            // Readable, but the database refuses it.
            50 => Attempted { account_id: "a\0b".into(), ..try_number(hop) },
            // Not to be stored under any name.
            70 => Attempted { delivery_id: String::new(), ..try_number(hop) },
            _ => try_number(hop),
        })
        .map(encoded)
        .collect();
    let first = OutcomeBatch { outcomes: batch }.encode_to_vec();
    archive.publish_outcomes(&env, "attempted", &first).await;
    wait_for("SELECT count(*) FROM attempts", "126", |query| env.sql(query)).await;
    archive.wait_unacked(&env, 0).await;
    let broken = "SELECT count(*) FROM unread_messages WHERE NOT is_newer";
    assert_eq!(env.sql(broken).trim(), "2");

    // An outcome of a kind that is yet to be invented, as field 15, among others.
    let others = [200, 201].map(try_number).map(encoded).into();
    let mut second = OutcomeBatch { outcomes: others }.encode_to_vec();
    second.extend(b"\x0a\x02\x7a\x00");
    archive.publish_outcomes(&env, "attempted", &second).await;
    let third = OutcomeBatch { outcomes: vec![encoded(try_number(202))] }.encode_to_vec();
    archive.publish_outcomes(&env, "attempted", &third).await;
    wait_for("SELECT count(*) FROM attempts", "129", |query| env.sql(query)).await;
    // It alone is kept for an upgrade, and holds up nothing.
    archive.wait_unacked(&env, 0).await;
    let kept = "SELECT stream, is_newer, account_id, payload FROM unread_messages \
                WHERE is_newer";
    assert_eq!(env.sql(kept).trim(), format!("outcomes|t|{ACCOUNT}|\\x0a027a00"));
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
    // It has asked, and was told that there is nothing.
    let failed = "SELECT xact_rollback > 0 FROM pg_stat_database \
                  WHERE datname = current_database()";
    wait_for(failed, "t", |query| env.sql(query)).await;
    archive.wait_ready(false).await;
    store.migrate().await.expect("migrated");
    wait_for("SELECT event_id FROM events", "early", |query| env.sql(query)).await;
    archive.wait_ready(true).await;
    archive.tasks.stop();
    assert!(archive.tasks.wait(SOON).await, "everything has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_messages_of_an_erased_account_are_noted_and_not_stored() {
    let env = TestEnv::new();
    let archive = start(&env.nats_url, &env.database_url, &env.region).await;
    archive.wait_ready(true).await;
    env.sql(&format!(
        "INSERT INTO accounts (account_id, name, status, sealed_http_signing_key, \
         sealed_alerts_signing_key, created_at, updated_at, erased_at) VALUES \
         ('{ACCOUNT}', 'erased', 'closed', '', '', now(), now(), now()); \
         INSERT INTO erasures VALUES ('{ACCOUNT}', 1, 1, 1, now() + interval '1 hour', NULL)"
    ));
    archive.publish("late").await;
    wait_for("SELECT found > 1 FROM erasures", "t", |query| env.sql(query)).await;
    env.sql("UPDATE erasures SET purged = found");
    let ended = Ended {
        account_id: ACCOUNT.into(),
        delivery_id: DELIVERY.into(),
        end: End::Suppressed.into(),
        at: at(3),
        delivery: b"a body".to_vec().into(),
        ..Ended::default()
    };
    let outcomes = vec![Outcome { kind: Some(outcome::Kind::Ended(ended)) }];
    let batch = OutcomeBatch { outcomes }.encode_to_vec();
    archive.publish_outcomes(&env, "ended", &batch).await;
    wait_for("SELECT found > purged FROM erasures", "t", |query| env.sql(query)).await;
    archive.wait_unacked(&env, 0).await;
    let rows = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM ends), \
                (SELECT count(*) FROM undelivered)";
    assert_eq!(env.sql(rows).trim(), "0|0|0");
    archive.tasks.stop();
    assert!(archive.tasks.wait(SOON).await, "everything has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_regions_database_is_refused() {
    let env = TestEnv::new();
    let (archive, config, store) = prepare(&env.nats_url, &env.database_url, &env.region).await;
    store.migrate().await.expect("migrated");
    store.claim_for_region("another").await.expect("claimed");
    let Archive { bus, tasks, readiness } = &archive;
    let (bus, readiness, tasks) = (bus.clone(), readiness.clone(), tasks.clone());
    let ended = archive::run(config, bus, store, Clock::system(), readiness, tasks).await;
    let error = ended.expect_err("refused").to_string();
    assert!(error.contains("belongs to the deployment of region another"), "{error}");
}

/// Counts what the database is asked to insert into attempts, and takes so long for each row.
fn slow_attempts(env: &TestEnv, seconds: &str, only: &str) {
    env.sql(&format!(
        "CREATE SEQUENCE rows_tried; CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN PERFORM nextval('rows_tried'); PERFORM pg_sleep({seconds}); RETURN NEW; END $$; \
         CREATE TRIGGER slow BEFORE INSERT ON attempts FOR EACH ROW WHEN ({only}) \
         EXECUTE FUNCTION slow()"
    ));
}

fn tries_of_hops(hops: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    let batch = |hop| {
        let attempted = Attempted {
            delivery_id: DELIVERY.into(),
            event_key: DELIVERY.into(),
            account_id: ACCOUNT.into(),
            hop,
            started_at: at(2),
            ..Attempted::default()
        };
        let outcomes = vec![Outcome { kind: Some(outcome::Kind::Attempted(attempted)) }];
        OutcomeBatch { outcomes }.encode_to_vec()
    };
    hops.map(batch).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_slower_than_a_lease_stores_each_batch_once() {
    let env = TestEnv::new();
    let one = start(&env.nats_url, &env.database_url, &env.region).await;
    let two = start(&env.nats_url, &env.database_url, &env.region).await;
    one.wait_ready(true).await;
    two.wait_ready(true).await;
    // Thirty rows take three leases.
    slow_attempts(&env, "0.2", "true");
    for message in tries_of_hops(0..30) {
        one.publish_outcomes(&env, "attempted", &message).await;
    }
    wait_for("SELECT count(*) FROM attempts", "30", |query| env.sql(query)).await;
    one.wait_unacked(&env, 0).await;
    assert_eq!(env.sql("SELECT last_value FROM rows_tried").trim(), "30");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_that_takes_too_long_does_not_stop_the_others() {
    let env = TestEnv::new();
    // What the URL says of limits counts.
    let url = format!("{}?options=-c%20statement_timeout%3D700ms", env.database_url);
    let (archive, config, store) = prepare(&env.nats_url, &url, &env.region).await;
    store.migrate().await.expect("migrated");
    for message in tries_of_hops(0..40) {
        archive.publish_outcomes(&env, "attempted", &message).await;
    }
    slow_attempts(&env, "5", "NEW.hop = 17");
    run(&archive, config, store);
    wait_for("SELECT count(*) FROM attempts", "39", |query| env.sql(query)).await;
    archive.wait_unacked(&env, 1).await;
    env.sql("ALTER TABLE attempts DISABLE TRIGGER slow");
    wait_for("SELECT count(*) FROM attempts", "40", |query| env.sql(query)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_could_not_read_is_read_after_the_upgrade() {
    let env = TestEnv::new();
    let store = prepare(&env.nats_url, &env.database_url, &env.region).await.2;
    store.migrate().await.expect("migrated");
    // As that version has kept them: each alone, some twice, one that is still of tomorrow.
    let mut kept = tries_of_hops(0..700);
    kept.push(b"\x0a\x02\x7a\x00".to_vec());
    for (sequence, payload) in (1..).zip(kept) {
        let row = store::history::UnreadRow {
            stream: "outcomes".into(),
            sequence,
            account_id: ACCOUNT.into(),
            stored_at: Clock::system().now(),
            is_newer: true,
            reason: "the kind of an outcome is not known to this version".into(),
            payload,
        };
        store.insert_unread(&[row.clone(), row]).await.expect("kept");
    }
    let archive = start(&env.nats_url, &env.database_url, &env.region).await;
    wait_for("SELECT count(*) FROM attempts", "700", |query| env.sql(query)).await;
    wait_for("SELECT count(*), min(sequence) FROM unread_messages", "1|701", |query| {
        env.sql(query)
    })
    .await;
    archive.wait_ready(true).await;
}
