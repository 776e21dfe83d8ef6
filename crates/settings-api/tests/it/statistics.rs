//! Statistics: what was counted, as it is told.

use chrono::TimeDelta;
use serde_json::{Value, json};
use store::history::{AttemptRow, EndRow, Uuid};
use testkit::TestEnv;

use crate::event_resends::body;
use crate::events::{at, event, row};
use crate::journeys::{delivery_of, ended};
use crate::world::{World, assert_answer, assert_message, send};

const PATH: &str = "/postrider/v1/statistics";
const URL: &str = "https://hooks.example.net/acc?token=secret";
/// The hours of what the tests make, which begins at 08:53:20.
const RANGE: &str = "begin=2025-10-09T08:00:00Z&end=2025-10-09T10:00:00Z";

fn attempt(account_id: &str, n: u64, url: &str, reason: &str) -> AttemptRow {
    let target = model::message_target_id(account_id, url);
    AttemptRow {
        delivery_id: Uuid::from_u64_pair(n, 1),
        hop: 0,
        event_key: Uuid::from_u64_pair(n, 2),
        account_id: account_id.to_owned(),
        target_id: store::history::id(&target),
        generation: 0,
        attempt: 1,
        charged: true,
        started_at: at(i64::try_from(n).expect("small")),
        duration_ms: 12,
        url: "https://hooks.example.net/acc?…".to_owned(),
        status: (reason == "ok").then_some(200),
        reason: reason.to_owned(),
        detail: String::new(),
        response_snippet: String::new(),
        next_attempt_at: (reason != "ok").then(|| at(1_000_000_000)),
        level: Some("domain".to_owned()),
        event: None,
    }
}

fn end(account_id: &str, n: i64, outcome: &str) -> EndRow {
    let event = row(account_id, event(model::EventType::Clicked, &format!("e{n}"), n));
    let kept = (outcome != "delivered").then(|| body(&event, URL));
    EndRow { ended_at: at(n), delivery: kept, ..ended(&event, URL, outcome, "schedule") }
}

/// `demo` with three tries of one URL, of which one failed, and three ends; and
/// somebody else with a failure.
async fn world(env: &TestEnv) -> World {
    let world = World::start(env).await;
    let demo = world.account("demo", "").await;
    let other = world.account("other", "").await;
    world.domain("mail.demo.example", "demo").await;
    let attempts = [
        attempt(&demo, 0, URL, "ok"),
        attempt(&demo, 1, URL, "ok"),
        attempt(&demo, 500, URL, "timeout"),
        AttemptRow { charged: false, ..attempt(&demo, 501, URL, "breaker_open") },
        attempt(&other, 2, URL, "connect"),
    ];
    let store = world.store();
    store.insert_attempts(&attempts).await.expect("inserted");
    let ends = [
        end(&demo, 10, "delivered"),
        end(&demo, 510, "delivered"),
        end(&demo, 520, "exhausted"),
        end(&demo, 530, "held"),
    ];
    store.insert_ends(&ends).await.expect("inserted");
    world
}

