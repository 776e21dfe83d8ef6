//! Settings whose deliveries have used up their schedule.

use std::time::Duration;

use bus::{Bus, OutcomeKind, OutcomeWriter};
use chassis::{Clock, Tasks};
use protocol::v1::{Exhausted, outcome};
use serde_json::{Value, json};
use testkit::{Receiver, TestEnv, broker, eventually};

use crate::world::{DEADLINE, World, send};

const EVENTS: &str = "/v1/alerts/settings/events";

struct Case {
    world: World,
    outcomes: OutcomeWriter,
    account_id: String,
    body: Value,
    setting_id: String,
    _receiver: Receiver,
}

/// Stands in for archive: takes what comes, and has stored it.
async fn archive(bus: Bus, tasks: Tasks) {
    let mut consumer = bus.outcomes_consumer("archive", &OutcomeKind::ALL, 1_000);
    while !tasks.is_stopping() {
        let Ok(mut pull) = consumer.pull(100).await else { continue };
        while let Some(Ok(messages)) = pull.next().await {
            for message in messages {
                message.ack().await;
            }
        }
    }
}

impl Case {
    async fn new(env: &TestEnv) -> Self {
        let case = Self::without_archive(env, &[], Clock::system()).await;
        case.start_archive();
        case
    }

    async fn without_archive(env: &TestEnv, settings: &[(&str, &str)], clock: Clock) -> Self {
        let world = World::demo_configured(env, settings, clock).await;
        let receiver = Receiver::start().await;
        let body = json!({"event_type": "ip_listed", "channel": "webhook", "settings": {"url": receiver.url("/")}});
        let made = send(world.call("POST", EVENTS).json(&body)).await.expect_status(200);
        let setting_id = made.json()["id"].as_str().expect("an id").to_owned();
        let account_id = world.account_document("demo").await.account_id.clone();
        let outcomes = OutcomeWriter::start(world.bus.clone(), &world.tasks);
        Self { world, outcomes, account_id, body, setting_id, _receiver: receiver }
    }

    fn start_archive(&self) {
        self.world.tasks.background(archive(self.world.bus.clone(), self.world.tasks.clone()));
    }

    /// What the broker says of those who take reports.
    async fn reports(&self, env: &TestEnv) -> Value {
        let consumer = format!("CONSUMER.INFO.{0}_OUTCOMES.{0}_settings-api", env.region);
        broker::jetstream(&env.nats_url, &consumer, &json!({})).await
    }

    async fn wait_until_handled(&self, env: &TestEnv) {
        eventually(DEADLINE, "every report to be handled", || async {
            let info = self.reports(env).await;
            (info["num_ack_pending"] == 0 && info["num_pending"] == 0).then_some(())
        })
        .await;
    }

    async fn wait_until_it_waits(&self, env: &TestEnv) {
        eventually(DEADLINE, "the report to be looked at again", || async {
            let info = self.reports(env).await;
            (info["num_redelivered"].as_u64() > Some(0)).then_some(())
        })
        .await;
    }

    async fn report(&self, setting_id: &str, setting_generation: u64) {
        self.report_of("d".repeat(32), setting_id, setting_generation).await;
    }

    async fn report_of(&self, delivery_id: String, setting_id: &str, setting_generation: u64) {
        let exhausted = Exhausted {
            account_id: self.account_id.clone(),
            setting_id: setting_id.to_owned(),
            setting_generation,
            delivery_id,
            at: Some(chrono::DateTime::from_timestamp(1_760_000_000, 0).expect("a moment").into()),
            reason: "schedule".into(),
        };
        self.outcomes.record(&self.account_id, outcome::Kind::Exhausted(exhausted)).await;
    }

    async fn disabled_at(&self) -> Value {
        let list = send(self.world.call("GET", "/v1/alerts/settings")).await.json();
        list["events"][0]["disabled_at"].clone()
    }

    async fn stop(self) {
        // The writer of outcomes ends with its last clone.
        drop(self.outcomes);
        self.world.stop().await;
    }

    async fn wait_until_disabled(&self) {
        eventually(DEADLINE, "a disabled setting", || async {
            let document = self.world.account_document("demo").await;
            document.alerts[0].disabled_at.map(|_| ())
        })
        .await;
    }
}

