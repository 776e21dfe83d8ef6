//! Three brokers, and several of every role: what happens when some of them go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use testkit::eventually;

use crate::rig::{LONG, Rig, publish_patiently};
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

#[tokio::test]
async fn the_death_of_a_leader_loses_nothing_that_was_stored() {
    let mut rig = Rig::start(2, &[]).await;
    rig.add_webhook(&rig.receiver.url("/hook")).await;
    let doors = rig.doors();
    let mut published = 0;
    for stream in ["EVENTS", "DELIVERIES_0"] {
        let leader = rig.leader(stream).await;
        let stop = AtomicBool::new(false);
        let count = AtomicUsize::new(0);
        let publishing = async {
            let mut worst = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let id = format!("{stream}-{}", count.fetch_add(1, Ordering::Relaxed));
                worst = worst.max(publish_patiently(&doors, clicked(&id)).await);
            }
            worst
        };
        let killing = async {
            wait_for_count(&count, 50).await;
            rig.cluster.nodes_mut()[leader].kill9().expect("killed");
            let at_death = count.load(Ordering::Relaxed);
            wait_for_count(&count, at_death + 100).await;
            rig.cluster.nodes_mut()[leader].restart().expect("restarted");
            stop.store(true, Ordering::Relaxed);
        };
        let (worst, ()) = tokio::join!(publishing, killing);
        println!("{stream}: its leader was killed, a caller waited {worst:?} at most");
        assert!(worst < FAIL_OVER, "{stream}: {worst:?}");
        published += count.into_inner();
        wait_for_all(&rig, published).await;
    }
}

async fn wait_for_count(count: &AtomicUsize, wanted: usize) {
    eventually(LONG, "more events to be stored", || async {
        (count.load(Ordering::Relaxed) >= wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rolling_restart_loses_nothing_and_sends_nothing_twice() {
    let mut rig = Rig::start(2, &[]).await;
    rig.add_webhook(&rig.receiver.url("/hook")).await;
    let doors = rig.doors();
    let stop = AtomicBool::new(false);
    let publishing = async {
        let mut published = 0;
        while !stop.load(Ordering::Relaxed) {
            publish_patiently(&doors, clicked(&format!("event-{published}"))).await;
            published += 1;
        }
        published
    };
    let restarting = async {
        for replica in &mut rig.replicas {
            replica.restart().await;
        }
        for node in 0..rig.cluster.nodes().len() {
            rig.cluster.nodes_mut()[node].restart().expect("restarted");
            rig.wait_in_step().await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (published, ()) = tokio::join!(publishing, restarting);
    let times = wait_for_all(&rig, published).await;
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{published} events, sent more than once: {twice:?}");
    eventually(LONG, "history to have all of it", || async {
        let ended = rig.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (ended.trim() == published.to_string()).then_some(())
    })
    .await;
    println!("{published} events while everything was restarted: each arrived once");
}
