//! Promises that one process keeps by chance, here with two or with a watch that is late.

use std::time::{Duration, Instant};

use protocol::v1::PublishRequest;
use serde_json::{Value, json};
use testkit::broker::jetstream;
use testkit::{OwnServers, Reply, Speech, Wire, eventually};

use crate::system::{SOON, System, clicked};

const LONG: Duration = Duration::from_secs(60);
const SLOW: usize = 6;

/// It takes longer than the lease. One dispatcher alone would recognise what it is at, whatever
/// became of the lease.
#[tokio::test]
async fn with_two_dispatchers_a_slow_receiver_keeps_its_lease_and_is_asked_once() {
    let mut system = System::start_apart(&[("EGRESS_TIMEOUT", "20s")]).await;
    system.run_another("dispatcher", "dispatcher-2", None).await;
    let url = system.receiver.url("/slow");
    system.receiver.on_post("/slow", [Reply::status(200).after(Duration::from_secs(7))]);
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    // Several, because the copy of one may come back to the dispatcher that is at it.
    for n in 0..SLOW {
        system.publish(clicked(&format!("slow-{n}"))).await;
    }
    for n in 0..SLOW {
        system.wait_for_end(&format!("slow-{n}"), "delivered").await;
    }
    assert_eq!(system.receiver.posts("/slow").len(), SLOW);
}

/// For three leases.
#[tokio::test]
async fn with_two_dispatchers_refused_outcomes_re_send_nothing() {
    let servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[]).await;
    system.run_another("dispatcher", "dispatcher-2", None).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    let (nats, stream) = (servers.nats.url(), format!("{}_OUTCOMES", servers.region));
    set_largest_message(&nats, &stream, 1).await;
    for n in 0..10 {
        system.publish(clicked(&format!("refused-{n}"))).await;
    }
    // Whoever cannot store an outcome begins nothing new: a few are under way, not all.
    system.receiver.wait_for_posts("/hook", 1, SOON).await;
    tokio::time::sleep_until((Instant::now() + Duration::from_secs(9)).into()).await;
    set_largest_message(&nats, &stream, -1).await;
    eventually(LONG, "every delivery to end", || async {
        (servers.sql("SELECT count(*) FROM ends").trim() == "10").then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/hook").len(), 10);
}

async fn set_largest_message(nats: &str, stream: &str, bytes: i64) {
    let info = jetstream(nats, &format!("STREAM.INFO.{stream}"), &json!({})).await;
    let mut config: Value = info["config"].clone();
    config["max_msg_size"] = bytes.into();
    jetstream(nats, &format!("STREAM.UPDATE.{stream}"), &config).await;
}

#[tokio::test]
async fn the_event_after_a_2xx_sees_the_change_though_the_watch_is_a_second_late() {
    let servers = OwnServers::start();
    let broker = std::net::SocketAddr::from(([127, 0, 0, 1], servers.nats.port()));
    let wire = Wire::lay(broker, Speech::Nats).await.expect("a wire");
    let mut system = System::start_separately(&servers, &[]).await;
    system.kill9("fanout").await;
    system.set_for("fanout", "NATS_URL", &format!("nats://{}", wire.address()));
    system.run("fanout", None).await;
    let before = system.receiver.url("/before");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&before]).await;
    system.publish(clicked("before")).await;
    system.receiver.wait_for_posts("/before", 1, SOON).await;

    wire.tamper(|now| now.hold_settings = true);
    let request = testkit::http::put(system.url("/v3/domains/mail.demo.example/webhooks/clicked"));
    let after = system.receiver.url("/after");
    let request = request.basic_auth("api", "key-demo").form(&[("url", &after)]);
    request.send().await.expect("answered").expect_status(200);
    let request = PublishRequest { events: vec![clicked("after")] };
    system.ingest().await.publish(request).await.expect("accepted");
    tokio::time::sleep_until((Instant::now() + Duration::from_secs(1)).into()).await;
    wire.tamper(|now| now.hold_settings = false);

    let query = "SELECT url FROM routing_decisions JOIN events USING (event_key) \
                 WHERE event_id = 'after' AND verdict = 'chosen'";
    let chosen = eventually(LONG, "the decision", || async {
        let url = servers.sql(query);
        (!url.trim().is_empty()).then(|| url.trim().to_owned())
    })
    .await;
    assert_eq!(chosen, after);
}

