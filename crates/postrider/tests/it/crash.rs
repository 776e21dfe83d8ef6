//! The crash matrix: for each role and each step between consuming and acking,
//! the process dies there under load and is started again, and every accepted
//! event has reached every target.
//!
//! The receiver has three URLs for every event: one that takes it at once, one
//! that fails first, and one that rejects. What may come twice, and why:
//!
//! | died | may come twice | because |
//! | --- | --- | --- |
//! | dispatcher, between the receiver's answer and the stored outcome or retry | the attempts that this process had under way | nobody but the dead process knew of the answer |
//! | dispatcher, between the stored outcome and the ack | those of them without a stored outcome | a copy that comes again is looked up among the outcomes |
//! | everywhere else | nothing, if the role is back within `POSTRIDER_DELIVERIES_DEDUP_WINDOW` | |
//!
//! A repeated attempt always carries the same event id and the same delivery id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::v1::publish_result::Status;
use protocol::v1::{Event, PublishRequest};
use testkit::{OwnServers, Received, Reply, eventually};

use crate::resend::{call, held, pause};
use crate::system::{SOON, System, clicked, payload_event_id};

/// Events of one round.
const EVENTS: usize = 40;
/// Visits of a crash point before it kills: some work is done, some is under way.
const VISITS: usize = 15;

/// Whether receivers may see an attempt twice after a death at this point.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Repeats {
    Never,
    AttemptsUnderWay,
}

struct Matrix {
    servers: OwnServers,
    system: System,
    round: usize,
}

impl Matrix {
    async fn start() -> Self {
        let servers = OwnServers::start();
        let extra =
            [("SEND_RETRY_SCHEDULE", "1s,2s,4s,8s"), ("LEASE", "2s"), ("DISPATCHER_SLOTS", "8")];
        let system = System::start_separately(&servers, &extra).await;
        let urls = ["/takes", "/fails-first", "/rejects"].map(|path| system.receiver.url(path));
        let urls = urls.each_ref().map(String::as_str);
        system.add_domain_webhook("demo", "mail.demo.example", "clicked", &urls).await;
        Self { servers, system, round: 0 }
    }

    fn script(&self) {
        self.system.receiver.forget();
        // Half of the first tries fail, so that retries and ends mix.
        let replies = (0..EVENTS).map(|n| Reply::status(if n % 2 == 0 { 503 } else { 200 }));
        self.system.receiver.on_post("/fails-first", replies.chain([Reply::status(200)]));
        self.system.receiver.on_post("/rejects", [Reply::status(406)]);
    }

    /// One cell of the matrix: the role dies at this point under load.
    async fn round(&mut self, role: &'static str, point: &'static str, repeats: Repeats) {
        self.round += 1;
        let started = std::time::Instant::now();
        self.script();
        self.system.process(role).terminate(SOON).await;
        // archive takes everything that comes within a moment as one batch.
        let visits = if role == "archive" { 1 } else { VISITS };
        let armed = format!("{point}={visits}*off->return");
        self.system.run(role, Some(&armed)).await;

        let ids: Vec<String> = (0..EVENTS).map(|n| format!("{point}-{}-{n}", self.round)).collect();
        // A caller that goes on until it is told that everything is stored; when
        // it is ingest that dies, that is after its restart.
        if role != "ingest" {
            self.publish(&ids).await;
        } else if let Some(mut client) = self.system.try_ingest().await {
            let request = PublishRequest { events: ids.iter().map(|id| clicked(id)).collect() };
            assert!(client.publish(request).await.is_err(), "{point}: answered although it died");
        }
        self.wait_for_death(role, point).await;
        self.system.run(role, None).await;
        // Again: what is stored is answered as a duplicate.
        self.publish(&ids).await;
        self.verify(&ids, point, repeats).await;
        eprintln!("{role:<12} {point:<28} {:>5.1} s", started.elapsed().as_secs_f64());
    }

