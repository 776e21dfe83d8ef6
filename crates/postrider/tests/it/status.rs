//! `postrider admin status`: what whoever is called out sees, also while much is away.

use protocol::v1::{DeploymentStatus, GetStatusRequest};
use serde_json::json;
use testkit::{OwnServers, Reply, eventually};

use crate::system::{BINARY, SOON, System, clicked, opened};

async fn printed(system: &System, options: &[&str]) -> String {
    let address = format!("http://{}", system.setting("ADMIN_ADDR"));
    let mut arguments = vec!["admin", "status", "--addr", &address];
    arguments.extend(options);
    let none: [(&str, &str); 0] = [];
    testkit::process::run(BINARY, &arguments, none).await.expect("it is printed")
}

async fn status(system: &System) -> DeploymentStatus {
    system.admin().await.get_status(GetStatusRequest {}).await.expect("answered").into_inner()
}

#[tokio::test]
async fn an_operator_sees_what_waits_and_what_could_not_be_asked() {
    let mut servers = OwnServers::start();
    let settings = [("DELIVERY_SHARDS", "2"), ("SEND_RETRY_SCHEDULE", "1h")];
    let mut system = System::start_separately(&servers, &settings).await;
    system.receiver.on_post("/fails", [Reply::status(500)]);
    for (event, path) in [("clicked", "/fails"), ("opened", "/paused")] {
        let url = system.receiver.url(path);
        system.add_domain_webhook("demo", "mail.demo.example", event, &[&url]).await;
    }
    let pause = testkit::http::put(system.url("/postrider/v1/urls/paused"));
    let pause = pause.basic_auth("api", "key-demo");
    let paused = json!({"url": system.receiver.url("/paused"), "paused": true});
    pause.json(&paused).send().await.expect("answered").expect_status(200);
    system.publish(clicked("waits")).await;
    system.publish(opened("held")).await;

    let seen = eventually(SOON, "one to wait and one to be held", || async {
        let seen = status(&system).await;
        let waiting: u64 = seen.shards.iter().map(|shard| shard.waiting).sum();
        let due: u64 = seen.shards.iter().map(|shard| shard.due).sum();
        let held = seen.undelivered.as_ref()?.by_end.get("held").copied();
        ((waiting, due, held) == (1, 0, Some(1)) && seen.history_lag_seconds == Some(0.0))
            .then_some(seen)
    })
    .await;
    assert!(seen.not_asked.is_empty(), "{:?}", seen.not_asked);
    assert_eq!(seen.streams.len(), 8, "{:?}", seen.streams);
    assert_eq!(seen.consumers.len(), 7, "{:?}", seen.consumers);
    assert_eq!(seen.dispatchers_live, Some(1));
    assert_eq!(seen.outbox.as_ref().map(|outbox| outbox.documents), Some(0));
    assert!(seen.outbox.is_some_and(|outbox| outbox.oldest.is_none()));

    let text = printed(&system, &[]).await;
    for part in ["Dispatchers                    1\n", "1 held\n", "SHARD", "_DELIVERIES_1"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&printed(&system, &["--json"]).await).expect("JSON");
    assert_eq!(json["dispatchers_live"], 1);

    // A dispatcher that stops is not counted any more, and what it leaves is due.
    let dispatcher = system.process("dispatcher");
    dispatcher.terminate(SOON).await;
    system.publish(clicked("due")).await;
    eventually(SOON, "the due delivery to be seen", || async {
        let seen = status(&system).await;
        let aged = seen.shards.iter().any(|shard| shard.due == 1 && shard.oldest_due_seconds > 0.0);
        (seen.dispatchers_live == Some(0) && aged).then_some(())
    })
    .await;

    servers.postgres.kill9().expect("killed");
    let text = printed(&system, &[]).await;
    for part in
        ["Settings not published         unknown, see below\n", "- the outbox of settings: "]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(text.contains("_EVENTS"), "the broker is asked all the same: {text}");

    servers.nats.kill9().expect("killed");
    eventually(SOON, "the broker to be missed", || async {
        let seen = status(&system).await;
        seen.not_asked.iter().any(|what| what == "the broker: not connected").then_some(())
    })
    .await;
}
