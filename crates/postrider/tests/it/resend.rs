//! Many deliveries sent again, by a job whose process is killed in the middle,
//! next to the traffic of others. How much later that arrives is measured by
//! `cargo xtask bench resend`: in a debug build the processor is the limit.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use protocol::v1::Event;
use serde_json::{Value, json};
use testkit::{Received, eventually, http, within};

use crate::system::{SOON, System, clicked, opened, payload_event_id};

const DOMAIN: &str = "mail.demo.example";
/// How many are sent again.
const COUNT: u64 = 6_000;
/// How many in a second: the most that a job may ask for.
const RATE: u64 = 1_000;
/// What a process that dies may send twice.
const BATCH: u64 = RATE / 10;
/// Enough at once that none has to wait for its target: only the job slows them down.
const NO_LIMIT: (&str, &str) = ("TARGET_CONCURRENCY", "256");
/// Others' events a second.
const OTHERS_EVERY: Duration = Duration::from_millis(50);
/// How many of them say what latency is without the job.
const OTHERS_BEFORE: usize = 100;
/// Of what is waited for here nothing is quick in a debug build on two cores.
const WITHIN: Duration = Duration::from_secs(600);

/// As `eventually`, but without keeping the machine busy with questions.
async fn in_time<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let mut pace = tokio::time::interval(Duration::from_millis(500));
    let asking = async {
        loop {
            pace.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    within(WITHIN, what, asking).await
}

pub(crate) async fn call(request: http::Request, body: &Value) -> Option<Value> {
    let answer = request.basic_auth("api", "key-demo").json(body).send().await.ok()?;
    Some(answer.expect_status(200).json())
}

pub(crate) async fn pause(system: &System, url: &str, paused: bool) {
    let request = http::put(system.url("/postrider/v1/urls/paused"));
    call(request, &json!({"url": url, "paused": paused})).await.expect("answered");
}

/// How many are held; `None` while nobody answers.
pub(crate) async fn held(system: &System) -> Option<u64> {
    let request = http::get(system.url("/postrider/v1/undelivered"));
    let answer = request.basic_auth("api", "key-demo").send().await.ok()?;
    let groups = answer.expect_status(200).json()["undelivered"].clone();
    let held = groups.as_array()?.iter().filter(|group| group["outcome"] == "held");
    Some(held.filter_map(|group| group["count"].as_u64()).sum())
}

/// The traffic of others: when each event was handed over.
#[derive(Default)]
struct Others(Vec<Instant>);

impl Others {
    /// Goes on until so many are sent, and `is_over` says so.
    async fn run(&mut self, system: &System, most: usize, is_over: &Cell<bool>) {
        let mut pace = tokio::time::interval(OTHERS_EVERY);
        let first = self.0.len();
        while !is_over.get() && self.0.len() - first < most {
            pace.tick().await;
            let event = clicked(&format!("other-{}", self.0.len()));
            self.0.push(Instant::now());
            system.publish(event).await;
        }
    }

    /// Milliseconds from handing over to arrival, of these; median and 95th percentile.
    fn latency_ms(
        &self,
        arrived: &HashMap<String, Instant>,
        of: std::ops::Range<usize>,
    ) -> [u128; 2] {
        let mut all: Vec<u128> = of
            .map(|number| {
                let arrived = arrived.get(&format!("other-{number}")).expect("it has arrived");
                arrived.duration_since(self.0[number]).as_millis()
            })
            .collect();
        all.sort_unstable();
        [50, 95].map(|percent| all[(all.len() - 1) * percent / 100])
    }
}

fn event_id(post: &Received) -> String {
    payload_event_id(&post.json()).to_owned()
}

#[tokio::test]
async fn a_bulk_resend_keeps_its_rate_through_a_kill_and_loses_nothing() {
    let mut system = System::start_apart(&[NO_LIMIT]).await;
    let (url, others_url) = (system.receiver.url("/again"), system.receiver.url("/others"));
    system.add_domain_webhook("demo", DOMAIN, "opened", &[&url]).await;
    system.add_domain_webhook("demo", DOMAIN, "clicked", &[&others_url]).await;
    pause(&system, &url, true).await;
    let event = |number| -> Event { opened(&format!("again-{number}")) };
    system.publish_all((0..COUNT).map(event)).await;
    in_time("all of them to be held", || async { (held(&system).await? == COUNT).then_some(()) })
        .await;
    pause(&system, &url, false).await;

    let mut others = Others::default();
    others.run(&system, OTHERS_BEFORE, &Cell::new(false)).await;

    let began = Instant::now();
    let body = json!({"url": url, "per_second": RATE});
    let made = call(http::post(system.url("/postrider/v1/resends")), &body).await.expect("made");
    let path = format!("/postrider/v1/resends/{}", made["id"].as_str().expect("an id"));
    // Each half of it next to the others' traffic, with a death in between.
    for (half, state) in [(true, "running"), (false, "done")] {
        let is_over = Cell::new(false);
        let job = async {
            in_time("the job to get on", || async {
                let request = http::get(system.url(&path)).basic_auth("api", "key-demo");
                let job = request.send().await.ok()?.expect_status(200).json();
                let sent = job["sent"].as_u64()?;
                let most = (began.elapsed().as_secs() + 1) * RATE;
                assert!(sent <= most, "{sent} were sent in {:?}", began.elapsed());
                (job["state"] == state && (!half || sent >= COUNT / 2)).then_some(())
            })
            .await;
            is_over.set(true);
        };
        tokio::join!(job, others.run(&system, usize::MAX, &is_over));
        if half {
            system.kill9("settings-api").await;
            system.run("settings-api", None).await;
        }
    }
    let job_takes = began.elapsed();

    let delivered = "SELECT count(*) FROM ends WHERE generation = 1 AND outcome = 'delivered' \
         AND event_key IN (SELECT event_key FROM events WHERE event_type = 'opened')";
    in_time("all of them to have ended", || async {
        (system.sql(delivered).trim() == COUNT.to_string()).then_some(())
    })
    .await;
    eventually(SOON, "the others' events to have arrived", || async {
        (system.receiver.posts("/others").len() >= others.0.len()).then_some(())
    })
    .await;

    let posts = system.receiver.posts("/again");
    let distinct: HashSet<String> = posts.iter().map(event_id).collect();
    assert_eq!(distinct.len() as u64, COUNT, "each is sent at least once");
    // A try that has timed out on a busy machine is made again; that is another one.
    let first_tries = posts.iter().filter(|post| post.header("x-postrider-attempt") == Some("1"));
    let repeated = (first_tries.count() as u64).saturating_sub(COUNT);
    assert!(repeated <= BATCH, "{repeated} were sent twice: one batch may be");

    let arrived: HashMap<String, Instant> =
        system.receiver.posts("/others").iter().map(|post| (event_id(post), post.at)).collect();
    let before = others.latency_ms(&arrived, 0..OTHERS_BEFORE);
    let beside = others.latency_ms(&arrived, OTHERS_BEFORE..others.0.len());
    println!(
        "{COUNT} sent again in {job_takes:?}, {repeated} of them twice; \
         others' latency in ms (median, p95): {before:?} before, {beside:?} beside it"
    );
}
