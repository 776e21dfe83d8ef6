//! What operators are told of the broker.

use std::time::Duration;

use bus::{Bus, BusConfig, ReplicaState, StreamStatus};
use chassis::{Clock, Env, Tasks};
use testkit::{NatsCluster, Scratch, eventually};

/// For what a cluster does by heartbeats and elections.
const LONG: Duration = Duration::from_secs(60);

async fn connect(url: &str, region: &str, replicas: &str) -> Bus {
    let mut env = Env::from_pairs([
        ("POSTRIDER_NATS_URL".to_owned(), url.to_owned()),
        ("POSTRIDER_REGION".to_owned(), region.to_owned()),
        ("POSTRIDER_NATS_REPLICAS".to_owned(), replicas.to_owned()),
    ]);
    let config = BusConfig::read(&mut env);
    let known = env.settings().to_vec();
    env.finish(&known).expect("the settings are right");
    Bus::connect(config, Clock::system(), &Tasks::new()).await.expect("the broker is there")
}

fn has_all_copies(stream: &StreamStatus) -> bool {
    let current = stream.replicas.iter().filter(|(_, state)| *state == ReplicaState::Current);
    stream.leader.is_some() && current.count() == 2
}

#[tokio::test]
async fn a_copy_that_is_away_is_named_with_every_stream() {
    let scratch = Scratch::new().expect("a directory");
    let mut cluster = NatsCluster::start(scratch.path()).expect("a cluster");
    let bus = connect(&cluster.url(), "us", "3").await;
    let streams = eventually(LONG, "all copies to be there", || async {
        let streams = bus.status().await.streams;
        (streams.len() == 7 && streams.iter().all(has_all_copies)).then_some(streams)
    })
    .await;
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    let all = [
        "us_EVENTS",
        "us_DELIVERIES_0",
        "us_UNROUTED",
        "us_OUTCOMES",
        "KV_us_settings",
        "KV_us_targets",
        "KV_us_floors",
    ];
    assert_eq!(names, all);

    let lost = cluster.nodes()[2].name().to_owned();
    cluster.nodes_mut()[2].kill9().expect("killed");
    eventually(LONG, "every stream to say which copy is away", || async {
        let streams = bus.status().await.streams;
        let tells = |stream: &StreamStatus| {
            let away = |(name, state): &(String, ReplicaState)| {
                *name == lost && *state != ReplicaState::Current
            };
            stream.leader.as_ref() != Some(&lost) && stream.replicas.iter().any(away)
        };
        (streams.len() == 7 && streams.iter().all(tells)).then_some(())
    })
    .await;

    // With two away, those who are left know of no leader.
    cluster.nodes_mut()[1].kill9().expect("killed");
    eventually(LONG, "no stream to have a leader", || async {
        let status = bus.status().await;
        let is_led = status.streams.iter().any(|stream| stream.leader.is_some());
        (!is_led && !status.not_asked.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn consumers_that_nobody_has_made_are_said_to_be_missing() {
    let region = testkit::fresh_region();
    let bus = connect(testkit::shared_nats_url(), &region, "1").await;
    let status = bus.status().await;
    assert_eq!(status.streams.len(), 7, "{status:?}");
    assert!(status.consumers.is_empty(), "{status:?}");
    assert_eq!(status.dispatchers.map(|live| live.len()), Some(0));
    let of_settings_api = format!("consumer {region}_settings-api of {region}_OUTCOMES: ");
    assert!(status.not_asked.iter().any(|what| what.starts_with(&of_settings_api)));
}
