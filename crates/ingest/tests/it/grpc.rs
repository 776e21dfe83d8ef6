//! The gRPC door.

use bytes::Bytes;
use http::uri::PathAndQuery;
use model::{EventType, domain_id, event_key};
use prost::Message as _;
use protocol::door;
use protocol::v1::event::Kind;
use protocol::v1::publish_error::Code as ErrorCode;
use protocol::v1::publish_result::Status;
use protocol::v1::{
    Event, PublishRequest, PublishResponse, PublishResult, PublishStreamRequest,
    PublishStreamResponse,
};
use tonic::Code;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;
use tonic_prost::ProstCodec;
use tonic_types::StatusExt as _;

use crate::platform::{DEMO, Platform, SOON, alert, domain, opened};

async fn publish(
    platform: &Platform,
    events: Vec<Event>,
) -> Result<Vec<PublishResult>, tonic::Status> {
    let answer = platform.client().await.publish(PublishRequest { events }).await?;
    Ok(answer.into_inner().results)
}

fn statuses(results: &[PublishResult]) -> Vec<Status> {
    results.iter().map(PublishResult::status).collect()
}

#[tokio::test]
async fn what_is_stored_is_complete() {
    let platform = Platform::start(&[]).await;
    let events = vec![alert(DEMO, ""), opened("Mail.Sub.Example", "mine")];
    let results = publish(&platform, events).await.expect("accepted");
    assert_eq!(statuses(&results), [Status::Stored, Status::Stored]);

    let stored = platform.stored(2).await;
    let [alert, opened] = stored.as_slice() else { panic!("{stored:?}") };
    let event = alert.event.as_ref().expect("an event");
    assert_eq!(event.account, "demo", "its name, whatever it was addressed by");
    assert_eq!(event.id, results[0].id, "the id that was filled in is told");
    assert_eq!(event.id.len(), 36, "a UUID");
    assert!(event.timestamp.is_some());
    assert_eq!(alert.event_key, event_key(DEMO, EventType::IpListed, &event.id));
    assert!(alert.accepted_at.is_some() && alert.domain_id.is_empty());
    assert!(alert.caller.starts_with("tonic/"), "{}", alert.caller);

    let event = opened.event.as_ref().expect("an event");
    assert_eq!((event.account.as_str(), event.domain.as_str()), ("demo-sub", "mail.sub.example"));
    assert_eq!(opened.domain_id, domain_id("mail.sub.example"));
    assert_eq!((event.id.as_str(), results[1].id.as_str()), ("mine", "mine"));
}

#[tokio::test]
async fn ids_that_are_made_have_the_shape_that_customers_know() {
    let platform = Platform::start(&[]).await;
    let events = vec![opened("mail.demo.example", ""), opened("mail.demo.example", "")];
    let results = publish(&platform, events).await.expect("accepted");
    assert_eq!(statuses(&results), [Status::Stored, Status::Stored]);
    assert!(results.iter().all(|result| result.id.len() == 22), "{results:?}");
    assert_ne!(results[0].id, results[1].id);
}

#[tokio::test]
async fn an_event_is_account_kind_and_id() {
    let platform = Platform::start(&[]).await;
    let mut delisted = alert("demo", "one");
    let Some(Kind::IpListed(listed)) = delisted.kind.take() else { panic!("an alert") };
    delisted.kind = Some(Kind::IpDelisted(listed));
    let events = vec![
        alert("demo", "one"),
        alert("demo-sub", "one"),
        delisted,
        alert(DEMO, "one"),
        alert("demo", "one"),
    ];
    let results = publish(&platform, events.clone()).await.expect("accepted");
    use Status::{Duplicate, Stored};
    assert_eq!(statuses(&results), [Stored, Stored, Stored, Duplicate, Duplicate]);
    let again = publish(&platform, events).await.expect("accepted");
    assert_eq!(statuses(&again), [Duplicate; 5]);
    assert_eq!(platform.stored(3).await.len(), 3);
}