    /// Publishes all events until each is stored, as a careful caller would.
    async fn publish(&self, ids: &[String]) {
        eventually(SOON, "all events to be accepted", || async {
            let mut client = self.system.try_ingest().await?;
            let request = PublishRequest { events: ids.iter().map(|id| clicked(id)).collect() };
            let answer = client.publish(request).await.ok()?.into_inner();
            assert_eq!(answer.results.len(), ids.len());
            let stored = |status| matches!(status, Status::Stored | Status::Duplicate);
            answer.results.iter().all(|result| stored(result.status())).then_some(())
        })
        .await;
    }

    async fn wait_for_death(&mut self, role: &'static str, point: &str) {
        let process = self.system.process(role);
        let status = process.wait(SOON).await;
        assert!(!status.success(), "{role} ended in order instead of dying at {point}");
        assert!(process.log().contains(&format!("crash point {point} reached")), "{point}");
    }

    async fn verify(&mut self, ids: &[String], point: &str, repeats: Repeats) {
        let receiver = &self.system.receiver;
        let wanted: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        let reached = |path: &str, requests: &[Received]| -> BTreeSet<String> {
            let posts = requests.iter().filter(|r| r.path == path && r.method == "POST");
            posts.map(|post| payload_event_id(&post.json()).to_owned()).collect()
        };
        for path in ["/takes", "/fails-first", "/rejects"] {
            let what = format!("every event at {path} after {point}");
            receiver
                .wait_for(&what, SOON, |requests| {
                    let reached = reached(path, requests);
                    wanted.iter().all(|id| reached.contains(*id))
                })
                .await;
        }
        self.wait_until_settled(ids).await;

        // History: each delivery ended once, as it should have.
        let mut ends = BTreeMap::new();
        for line in self.ends(ids).lines() {
            *ends.entry(line.to_owned()).or_insert(0_usize) += 1;
        }
        assert_eq!(ends.get("delivered"), Some(&(2 * EVENTS)), "{point}: {ends:?}");
        assert_eq!(ends.get("rejected"), Some(&EVENTS), "{point}: {ends:?}");

        // Statistics have each of them once.
        let counted = "SELECT sum(taken + failed), sum(delivered), sum(rejected) FROM statistics \
             WHERE target_id = '00000000-0000-0000-0000-000000000000'";
        let there = "SELECT (SELECT count(*) FROM attempts WHERE charged), \
             count(*) FILTER (WHERE outcome = 'delivered'), \
             count(*) FILTER (WHERE outcome = 'rejected') FROM ends";
        assert_eq!(self.servers.sql(counted), self.servers.sql(there), "{point}");

        // No chain forks, nothing is sent after its end, nothing comes twice
        // without a reason.
        let mut tries: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut deliveries: BTreeMap<String, String> = BTreeMap::new();
        for post in receiver.requests().iter().filter(|r| r.method == "POST") {
            let id = payload_event_id(&post.json()).to_owned();
            let delivery = post.header("x-postrider-delivery").expect("a delivery id").to_owned();
            let number = post.header("x-postrider-attempt").expect("a number").to_owned();
            let known = deliveries.entry(delivery.clone()).or_insert_with(|| id.clone());
            assert_eq!(*known, id, "{point}: one delivery, two events");
            *tries.entry((delivery, number)).or_default() += 1;
        }
        assert_eq!(deliveries.len(), 3 * EVENTS, "{point}: deliveries that should not be");
        let repeated: usize = tries.values().map(|count| count - 1).sum();
        let most = tries.values().max().copied().unwrap_or_default();
        match repeats {
            Repeats::Never => assert_eq!(repeated, 0, "{point}: attempts came twice"),
            // At most the eight slots of the process that died, once each.
            Repeats::AttemptsUnderWay => {
                assert!(
                    repeated <= 8 && most <= 2,
                    "{point}: {repeated} came twice, {most} times at most"
                );
            }
        }
        // Nobody is asked more often than the one failure of the script explains.
        let numbers: BTreeSet<&str> = tries.keys().map(|(_, number)| number.as_str()).collect();
        assert!(numbers.is_subset(&BTreeSet::from(["1", "2", "3"])), "{point}: {numbers:?}");
    }

