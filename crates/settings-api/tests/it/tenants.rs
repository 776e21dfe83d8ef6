//! Bounds of what one tenant can hold of what all share: memory, names, and the time of jobs.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::EventType;
use protocol::v1::{
    DeleteDomainRequest, EraseAccountRequest, Level, SetAccountStatusRequest, event,
};
use serde_json::{Value, json};
use testkit::http;
use testkit::{TestEnv, broker, eventually};

use crate::events::{DOMAIN, event as sample, row};
use crate::resends::ended_on;
use crate::world::{DEADLINE, World, assert_message, send};

const RESENDS: &str = "/postrider/v1/resends";

/// A hundred events of 256 KiB would be 25 MiB for each that asks.
#[tokio::test]
async fn pages_are_bounded_in_bytes_and_lead_to_every_event() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    let rows: Vec<_> = (0..10)
        .map(|n| {
            let mut event = sample(EventType::Opened, &format!("large-{n}"), n);
            let Some(event::Kind::Opened(opened)) = &mut event.kind else { unreachable!() };
            let labels = opened.labels.get_or_insert_default();
            labels.user_variables.insert("large".into(), "\"".repeat(240_000));
            row(&account_id, event)
        })
        .collect();
    world.store().insert_events(&rows).await.expect("inserted");

    let expected: Vec<String> = (0..10).map(|n| format!("large-{n}")).collect();
    for path in
        ["events?ascending=yes&begin=0&limit=300", "events?ascending=yes&begin=0&end=1790000000"]
    {
        let mut call = world.call("GET", &format!("/v3/{DOMAIN}/{path}"));
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let answer = send(call).await.expect_status(200);
            assert!(answer.body.len() < 4_000_000, "{} bytes", answer.body.len());
            let page = answer.json();
            let items = page["items"].as_array().expect("a list");
            if items.is_empty() {
                break;
            }
            found.extend(items.iter().map(|item| item["id"].as_str().expect("an id").to_owned()));
            pages += 1;
            let next = page["paging"]["next"].as_str().expect("a link").to_owned();
            call = http::get(next).basic_auth("api", "key-demo");
        }
        assert_eq!(found, expected, "{path}");
        assert!(pages >= 2, "{path}");
    }
    let export = world.call("GET", &format!("/postrider/v1/domains/{DOMAIN}/events/export"));
    let export = send(export).await.expect_status(200);
    assert_eq!(export.text().lines().count(), 10, "an export goes on behind each page");
}

#[tokio::test]
async fn a_name_of_another_tenant_is_not_given_away() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    world.account("demo-sub", "demo").await;
    world.account("other", "").await;
    let call =
        |key: &str, method: &str, path: &str| world.anonymous(method, path).basic_auth("api", key);
    let make = |key: &str, name: &str| call(key, "POST", "/v4/domains").form(&[("name", name)]);
    let taken = "This domain name is already taken";
    for name in ["x.mail.demo.example", "a.b.mail.demo.example", "mail.demo.example"] {
        assert_message(&send(make("key-other", name)).await, 400, taken);
    }
    send(make("key-demo-sub", "x.mail.demo.example")).await.expect_status(200);
    send(make("key-other", "other.example")).await.expect_status(200);
    // A name that is run like a top-level domain is nobody's.
    send(make("key-other", "co.uk")).await.expect_status(200);
    send(make("key-demo", "shop.co.uk")).await.expect_status(200);

    // The tenant that gives a name up can have it back, and others for some days not.
    send(call("key-demo", "DELETE", "/v3/domains/shop.co.uk")).await.expect_status(200);
    assert_message(&send(make("key-other", "shop.co.uk")).await, 400, taken);
    send(make("key-demo", "shop.co.uk")).await.expect_status(200);
    send(call("key-demo", "DELETE", "/v3/domains/shop.co.uk")).await.expect_status(200);
    env.sql(
        "UPDATE domains SET deleted_at = deleted_at - interval '8 days' WHERE name = 'shop.co.uk'",
    );
    send(make("key-other", "shop.co.uk")).await.expect_status(200);
    // An operator gives away what they like.
    world.domain("y.mail.demo.example", "other").await;
}