impl System {
    /// Waits until so many of its processes have stopped where they were told to.
    async fn has_stopped(&self, times: usize) {
        eventually(SOON, "the process to stop", || async {
            (self.logs().matches("and stopped there").count() == times).then_some(())
        })
        .await;
    }
}

/// A process that is frozen where it is about to do something, for longer than its lease,
/// while another one does it.
struct Frozen {
    servers: OwnServers,
    system: System,
}

impl Frozen {
    /// `role` stops at this point with the one event that there is; another one of it has the
    /// event, and is done with it, before the first goes on.
    async fn at(role: &'static str, another: &'static str, point: &str) -> Self {
        let servers = OwnServers::start();
        let extra = [("DELIVERIES_DEDUP_WINDOW", "3s"), ("LEASE", "2s")];
        let mut system = System::start_separately(&servers, &extra).await;
        let url = system.receiver.url("/hook");
        system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
        system.process(role).terminate(SOON).await;
        system.run(role, Some(&format!("{point}=1*return(stop)"))).await;
        // Until it believes that what comes now was never handed out.
        tokio::time::sleep_until((Instant::now() + Duration::from_secs(7)).into()).await;
        system.publish(clicked("once")).await;
        system.has_stopped(1).await;
        system.run_another(role, another, None).await;
        let mut frozen = Self { servers, system };
        frozen.system.receiver.wait_for_posts("/hook", 1, SOON).await;
        frozen.is_at_rest().await;
        if role != "dispatcher" {
            // One that has sent it would recognise it.
            frozen.system.kill9("dispatcher").await;
            frozen.system.run("dispatcher", None).await;
        }
        // Until the broker has forgotten the ids of what was written, and the dispatcher
        // believes that what comes now was never handed out.
        tokio::time::sleep_until((Instant::now() + Duration::from_secs(12)).into()).await;
        frozen.system.process(role).thaw();
        frozen
    }

    /// Everything that there is was done, and done with.
    async fn is_at_rest(&self) {
        let (nats, region) = (self.servers.nats.url(), &self.servers.region);
        eventually(LONG, "the only delivery to be done with", || async {
            let asked = format!("STREAM.INFO.{region}_DELIVERIES_0");
            let info = jetstream(&nats, &asked, &json!({})).await;
            let ended = self.servers.sql("SELECT count(*) FROM ends").trim() == "1";
            (info["state"]["messages"] == 0 && ended).then_some(())
        })
        .await;
    }

    /// It goes on as one that knows that it was away.
    async fn does_nothing_any_more(self) {
        tokio::time::sleep_until((Instant::now() + Duration::from_secs(3)).into()).await;
        self.is_at_rest().await;
        let posts = self.system.receiver.posts("/hook");
        assert_eq!(posts.len(), 1, "{posts:#?}\n{}", self.system.logs());
    }
}

#[tokio::test]
async fn a_fanout_that_thaws_after_its_lease_writes_nothing() {
    let frozen = Frozen::at("fanout", "fanout-2", "fanout.pulled").await;
    frozen.does_nothing_any_more().await;
}

/// It has looked whether it has lost its lease, and is frozen, or its bytes are held back, before
/// the broker has what it writes.
#[tokio::test]
async fn a_delivery_that_is_written_late_is_not_sent_again() {
    let frozen = Frozen::at("fanout", "fanout-2", "fanout.before_writes").await;
    frozen.does_nothing_any_more().await;
}

#[tokio::test]
async fn a_dispatcher_that_thaws_after_its_lease_posts_nothing() {
    let frozen = Frozen::at("dispatcher", "dispatcher-2", "dispatcher.before_post").await;
    frozen.does_nothing_any_more().await;
}

