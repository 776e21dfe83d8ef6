//! What the doors say when the broker is away or full.

use std::time::Duration;

use protocol::v1::publish_result::Status;
use protocol::v1::{PublishRequest, PublishStreamRequest};
use serde_json::json;
use testkit::OwnServers;
use testkit::http::post;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::platform::{Platform, SOON, alert};

const QUICK: [(&str, &str); 1] = [("POSTRIDER_NATS_ACK_TIMEOUT", "1s")];

#[tokio::test]
async fn without_the_broker_nothing_is_called_stored() {
    let mut servers = OwnServers::start();
    let platform = Platform::start_on(&servers.nats.url(), &QUICK).await;
    let mut client = platform.client().await;
    let publish = |events| PublishRequest { events };
    client.publish(publish(vec![alert("demo", "before")])).await.expect("accepted");

    servers.nats.kill9().expect("killed");
    let status = client.publish(publish(vec![alert("demo", "a")])).await.expect_err("away");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let both = vec![alert("demo", "a"), alert("demo", "b")];
    let status = client.publish(publish(both)).await.expect_err("away");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.message().contains("2 of 2"), "{status:?}");
    // Nothing about this account is known for sure now.
    let status = client.publish(publish(vec![alert("new", "a")])).await.expect_err("away");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");

    let requests = [PublishStreamRequest { event: Some(alert("demo", "s")) }];
    let answers = client.publish_stream(tokio_stream::iter(requests)).await.expect("begun");
    let answer = answers.into_inner().message().await.expect("answered").expect("a result");
    assert_eq!(answer.result.expect("a result").status(), Status::Unavailable);

    let url = format!("http://{}/v1/events", platform.http);
    let event = json!({"account": "demo", "ip_listed": {"ip": "192.0.2.1", "blocklist": "x"}});
    let one = post(url.clone()).json(&event).send().await.expect("answered").expect_status(503);
    assert_eq!(one.header("retry-after"), Some("1"));
    assert_eq!(one.json()["error"]["code"], "BROKER_UNAVAILABLE");
    assert!(one.json()["id"].is_string(), "the id to send it again with");
    let two = json!([event, event]);
    let several = post(url).json(&two).send().await.expect("answered").expect_status(503);
    assert_eq!(several.json()["results"][1]["status"], "unavailable");
    wait_for_health(&platform, ServingStatus::NotServing).await;

    servers.nats.restart().expect("restarted");
    wait_for_health(&platform, ServingStatus::Serving).await;
    let answer = client.publish(publish(vec![alert("demo", "a"), alert("demo", "before")])).await;
    let results = answer.expect("accepted").into_inner().results;
    assert_eq!(results[0].status(), Status::Stored, "a refusal was no half-done event");
    assert_eq!(results[1].status(), Status::Duplicate, "the broker remembers");
}

async fn wait_for_health(platform: &Platform, wanted: ServingStatus) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", platform.grpc));
    let channel = channel.expect("an address").connect().await.expect("the door is open");
    let client = HealthClient::new(channel);
    testkit::eventually(SOON, &format!("{wanted:?}"), || async {
        let request = HealthCheckRequest { service: "postrider.v1.Ingest".into() };
        let answer = client.clone().check(request).await.ok()?;
        (answer.into_inner().status() == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_full_stream_pushes_back() {
    let limits = [
        ("POSTRIDER_EVENTS_MAX_BYTES", "64KiB"),
        ("POSTRIDER_EVENTS_REPLAY_BYTES", "32KiB"),
        ("POSTRIDER_MAX_EVENT_BYTES", "32KiB"),
    ];
    let platform = Platform::start(&limits).await;
    let mut client = platform.client().await;
    let filling = async {
        for n in 0.. {
            let events = vec![alert("demo", &n.to_string())];
            if let Err(status) = client.publish(PublishRequest { events }).await {
                return status;
            }
        }
        unreachable!("the numbers do not run out")
    };
    let status = testkit::within(Duration::from_secs(60), "a refusal", filling).await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");

    let url = format!("http://{}/v1/events", platform.http);
    let event = json!({"account": "demo", "ip_listed": {"ip": "192.0.2.1", "blocklist": "x"}});
    let full = post(url).json(&event).send().await.expect("answered").expect_status(503);
    assert_eq!(full.header("retry-after"), Some("5"));
}

/// A bucket that says that it lacks some documents may lack any; one that says nothing
/// is an older settings-api's, and is believed.
#[tokio::test]
async fn while_settings_are_incomplete_nobody_is_called_unknown_and_nothing_is_taken() {
    let platform = Platform::start(&[]).await;
    let mut client = platform.client().await;
    let publish = |account, id| PublishRequest { events: vec![alert(account, id)] };
    client.publish(publish("demo", "before")).await.expect("accepted");
    let status = client.publish(publish("nobody", "a")).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");

    let begun = platform.bus.begin_settings().await.expect("said");
    testkit::eventually(SOON, "ingest to hear of it", || async {
        let status = client.clone().publish(publish("nobody", "a")).await.expect_err("unknown");
        (status.code() == Code::Unavailable).then_some(())
    })
    .await;
    let status = client.publish(publish("demo", "b")).await.expect_err("it is not taken");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let body = r#"{"id":"c","account":"demo","ip_listed":{"ip":"192.0.2.1","blocklist":"BL"}}"#;
    let answer = post(format!("http://{}/v1/events", platform.http)).body("application/json", body);
    assert_eq!(answer.send().await.expect("an answer").status, 503);

    assert!(platform.bus.complete_settings("a database", begun).await.expect("said"));
    testkit::eventually(SOON, "ingest to take events again", || async {
        client.clone().publish(publish("demo", "d")).await.ok()
    })
    .await;
    let status = client.publish(publish("nobody", "e")).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
}