/// Ten jobs of one tenant are in line before the one of another.
#[tokio::test]
async fn jobs_of_one_tenant_hold_up_no_other_tenants_job() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let other_id = world.account("other", "").await;
    let demo_id = world.account_document("demo").await.account_id.clone();
    for n in 0..10 {
        let url = format!("https://hooks.example.net/{n}");
        ended_on(Level::Account, &env, &demo_id, &url, "held", 6);
        let body = json!({"url": url, "per_second": 1});
        send(world.call("POST", RESENDS).json(&body)).await.expect_status(200);
    }
    ended_on(Level::Account, &env, &other_id, "https://other.example.net/", "held", 6);
    let began = Instant::now();
    let body = json!({"per_second": 100});
    let call =
        |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", "key-other");
    let made = send(call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    let path = format!("{RESENDS}/{}", made["id"].as_str().expect("an id"));
    eventually(DEADLINE, "the job to be done", || async {
        let shown = send(call("GET", &path)).await.expect_status(200).json();
        (shown["state"] == "done").then_some(())
    })
    .await;
    // Its turn comes at the next look, and not behind ten seconds of others.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// Each change of a job of `demo` takes four seconds, and so do its claim and its note.
#[tokio::test]
async fn a_database_that_is_slow_with_one_tenants_jobs_holds_up_no_other_tenants_job() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let other_id = world.account("other", "").await;
    let demo_id = world.account_document("demo").await.account_id.clone();
    env.sql(&format!(
        "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(4); RETURN NEW; END'; \
         CREATE TRIGGER slowly BEFORE UPDATE ON resends FOR EACH ROW \
         WHEN (OLD.account_id = '{demo_id}') EXECUTE FUNCTION slowly()"
    ));
    ended_on(Level::Account, &env, &demo_id, "https://hooks.example.net/", "held", 2);
    ended_on(Level::Account, &env, &other_id, "https://other.example.net/", "held", 2);
    let body = json!({"per_second": 100});
    send(world.call("POST", RESENDS).json(&body)).await.expect_status(200);
    let claimed = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    eventually(DEADLINE, "the first job to be claimed", || async {
        (env.sql(claimed).trim() != "0").then_some(())
    })
    .await;
    let call =
        |method: &str, path: &str| world.anonymous(method, path).basic_auth("api", "key-other");
    let began = Instant::now();
    let made = send(call("POST", RESENDS).json(&body)).await.expect_status(200).json();
    let path = format!("{RESENDS}/{}", made["id"].as_str().expect("an id"));
    eventually(DEADLINE, "the job to be done", || async {
        let shown = send(call("GET", &path)).await.expect_status(200).json();
        (shown["state"] == "done").then_some(())
    })
    .await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

/// The operation of the last message under this key in the bucket of settings, empty
/// where it is a document; nothing where there is no message.
async fn in_bucket(env: &TestEnv, key: &str) -> Option<String> {
    let subject = format!("$KV.{}_settings.{key}", env.region);
    let get = format!("STREAM.MSG.GET.KV_{}_settings", env.region);
    let question = json!({"last_by_subj": subject});
    let answer = broker::try_jetstream(&env.nats_url, &get, &question).await?;
    let Value::Object(message) = answer.get("message")?.clone() else { return None };
    let headers = message.get("hdrs").and_then(Value::as_str).unwrap_or_default();
    let headers = String::from_utf8(STANDARD.decode(headers).ok()?).ok()?;
    let operation = headers.lines().find_map(|line| line.strip_prefix("KV-Operation: "));
    Some(operation.unwrap_or_default().to_owned())
}

#[tokio::test]
async fn a_deleted_domain_leaves_the_broker_and_the_database() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account_document("demo").await.account_id.clone();
    let key = format!("domain.{}", model::domain_id("gone.example"));
    let make = || world.call("POST", "/v4/domains").form(&[("name", "gone.example")]);
    let delete = || world.call("DELETE", "/v3/domains/gone.example");
    send(make()).await.expect_status(200);
    send(delete()).await.expect_status(200);
    assert_eq!(in_bucket(&env, &key).await.as_deref(), Some(""), "events may be on their way");

    // Something of before can still be sent again, and would be sent as the domain says.
    let delivery = ended_on(Level::Account, &env, &account_id, "https://a.example/", "held", 1);
    let long_ago =
        "UPDATE domains SET deleted_at = now() - interval '8 days' WHERE name = 'gone.example'";
    env.sql(long_ago);
    env.sql("UPDATE undelivered SET ended_at = now() - interval '9 days'");
    // A domain of another account, deleted after it, shows that both were looked at.
    world.account("other", "").await;
    world.domain("later.example", "other").await;
    let request = DeleteDomainRequest { name: "later.example".to_owned() };
    world.admin().delete_domain(request).await.expect("deleted");
    env.sql("UPDATE domains SET deleted_at = now() - interval '7 days 1 hour' WHERE name = 'later.example'");
    let later = format!("domain.{}", model::domain_id("later.example"));
    eventually(3 * DEADLINE, "the other document to be deleted", || async {
        (in_bucket(&env, &later).await?.as_str() == "PURGE").then_some(())
    })
    .await;
    assert_eq!(in_bucket(&env, &key).await.as_deref(), Some(""), "{delivery:?} can be sent");

    env.sql("UPDATE undelivered SET sent_again_at = now()");
    eventually(3 * DEADLINE, "the document to be deleted", || async {
        (in_bucket(&env, &key).await?.as_str() == "PURGE").then_some(())
    })
    .await;
    // It is nobody's, and can be made again.
    send(make()).await.expect_status(200);
    assert_eq!(in_bucket(&env, &key).await.as_deref(), Some(""));
    send(delete()).await.expect_status(200);
    env.sql(long_ago);
    eventually(3 * DEADLINE, "the document to be deleted", || async {
        (in_bucket(&env, &key).await?.as_str() == "PURGE").then_some(())
    })
    .await;

    let rows = "SELECT count(*) FROM domains WHERE name = 'gone.example'";
    assert_eq!(env.sql(rows).trim(), "1", "those who watch have not heard yet");
    env.sql("UPDATE domains SET forgotten_at = forgotten_at - interval '25 hours'");
    eventually(3 * DEADLINE, "the row to be gone", || async {
        (env.sql(rows).trim() == "0").then_some(())
    })
    .await;
    assert_eq!(in_bucket(&env, &key).await, None);
    send(make()).await.expect_status(200);
    assert_eq!(in_bucket(&env, &key).await.as_deref(), Some(""));
}

