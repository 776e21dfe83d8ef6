//! Settings of the broker connection and of the streams.

use std::path::PathBuf;
use std::time::Duration;

use chassis::Env;
use chassis::config::{duration, size_bytes};
use protocol::Names;

use crate::BrokerUrl;

/// The part of a process in making streams and buckets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StreamsBy {
    /// It makes them, and brings them to what its version wants.
    Us,
    /// It waits until another role has made them.
    Others,
}

/// How to reach the broker, and how the streams are made.
#[derive(Clone, Debug)]
pub struct BusConfig {
    /// Where it is, and who we are to it.
    pub url: BrokerUrl,
    /// A credentials file, when the broker asks for one.
    pub credentials: Option<PathBuf>,
    /// Names of everything on the broker.
    pub names: Names,
    /// The maker of the streams.
    pub streams_by: StreamsBy,
    /// Copies of each stream in a cluster.
    pub replicas: usize,
    /// Number of delivery streams.
    pub shards: u32,
    /// How long the broker remembers an event's identity.
    pub events_dedup_window: Duration,
    /// How long the broker remembers a write of a delivery.
    pub deliveries_dedup_window: Duration,
    /// Above this, events are refused until consumers have caught up.
    pub events_max_bytes: u64,
    /// Processed events beyond this are purged.
    pub events_replay_bytes: u64,
    /// Above this, outcomes are refused, and with them new attempts.
    pub outcomes_max_bytes: u64,
    /// Projected outcomes beyond this are purged.
    pub outcomes_replay_bytes: u64,
    /// How long a consumer may hold a message without a sign of life.
    pub lease: Duration,
    /// How long a write waits for the broker's confirmation.
    pub ack_timeout: Duration,
}

impl BusConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            url: env.read("POSTRIDER_NATS_URL", "nats://127.0.0.1:4222", "Address of NATS (2.15.1 or newer, with JetStream), such as `tls://user:password@host:4222`; several with commas between."),
            credentials: env.optional("POSTRIDER_NATS_CREDENTIALS", "Path of a NATS credentials file.", |text| Ok(PathBuf::from(text))),
            names: env.read_with("POSTRIDER_REGION", "us", "Region of this deployment. It begins the name of every stream, bucket and consumer.", |text| {
                let fits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
                if fits { Ok(Names::new(text)) } else { Err("expected 1 to 32 characters of a-z, 0-9 and -".into()) }
            }),
            streams_by: env.read_with("POSTRIDER_NATS_STREAMS", "make", "Whether this role makes and updates streams and buckets (`make`), or waits until another one has made them (`expect`), so that its user of NATS needs no right to do so. One role at least has to make them: settings-api.", |text| match text {
                "make" => Ok(StreamsBy::Us),
                "expect" => Ok(StreamsBy::Others),
                _ => Err("expected `make` or `expect`".into()),
            }),
            replicas: env.read("POSTRIDER_NATS_REPLICAS", "1", "Copies of every stream: 3 in a cluster of three or more nodes."),
            shards: env.read("POSTRIDER_DELIVERY_SHARDS", "1", "Number of delivery streams; it may only grow."),
            events_dedup_window: env.read_with("POSTRIDER_EVENTS_DEDUP_WINDOW", "10m", "How long an event's id is remembered: sent again within it, it is the same event. About 250 bytes of broker memory an event.", duration),
            deliveries_dedup_window: env.read_with("POSTRIDER_DELIVERIES_DEDUP_WINDOW", "2m", "How long a write of a delivery is remembered; must be longer than the lease.", duration),
            events_max_bytes: env.read_with("POSTRIDER_EVENTS_MAX_BYTES", "16GiB", "Size of the stream of accepted events at which callers are told to wait.", size_bytes),
            events_replay_bytes: env.read_with("POSTRIDER_EVENTS_REPLAY_BYTES", "4GiB", "Size above which events that every consumer is done with are purged.", size_bytes),
            outcomes_max_bytes: env.read_with("POSTRIDER_OUTCOMES_MAX_BYTES", "32GiB", "Size of the stream of outcomes at which deliveries pause: what a PostgreSQL outage may pile up.", size_bytes),
            outcomes_replay_bytes: env.read_with("POSTRIDER_OUTCOMES_REPLAY_BYTES", "4GiB", "Size above which outcomes that every consumer is done with are purged.", size_bytes),
            lease: env.read_with("POSTRIDER_LEASE", "30s", "How long a process may hold a message without a sign of life before another gets it.", duration),
            ack_timeout: env.read_with("POSTRIDER_NATS_ACK_TIMEOUT", "5s", "How long a write waits for the broker's confirmation.", duration),
        };
        env.check((1..=5).contains(&config.replicas), || {
            format!("POSTRIDER_NATS_REPLICAS: expected 1 to 5, found {}", config.replicas)
        });
        env.check((1..=256).contains(&config.shards), || {
            format!("POSTRIDER_DELIVERY_SHARDS: expected 1 to 256, found {}", config.shards)
        });
        env.check(config.lease >= Duration::from_secs(1), || {
            "POSTRIDER_LEASE: expected at least 1s".into()
        });
        // A second write within the lease must be recognised as the same one.
        env.check(config.deliveries_dedup_window > config.lease, || {
            "POSTRIDER_DELIVERIES_DEDUP_WINDOW: must be longer than POSTRIDER_LEASE".into()
        });
        env.check(config.events_max_bytes > config.events_replay_bytes, || {
            "POSTRIDER_EVENTS_MAX_BYTES: must be larger than POSTRIDER_EVENTS_REPLAY_BYTES".into()
        });
        env.check(config.outcomes_max_bytes > config.outcomes_replay_bytes, || {
            "POSTRIDER_OUTCOMES_MAX_BYTES: must be larger than POSTRIDER_OUTCOMES_REPLAY_BYTES"
                .into()
        });
        config
    }
}