#[tokio::test]
async fn the_only_event_of_a_request_gives_it_its_status() {
    let platform = Platform::start(&[("POSTRIDER_MAX_EVENT_BYTES", "4KiB")]).await;
    let large = |bytes: usize| {
        let mut event = alert("demo", "large");
        let Some(Kind::IpListed(listed)) = &mut event.kind else { panic!("an alert") };
        listed.message = "x".repeat(bytes);
        event
    };
    let of_another = Event { account: "demo".into(), ..opened("mail.sub.example", "") };
    for (event, code, reason, field) in [
        (Event::default(), Code::InvalidArgument, "INVALID", ""),
        (alert("", ""), Code::InvalidArgument, "INVALID", "account"),
        (of_another, Code::InvalidArgument, "INVALID", "account"),
        (alert("nobody", ""), Code::NotFound, "UNKNOWN_ACCOUNT", "account"),
        (opened("mail.nobody.example", ""), Code::NotFound, "UNKNOWN_DOMAIN", "domain"),
        (opened("mail.gone.example", ""), Code::NotFound, "UNKNOWN_DOMAIN", "domain"),
        (alert("shut", ""), Code::FailedPrecondition, "ACCOUNT_NOT_OPEN", ""),
        (alert("shut-sub", ""), Code::FailedPrecondition, "ACCOUNT_NOT_OPEN", ""),
        (large(5000), Code::InvalidArgument, "TOO_LARGE", ""),
        // Just below the limit as sent, just above it as stored.
        (large(4000), Code::InvalidArgument, "TOO_LARGE", ""),
    ] {
        let status = publish(&platform, vec![event.clone()]).await.expect_err(reason);
        assert_eq!(status.code(), code, "{status:?}");
        let details = status.get_error_details();
        assert_eq!(details.error_info().expect("details").reason, reason, "{status:?}");
        let violation = details.bad_request().and_then(|bad| bad.field_violations.first());
        assert_eq!(violation.map_or("", |violation| violation.field.as_str()), field);
    }
    let mut twice = alert("demo", "twice");
    let Some(Kind::IpListed(listed)) = &mut twice.kind else { panic!("an alert") };
    (listed.ip, listed.blocklist) = ("x".into(), String::new());
    let status = publish(&platform, vec![twice]).await.expect_err("wrong in two fields");
    let details = status.get_error_details();
    let violations = &details.bad_request().expect("violations").field_violations;
    let fields: Vec<&str> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["ip_listed.ip", "ip_listed.blocklist"]);
    let results = publish(&platform, vec![large(3500)]).await.expect("small enough");
    assert_eq!(statuses(&results), [Status::Stored]);
}

#[tokio::test]
async fn what_is_wrong_in_a_batch_holds_up_nothing_else() {
    let platform = Platform::start(&[]).await;
    let events =
        vec![alert("demo", "a"), alert("nobody", "b"), Event::default(), alert("demo", "d")];
    let results = publish(&platform, events).await.expect("a batch has a result for each");
    use Status::{Rejected, Stored};
    assert_eq!(statuses(&results), [Stored, Rejected, Rejected, Stored]);
    let error = results[1].error.as_ref().expect("an error");
    assert_eq!((error.code(), error.field.as_str()), (ErrorCode::UnknownAccount, "account"));
    assert_eq!(results[1].id, "b");
}

/// A request whose events are any bytes.
async fn publish_bytes(
    platform: &Platform,
    events: Vec<Bytes>,
) -> Result<Vec<PublishResult>, tonic::Status> {
    let channel = Endpoint::new(format!("http://{}", platform.grpc)).expect("an address");
    let mut client = Grpc::new(channel.connect().await.expect("the door is open"));
    client.ready().await.expect("ready");
    let path = PathAndQuery::from_static("/postrider.v1.Ingest/Publish");
    let request = door::PublishRequest { count: events.len(), events };
    let codec = ProstCodec::<door::PublishRequest, PublishResponse>::default();
    let answer = client.unary(tonic::Request::new(request), path, codec).await?;
    Ok(answer.into_inner().results)
}

#[tokio::test]
async fn an_event_that_cannot_be_decoded_is_refused_alone() {
    let platform = Platform::start(&[]).await;
    let right = Bytes::from(alert("demo", "a").encode_to_vec());
    let wrong = Bytes::from_static(b"\x0a\x7fcut off");
    let events = vec![right.clone(), wrong.clone(), right];
    let results = publish_bytes(&platform, events).await.expect("a batch");
    use Status::{Duplicate, Rejected, Stored};
    assert_eq!(statuses(&results), [Stored, Rejected, Duplicate]);
    let error = results[1].error.as_ref().expect("an error");
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(error.message.contains("decode"), "{error:?}");
    let alone = publish_bytes(&platform, vec![wrong]).await.expect_err("refused");
    assert_eq!(alone.code(), Code::InvalidArgument, "{alone:?}");
}

#[tokio::test]
async fn messages_may_be_compressed_and_are_bounded_as_they_come_out() {
    let platform = Platform::start(&[]).await;
    let mut client = platform.client().await.send_compressed(CompressionEncoding::Gzip);
    let request = PublishRequest { events: vec![alert("demo", "small")] };
    let answer = client.publish(request).await.expect("accepted").into_inner();
    assert_eq!(statuses(&answer.results), [Status::Stored]);
    let mut bomb = alert("demo", "bomb");
    let Some(Kind::IpListed(listed)) = &mut bomb.kind else { panic!("an alert") };
    listed.message = "x".repeat(64 << 20);
    let status = client.publish(PublishRequest { events: vec![bomb] }).await.expect_err("refused");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
}