/// Its webhook goes while another one is asking it. Whoever has lost the lease would say that
/// nobody wants the delivery.
#[tokio::test]
async fn a_dispatcher_that_thaws_after_its_lease_ends_nothing() {
    let servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[("LEASE", "2s")]).await;
    let url = system.receiver.url("/slow");
    system.receiver.on_post("/slow", [Reply::status(200).after(Duration::from_secs(8))]);
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.process("dispatcher").terminate(SOON).await;
    // Asleep once more as soon as it thaws, so that it has read the settings when it decides.
    let points = "dispatcher.pulled=1*return(stop);dispatcher.before_decision=1*sleep(1500)";
    system.run("dispatcher", Some(points)).await;
    system.publish(clicked("once")).await;
    system.has_stopped(1).await;
    system.run_another("dispatcher", "dispatcher-2", None).await;
    system.receiver.wait_for_posts("/slow", 1, SOON).await;
    let webhook = system.url("/v3/domains/mail.demo.example/webhooks/clicked");
    let request = testkit::http::delete(webhook).basic_auth("api", "key-demo");
    request.send().await.expect("answered").expect_status(200);
    system.process("dispatcher").thaw();
    let outcome = eventually(SOON, "the end", || async {
        let outcome = servers.sql("SELECT outcome FROM ends");
        (!outcome.trim().is_empty()).then_some(outcome)
    })
    .await;
    assert_eq!(outcome.trim(), "delivered");
    assert_eq!(system.receiver.posts("/slow").len(), 1);
}