#[tokio::test]
async fn an_exhausted_setting_is_disabled_until_it_is_saved_again() {
    let env = TestEnv::new();
    let case = Case::new(&env).await;
    assert_eq!(case.disabled_at().await, Value::Null);
    case.report(&case.setting_id, 1).await;
    case.wait_until_disabled().await;
    assert_eq!(case.disabled_at().await, "2025-10-09T08:53:20Z");

    let put = case.world.call("PUT", &format!("{EVENTS}/{}", case.setting_id)).json(&case.body);
    let answer = send(put).await.expect_status(200);
    assert_eq!(answer.json()["disabled_at"], Value::Null);
    assert_eq!(case.disabled_at().await, Value::Null);
    let document = case.world.account_document("demo").await;
    assert_eq!((document.alerts[0].generation, document.alerts[0].disabled_at), (2, None));
    case.stop().await;
}

#[tokio::test]
async fn a_late_report_does_not_disable_what_was_saved_since() {
    let env = TestEnv::new();
    let case = Case::new(&env).await;
    let put = || case.world.call("PUT", &format!("{EVENTS}/{}", case.setting_id)).json(&case.body);
    send(put()).await.expect_status(200);
    // Of an older generation, of settings that are gone, of nobody's: in the
    // order of the stream all of them are handled before the last one.
    case.report(&case.setting_id, 1).await;
    case.report("5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21", 1).await;
    case.report("not a uuid", 1).await;
    let document = case.world.account_document("demo").await;
    let marker = json!({"event_type": "ip_delisted", "channel": "email", "settings": {"emails": ["a@b.example"]}});
    let made = send(case.world.call("POST", EVENTS).json(&marker)).await.expect_status(200);
    let marker = made.json()["id"].as_str().expect("an id").to_owned();
    case.report(&marker, 1).await;
    eventually(DEADLINE, "the last report to be handled", || async {
        let document = case.world.account_document("demo").await;
        let marker = document.alerts.iter().find(|alert| alert.setting_id == marker)?;
        marker.disabled_at.map(|_| ())
    })
    .await;
    assert_eq!(case.disabled_at().await, Value::Null);
    // Made, disabled: nothing else has changed the document.
    assert_eq!(case.world.account_document("demo").await.version, document.version + 2);
}

#[tokio::test]
async fn a_report_that_comes_twice_changes_nothing() {
    let env = TestEnv::new();
    let case = Case::new(&env).await;
    case.report(&case.setting_id, 1).await;
    case.wait_until_disabled().await;
    let version = case.world.account_document("demo").await.version;
    case.report(&case.setting_id, 1).await;
    let exists = "SELECT count(*) FROM alert_settings WHERE disabled_reason = 'schedule'";
    assert_eq!(env.sql(exists).trim(), "1");
    case.stop().await;
    // The stop waited for what was in hand; the next start finds it acked or handles it.
    let world = World::start(&env).await;
    assert_eq!(world.account_document("demo").await.version, version);
}

/// Puts into history that this delivery was delivered.
fn delivered(env: &TestEnv, delivery_id: &str) {
    env.sql(&format!(
        "INSERT INTO ends (delivery_id, account_id, generation, hop, outcome, reason, ended_at, \
         attempts) VALUES ('{delivery_id}', 'a', 0, 0, 'delivered', 'ok', now(), 1)"
    ));
}

#[tokio::test]
async fn a_report_of_a_delivery_that_was_delivered_disables_nothing() {
    let env = TestEnv::new();
    let case = Case::new(&env).await;
    delivered(&env, &"d".repeat(32));
    case.report(&case.setting_id, 1).await;
    case.wait_until_handled(&env).await;
    assert_eq!(case.disabled_at().await, Value::Null);
    case.report_of("e".repeat(32), &case.setting_id, 1).await;
    case.wait_until_disabled().await;
    case.stop().await;
}

/// The end that says "delivered" is on the broker and not in history yet.
#[tokio::test]
async fn while_archive_is_away_nothing_is_disabled_that_may_have_been_delivered() {
    let env = TestEnv::new();
    let case = Case::without_archive(&env, &[], Clock::system()).await;
    case.report(&case.setting_id, 1).await;
    case.wait_until_it_waits(&env).await;
    assert_eq!(case.disabled_at().await, Value::Null);
    delivered(&env, &"d".repeat(32));
    case.start_archive();
    case.wait_until_handled(&env).await;
    assert_eq!(case.disabled_at().await, Value::Null);
    case.stop().await;
}

#[tokio::test]
async fn a_report_is_given_up_when_history_stays_behind_and_its_setting_stays() {
    let env = TestEnv::new();
    let later = Clock::fixed(Clock::system().now() + Duration::from_secs(2 * 60 * 60));
    let case = Case::without_archive(&env, &[], later).await;
    case.report(&case.setting_id, 1).await;
    case.wait_until_it_waits(&env).await;
    case.wait_until_handled(&env).await;
    assert_eq!(case.disabled_at().await, Value::Null);
    case.stop().await;
}

