//! What the broker says of itself and of those that use it, for operators.
//!
//! Everything is asked at once, and each question stands alone: in a cluster, one
//! stream may have no leader while all others answer.

use async_nats::header::NATS_MARKER_REASON;
use async_nats::jetstream::stream::{Info, PeerInfo};
use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use prost::Message as _;
use protocol::v1::DispatcherBeat;

use crate::targets::KV_OPERATION;
use crate::{Bus, BusError, Lag};

/// What could be found out.
#[derive(Clone, Debug, Default)]
pub struct BrokerStatus {
    /// Streams and buckets, in the order of an event's way.
    pub streams: Vec<StreamStatus>,
    /// Consumers of the roles.
    pub consumers: Vec<ConsumerStatus>,
    /// What each dispatcher that is there has said last; `None` if nobody can tell.
    pub dispatchers: Option<Vec<DispatcherBeat>>,
    /// What could not be asked, each with why.
    pub not_asked: Vec<String>,
}

/// A stream, as its leader knows it.
#[derive(Clone, Debug)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// The delivery shard that it is.
    pub shard: Option<u32>,
    /// Messages that it holds.
    pub messages: u64,
    /// Their size.
    pub bytes: u64,
    /// The size at which it takes nothing more, if there is one.
    pub limit_bytes: Option<u64>,
    /// The server that leads it, where the broker says.
    pub leader: Option<String>,
    /// The servers that have a copy, without the leader.
    pub replicas: Vec<(String, ReplicaState)>,
}

/// How good a copy is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplicaState {
    /// It has everything.
    Current,
    /// It lacks so many operations, as far as the leader knows.
    Behind(u64),
    /// Its server is away.
    Offline,
}

/// How far a role is behind.
#[derive(Clone, Debug)]
pub struct ConsumerStatus {
    /// Its name.
    pub name: String,
    /// The role that shares it.
    pub role: &'static str,
    /// The stream that it reads.
    pub stream: String,
    /// The delivery shard that this stream is.
    pub shard: Option<u32>,
    /// What is not done.
    pub lag: Lag,
}

impl Bus {
    /// Asks for everything there is. It takes as long as one question: some
    /// milliseconds, or five seconds where something does not answer.
    pub async fn status(&self) -> BrokerStatus {
        let mut status = BrokerStatus::default();
        if !self.is_connected() {
            status.not_asked.push("the broker: not connected".to_owned());
            return status;
        }
        let names = &self.0.config.names;
        let streams = self.stream_names(&mut status.not_asked).await;
        let consumers = streams.iter().flat_map(|stream| {
            self.roles_of(stream).iter().map(move |role| (stream, *role, names.consumer(role)))
        });
        let (asked_streams, asked_consumers, dispatchers) = tokio::join!(
            join_all(streams.iter().map(|name| self.stream_status(name))),
            join_all(consumers.map(|(stream, role, name)| async move {
                let lag = self.lag_of(stream, &name).await;
                (stream, role, name, lag)
            })),
            self.dispatchers(),
        );
        for (name, asked) in streams.iter().zip(asked_streams) {
            match asked {
                Ok(stream) => status.streams.push(stream),
                Err(error) => status.not_asked.push(format!("stream {name}: {error}")),
            }
        }
        for (stream, role, name, lag) in asked_consumers {
            match lag {
                Ok(lag) => {
                    let (stream, shard) = (stream.clone(), names.shard_of_stream(stream));
                    status.consumers.push(ConsumerStatus { name, role, stream, shard, lag });
                }
                Err(error) => {
                    status.not_asked.push(format!("consumer {name} of {stream}: {error}"));
                }
            }
        }
        match dispatchers {
            Ok(dispatchers) => status.dispatchers = Some(dispatchers),
            Err(error) => status.not_asked.push(format!("which dispatchers are there: {error}")),
        }
        status
    }