/// What came of the try was trimmed before anybody could look it up: its retry alone tells.
#[tokio::test]
async fn a_copy_whose_retry_is_stored_is_not_tried_again_though_its_outcome_is_gone() {
    let servers = OwnServers::start();
    let extra = [("LEASE", "2s"), ("SEND_RETRY_SCHEDULE", "5m")];
    let mut system = System::start_separately(&servers, &extra).await;
    let url = system.receiver.url("/fails");
    system.receiver.on_post("/fails", [Reply::status(500)]);
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.process("dispatcher").terminate(SOON).await;
    system.run("dispatcher", Some("dispatcher.before_ack=return")).await;
    system.publish(clicked("once")).await;
    let status = system.process("dispatcher").wait(SOON).await;
    assert!(!status.success(), "it did not die before its ack");
    let (nats, region) = (servers.nats.url(), &servers.region);
    jetstream(&nats, &format!("STREAM.PURGE.{region}_OUTCOMES"), &json!({})).await;
    system.run("dispatcher", None).await;
    eventually(SOON, "the copy to be done with", || async {
        let info =
            jetstream(&nats, &format!("STREAM.INFO.{region}_DELIVERIES_0"), &json!({})).await;
        (info["state"]["messages"] == 1).then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/fails").len(), 1);
}

/// The first one has its answer and cannot say so; the second one has looked, and is about to
/// decide. It is not away for a lease.
#[tokio::test]
async fn what_is_told_between_the_look_and_the_try_is_not_tried_again() {
    let servers = OwnServers::start();
    let extra = [("LEASE", "8s"), ("SEND_RETRY_SCHEDULE", "5m")];
    let mut system = System::start_separately(&servers, &extra).await;
    let url = system.receiver.url("/fails");
    system.receiver.on_post("/fails", [Reply::status(500)]);
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.process("dispatcher").terminate(SOON).await;
    system.run("dispatcher", Some("dispatcher.answered=1*return(stop)")).await;
    system.publish(clicked("once")).await;
    system.has_stopped(1).await;
    let has_looked = Some("dispatcher.looked_back=1*return(stop)");
    system.run_another("dispatcher", "dispatcher-2", has_looked).await;
    system.has_stopped(2).await;
    system.process("dispatcher").thaw();
    let (nats, region) = (servers.nats.url(), &servers.region);
    eventually(SOON, "the retry of the first one", || async {
        let asked = format!("STREAM.INFO.{region}_DELIVERIES_0");
        let info = jetstream(&nats, &asked, &json!({ "subjects_filter": ">" })).await;
        let subjects = info["state"]["subjects"].as_object()?.clone();
        subjects.keys().any(|subject| subject.contains(".retry.")).then_some(())
    })
    .await;
    system.process("dispatcher-2").thaw();
    eventually(SOON, "the copy to be done with", || async {
        let asked = format!("STREAM.INFO.{region}_DELIVERIES_0");
        let info = jetstream(&nats, &asked, &json!({})).await;
        (info["state"]["messages"] == 1).then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/fails").len(), 1);
}

/// The broker is asked about the last one alone, over another connection than the one that
/// was to bring them.
#[tokio::test]
async fn acks_that_go_down_with_their_connection_are_sent_again() {
    let servers = OwnServers::start();
    let broker = std::net::SocketAddr::from(([127, 0, 0, 1], servers.nats.port()));
    let wire = Wire::lay(broker, Speech::Nats).await.expect("a wire");
    let mut system =
        System::start_separately(&servers, &[("LEASE", "60s"), ("DELIVERIES_DEDUP_WINDOW", "2m")])
            .await;
    system.kill9("dispatcher").await;
    system.set_for("dispatcher", "NATS_URL", &format!("nats://{}", wire.address()));
    system.run("dispatcher", None).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    wire.tamper(|now| now.lose_acks = true);
    for n in 0..5 {
        system.publish(clicked(&format!("acked-{n}"))).await;
    }
    system.receiver.wait_for_posts("/hook", 5, SOON).await;
    let a_moment = |ms| Instant::now() + Duration::from_millis(ms);
    // They are sent by then, and the broker is not asked about them yet.
    tokio::time::sleep_until(a_moment(300).into()).await;
    wire.tamper(|now| (now.cut, now.lose_acks) = (true, false));
    tokio::time::sleep_until(a_moment(20).into()).await;
    wire.tamper(|now| now.cut = false);
    let (nats, region) = (servers.nats.url(), &servers.region);
    eventually(SOON, "everything to be acknowledged, long before a lease ends", || async {
        let asked = format!("STREAM.INFO.{region}_DELIVERIES_0");
        let info = jetstream(&nats, &asked, &json!({})).await;
        (info["state"]["messages"] == 0).then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/hook").len(), 5);
}

/// A broker that is killed forgets that it has fired a retry, and fires it again.
#[tokio::test]
async fn a_retry_that_is_fired_once_more_is_not_tried_again() {
    let servers = OwnServers::start();
    let extra = [("LEASE", "2s"), ("SEND_RETRY_SCHEDULE", "3s")];
    let mut system = System::start_separately(&servers, &extra).await;
    let url = system.receiver.url("/flaky");
    system.receiver.on_post("/flaky", [Reply::status(500), Reply::status(200)]);
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.publish(clicked("once")).await;
    let (nats, stream) = (servers.nats.url(), format!("{}_DELIVERIES_0", servers.region));
    let (retry, payload) = eventually(SOON, "the retry", || async {
        let messages = testkit::broker::messages(&nats, &stream).await;
        messages.into_iter().find(|(subject, _)| subject.contains(".retry."))
    })
    .await;
    eventually(LONG, "the delivery to end", || async {
        (servers.sql("SELECT count(*) FROM ends").trim() == "1").then_some(())
    })
    .await;
    // The dispatcher that has sent it would recognise it, and a new one believes a while later
    // that what comes was never handed out.
    system.kill9("dispatcher").await;
    system.run("dispatcher", None).await;
    tokio::time::sleep_until((Instant::now() + Duration::from_secs(7)).into()).await;
    testkit::broker::publish(&nats, &retry.replace(".retry.", ".due."), &payload).await;
    eventually(SOON, "the copy to be done with", || async {
        let info = jetstream(&nats, &format!("STREAM.INFO.{stream}"), &json!({})).await;
        (info["state"]["messages"] == 0).then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/flaky").len(), 2);
}