#[tokio::test]
async fn an_erased_account_leaves_the_broker() {
    let env = TestEnv::new();
    let world = World::demo(&env).await;
    let account_id = world.account("gone", "").await;
    let key = format!("account.{account_id}");
    let closed = SetAccountStatusRequest {
        account_name: "gone".to_owned(),
        status: "closed".to_owned(),
        ..SetAccountStatusRequest::default()
    };
    world.admin().set_account_status(closed).await.expect("closed");
    let erase = EraseAccountRequest { account_name: "gone".to_owned() };
    world.admin().erase_account(erase).await.expect("erased");
    assert_eq!(in_bucket(&env, &key).await.as_deref(), Some(""), "events may be on their way");
    env.sql(&format!(
        "UPDATE accounts SET erased_at = now() - interval '8 days' WHERE account_id = '{account_id}'"
    ));
    let is_deleted = || async { (in_bucket(&env, &key).await?.as_str() == "PURGE").then_some(()) };
    eventually(3 * DEADLINE, "the document to be deleted", is_deleted).await;
    // An older process finds it missing and publishes it.
    let document = protocol::v1::AccountDocument { account_id, ..Default::default() };
    let subject = format!("$KV.{}_settings.{key}", env.region);
    let bytes = prost::Message::encode_to_vec(&document);
    broker::publish(&env.nats_url, &subject, &bytes).await;
    let a_day_later = "UPDATE accounts SET forgotten_at = forgotten_at - interval '25 hours'";
    env.sql(a_day_later);
    eventually(3 * DEADLINE, "the document to be deleted once more", is_deleted).await;
    env.sql(a_day_later);
    eventually(3 * DEADLINE, "nothing to tell of it", || async {
        in_bucket(&env, &key).await.is_none().then_some(())
    })
    .await;
}
