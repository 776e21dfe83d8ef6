//! Settings whose deliveries have used up their schedule.

use bus::OutcomeWriter;
use protocol::v1::{Exhausted, outcome};
use serde_json::{Value, json};
use testkit::{Receiver, TestEnv, eventually};

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

impl Case {
    async fn new(env: &TestEnv) -> Self {
        let world = World::demo(env).await;
        let receiver = Receiver::start().await;
        let body = json!({"event_type": "ip_listed", "channel": "webhook", "settings": {"url": receiver.url("/")}});
        let made = send(world.call("POST", EVENTS).json(&body)).await.expect_status(200);
        let setting_id = made.json()["id"].as_str().expect("an id").to_owned();
        let account_id = world.account_document("demo").await.account_id.clone();
        let outcomes = OutcomeWriter::start(world.bus.clone(), &world.tasks);
        Self { world, outcomes, account_id, body, setting_id, _receiver: receiver }
    }

    async fn report(&self, setting_id: &str, setting_generation: u64) {
        let exhausted = Exhausted {
            account_id: self.account_id.clone(),
            setting_id: setting_id.to_owned(),
            setting_generation,
            delivery_id: "d".repeat(32),
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
