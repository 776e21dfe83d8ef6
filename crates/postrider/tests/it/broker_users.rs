//! Each role with the user that deploy/nats/auth.conf has for it.

use std::path::Path;

use protocol::v1::{EraseAccountRequest, GetStatusRequest};
use serde_json::json;
use testkit::broker::{is_deaf, is_forbidden, jetstream};
use testkit::{Nats, NatsOptions, Reply, Scratch, eventually};

use crate::system::{ROLES, SOON, System, alert, clicked};

/// A broker with those users. Each has its name as its password.
fn broker(scratch: &Scratch) -> Nats {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/nats/auth.conf");
    let mut users = std::fs::read_to_string(file).expect("it is in the repository");
    for user in ROLES.into_iter().chain(["operator"]) {
        let variable = format!("${}_PASSWORD", user.to_uppercase().replace('-', "_"));
        assert!(users.contains(&variable), "{user} has no password");
        users = users.replace(&variable, user);
    }
    let options = NatsOptions { more: users, ..NatsOptions::new(scratch.path().join("nats")) };
    Nats::start(options).expect("NATS takes the file")
}

#[tokio::test]
async fn every_role_works_as_a_user_of_its_own() {
    let scratch = Scratch::new().expect("a directory");
    let nats = broker(&scratch);
    let port = nats.port();
    let url_of = |user: &str| format!("nats://{user}:{user}@127.0.0.1:{port}");
    // So that it is looked for what can be trimmed.
    let small = [("EVENTS_REPLAY_BYTES", "1KiB"), ("OUTCOMES_REPLAY_BYTES", "1KiB")];
    let system = System::start_as_users(url_of, &small).await;

    // One that comes after a retry; one that never does, so that its setting is
    // disabled, and is then sent again.
    system.receiver.on_post("/hook", [500, 200].map(Reply::status));
    system.receiver.on_post("/alert", [Reply::status(500)]);
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    let setting = system.add_alert("demo", "ip_listed", &system.receiver.url("/alert")).await;
    system.publish(clicked("one")).await;
    system.publish(alert("two")).await;
    system.wait_for_end("one", "delivered").await;
    system.wait_for_end("two", "exhausted").await;
    let query = format!(
        "SELECT 1 FROM alert_settings WHERE setting_id = '{setting}' AND disabled_at IS NOT NULL"
    );
    eventually(SOON, "the setting to be disabled", || async {
        (system.sql(&query).trim() == "1").then_some(())
    })
    .await;
    let again = testkit::http::post(system.url("/postrider/v1/resends"));
    let again = again.basic_auth("api", "key-demo").json(&json!({"outcomes": ["exhausted"]}));
    again.send().await.expect("answered").expect_status(200);
    eventually(SOON, "what was sent again to be held", || async {
        let ends = "SELECT count(*) FROM ends WHERE outcome = 'held'";
        (system.sql(ends).trim() == "1").then_some(())
    })
    .await;

    system.publish_all((0..20).map(|number| clicked(&format!("more-{number}")))).await;
    system.receiver.wait_for_posts("/hook", 22, SOON).await;
    system.set_status("demo", "closed").await;
    let request = EraseAccountRequest { account_name: "demo".into() };
    system.admin().await.erase_account(request).await.expect("erased");
    eventually(SOON, "the broker to have forgotten the account", || async {
        let info = jetstream(&url_of("operator"), "STREAM.INFO.us_OUTCOMES", &json!({})).await;
        (info["state"]["messages"] == 0).then_some(())
    })
    .await;

    let status = system.admin().await.get_status(GetStatusRequest {}).await.expect("answered");
    assert_eq!(status.into_inner().not_asked, [""; 0]);

    let logs = std::fs::read_to_string(nats.log()).expect("the broker's log") + &system.logs();
    let refused: Vec<&str> = logs.lines().filter(|line| line.contains("Violation")).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[tokio::test]
async fn no_user_may_do_what_is_another_roles() {
    let scratch = Scratch::new().expect("a directory");
    let nats = broker(&scratch);
    let events = "us.events.alert.ip_listed.account";
    let due = "us.deliveries.0.due.target.delivery";
    let retry = "us.deliveries.0.retry.target.delivery";
    let settings = "$KV.us_settings.account.x";
    let delete = "$JS.API.STREAM.DELETE.us_EVENTS";
    let read = "$JS.API.CONSUMER.MSG.NEXT.us_EVENTS.us_fanout";
    // A stream with another one as its source reads it, and one that republishes writes anywhere.
    let (make, change) = ("$JS.API.STREAM.CREATE.spy", "$JS.API.STREAM.UPDATE.us_EVENTS");
    for user in ROLES.into_iter().filter(|user| *user != "settings-api") {
        let url = format!("nats://{user}:{user}@127.0.0.1:{}", nats.port());
        for subject in [make, change, "$JS.API.STREAM.CREATE.KV_us_targets"] {
            assert!(is_forbidden(&url, subject).await, "{user} may publish on {subject}");
        }
    }
    for (user, subjects) in [
        ("ingest", [due, settings, read, delete, "us.outcomes.ended.x"].as_slice()),
        (
            "fanout",
            &[events, retry, settings, delete, "us.outcomes.ended.x", "$KV.us_floors.x.us_archive"],
        ),
        ("dispatcher", &[events, due, settings, read, delete]),
        ("archive", &[events, due, retry, settings, read, delete, "us.outcomes.ended.x"]),
        ("settings-api", &[events, retry, read, delete, "us.outcomes.ended.x"]),
    ] {
        let url = format!("nats://{user}:{user}@127.0.0.1:{}", nats.port());
        for subject in subjects {
            assert!(is_forbidden(&url, subject).await, "{user} may publish on {subject}");
        }
    }
    // What others are answered is what they read: events, deliveries, settings.
    for user in ROLES {
        let url = format!("nats://{user}:{user}@127.0.0.1:{}", nats.port());
        for another in ROLES.into_iter().filter(|another| *another != user) {
            assert!(is_deaf(&url, &format!("_INBOX.{another}.>")).await, "{user} hears {another}");
        }
        assert!(is_deaf(&url, "_INBOX.>").await && is_deaf(&url, "us.>").await, "{user} hears all");
        assert!(!is_deaf(&url, &format!("_INBOX.{user}.x")).await, "{user} hears nothing");
    }
    // Trimming is a minute away in a test, so that it is asked for here.
    for (user, subject) in [
        ("fanout", "$JS.API.STREAM.PURGE.us_EVENTS"),
        ("archive", "$JS.API.STREAM.PURGE.us_OUTCOMES"),
        ("settings-api", "$JS.API.STREAM.PURGE.us_OUTCOMES"),
    ] {
        let url = format!("nats://{user}:{user}@127.0.0.1:{}", nats.port());
        assert!(!is_forbidden(&url, subject).await, "{user} may not publish on {subject}");
    }
}
