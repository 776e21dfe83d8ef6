//! Events over their account's quota.

use protocol::v1::publish_error::Code as ErrorCode;
use protocol::v1::publish_result::Status;
use protocol::v1::{AccountDocument, AccountStatus, PublishRequest};
use serde_json::json;
use testkit::http::post;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::platform::{DEMO, Platform, alert};

/// Gives the demo account a quota of its own that outlasts the test.
async fn limit(platform: &Platform, events_per_second: Option<u32>) {
    let document = AccountDocument {
        account_id: DEMO.into(),
        version: 2,
        name: "demo".into(),
        status: AccountStatus::Open.into(),
        events_per_second,
        ..AccountDocument::default()
    };
    platform.bus.put_account(&document).await.expect("put");
}

#[tokio::test]
async fn what_is_over_the_quota_is_refused_and_the_rest_is_stored() {
    // Three at once, then one a second.
    let quota =
        [("POSTRIDER_ACCOUNT_EVENTS_PER_SECOND", "1"), ("POSTRIDER_ACCOUNT_EVENTS_BURST", "3s")];
    let platform = Platform::start(&quota).await;
    let mut client = platform.client().await;
    let batch = |ids: &[&str], account: &str| PublishRequest {
        events: ids.iter().map(|id| alert(account, id)).collect(),
    };
    // A subaccount's events count as its parent's.
    client.publish(batch(&["sub"], "demo-sub")).await.expect("stored");
    let ids: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let answer = client.publish(batch(&ids, "demo")).await.expect("answered").into_inner();
    let stored = answer.results.iter().filter(|result| result.status() == Status::Stored).count();
    assert!((2..10).contains(&stored), "{stored}");
    let last = answer.results.last().expect("one for each event");
    assert_eq!((last.id.as_str(), last.status()), ("19", Status::Unavailable));
    let error = last.error.as_ref().expect("it says why");
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::QuotaExceeded, "account"));

    // Of a batch that has nothing else, the whole is refused.
    let refused = client.publish(batch(&ids[15..], "demo")).await;
    let refused = match refused {
        Err(status) => status,
        // A second may have gone by.
        Ok(_) => client.publish(batch(&ids[15..], "demo")).await.expect_err("too many"),
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let wait = refused.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(wait.is_some_and(|wait| !wait.is_zero()), "{refused:?}");
}

#[tokio::test]
async fn over_http_it_is_429_with_the_time_to_wait() {
    let platform = Platform::start(&[]).await;
    let send = |body: serde_json::Value| {
        let url = format!("http://{}/v1/events", platform.http);
        async move { post(url).json(&body).send().await.expect("answered") }
    };
    let listed = |id: &str| {
        let ip = json!({"ip": "192.0.2.44", "blocklist": "Example BL"});
        json!({"account": "demo", "id": id, "ip_listed": ip})
    };
    // Without a setting there is no limit.
    send(json!((0..100).map(|n| listed(&n.to_string())).collect::<Vec<_>>()))
        .await
        .expect_status(200);

    limit(&platform, Some(1)).await;
    testkit::eventually(crate::platform::SOON, "the quota to be in force", || async {
        let answer = send(listed("one-more")).await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    let refused = send(json!([listed("a"), listed("b")])).await;
    let refused = match refused.status {
        429 => refused,
        _ => send(json!([listed("a"), listed("b")])).await.expect_status(429),
    };
    let wait: u64 = refused.header("retry-after").expect("a time").parse().expect("seconds");
    assert!(wait >= 1, "{wait}");
    assert_eq!(refused.json()["results"][0]["status"], "unavailable");
    assert_eq!(refused.json()["results"][0]["error"]["code"], "QUOTA_EXCEEDED");
}