    /// What is to be there, and delivery streams beyond that.
    async fn stream_names(&self, not_asked: &mut Vec<String>) -> Vec<String> {
        let config = &self.0.config;
        let names = &config.names;
        let there: Result<Vec<String>, _> = self.0.jetstream.stream_names().try_collect().await;
        let there = there.unwrap_or_else(|error| {
            not_asked.push(format!("the names of all streams: {error}"));
            Vec::new()
        });
        let beyond = there.iter().filter_map(|name| names.shard_of_stream(name));
        let mut shards: Vec<u32> = (0..config.shards).chain(beyond).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut all = vec![names.events_stream()];
        all.extend(shards.into_iter().map(|shard| names.deliveries_stream(shard)));
        all.push(names.unrouted_stream());
        all.push(names.outcomes_stream());
        all.push(format!("KV_{}", names.settings_bucket()));
        all.push(format!("KV_{}", names.targets_bucket()));
        all.push(format!("KV_{}", names.floors_bucket()));
        all
    }

    /// The roles that have a durable consumer of this stream.
    fn roles_of(&self, stream: &str) -> &'static [&'static str] {
        let names = &self.0.config.names;
        match stream {
            _ if stream == names.events_stream() => &["fanout", "archive"],
            _ if stream == names.outcomes_stream() => &["archive", "settings-api"],
            _ if stream == names.unrouted_stream() => &["fanout"],
            _ if names.shard_of_stream(stream).is_some() => &["dispatcher"],
            _ => &[],
        }
    }

    async fn stream_status(&self, name: &str) -> Result<StreamStatus, BusError> {
        let stream = self.0.jetstream.get_stream(name).await.map_err(BusError::unavailable)?;
        let Info { config, state, cluster, .. } = stream.cached_info();
        let cluster = cluster.as_ref();
        let replicas = cluster.map_or(&[][..], |cluster| cluster.replicas.as_slice());
        Ok(StreamStatus {
            name: name.to_owned(),
            shard: self.0.config.names.shard_of_stream(name),
            messages: state.messages,
            bytes: state.bytes,
            limit_bytes: u64::try_from(config.max_bytes).ok().filter(|limit| *limit > 0),
            leader: cluster.and_then(|cluster| cluster.leader.clone()),
            replicas: replicas.iter().map(|peer| (peer.name.clone(), state_of(peer))).collect(),
        })
    }

    /// The last signs of life. What expired or was taken away has left a marker.
    async fn dispatchers(&self) -> Result<Vec<DispatcherBeat>, BusError> {
        let bucket = self.0.config.names.targets_bucket();
        let stream = self.0.jetstream.get_stream_no_info(format!("KV_{bucket}")).await;
        let stream = stream.map_err(BusError::unavailable)?;
        let subjects = stream.info_with_subjects(format!("$KV.{bucket}.dispatcher.*")).await;
        let subjects = subjects.map_err(BusError::unavailable)?;
        let subjects: Vec<(String, usize)> =
            subjects.try_collect().await.map_err(BusError::unavailable)?;
        let mut beats = Vec::with_capacity(subjects.len());
        for (subject, _) in subjects {
            // Gone since, if it is not there.
            let Ok(message) = stream.get_last_raw_message_by_subject(&subject).await else {
                continue;
            };
            let has = |name: &str| message.headers.get(name).is_some();
            if !has(KV_OPERATION) && !has(NATS_MARKER_REASON.as_ref()) {
                // One of another version is there all the same.
                beats.push(DispatcherBeat::decode(message.payload).unwrap_or_default());
            }
        }
        Ok(beats)
    }
}

fn state_of(peer: &PeerInfo) -> ReplicaState {
    match peer {
        PeerInfo { offline: true, .. } => ReplicaState::Offline,
        PeerInfo { current: true, .. } => ReplicaState::Current,
        PeerInfo { lag, .. } => ReplicaState::Behind(lag.unwrap_or_default()),
    }
}
