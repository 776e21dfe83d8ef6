//! How the deployment is: for whoever was called out at night.
//!
//! Broker and database are asked side by side, and what one of them does not
//! answer is said rather than left out: the status is needed most when something
//! is away.

use bus::{BrokerStatus, ConsumerStatus, ReplicaState, StreamStatus};
use chrono::{DateTime, Utc};
use protocol::v1;

use crate::SettingsApi;
use crate::gauges::MOST_COUNTED;

impl SettingsApi {
    pub(super) async fn deployment_status(&self) -> v1::DeploymentStatus {
        let (broker, outbox, undelivered) = tokio::join!(
            self.bus.status(),
            self.store.outbox(),
            self.store.undelivered_by_end(MOST_COUNTED)
        );
        let now = self.clock.now();
        let mut status = v1::DeploymentStatus {
            region: self.bus.config().names.region().to_owned(),
            at: Some(now.into()),
            shards: shards(&broker, now),
            history_lag_seconds: history_lag_seconds(&broker, now),
            ..v1::DeploymentStatus::default()
        };
        if let Some(dispatchers) = &broker.dispatchers {
            status.dispatchers_live = Some(u32::try_from(dispatchers.len()).unwrap_or(u32::MAX));
            // They tell each other, so that the one who knows most knows of all.
            let most = dispatchers.iter().map(|beat| beat.left_alone).max();
            status.targets_left_alone = Some(most.unwrap_or_default());
        }
        status.not_asked = broker.not_asked;
        match outbox {
            Ok(outbox) => {
                let oldest = outbox.oldest.map(Into::into);
                let documents = outbox.documents;
                status.outbox = Some(v1::OutboxStatus { documents, oldest });
            }
            Err(error) => status.not_asked.push(format!("the outbox of settings: {error}")),
        }
        match undelivered {
            Ok(by_end) => {
                let is_whole = by_end.values().sum::<u64>() < MOST_COUNTED;
                status.undelivered = Some(v1::UndeliveredStatus { by_end, is_whole });
            }
            Err(error) => status.not_asked.push(format!("what was not delivered: {error}")),
        }
        status.consumers = broker.consumers.into_iter().map(|it| consumer(it, now)).collect();
        status.streams = broker.streams.into_iter().map(stream).collect();
        status
    }
}

impl SettingsApi {
    /// How long archive has been behind; `None` when the broker does not say.
    pub(crate) async fn history_lag_seconds(&self) -> Option<f64> {
        history_lag_seconds(&self.bus.status().await, self.clock.now())
    }
}

/// Those of which both the stream and its consumer have answered.
fn shards(broker: &BrokerStatus, now: DateTime<Utc>) -> Vec<v1::ShardStatus> {
    let shards = broker.streams.iter().filter_map(|stream| {
        let shard = stream.shard?;
        let lag = broker.consumers.iter().find(|consumer| consumer.shard == Some(shard))?.lag;
        // The two were not asked at the same instant.
        let due = lag.pending.saturating_add(lag.unacked);
        let oldest_due_seconds = lag.age_seconds(now);
        let waiting = stream.messages.saturating_sub(due);
        Some(v1::ShardStatus { shard, due, oldest_due_seconds, waiting })
    });
    shards.collect()
}

/// `None` unless both of its consumers have answered.
fn history_lag_seconds(broker: &BrokerStatus, now: DateTime<Utc>) -> Option<f64> {
    let archive = broker.consumers.iter().filter(|consumer| consumer.role == "archive");
    let ages: Vec<f64> = archive.map(|consumer| consumer.lag.age_seconds(now)).collect();
    (ages.len() == 2).then(|| ages.into_iter().fold(0.0, f64::max))
}

fn stream(stream: StreamStatus) -> v1::StreamStatus {
    let replicas = stream.replicas.into_iter().map(|(name, state)| {
        let (state, lag) = match state {
            ReplicaState::Current => ("current", 0),
            ReplicaState::Behind(lag) => ("behind", lag),
            ReplicaState::Offline => ("offline", 0),
        };
        v1::ReplicaStatus { name, state: state.to_owned(), lag }
    });
    v1::StreamStatus {
        name: stream.name,
        messages: stream.messages,
        bytes: stream.bytes,
        limit_bytes: stream.limit_bytes.unwrap_or_default(),
        leader: stream.leader.unwrap_or_default(),
        replicas: replicas.collect(),
    }
}

fn consumer(consumer: ConsumerStatus, now: DateTime<Utc>) -> v1::ConsumerStatus {
    v1::ConsumerStatus {
        name: consumer.name,
        stream: consumer.stream,
        pending: consumer.lag.pending,
        unacknowledged: consumer.lag.unacked,
        lag_seconds: consumer.lag.age_seconds(now),
    }
}