/// An outcome of a kind that only a newer version knows.
async fn report_of_a_newer_version(env: &TestEnv) {
    // Field 1 of the batch: an outcome that has nothing but field 999, with two bytes.
    let batch = [0x0a, 5, 0xba, 0x3e, 2, b'h', b'i'];
    let subject = format!("{}.outcomes.exhausted.somebody", env.region);
    broker::publish(&env.nats_url, &subject, &batch).await;
}

#[tokio::test]
async fn a_report_of_a_newer_version_waits_for_the_upgrade_and_holds_up_nobody() {
    let env = TestEnv::new();
    let case = Case::new(&env).await;
    for _ in 0..40 {
        report_of_a_newer_version(&env).await;
    }
    case.wait_until_it_waits(&env).await;
    case.report(&case.setting_id, 1).await;
    case.wait_until_disabled().await;
    assert_eq!(case.reports(&env).await["num_ack_pending"], 40);
    case.stop().await;
}

#[tokio::test]
async fn a_report_of_a_newer_version_does_not_wait_for_ever() {
    let env = TestEnv::new();
    let later = Clock::fixed(Clock::system().now() + Duration::from_secs(2 * 60 * 60));
    let case = Case::without_archive(&env, &[], later).await;
    report_of_a_newer_version(&env).await;
    case.wait_until_it_waits(&env).await;
    case.wait_until_handled(&env).await;
    case.stop().await;
}

/// One account whose document is larger than the broker takes is its own trouble: others
/// are served, its own reports are handled, and the stream is trimmed.
#[tokio::test]
async fn a_document_that_the_broker_refuses_holds_up_no_report() {
    let env = TestEnv::new();
    let clock = Clock::fixed(Clock::system().now());
    let settings = [("POSTRIDER_OUTCOMES_REPLAY_BYTES", "8KiB")];
    let case = Case::without_archive(&env, &settings, clock.clone()).await;
    case.start_archive();
    let other = case.world.account("other", "").await;
    let of_other = "5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21";
    env.sql(&format!(
        "INSERT INTO alert_settings (setting_id, account_id, event_type, channel, emails, created_at) \
         SELECT gen_random_uuid(), '{}', 'type-' || n, 'email', \
         array_fill(repeat('a', 240) || '@example.net', ARRAY[50]), now() \
         FROM generate_series(1, 100) AS n; \
         INSERT INTO alert_settings (setting_id, account_id, event_type, channel, emails, created_at) \
         VALUES ('{of_other}', '{other}', 'ip_listed', 'email', '{{a@b.example}}', now())",
        case.account_id
    ));
    for _ in 0..40 {
        case.report(&case.setting_id, 1).await;
    }
    let exhausted = Exhausted {
        account_id: other.clone(),
        setting_id: of_other.to_owned(),
        setting_generation: 1,
        reason: "x".repeat(16 * 1024),
        ..Exhausted::default()
    };
    case.outcomes.record(&other, outcome::Kind::Exhausted(exhausted)).await;
    eventually(DEADLINE, "the other account's alert to be disabled", || async {
        let document = case.world.account_document("other").await;
        document.alerts.first()?.disabled_at.map(|_| ())
    })
    .await;
    case.wait_until_handled(&env).await;
    let disabled = "SELECT count(*) FROM alert_settings WHERE disabled_at IS NOT NULL";
    assert_eq!(env.sql(disabled).trim(), "2");
    // A row goes after its document was put: that of the refused one stays, and counts its tries.
    eventually(
        DEADLINE,
        "the refused document to be tried, and the other one to be put",
        || async {
            let rows = "SELECT string_agg(DISTINCT document_key || ' ' || (tries > 0), ',') \
                    FROM settings_outbox";
            (env.sql(rows).trim() == format!("account.{} true", case.account_id)).then_some(())
        },
    )
    .await;

    let mut trimmer = case.world.bus.outcomes_trimmer();
    let stream = format!("STREAM.INFO.{}_OUTCOMES", env.region);
    let first = async || {
        let info = broker::jetstream(&env.nats_url, &stream, &json!({})).await;
        info["state"]["first_seq"].as_u64().expect("a sequence")
    };
    assert_eq!(first().await, 1);
    trimmer.look().await.expect("looked");
    clock.advance(Duration::from_secs(61));
    trimmer.look().await.expect("looked");
    assert!(first().await > 1, "it is trimmed");
    case.stop().await;
}
