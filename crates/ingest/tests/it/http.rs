//! The HTTP door.

use serde_json::{Value, json};
use testkit::http::{Response, get, post};

use crate::platform::Platform;

async fn send(platform: &Platform, content_type: &str, body: impl Into<String>) -> Response {
    let url = format!("http://{}/v1/events", platform.http);
    post(url).body(content_type, body.into()).send().await.expect("answered")
}

async fn send_json(platform: &Platform, body: Value) -> Response {
    send(platform, "application/json", body.to_string()).await
}

fn alert(account: &str, id: &str) -> Value {
    let listed = json!({"ip": "192.0.2.44", "blocklist": "Example BL"});
    json!({"account": account, "id": id, "ip_listed": listed})
}

#[tokio::test]
async fn one_event_gets_one_answer() {
    let platform = Platform::start(&[]).await;
    let stored = send_json(&platform, alert("demo", "one")).await.expect_status(200);
    assert_eq!(stored.json(), json!({"id": "one", "status": "stored"}));
    let again = send_json(&platform, alert("demo", "one")).await.expect_status(200);
    assert_eq!(again.json(), json!({"id": "one", "status": "duplicate"}));

    let refused = send_json(&platform, alert("nobody", "one")).await.expect_status(404).json();
    assert_eq!(refused["error"]["code"], "UNKNOWN_ACCOUNT");
    assert_eq!(refused["error"]["field"], "account");
    assert!(refused["error"]["message"].as_str().is_some_and(|text| !text.is_empty()));

    let invalid = json!({"account": "demo", "ip_listed": {"ip": "192.0.2.444", "blocklist": "x"}});
    let refused = send_json(&platform, invalid).await.expect_status(400).json();
    assert_eq!(refused["error"]["field"], "ip_listed.ip");

    let refused = send_json(&platform, alert("shut", "one")).await.expect_status(403).json();
    assert_eq!(refused["error"]["code"], "ACCOUNT_NOT_OPEN");
}

#[tokio::test]
async fn both_doors_lead_to_the_same_stream() {
    let platform = Platform::start(&[]).await;
    let url = format!("http://{}/v1/events", platform.http);
    let event = json!({
        "domain": "mail.demo.example",
        "timestamp": "2025-10-09T08:53:20.123456Z",
        "opened": {
            "recipient": "grace@reader.example",
            "message": {"headers": {"message_id": "1@mail.demo.example"}},
        },
    });
    let request = post(url).json(&event).header("x-postrider-caller", "mail-pipeline");
    let id = request.send().await.expect("answered").expect_status(200).json()["id"].clone();
    let stored = platform.stored(1).await.remove(0);
    assert_eq!(stored.caller, "mail-pipeline");
    let event = stored.event.expect("an event");
    assert_eq!(id, json!(event.id));
    let timestamp = event.timestamp.expect("as given");
    assert_eq!((timestamp.seconds, timestamp.nanos), (1_760_000_000, 123_456_000));
}