async fn get(world: &World, path: &str) -> Value {
    let answer = send(world.call("GET", path)).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

#[tokio::test]
async fn slots_are_told_with_those_in_which_nothing_was() {
    let env = TestEnv::new();
    let world = world(&env).await;
    let answer = send(world.call("GET", &format!("{PATH}?{RANGE}&resolution=1h"))).await;
    let ends = |delivered, exhausted, held, rate| {
        format!(
            "\"deliveries\":{{\"delivered\":{delivered},\"rejected\":0,\"exhausted\":{exhausted},\
             \"expired\":0,\"suppressed\":0,\"held\":{held},\"poisoned\":0,\
             \"success_rate\":{rate}}}"
        )
    };
    let attempts = |ok, failed, rate| {
        format!("\"attempts\":{{\"ok\":{ok},\"failed\":{failed},\"success_rate\":{rate}}}")
    };
    let latency = "\"latency\":{\"p50_ms\":12,\"p99_ms\":15}";
    let none = "\"latency\":{\"p50_ms\":null,\"p99_ms\":null}";
    let total = format!("{},{},{latency}", attempts(2, 1, "0.6666"), ends(2, 1, 1, "0.6666"));
    let first = format!("{},{},{latency}", attempts(2, 0, "1.0"), ends(1, 0, 0, "1.0"));
    let second = format!("{},{},{none}", attempts(0, 1, "0.0"), ends(1, 1, 1, "0.5"));
    assert_answer(
        &answer,
        200,
        &format!(
            "{{\"begin\":\"2025-10-09T08:00:00.000Z\",\"end\":\"2025-10-09T10:00:00.000Z\",\
             \"resolution\":\"1h\",\"total\":{{{total}}},\"slots\":[\
             {{\"begin\":\"2025-10-09T08:00:00.000Z\",{first}}},\
             {{\"begin\":\"2025-10-09T09:00:00.000Z\",{second}}}]}}"
        ),
    );

    // The day before now, in which there was nothing.
    let empty = get(&world, PATH).await;
    assert_eq!(empty["resolution"], "5m");
    assert!((288..=289).contains(&empty["slots"].as_array().expect("a list").len()));
    assert_eq!(empty["total"]["attempts"], json!({"ok": 0, "failed": 0, "success_rate": null}));
    let day = get(&world, &format!("{PATH}?{RANGE}&resolution=1d")).await;
    assert_eq!(day["slots"].as_array().map(Vec::len), Some(1));
    assert_eq!(day["slots"][0]["deliveries"], day["total"]["deliveries"]);

    let theirs = world.anonymous("GET", &format!("{PATH}?{RANGE}"));
    let theirs = send(theirs.basic_auth("api", "key-other")).await.expect_status(200).json();
    assert_eq!(theirs["total"]["attempts"]["failed"], 1);
    assert_eq!(theirs["total"]["deliveries"]["delivered"], 0);
}

#[tokio::test]
async fn slots_of_five_minutes_are_told_of_what_is_new() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let now = chassis::Clock::system().now();
    let slot = store::history::slot_start(now, store::history::SHORT_SLOT_SECONDS);
    let tries = [1, 2, 30].map(|minutes| AttemptRow {
        started_at: slot - TimeDelta::minutes(minutes),
        ..attempt(&demo, minutes.unsigned_abs(), URL, "ok")
    });
    world.store().insert_attempts(&tries).await.expect("inserted");
    let page = get(&world, PATH).await;
    let slots = page["slots"].as_array().expect("a list");
    let told: Vec<u64> =
        slots.iter().map(|slot| slot["attempts"]["ok"].as_u64().expect("a number")).collect();
    assert_eq!(told.iter().sum::<u64>(), 3);
    // The present one is the last, unless it has ended meanwhile.
    let last: Vec<u64> = told.into_iter().rev().take(4).collect();
    assert!(last.contains(&2), "{last:?}");
}

