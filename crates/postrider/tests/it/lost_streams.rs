//! Streams and buckets that the broker loses while everything runs.

use std::cell::RefCell;
use std::time::Duration;

use protocol::v1::PublishRequest;
use serde_json::json;
use testkit::broker::{jetstream, try_jetstream};
use testkit::{OwnServers, Reply, eventually};

use crate::system::{BINARY, SOON, System, alert, clicked, payload_event_id};

/// Longer than it takes until streams are made again that somebody might yet restore.
const LONG: Duration = Duration::from_secs(120);

/// Hands events over until so many are stored in a row; says which. Nobody is ever told
/// that an account or a domain is unknown.
async fn publish_through(system: &System, prefix: &str, wanted: usize) -> Vec<String> {
    let mut stored = Vec::new();
    let (mut number, mut row) = (0, 0);
    while row < wanted {
        number += 1;
        let id = format!("{prefix}-{number}");
        let event = clicked(&id);
        let answer = async {
            let mut ingest = system.try_ingest().await?;
            Some(ingest.publish(PublishRequest { events: vec![event] }).await)
        };
        match answer.await {
            Some(Ok(_)) => {
                stored.push(id);
                row += 1;
            }
            Some(Err(refusal)) => {
                assert_eq!(refusal.code(), tonic::Code::Unavailable, "{refusal}");
                row = 0;
            }
            None => row = 0,
        }
    }
    stored
}