#[tokio::test]
async fn several_events_get_a_list() {
    let platform = Platform::start(&[]).await;
    let both = json!([alert("demo", "a"), alert("demo", "b")]);
    let all_well = send_json(&platform, both).await.expect_status(200).json();
    assert_eq!(
        all_well,
        json!({"results": [{"id": "a", "status": "stored"}, {"id": "b", "status": "stored"}]})
    );

    let lines = format!("{}\n{}\n", alert("demo", "b"), alert("nobody", "c"));
    let mixed = send(&platform, "application/x-ndjson", lines.clone()).await;
    let mixed = mixed.expect_status(207).json();
    assert_eq!(mixed["results"][0], json!({"id": "b", "status": "duplicate"}));
    assert_eq!(mixed["results"][1]["status"], "rejected");
    assert_eq!(mixed["results"][1]["error"]["code"], "UNKNOWN_ACCOUNT");
    send(&platform, "application/json", lines).await.expect_status(207);

    let one_line = send(&platform, "application/x-ndjson", alert("demo", "d").to_string()).await;
    assert_eq!(one_line.expect_status(200).json()["results"][0]["status"], "stored");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_refused_alone() {
    let platform = Platform::start(&[]).await;
    let with_typo = json!([alert("demo", "a"), {"id": "b", "ip_lsted": {}}, alert("demo", "c")]);
    let answer = send_json(&platform, with_typo).await.expect_status(207).json();
    let [first, wrong, last] = &[0, 1, 2].map(|index| answer["results"][index].clone());
    assert_eq!((&first["status"], &last["status"]), (&json!("stored"), &json!("stored")));
    assert_eq!((&wrong["id"], &wrong["status"]), (&json!("b"), &json!("rejected")));
    assert_eq!(wrong["error"]["code"], "INVALID");
    let message = wrong["error"]["message"].as_str().expect("a message");
    assert!(message.starts_with("event 2, line 1, column "), "{message}");
    assert!(message.contains("unknown field `ip_lsted`"), "{message}");

    let lines = format!("{}\n{{\"id\":\n{}\n", alert("demo", "d"), alert("demo", "e"));
    let answer = send(&platform, "application/x-ndjson", lines).await.expect_status(207).json();
    let statuses = [0, 1, 2].map(|index| answer["results"][index]["status"].clone());
    assert_eq!(statuses, ["stored", "rejected", "stored"]);

    let twice = json!({"account": "demo", "ip_listed": {"ip": "x", "blocklist": ""}});
    let refused = send_json(&platform, twice).await.expect_status(400).json();
    assert_eq!(refused["error"]["field"], "ip_listed.ip");
    assert_eq!(refused["error"]["violations"][1]["field"], "ip_listed.blocklist", "{refused}");

    let alone = json!({"timestamp": "yesterday", "account": "demo"});
    let refused = send_json(&platform, alone).await.expect_status(400).json();
    assert_eq!(refused["error"]["field"], "timestamp");
}

#[tokio::test]
async fn what_is_no_request_is_refused_as_a_whole() {
    let platform = Platform::start(&[]).await;
    let cut_off = json!([alert("demo", "fine")]).to_string();
    let cut_off = &cut_off[..cut_off.len() - 1];
    let refused = send(&platform, "application/json", cut_off).await.expect_status(400).json();
    assert_eq!(refused["error"]["code"], "INVALID");
    // Nothing of it was stored.
    let fine = send_json(&platform, alert("demo", "fine")).await.expect_status(200).json();
    assert_eq!(fine["status"], "stored");

    send_json(&platform, json!([])).await.expect_status(400);
    let too_many: Vec<Value> = (0..1001).map(|n| alert("demo", &n.to_string())).collect();
    send_json(&platform, Value::from(too_many)).await.expect_status(400);
    send(&platform, "text/plain", alert("demo", "x").to_string()).await.expect_status(415);
    let compressed = post(format!("http://{}/v1/events", platform.http))
        .header("content-encoding", "gzip")
        .json(&alert("demo", "x"));
    let refused = compressed.send().await.expect("answered").expect_status(415).json();
    let message = refused["error"]["message"].as_str().expect("a message");
    assert!(message.contains("Content-Encoding"), "{message}");
}

/// Whoever looks at a page has its browser send what it likes to addresses that they can reach.
#[tokio::test]
async fn what_a_web_page_can_send_is_not_taken() {
    let platform = Platform::start(&[]).await;
    let url = || post(format!("http://{}/v1/events", platform.http));
    let event = || alert("demo", "x").to_string();
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
    ] {
        let sent = url().body("application/json", event()).header(name, value).send().await;
        sent.expect("answered").expect_status(403);
    }
    // A `Blob` without a type has none, and is sent without being asked for.
    url().body("", event()).send().await.expect("answered").expect_status(415);
}

#[tokio::test]
async fn large_requests_and_wrong_places_are_refused_in_the_same_shape() {
    let extra =
        [("POSTRIDER_MAX_EVENT_BYTES", "1KiB"), ("POSTRIDER_INGEST_MAX_REQUEST_BYTES", "8KiB")];
    let platform = Platform::start(&extra).await;
    let large = |bytes: usize| {
        let mut event = alert("demo", "large");
        event["ip_listed"]["message"] = "x".repeat(bytes).into();
        event
    };
    for bytes in [2_000, 5_000, 10_000] {
        let refused = send_json(&platform, large(bytes)).await.expect_status(413).json();
        assert_eq!(refused["error"]["code"], "TOO_LARGE", "{refused}");
    }
    let url = |path: &str| format!("http://{}{path}", platform.http);
    let nowhere = get(url("/v1/event")).send().await.expect("answered").expect_status(404);
    assert!(nowhere.json()["error"]["message"].is_string());
    let wrong_method = get(url("/v1/events")).send().await.expect("answered").expect_status(405);
    assert!(wrong_method.json()["error"]["message"].is_string());
}
