//! The traps that cost other systems their events.

use protocol::v1::Event;
use protocol::v1::publish_result::Status;
use testkit::{Gate, Reply, eventually};

use crate::system::{SOON, System, alert, clicked, example, payload_event_id};

#[tokio::test]
async fn two_types_may_share_one_id_and_so_may_two_accounts() {
    let system = System::start(&[]).await;
    system.create_account("other", None).await;
    for (account, kind) in
        [("demo", "validation_job"), ("demo", "validation_preview"), ("other", "validation_job")]
    {
        let url = system.receiver.url(&format!("/{account}/{kind}"));
        system.add_alert(account, kind, &url).await;
        let event = Event { id: "shared".into(), account: account.into(), ..example(kind) };
        assert_eq!(system.publish(event.clone()).await.status(), Status::Stored);
        // The very same one is the same event.
        assert_eq!(system.publish(event).await.status(), Status::Duplicate);
    }
    for path in ["/demo/validation_job", "/demo/validation_preview", "/other/validation_job"] {
        let posts = system.receiver.wait_for_posts(path, 1, SOON).await;
        assert_eq!(payload_event_id(&posts[0].json()), "shared");
    }
    let posts = system.receiver.requests().into_iter().filter(|r| r.method == "POST").count();
    assert_eq!(posts, 3);
}

#[tokio::test]
async fn waits_shorter_than_the_dedup_window_lose_no_retry() {
    // Six retries within a window of ten minutes.
    let system = System::start(&[
        ("SEND_RETRY_SCHEDULE", "1s,1s,1s,1s,1s,1s"),
        ("DELIVERIES_DEDUP_WINDOW", "10m"),
    ])
    .await;
    let mut replies = vec![Reply::status(500); 6];
    replies.push(Reply::status(200));
    system.receiver.on_post("/hook", replies);
    system
        .add_domain_webhook(
            "demo",
            "mail.demo.example",
            "clicked",
            &[&system.receiver.url("/hook")],
        )
        .await;
    system.publish(clicked("short-waits")).await;
    system.receiver.wait_for_posts("/hook", 7, SOON).await;
    system.wait_for_end("short-waits", "delivered").await;
}

#[tokio::test]
async fn a_url_that_stands_on_the_domain_too_survives_the_accounts_webhook() {
    let system = System::start(&[("SEND_RETRY_SCHEDULE", "2s,1s")]).await;
    let url = system.receiver.url("/both");
    let webhook = system.add_account_webhook("demo", &url, &["clicked"]).await;
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.receiver.on_post("/both", [500, 200].map(Reply::status));
    system.publish(clicked("kept")).await;
    system.receiver.wait_for_posts("/both", 1, SOON).await;
    // The account's webhook, which won the URL, goes while the retry waits.
    system.delete_account_webhook("demo", &webhook).await;
    system.receiver.wait_for_posts("/both", 2, SOON).await;
    system.wait_for_end("kept", "delivered").await;

    // And when the last one goes, nobody is asked any more.
    system.receiver.on_post("/both", [Reply::status(500)]);
    system.publish(clicked("gone")).await;
    system.receiver.wait_for_posts("/both", 3, SOON).await;
    let delete =
        testkit::http::delete(system.url("/v3/domains/mail.demo.example/webhooks/clicked"));
    delete.basic_auth("api", "key-demo").send().await.expect("answered").expect_status(200);
    system.wait_for_end("gone", "suppressed").await;
    assert_eq!(system.receiver.posts("/both").len(), 3);
}

#[tokio::test]
async fn a_late_report_never_disables_what_has_since_been_validated() {
    let system = System::start(&[("ALERTS_RETRY_SCHEDULE", "1s"), ("EGRESS_TIMEOUT", "20s")]).await;
    let gate = Gate::new();
    let url = system.receiver.url("/alert");
    let id = system.add_alert("demo", "ip_listed", &url).await;
    // The last try hangs at the receiver until the customer has saved the alert again.
    system.receiver.on_post(
        "/alert",
        [Reply::status(500), Reply::status(500).behind(&gate), Reply::status(200)],
    );
    system.publish(alert("late")).await;
    system.receiver.wait_for_posts("/alert", 2, SOON).await;
    system.save_alert("demo", &id, "ip_listed", &url).await;
    gate.open();
    system.wait_for_end("late", "exhausted").await;
    // A second alert that exhausts afterwards is the marker: its report comes
    // later on the same stream, and it does disable.
    system.receiver.on_post("/marker", [Reply::status(500)]);
    let marker = system.add_alert("demo", "domain_listed", &system.receiver.url("/marker")).await;
    system.publish(Event { id: "marker".into(), ..example("domain_listed") }).await;
    eventually(SOON, "the marker to be disabled", || async {
        let settings = system.alert_settings("demo").await;
        let of = |id: &str| settings["events"].as_array()?.iter().find(|s| s["id"] == id).cloned();
        let (first, marker) = (of(&id)?, of(&marker)?);
        assert!(first["disabled_at"].is_null(), "the late report disabled it");
        marker["disabled_at"].as_str().map(|_| ())
    })
    .await;
}