async fn wait_until_all_have_come(system: &System, path: &str, ids: &[String]) {
    eventually(LONG, "every stored event to arrive", || async {
        let posts = system.receiver.posts(path);
        let come: Vec<String> =
            posts.iter().map(|post| payload_event_id(&post.json()).to_owned()).collect();
        ids.iter().all(|id| come.contains(id)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_bucket_of_settings_fills_by_itself_and_nobody_is_called_unknown() {
    let servers = OwnServers::start();
    let system = System::start_separately(&servers, &[]).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    let ids = RefCell::new(publish_through(&system, "before", 1).await);

    let (url, region) = (servers.nats.url(), &servers.region);
    let bucket = format!("KV_{region}_settings");
    jetstream(&url, &format!("STREAM.DELETE.{bucket}"), &json!({})).await;
    let complete = json!({"last_by_subj": format!("$KV.{region}_settings.complete")});
    let get = format!("STREAM.MSG.GET.{bucket}");
    eventually(LONG, "the bucket to be complete", || async {
        let prefix = format!("while-{}", ids.borrow().len());
        let stored = publish_through(&system, &prefix, 1).await;
        ids.borrow_mut().extend(stored);
        let marker = try_jetstream(&url, &get, &complete).await?;
        let data = marker["message"]["data"].as_str().unwrap_or_default().to_owned();
        (!data.is_empty()).then_some(())
    })
    .await;
    let mut ids = ids.into_inner();
    ids.extend(publish_through(&system, "after", 20).await);
    wait_until_all_have_come(&system, "/hook", &ids).await;
    let refused = "SELECT count(*) FROM ends WHERE outcome <> 'delivered'";
    assert_eq!(servers.sql(refused).trim(), "0", "nothing was suppressed");
    // What is changed from now on is in force at once, as before.
    let other = system.receiver.url("/other");
    system.add_domain_webhook("demo", "mail.demo.example", "opened", &[&other]).await;
    system.publish(crate::system::opened("changed")).await;
    system.receiver.wait_for_posts("/other", 1, SOON).await;
}

#[tokio::test]
async fn a_broker_that_has_lost_everything_is_set_up_again_and_nobody_is_called_unknown() {
    let mut servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[]).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    for stream in testkit::broker::streams(&servers.nats.url()).await {
        jetstream(&servers.nats.url(), &format!("STREAM.DELETE.{stream}"), &json!({})).await;
    }
    servers.nats.restart().expect("restarted");
    // Processes that start now find nothing, and wait for it.
    for role in ["fanout", "dispatcher", "archive", "ingest"] {
        system.kill9(role).await;
        system.begin(role, None);
    }
    let refusal = async |id| {
        let mut ingest = system.try_ingest().await?;
        ingest.publish(PublishRequest { events: vec![alert(id)] }).await.err()
    };
    let refused = eventually(SOON, "an answer of ingest", || refusal("early")).await;
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    let ids = publish_through(&system, "after", 20).await;
    wait_until_all_have_come(&system, "/hook", &ids).await;
}

#[tokio::test]
async fn a_role_whose_stream_is_lost_is_not_ready_says_which_and_gets_it_back() {
    let servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[]).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    // Nobody makes streams but settings-api, which does not work with this one itself.
    for role in ["ingest", "dispatcher", "archive", "fanout"] {
        system.process(role).terminate(SOON).await;
        system.set_for(role, "NATS_STREAMS", "expect");
    }
    for role in ["ingest", "dispatcher", "archive"] {
        system.run(role, None).await;
    }
    let ops = system.begin("fanout", None);
    let readyz = async || {
        let answer = testkit::http::get(format!("http://{ops}/readyz")).send().await.ok()?;
        Some((answer.status, answer.text()))
    };
    eventually(SOON, "fanout to be ready", || async { (readyz().await?.0 == 200).then_some(()) })
        .await;
    let (url, region) = (servers.nats.url(), &servers.region);
    for lost in [format!("{region}_EVENTS"), format!("KV_{region}_targets")] {
        jetstream(&url, &format!("STREAM.DELETE.{lost}"), &json!({})).await;
    }
    eventually(SOON, "fanout to say what is missing", || async {
        let (status, text) = readyz().await?;
        (status == 503 && text.contains("stream EVENTS")).then_some(())
    })
    .await;
    assert!(system.process("fanout").log().contains("the broker has lost a stream"));
    eventually(LONG, "fanout to be ready again", || async {
        (readyz().await?.0 == 200).then_some(())
    })
    .await;
    let targets = format!("STREAM.INFO.KV_{region}_targets");
    let nothing = json!({});
    eventually(SOON, "the bucket of targets", || try_jetstream(&url, &targets, &nothing)).await;
    let ids = publish_through(&system, "after", 5).await;
    wait_until_all_have_come(&system, "/hook", &ids).await;
}

/// A platform with one delivery, which has failed once and waits for its second try.
async fn one_that_waits(extra: &[(&str, &str)]) -> (OwnServers, System) {
    let servers = OwnServers::start();
    let system = System::start_separately(&servers, extra).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    system.receiver.on_post("/hook", [Reply::status(500), Reply::status(200)]);
    system.publish(clicked("lost")).await;
    eventually(SOON, "the first try in history", || async {
        (servers.sql("SELECT count(*) FROM attempts").trim() == "1").then_some(())
    })
    .await;
    (servers, system)
}

/// The words that `admin reconcile` prints, of all that was decided until now.
async fn reconcile(system: &System, more: &[&str]) -> String {
    let address = format!("http://{}", system.setting("ADMIN_ADDR"));
    let arguments = ["admin", "reconcile", "--older-than", "0", "--addr", &address];
    let none: [(&str, &str); 0] = [];
    let arguments = [&arguments, more].concat();
    testkit::process::run(BINARY, &arguments, none).await.expect("reconciled")
}

#[tokio::test]
async fn what_was_decided_and_is_on_the_broker_no_more_is_made_anew_once() {
    let (servers, mut system) = one_that_waits(&[("SEND_RETRY_SCHEDULE", "20s,1s")]).await;
    system.kill9("dispatcher").await;
    let url = servers.nats.url();
    let subject = format!("STREAM.PURGE.{}_DELIVERIES_0", servers.region);
    jetstream(&url, &subject, &json!({})).await;
    system.publish(clicked("waits")).await;
    eventually(SOON, "both to be decided", || async {
        (servers.sql("SELECT count(*) FROM routing_decisions").trim() == "2").then_some(())
    })
    .await;

    let found = "2 deliveries have no end yet. 1 are on the broker and go on by themselves.";
    let counted = reconcile(&system, &["--dry-run"]).await;
    assert_eq!(counted, format!("{found} 1 are not, and 0 of these were made anew.\n"));
    let made = reconcile(&system, &[]).await;
    assert_eq!(made, format!("{found} 1 are not, and 1 of these were made anew.\n"));
    let again = "2 deliveries have no end yet. 2 are on the broker and go on by themselves. 0 are \
        not, and 0 of these were made anew.\n";
    assert_eq!(reconcile(&system, &[]).await, again);

    system.run("dispatcher", None).await;
    eventually(SOON, "both to end", || async {
        let ends = servers.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (ends.trim() == "2").then_some(())
    })
    .await;
    let tries = "SELECT attempts FROM ends JOIN events USING (event_key) WHERE event_id = 'lost'";
    assert_eq!(servers.sql(tries).trim(), "2", "it goes on with its second try");
    assert_eq!(system.receiver.posts("/hook").len(), 3);
    let ended = "0 deliveries have no end yet. 0 are on the broker and go on by themselves. 0 are \
        not, and 0 of these were made anew.\n";
    assert_eq!(reconcile(&system, &[]).await, ended);
}

/// A broker that comes back without some of what waited: nobody has to notice.
#[tokio::test]
async fn what_a_broker_has_lost_while_it_was_away_is_made_anew_by_itself() {
    let extra = [("SEND_RETRY_SCHEDULE", "20s,1s"), ("RECONCILE_AFTER", "5s")];
    let (mut servers, system) = one_that_waits(&extra).await;
    let subject = format!("STREAM.PURGE.{}_DELIVERIES_0", servers.region);
    jetstream(&servers.nats.url(), &subject, &json!({})).await;
    servers.nats.kill9().expect("killed");
    servers.nats.restart().expect("started again");
    eventually(LONG, "the delivery to end", || async {
        let ends = servers.sql("SELECT outcome, attempts FROM ends");
        (ends.trim() == "delivered|2").then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/hook").len(), 2);
}
