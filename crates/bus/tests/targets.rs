//! What dispatchers tell each other, on a real broker.

use std::time::{Duration, Instant};

use bus::{BoardTimes, Bus, BusConfig, Changes, TargetBoard};
use chassis::{Clock, Env, Tasks};
use chrono::TimeDelta;
use protocol::Timestamp;
use protocol::v1::{DispatcherBeat, TargetBacklog, TargetTrouble};
use serde_json::json;

/// Enough for anything that the broker does by whole seconds.
const SOON: Duration = Duration::from_secs(10);

const QUICK: BoardTimes = BoardTimes {
    live_every: Duration::from_millis(300),
    live_ttl: Duration::from_secs(2),
    keep_past_until: Duration::from_secs(1),
};

async fn connect_to(url: &str, region: &str) -> (Bus, Tasks) {
    let mut env = Env::from_pairs([
        ("POSTRIDER_NATS_URL".to_owned(), url.to_owned()),
        ("POSTRIDER_REGION".to_owned(), region.to_owned()),
        ("POSTRIDER_NATS_ACK_TIMEOUT".to_owned(), "1s".to_owned()),
    ]);
    let config = BusConfig::read(&mut env);
    let known = env.settings().to_vec();
    env.finish(&known).expect("the settings are right");
    let tasks = Tasks::new();
    let bus = Bus::connect(config, Clock::system(), &tasks).await.expect("the broker is there");
    (bus, tasks)
}

fn beat(backlogs: Vec<TargetBacklog>) -> DispatcherBeat {
    DispatcherBeat { backlogs, ..DispatcherBeat::default() }
}

/// A dispatcher, as far as the board is concerned.
struct Member {
    board: TargetBoard,
    changes: Changes,
    tasks: Tasks,
}

async fn join_at(url: &str, region: &str, name: &str) -> Member {
    let (bus, tasks) = connect_to(url, region).await;
    let board = TargetBoard::start_with(bus, &tasks, name, QUICK);
    testkit::within(SOON, "the board to load", board.loaded()).await;
    let changes = board.changes();
    Member { board, changes, tasks }
}

async fn join(region: &str, name: &str) -> Member {
    join_at(testkit::shared_nats_url(), region, name).await
}

impl Member {
    async fn hears(&mut self) -> (String, Option<TargetTrouble>) {
        testkit::within(SOON, "a change", self.changes.next()).await
    }

