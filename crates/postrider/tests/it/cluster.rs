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