#[tokio::test]
async fn a_request_has_one_to_a_thousand_events() {
    let platform = Platform::start(&[]).await;
    let many = |count: usize| (0..count).map(|n| alert("demo", &n.to_string())).collect();
    for count in [0, 1001] {
        let status = publish(&platform, many(count)).await.expect_err("refused");
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let results = publish(&platform, many(1000)).await.expect("accepted");
    assert!(results.iter().all(|result| result.status() == Status::Stored));
    let stored = platform.stored(1000).await;
    let ids: Vec<_> = stored.iter().filter_map(|e| Some(e.event.as_ref()?.id.as_str())).collect();
    let sent: Vec<_> = (0..1000).map(|n| n.to_string()).collect();
    assert_eq!(ids, sent, "in the order of the request");
}

#[tokio::test]
async fn a_domain_that_was_made_just_now_is_known() {
    let platform = Platform::start(&[]).await;
    for n in 0..20 {
        let name = format!("mail{n}.new.example");
        platform.bus.put_domain(&domain(&name, DEMO)).await.expect("put");
        // No wait in between: the answer to the change was the promise.
        let results = publish(&platform, vec![opened(&name, "")]).await.expect("accepted");
        assert_eq!(statuses(&results), [Status::Stored], "{name}");
    }
}

#[tokio::test]
async fn a_stream_is_answered_in_order() {
    let platform = Platform::start(&[("POSTRIDER_INGEST_CONCURRENCY", "7")]).await;
    let events: Vec<Event> = (0..3000)
        .map(|n| match n % 10 {
            3 => alert("nobody", &n.to_string()),
            // The one before, again.
            5 => alert("demo", &(n - 1).to_string()),
            _ => alert("demo", &n.to_string()),
        })
        .collect();
    let expected: Vec<(String, Status)> = events
        .iter()
        .enumerate()
        .map(|(n, event)| {
            let status = match n % 10 {
                3 => Status::Rejected,
                5 => Status::Duplicate,
                _ => Status::Stored,
            };
            (event.id.clone(), status)
        })
        .collect();
    let answered = testkit::within(SOON, "all answers", stream(&platform, events)).await;
    assert_eq!(answered, expected);
}

#[tokio::test]
async fn a_stream_is_stored_in_order() {
    let platform = Platform::start(&[]).await;
    let ids: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    let events = ids.iter().map(|id| alert("demo", id)).collect();
    testkit::within(SOON, "all answers", stream(&platform, events)).await;
    let stored = platform.stored(ids.len()).await;
    let stored: Vec<_> = stored.into_iter().filter_map(|event| Some(event.event?.id)).collect();
    assert_eq!(stored, ids);
}

async fn stream(platform: &Platform, events: Vec<Event>) -> Vec<(String, Status)> {
    let requests = events.into_iter().map(|event| PublishStreamRequest { event: Some(event) });
    let answers = platform.client().await.publish_stream(tokio_stream::iter(requests)).await;
    let mut answers = answers.expect("begun").into_inner();
    let mut all = Vec::new();
    while let Some(PublishStreamResponse { result }) = answers.message().await.expect("answers") {
        let result = result.expect("a result");
        all.push((result.id.clone(), result.status()));
    }
    all
}

#[tokio::test]
async fn a_caller_that_reads_no_answers_holds_up_nobody_else() {
    let platform = Platform::start(&[("POSTRIDER_INGEST_CONCURRENCY", "8")]).await;
    let mut deaf = Vec::new();
    for caller in 0..8 {
        let events = (0..5000).map(move |n| alert("demo", &format!("{caller}-{n}")));
        let requests = events.map(|event| PublishStreamRequest { event: Some(event) });
        let answers = platform.client().await.publish_stream(tokio_stream::iter(requests)).await;
        // Held, and never read from.
        deaf.push(answers.expect("begun"));
    }
    let publishing = publish(&platform, vec![alert("demo", "polite")]);
    let results = testkit::within(SOON, "an answer", publishing).await.expect("accepted");
    assert_eq!(statuses(&results), [Status::Stored]);
    drop(deaf);
}

#[tokio::test]
async fn a_stop_ends_open_streams_after_their_answers() {
    let platform = Platform::start(&[]).await;
    let (events, receiver) = tokio::sync::mpsc::channel(4);
    let requests = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let answers = platform.client().await.publish_stream(requests).await;
    let mut answers = answers.expect("begun").into_inner();
    let request = PublishStreamRequest { event: Some(alert("demo", "last")) };
    events.send(request).await.expect("taken");
    let first = answers.message().await.expect("no error").expect("an answer");
    assert_eq!(first.result.expect("a result").status(), Status::Stored);

    platform.tasks.stop();
    let status = testkit::within(SOON, "the end", answers.message()).await.expect_err("ended");
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(platform.tasks.wait(SOON).await, "everything has ended");
}