    async fn hears_nothing_for(&mut self, ms: u64) {
        let heard = tokio::time::timeout(Duration::from_millis(ms), self.changes.next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    async fn counts(&self, wanted: usize) {
        let mut live = self.board.watch_live();
        let what = format!("{wanted} dispatchers");
        let counted = testkit::within(SOON, &what, live.wait_for(|live| *live == wanted)).await;
        counted.expect("the board is there");
        assert_eq!(self.board.live(), wanted);
    }
}

fn trouble(for_ms: i64, streak: u32) -> TargetTrouble {
    let until = Clock::system().now() + TimeDelta::milliseconds(for_ms);
    let nanos = until.timestamp_subsec_nanos().cast_signed();
    let until = Some(Timestamp { seconds: until.timestamp(), nanos });
    TargetTrouble { until, streak, reason: "timeout".into() }
}

fn some(target: &str, trouble: &TargetTrouble) -> (String, Option<TargetTrouble>) {
    (target.to_owned(), Some(trouble.clone()))
}

fn none(target: &str) -> (String, Option<TargetTrouble>) {
    (target.to_owned(), None)
}

async fn bucket(url: &str, region: &str, verb: &str) -> serde_json::Value {
    let subject = format!("STREAM.{verb}.KV_{region}_targets");
    testkit::broker::jetstream(url, &subject, &json!({})).await
}

#[tokio::test]
async fn dispatchers_hear_of_each_others_troubles_and_not_of_their_own() {
    let region = testkit::fresh_region();
    let (mut a, mut b) = (join(&region, "a").await, join(&region, "b").await);
    let first = trouble(60_000, 1);
    a.board.open("t1", &first);
    assert_eq!(b.hears().await, some("t1", &first));
    let second = trouble(60_000, 2);
    b.board.open("t2", &second);
    assert_eq!(a.hears().await, some("t2", &second));
    a.board.close("t1");
    assert_eq!(b.hears().await, none("t1"));
    // Who finds it well need not be the one who found it down.
    a.board.close("t2");
    assert_eq!(b.hears().await, none("t2"));
    a.hears_nothing_for(300).await;
    b.hears_nothing_for(1).await;
}

#[tokio::test]
async fn the_newest_of_many_changes_is_what_stands() {
    let region = testkit::fresh_region();
    let (a, mut b) = (join(&region, "a").await, join(&region, "b").await);
    for streak in 1..=1000 {
        a.board.open("t1", &trouble(60_000, streak));
        a.board.close("t1");
    }
    let last = trouble(60_000, 1001);
    a.board.open("t1", &last);
    while b.hears().await != some("t1", &last) {}
    b.hears_nothing_for(200).await;
    a.board.close("t1");
    assert_eq!(b.hears().await, none("t1"));
}

#[tokio::test]
async fn who_joins_late_hears_what_stands_and_nothing_else() {
    let region = testkit::fresh_region();
    let a = join(&region, "a").await;
    let stands = trouble(60_000, 3);
    let written = (0..200).map(|number| format!("t{number}")).collect::<Vec<_>>();
    for target in &written {
        a.board.open(target, &stands);
    }
    a.board.open("over", &stands);
    a.board.close("over");
    testkit::eventually(SOON, "all to be written", || async {
        let info = bucket(testkit::shared_nats_url(), &region, "INFO").await;
        // The targets, the one that is over, and the dispatcher.
        (info["state"]["messages"] == 202).then_some(())
    })
    .await;
    let mut late = join(&region, "late").await;
    let mut heard = Vec::new();
    for _ in &written {
        let (target, there) = late.hears().await;
        assert_eq!(there.as_ref(), Some(&stands));
        heard.push(target);
    }
    heard.sort();
    let mut expected = written.clone();
    expected.sort();
    assert_eq!(heard, expected);
    late.hears_nothing_for(200).await;
}

#[tokio::test]
async fn a_trouble_ends_with_its_time_though_nobody_takes_it_away() {
    let region = testkit::fresh_region();
    let (a, mut b) = (join(&region, "a").await, join(&region, "b").await);
    let short = trouble(500, 1);
    let begun = Instant::now();
    a.board.open("t1", &short);
    assert_eq!(b.hears().await, some("t1", &short));
    assert_eq!(b.hears().await, none("t1"));
    // Half a second, and a second past that.
    assert!(begun.elapsed() >= Duration::from_millis(1400), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    // One that was over before it came is not written at all.
    a.board.open("t2", &trouble(-5000, 1));
    b.hears_nothing_for(200).await;
}

#[tokio::test]
async fn the_live_count_rises_and_falls() {
    let region = testkit::fresh_region();
    let a = join(&region, "a").await;
    a.counts(1).await;
    let b = join(&region, "b").await;
    a.counts(2).await;
    b.counts(2).await;
    let region_of_c = region.clone();
    let (joined, has_joined) = std::sync::mpsc::channel();
    // A process of its own, as far as its tasks are concerned.
    let process = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let c = runtime.block_on(join(&region_of_c, "c"));
        joined.send((c, runtime)).expect("the test waits");
    });
    a.counts(3).await;
    process.join().expect("joined");
    let (c, runtime) = has_joined.recv().expect("joined");
    assert_eq!(c.board.live(), 3);
    // Longer than a key lives: all three have been saying that they are there.
    Clock::system().sleep(QUICK.live_ttl + Duration::from_secs(1)).await;
    assert_eq!((a.board.live(), b.board.live()), (3, 3));

    // It is killed.
    let killed = Instant::now();
    runtime.shutdown_background();
    a.counts(2).await;
    assert!(killed.elapsed() > Duration::from_secs(1), "{:?}", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(6), "{:?}", killed.elapsed());

    // It stops as it should.
    let stopped = Instant::now();
    b.tasks.stop();
    assert!(b.tasks.wait(SOON).await, "the board holds up the stop");
    a.counts(1).await;
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
}

/// The bucket lives in memory: with a broker of one node it is gone after this.
#[tokio::test]
async fn what_waits_is_summed_over_the_others_and_goes_with_them() {
    let [first, second, third] = [
        join("backlogs", "first").await,
        join("backlogs", "second").await,
        join("backlogs", "third").await,
    ];
    let backlog = |target: &str, waiting| TargetBacklog { target_id: target.into(), waiting };
    first.board.set_beat(beat(vec![backlog("a", 3), backlog("b", 5)]));
    second.board.set_beat(beat(vec![backlog("a", 4)]));
    let waits = |wanted: &'static [(&'static str, u64)]| {
        let board = &third.board;
        let wanted = wanted.iter().map(|(id, n)| ((*id).to_owned(), *n)).collect();
        testkit::eventually(SOON, "the sum of what waits", move || {
            let is_there = board.waiting_elsewhere() == wanted;
            async move { is_there.then_some(()) }
        })
    };
    waits(&[("a", 7), ("b", 5)]).await;
    first.board.set_beat(beat(vec![backlog("a", 1)]));
    waits(&[("a", 5)]).await;
    second.tasks.stop();
    waits(&[("a", 1)]).await;
    assert!(first.board.waiting_elsewhere().is_empty(), "its own is not elsewhere");
}