    fn ends(&self, ids: &[String]) -> String {
        let list: Vec<String> = ids.iter().map(|id| format!("'{id}'")).collect();
        self.servers.sql(&format!(
            "SELECT outcome FROM ends JOIN events USING (event_key) WHERE event_id IN ({})",
            list.join(",")
        ))
    }

    /// Waits until the broker holds no delivery, history has every end, and
    /// nothing is left that the role of the next round would be given at once:
    /// that would kill it before it is ready.
    async fn wait_until_settled(&self, ids: &[String]) {
        let (url, region) = (self.servers.nats.url(), &self.servers.region);
        eventually(SOON, "all deliveries to end", || async {
            let stream = format!("STREAM.INFO.{region}_DELIVERIES_0");
            let info = testkit::broker::jetstream(&url, &stream, &serde_json::json!({})).await;
            (info["state"]["messages"] == 0
                && self.ends(ids).lines().count() >= 3 * EVENTS
                && testkit::broker::is_consumed(&url, &format!("{region}_EVENTS")).await
                && testkit::broker::is_consumed(&url, &format!("{region}_OUTCOMES")).await)
                .then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn ingest_dies_at_every_step() {
    let mut matrix = Matrix::start().await;
    for point in ["ingest.prepared", "ingest.stored"] {
        matrix.round("ingest", point, Repeats::Never).await;
    }
}

#[tokio::test]
async fn fanout_dies_at_every_step() {
    let mut matrix = Matrix::start().await;
    for point in [
        "fanout.pulled",
        "fanout.delivery_stored",
        "fanout.recorded",
        "fanout.before_ack",
        "fanout.after_ack",
    ] {
        matrix.round("fanout", point, Repeats::Never).await;
    }
}

#[tokio::test]
async fn dispatcher_dies_at_every_step() {
    let mut matrix = Matrix::start().await;
    for point in [
        "dispatcher.pulled",
        "dispatcher.before_post",
        "dispatcher.answered",
        "dispatcher.outcome_stored",
        "dispatcher.retry_stored",
        "dispatcher.before_ack",
        "dispatcher.after_ack",
    ] {
        // Eight attempts are under way at once: wherever one of them dies,
        // others have their answer and no outcome yet.
        matrix.round("dispatcher", point, Repeats::AttemptsUnderWay).await;
    }
}

#[tokio::test]
async fn archive_dies_at_every_step() {
    let mut matrix = Matrix::start().await;
    for point in ["archive.pulled", "archive.inserted", "archive.committed"] {
        matrix.round("archive", point, Repeats::Never).await;
    }
}

#[tokio::test]
async fn settings_api_dies_between_commit_and_publish() {
    let servers = OwnServers::start();
    let mut system = System::start_separately(&servers, &[]).await;
    for point in ["settings.committed", "settings.published"] {
        system.process("settings-api").terminate(SOON).await;
        system.run("settings-api", Some(&format!("{point}=return"))).await;
        // The call dies with the process: the customer is told nothing.
        let url = system.receiver.url(&format!("/{point}"));
        let request = testkit::http::post(system.url("/v3/domains/mail.demo.example/webhooks"));
        let id = if point == "settings.committed" { "clicked" } else { "opened" };
        let answer =
            request.basic_auth("api", "key-demo").form(&[("id", id), ("url", &url)]).send().await;
        assert!(answer.is_err(), "{point}: answered although it died");
        system.process("settings-api").wait(SOON).await;
        // What was committed is published by whoever comes next, without being asked.
        system.run("settings-api", None).await;
        let mut number = 0;
        eventually(SOON, &format!("the webhook to fire after {point}"), || {
            number += 1;
            let event = Event { id: format!("{point}-{number}"), ..crate::system::example(id) };
            let (system, path) = (&system, format!("/{point}"));
            async move {
                system.publish(event).await;
                (!system.receiver.posts(&path).is_empty()).then_some(())
            }
        })
        .await;
    }
}

#[tokio::test]
async fn the_disabling_of_an_alert_survives_every_death() {
    let servers = OwnServers::start();
    let extra = [("ALERTS_RETRY_SCHEDULE", "1s"), ("LEASE", "2s")];
    let mut system = System::start_separately(&servers, &extra).await;
    let cells = [
        ("dispatcher", "dispatcher.outcome_stored"),
        ("dispatcher", "dispatcher.exhausted_stored"),
        ("settings-api", "settings.exhausted_pulled"),
        ("settings-api", "settings.exhausted_applied"),
    ];
    for (role, point) in cells {
        let path = format!("/{point}");
        system.receiver.on_post(&path, [Reply::status(500)]);
        let id = system.add_alert("demo", "ip_listed", &system.receiver.url(&path)).await;
        system.process(role).terminate(SOON).await;
        // The first outcome is that of the first try; the second ends the delivery.
        let visits = if point == "dispatcher.outcome_stored" { "1*off->" } else { "" };
        system.run(role, Some(&format!("{point}={visits}return"))).await;
        system.publish(Event { id: point.into(), ..crate::system::example("ip_listed") }).await;
        let status = system.process(role).wait(SOON).await;
        assert!(!status.success(), "{role} did not die at {point}");
        system.run(role, None).await;
        eventually(SOON, &format!("the alert to be disabled after {point}"), || async {
            let settings = system.alert_settings("demo").await;
            let setting =
                settings["events"].as_array()?.iter().find(|s| s["id"] == id.as_str())?.clone();
            setting["disabled_at"].as_str().map(|_| ())
        })
        .await;
        assert!(system.receiver.posts(&path).len() <= 3, "{point}");
        system.delete_alert("demo", &id).await;
        // A report that comes once more would be the first visit of the next one's point.
        let (nats, stream) = (servers.nats.url(), format!("{}_OUTCOMES", servers.region));
        eventually(SOON, "all reports to be acknowledged", || async {
            testkit::broker::is_consumed(&nats, &stream).await.then_some(())
        })
        .await;
    }
}

/// fanout dies between a delivery and the ack of its event, and is away until the broker
/// has forgotten the delivery, which has ended.
#[tokio::test]
async fn a_fanout_that_is_back_after_the_window_sends_nothing_twice() {
    let servers = OwnServers::start();
    let extra = [("DELIVERIES_DEDUP_WINDOW", "3s"), ("LEASE", "2s")];
    let mut system = System::start_separately(&servers, &extra).await;
    let url = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&url]).await;
    system.process("fanout").terminate(SOON).await;
    system.run("fanout", Some("fanout.delivery_stored=return")).await;
    system.publish(clicked("once")).await;
    let status = system.process("fanout").wait(SOON).await;
    assert!(!status.success(), "fanout did not die");
    let ended = "SELECT count(*) FROM ends";
    eventually(SOON, "the delivery to end", || async {
        (servers.sql(ended).trim() == "1").then_some(())
    })
    .await;
    // The dispatcher that has sent it would recognise it.
    system.kill9("dispatcher").await;
    system.run("dispatcher", None).await;
    // Until the broker has forgotten the id of what was written, and the dispatcher believes
    // that what comes now was never handed out.
    tokio::time::sleep_until((std::time::Instant::now() + Duration::from_secs(12)).into()).await;

    system.run("fanout", None).await;
    let decided = "SELECT count(*) FROM routing_decisions WHERE verdict = 'chosen'";
    eventually(SOON, "the decision", || async {
        (servers.sql(decided).trim() == "1").then_some(())
    })
    .await;
    // What it has made once more is looked at after the decision, and ends without a try.
    let (nats, stream) = (servers.nats.url(), format!("{}_DELIVERIES_0", servers.region));
    eventually(SOON, "nothing to be due", || async {
        let asked = format!("STREAM.INFO.{stream}");
        let info = testkit::broker::jetstream(&nats, &asked, &serde_json::json!({})).await;
        (info["state"]["messages"] == 0).then_some(())
    })
    .await;
    assert_eq!(system.receiver.posts("/hook").len(), 1);
    assert_eq!(servers.sql(ended).trim(), "1");
}

/// A job that sends again dies at each of its steps, goes on by itself, and makes one
/// next generation of each delivery, which comes once.
#[tokio::test]
async fn a_job_that_sends_again_survives_every_death() {
    const COUNT: u64 = 40;
    let servers = OwnServers::start();
    // A job is taken over after half a minute, when the broker knows no id of its first writes.
    let settings = [("DELIVERIES_DEDUP_WINDOW", "10s")];
    let mut system = System::start_separately(&servers, &settings).await;
    for point in ["settings.resend_stored", "settings.resend_noted"] {
        let (path, event_type) = (format!("/{point}"), "opened");
        let url = system.receiver.url(&path);
        system.add_domain_webhook("demo", "mail.demo.example", event_type, &[&url]).await;
        pause(&system, &url, true).await;
        let event = |n| Event { id: format!("{point}-{n}"), ..crate::system::example(event_type) };
        system.publish_all((0..COUNT).map(event)).await;
        eventually(SOON, "all of them to be held", || async {
            (held(&system).await? == COUNT).then_some(())
        })
        .await;
        pause(&system, &url, false).await;
        system.process("settings-api").terminate(SOON).await;
        system.run("settings-api", Some(&format!("{point}=2*off->return"))).await;
        let body = serde_json::json!({"url": url, "per_second": 100});
        let job = testkit::http::post(system.url("/postrider/v1/resends"));
        call(job, &body).await.expect("made");
        let status = system.process("settings-api").wait(SOON).await;
        assert!(!status.success(), "it did not die at {point}");
        // What was stored is delivered. Whoever gets some of it again has not sent it.
        let ended = format!(
            "SELECT count(*) FROM ends JOIN events USING (event_key) \
             WHERE event_id LIKE '{point}-%' AND generation = 1 AND outcome = 'delivered'"
        );
        eventually(SOON, "what was stored to arrive", || async {
            let posts = system.receiver.posts(&path).len();
            (posts >= 15 && servers.sql(&ended).trim() == posts.to_string()).then_some(())
        })
        .await;
        system.process("dispatcher").terminate(SOON).await;
        system.run("dispatcher", None).await;
        system.run("settings-api", None).await;

        // Whoever comes next leaves the job to the dead one for half a minute.
        eventually(3 * SOON, &format!("the job to end after {point}"), || async {
            (servers.sql(&ended).trim() == COUNT.to_string()).then_some(())
        })
        .await;
        assert_eq!(held(&system).await, Some(0), "{point}");
        let later = format!(
            "SELECT count(*) FROM ends JOIN events USING (event_key) \
             WHERE event_id LIKE '{point}-%' AND generation > 1"
        );
        assert_eq!(servers.sql(&later).trim(), "0", "{point}");
        let posts = system.receiver.posts(&path);
        let deliveries: BTreeSet<&str> =
            posts.iter().filter_map(|post| post.header("x-postrider-delivery")).collect();
        assert_eq!(deliveries.len() as u64, COUNT, "{point}: one next generation each");
        assert_eq!(posts.len(), deliveries.len(), "{point}: each once");
        let gone =
            testkit::http::delete(system.url("/v3/domains/mail.demo.example/webhooks/opened"));
        gone.basic_auth("api", "key-demo").send().await.expect("answered").expect_status(200);
    }
}