#[tokio::test]
async fn one_target_is_found_by_each_of_its_names() {
    let env = TestEnv::new();
    let world = world(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let list = get(&world, &format!("{PATH}/targets?{RANGE}")).await;
    let target = list["targets"][0]["target_id"].as_str().expect("an id").to_owned();
    assert_eq!(target, model::message_target_id(&demo, URL));
    let url = URL.replace('?', "%3F");
    for name in [format!("target_id={target}"), format!("url={url}")] {
        let page = get(&world, &format!("{PATH}?{RANGE}&{name}")).await;
        assert_eq!(
            (&page["resolution"], &page["total"]["attempts"]["ok"]),
            (&json!("1h"), &json!(2))
        );
        let one = get(&world, &format!("{PATH}/targets?{RANGE}&{name}")).await;
        assert_eq!(one, list, "{name}");
    }
    let nobody = format!("{PATH}?{RANGE}&alert_setting_id={}", Uuid::from_u128(1));
    assert_eq!(get(&world, &nobody).await["total"]["attempts"]["ok"], 0);
}

#[tokio::test]
async fn targets_are_told_with_their_last_failure_and_what_waits() {
    let env = TestEnv::new();
    let world = world(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let answer = send(world.call("GET", &format!("{PATH}/targets?{RANGE}"))).await;
    let target = model::message_target_id(&demo, URL);
    assert_answer(
        &answer,
        200,
        &format!(
            "{{\"begin\":\"2025-10-09T08:00:00.000Z\",\"end\":\"2025-10-09T10:00:00.000Z\",\
             \"targets\":[{{\"target_id\":\"{target}\",\"kind\":\"webhook\",\
             \"url\":\"https://hooks.example.net/acc?…\",\"alert_setting_id\":null,\
             \"attempts\":{{\"ok\":2,\"failed\":1,\"success_rate\":0.6666}},\
             \"deliveries\":{{\"delivered\":2,\"rejected\":0,\"exhausted\":1,\"expired\":0,\
             \"suppressed\":0,\"held\":1,\"poisoned\":0,\"success_rate\":0.6666}},\
             \"latency\":{{\"p50_ms\":12,\"p99_ms\":15}},\
             \"last_success_at\":\"2025-10-09T08:53:21.000Z\",\
             \"last_failure_at\":\"2025-10-09T09:01:40.000Z\",\
             \"last_failure_reason\":\"timeout\",\"waiting\":2,\"is_waiting_whole\":true,\
             \"undelivered\":{{\"rejected\":0,\"exhausted\":1,\"expired\":0,\"suppressed\":0,\
             \"held\":1,\"poisoned\":0}},\"is_undelivered_whole\":true}}]}}"
        ),
    );
    let answer = send(world.call("GET", &format!("{PATH}/backlog"))).await;
    assert_answer(
        &answer,
        200,
        "{\"waiting\":2,\"is_waiting_whole\":true,\"undelivered\":{\"rejected\":0,\"exhausted\":1,\
         \"expired\":0,\"suppressed\":0,\"held\":1,\"poisoned\":0},\"is_undelivered_whole\":true}",
    );
    let theirs = world.anonymous("GET", &format!("{PATH}/backlog"));
    let theirs = send(theirs.basic_auth("api", "key-other")).await.expect_status(200).json();
    assert_eq!((&theirs["waiting"], &theirs["undelivered"]["held"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn a_target_is_named_by_what_is_known_of_it() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let demo = world.account_document("demo").await.account_id.clone();
    let alert = json!({
        "event_type": "ip_listed", "channel": "email",
        "settings": {"emails": ["ops@demo.example"]}
    });
    let post = world.call("POST", "/v1/alerts/settings/events").json(&alert);
    let setting = send(post).await.expect_status(200).json()["id"].clone();
    let alert_target = model::alert_target_id(setting.as_str().expect("an id"));
    // A mail, a mail of a setting that is no more, and what was never tried.
    let mail = |n, target: &str| AttemptRow {
        target_id: store::history::id(target),
        url: "mailto:o…s@demo.example".to_owned(),
        ..attempt(&demo, n, URL, "refused")
    };
    let mails = [mail(1, &alert_target), mail(2, &model::alert_target_id("gone"))];
    world.store().insert_attempts(&mails).await.expect("inserted");
    world.store().insert_ends(&[end(&demo, 10, "held")]).await.expect("inserted");
    let list = get(&world, &format!("{PATH}/targets?{RANGE}")).await;
    let target = |id: &str| {
        let targets = list["targets"].as_array().expect("a list");
        let found = targets.iter().find(|one| one["target_id"] == id).expect("among them");
        (found["kind"].clone(), found["url"].clone(), found["alert_setting_id"].clone())
    };
    let (alert, mail) = (json!("alert"), json!("mailto:o…s@demo.example"));
    assert_eq!(target(&alert_target), (alert.clone(), mail.clone(), setting));
    assert_eq!(target(&model::alert_target_id("gone")), (alert, mail, Value::Null));
    let (held, _) = delivery_of(&row(&demo, event(model::EventType::Clicked, "e10", 10)), URL);
    // What may be secret in its URL is not shown.
    let shown = json!("https://hooks.example.net/acc?…");
    assert_eq!(target(&held.simple().to_string()), (json!("webhook"), shown, Value::Null));
}

#[tokio::test]
async fn what_is_wrong_with_a_query_is_told() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    for (query, message) in [
        ("?begin=x", "begin must be an RFC 2822 or RFC 3339 date, or seconds since the epoch"),
        ("?begin=20&end=10", "begin must be before end"),
        ("?begin=0", "end must be at most 366 days after begin"),
        ("?resolution=1s", "resolution must be 5m, 1h or 1d"),
        ("?resolution=1h&begin=0", "with resolution 1h, end must be at most 31 days after begin"),
        (
            "?resolution=5m&begin=0&end=10",
            "slots of 5m are kept for three days: resolution must be 1h or 1d",
        ),
        (
            "?resolution=5m&target_id=0123456789abcdef0123456789abcdef",
            "of one target, resolution must be 1h or 1d",
        ),
        ("?target_id=x", "target_id must be 32 hex characters"),
        ("?url=a&target_id=b", "give target_id, url or alert_setting_id, one of them"),
        ("/targets?alert_setting_id=x", "alert_setting_id is no UUID"),
        ("/targets?begin=0", "end must be at most 31 days after begin"),
        ("/targets?limit=0", "limit must be a number from 1 to 100"),
        ("/targets?order=name", "order must be failures or success_rate"),
    ] {
        let answer = send(world.call("GET", &format!("{PATH}{query}"))).await;
        assert_message(&answer, 400, message);
    }
}
