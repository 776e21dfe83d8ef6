//! Three brokers, and several of every role: what happens when some of them go.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use testkit::{Reply, eventually};
use tokio::task::{JoinSet, block_in_place};

use crate::rig::{LONG, Rig, publish, publish_patiently};
use crate::system::{clicked, payload_event_id};

/// How long a caller may be kept waiting by the death of a leader.
const FAIL_OVER: Duration = Duration::from_secs(15);

/// How often each event has arrived.
fn arrivals(rig: &Rig) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for post in rig.receiver.posts("/hook") {
        *times.entry(payload_event_id(&post.json()).to_owned()).or_default() += 1;
    }
    times
}

/// Waits until all of so many events have arrived.
async fn wait_for_all(rig: &Rig, events: usize) -> BTreeMap<String, usize> {
    eventually(LONG, "every event to arrive", || async {
        let times = arrivals(rig);
        (times.len() == events).then_some(times)
    })
    .await
}

/// Somebody who hands over one event after the other, until told to stop.
struct Publishing {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    /// The longest that it was kept waiting.
    worst: JoinSet<Duration>,
}

impl Publishing {
    fn start(doors: Vec<SocketAddr>, prefix: &str) -> Self {
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, prefix) = (Arc::clone(&stop), Arc::clone(&count), prefix.to_owned());
        let mut publishing = JoinSet::new();
        publishing.spawn(async move {
            let mut worst = Duration::ZERO;
            while !stopped.load(Ordering::Relaxed) {
                let id = format!("{prefix}-{}", counted.load(Ordering::Relaxed));
                worst = worst.max(publish_patiently(&doors, clicked(&id)).await);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            worst
        });
        Self { stop, count, worst: publishing }
    }

    /// Waits until so many more are stored.
    async fn wait_for_more(&self, wanted: usize) {
        let wanted = self.count.load(Ordering::Relaxed) + wanted;
        eventually(LONG, "more events to be stored", || async {
            (self.count.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    /// How many are stored, and the longest that a caller was kept waiting.
    async fn stop(mut self) -> (usize, Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let worst = self.worst.join_next().await.expect("one").expect("it has ended by itself");
        (self.count.load(Ordering::Relaxed), worst)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_a_leader_loses_nothing_that_was_stored() {
    let mut rig = Rig::start().await;
    let mut published = 0;
    for stream in ["EVENTS", "DELIVERIES_0"] {
        let leader = rig.leader(stream).await;
        let publishing = Publishing::start(rig.doors(), stream);
        publishing.wait_for_more(50).await;
        block_in_place(|| rig.cluster_mut().nodes_mut()[leader].kill9()).expect("killed");
        publishing.wait_for_more(100).await;
        block_in_place(|| rig.cluster_mut().restart(leader)).expect("restarted");
        let (count, worst) = publishing.stop().await;
        println!("{stream}: its leader was killed, a caller waited {worst:?} at most");
        assert!(worst < FAIL_OVER, "{stream}: {worst:?}");
        published += count;
        wait_for_all(&rig, published).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_nothing_and_sends_nothing_twice() {
    let mut rig = Rig::start().await;
    let publishing = Publishing::start(rig.doors(), "event");
    for number in 0..rig.replicas().len() {
        block_in_place(|| rig.restart(number)).expect("restarted");
        publishing.wait_for_more(10).await;
    }
    for node in 0..rig.cluster().nodes().len() {
        block_in_place(|| rig.cluster_mut().restart(node)).expect("restarted");
        publishing.wait_for_more(10).await;
    }
    let (published, worst) = publishing.stop().await;
    let times = wait_for_all(&rig, published).await;
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{published} events, sent more than once: {twice:?}");
    eventually(LONG, "history to have all of it", || async {
        let ended = rig.query("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (ended.ok()?.trim() == published.to_string()).then_some(())
    })
    .await;
    println!(
        "{published} events while everything was restarted: each arrived once; a caller waited {worst:?} at most"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_receivers_are_slow_four_dispatchers_send_more_than_one() {
    const EVENTS: usize = 300;
    const KNOWN_BY: usize = 60;
    const ANSWERS_AFTER: Duration = Duration::from_millis(500);
    let settings = [("DISPATCHER_SLOTS", "16"), ("TARGET_CONCURRENCY", "1000")];
    let mut rig =
        Rig::start_with(&["settings-api", "ingest", "fanout", "dispatcher"], &settings).await;
    let doors = rig.doors();
    let mut seconds = Vec::new();
    for round in 0..2 {
        // Each dispatcher is to know that the target takes what it is sent: until then a
        // quarter of its slots is for it.
        let before = rig.receiver.posts("/hook").len();
        let known = (0..KNOWN_BY).map(|number| clicked(&format!("{round}-known-{number}")));
        assert!(publish(doors[0], known.collect()).await, "stored");
        rig.receiver.wait_for_posts("/hook", before + KNOWN_BY, LONG).await;
        let slow = || Reply::status(200).after(ANSWERS_AFTER);
        rig.receiver.on_post("/hook", (0..EVENTS).map(|_| slow()));
        let before = rig.receiver.posts("/hook").len();
        let events = (0..EVENTS).map(|number| clicked(&format!("{round}-{number}")));
        let began = Instant::now();
        assert!(publish(doors[0], events.collect()).await, "stored");
        rig.receiver.wait_for_posts("/hook", before + EVENTS, LONG).await;
        seconds.push(began.elapsed().as_secs_f64());
        for _ in 0..3 {
            block_in_place(|| rig.add("dispatcher").map(|_| ())).expect("one more");
        }
    }
    println!("{EVENTS} events: {seconds:.1?} s with one dispatcher, and with four");
    assert!(seconds[0] > 2.0 * seconds[1], "{seconds:?}");
}