#[tokio::test]
async fn a_restart_of_the_broker_loses_nothing_that_is_still_true() {
    let scratch = testkit::Scratch::new().expect("a directory");
    let options = testkit::NatsOptions::new(scratch.path().join("nats"));
    let mut nats = testkit::Nats::start(options).expect("started");
    let (url, region) = (nats.url(), testkit::fresh_region());
    let mut a = join_at(&url, &region, "a").await;
    let mut b = join_at(&url, &region, "b").await;
    b.counts(2).await;
    let (before, during) = (trouble(60_000, 1), trouble(60_000, 2));
    a.board.open("before", &before);
    assert_eq!(b.hears().await, some("before", &before));
    a.board.open("closed", &before);
    assert_eq!(b.hears().await, some("closed", &before));

    nats.kill9().expect("killed");
    // What is said meanwhile is said when the broker is back.
    a.board.open("during", &during);
    a.board.close("closed");
    nats.restart().expect("started again");

    let mut heard = vec![b.hears().await, b.hears().await];
    heard.sort_by(|(a, _), (b, _)| a.cmp(b));
    // What stood before still does, so that it is no news.
    assert_eq!(heard, vec![none("closed"), some("during", &during)]);
    assert_eq!((a.board.live(), b.board.live()), (2, 2));
    let mut late = join_at(&url, &region, "late").await;
    let mut heard = vec![late.hears().await, late.hears().await];
    heard.sort_by(|(a, _), (b, _)| a.cmp(b));
    assert_eq!(heard, vec![some("before", &before), some("during", &during)]);
    late.counts(3).await;
    a.counts(3).await;
    a.hears_nothing_for(1).await;
    b.hears_nothing_for(1).await;
}

#[tokio::test]
async fn a_bucket_that_is_deleted_underneath_is_made_again() {
    let region = testkit::fresh_region();
    let url = testkit::shared_nats_url();
    let (a, mut b) = (join(&region, "a").await, join(&region, "b").await);
    let stands = trouble(60_000, 1);
    a.board.open("t1", &stands);
    assert_eq!(b.hears().await, some("t1", &stands));
    a.counts(2).await;

    bucket(url, &region, "DELETE").await;
    // A late one finds it all, as soon as a has written it again.
    let mut late = join(&region, "late").await;
    assert_eq!(late.hears().await, some("t1", &stands));
    late.counts(3).await;
    a.counts(3).await;
    b.counts(3).await;
    let next = trouble(60_000, 2);
    a.board.open("t2", &next);
    // That t1 was written again was no news.
    assert_eq!(b.hears().await, some("t2", &next));
    a.board.close("t1");
    assert_eq!(b.hears().await, none("t1"));
}

#[tokio::test]
async fn writes_do_not_wait_for_the_broker_and_what_is_too_much_is_dropped() {
    let scratch = testkit::Scratch::new().expect("a directory");
    let options = testkit::NatsOptions::new(scratch.path().join("nats"));
    let mut nats = testkit::Nats::start(options).expect("started");
    let (url, region) = (nats.url(), testkit::fresh_region());
    let a = join_at(&url, &region, "a").await;
    nats.kill9().expect("killed");
    let one = trouble(60_000, 1);
    let begun = Instant::now();
    for number in 0..25_000 {
        a.board.open(&format!("t{number}"), &one);
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    a.board.open("not a key", &one);
    a.board.close("neither.>");
    nats.restart().expect("started again");
    testkit::eventually(Duration::from_secs(15), "what fits to be written", || async {
        let name = format!("KV_{region}_targets");
        if !testkit::broker::streams(&url).await.contains(&name) {
            return None;
        }
        let info = bucket(&url, &region, "INFO").await;
        (info["state"]["messages"] == 20_001).then_some(())
    })
    .await;
}
