//! NATS JetStream, and nothing else that talks to it: streams, consumers,
//! publishing, schedules, settings documents, and what dispatchers tell each other.
//!
//! What must always hold:
//! - a write counts only once the broker has acknowledged it;
//! - a delivery stands in at most one message on `due` and at most one on
//!   `retry`, and only who holds the newest of them may write the next hop;
//! - broker headers (`Nats-*`) are never copied from one message to another;
//! - a reader that has passed the fence sees every settings change that was
//!   answered before it asked.
//!
//! Deliberately absent: what messages mean. Decisions belong to the services.

mod acks;
mod address;
mod bucket;
mod budget;
mod clock;
mod config;
mod connect;
mod consume;
mod deliveries;
mod erase;
mod error;
mod floors;
mod lag;
mod outcomes;
mod presence;
mod publish;
mod pull;
mod sentinel;
mod settings;
mod status;
mod streams;
mod targets;
mod trim;
mod unrouted;

pub use acks::Acks;
pub use address::BrokerUrl;
pub use bucket::{BucketState, InBucket};
pub use budget::{Budget, Held};
pub use config::{BusConfig, StreamsBy};
pub use connect::Bus;
pub use consume::{Consumer, Pulled, keeping_leases};
pub use deliveries::Rescheduled;
pub use error::BusError;
pub use lag::Lag;
pub use outcomes::{HopKey, OutcomeKind, OutcomeWriter, Past, RecentOutcomes};
pub use presence::Needed;
pub use publish::Stored;
pub use pull::Pull;
pub use sentinel::{Found, Sentinel};
pub use settings::{Documents, Put, Settings};
pub use status::{BrokerStatus, ConsumerStatus, ReplicaState, StreamStatus};
pub use targets::{BoardTimes, Changes, TargetBoard};
pub use trim::Trimmer;
pub use unrouted::Unrouted;
