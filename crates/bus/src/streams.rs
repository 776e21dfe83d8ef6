//! The streams, made and updated at every start.

mod drift;

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};

use self::drift::Judgement;
use crate::{Bus, BusError, StreamsBy};

/// How long the broker keeps, in the bucket of targets, the note that a key has
/// gone. A watcher that was away for no longer finds it; one that was away for
/// longer holds nothing any more that has not had its time.
pub(crate) const TARGETS_MARKER_TTL: Duration = Duration::from_secs(20 * 60);

impl Bus {
    /// Makes the streams and the two buckets, or brings them to what this
    /// version wants, if that is for this process to do; looks whether they are there, if it
    /// is not. Safe to run from many processes at once.
    pub(crate) async fn ensure_streams(&self) -> Result<(), BusError> {
        self.ensure(self.events_config()).await?;
        self.ensure(self.outcomes_config()).await?;
        for shard in 0..self.0.config.shards {
            self.ensure(self.deliveries_config(shard)).await?;
        }
        self.ensure(self.unrouted_config()).await?;
        self.ensure(self.floors_config()).await?;
        self.refuse_forgotten_shards().await?;
        let bucket = jetstream::kv::Config {
            bucket: self.0.config.names.settings_bucket(),
            history: 1,
            num_replicas: self.0.config.replicas,
            ..Default::default()
        };
        let mut as_stream = Config {
            name: format!("KV_{}", bucket.bucket),
            subjects: vec![format!("$KV.{}.>", bucket.bucket)],
            discard: DiscardPolicy::New,
            num_replicas: bucket.num_replicas,
            ..Default::default()
        };
        if self.is_to_make(&mut as_stream).await? {
            let made = self.0.jetstream.create_or_update_key_value(bucket).await;
            made.map_err(BusError::unavailable)?;
        }
        self.ensure_targets_bucket().await
    }

    /// The bucket of targets in trouble. Unlike the others it may be lost while
    /// processes run, and whoever misses it makes it again.
    pub(crate) async fn ensure_targets_bucket(&self) -> Result<(), BusError> {
        self.ensure(self.targets_config()).await
    }

    async fn ensure(&self, mut wanted: Config) -> Result<(), BusError> {
        drift::mark(&mut wanted);
        if !self.is_to_make(&mut wanted).await? {
            return Ok(());
        }
        let name = wanted.name.clone();
        match self.0.jetstream.create_or_update_stream(wanted).await {
            Ok(_) => Ok(()),
            Err(error) => match error.kind() {
                jetstream::context::CreateStreamErrorKind::JetStream(ref refusal)
                    if refusal.error_code() != ErrorCode::CLUSTER_NOT_AVAILABLE
                        && refusal.error_code() != ErrorCode::INSUFFICIENT_RESOURCES =>
                {
                    Err(BusError::Unsuitable(format!("stream {name}: {refusal}")))
                }
                _ => Err(BusError::unavailable(format!("stream {name}: {error}"))),
            },
        }
    }

    /// Whether a stream is to be made or brought to what is wanted. An update that would
    /// lose something is refused, and what a newer version has made is left alone. What
    /// is larger there than it is wanted stays as large, so that it is wanted then.
    async fn is_to_make(&self, wanted: &mut Config) -> Result<bool, BusError> {
        let is_ours = self.0.config.streams_by == StreamsBy::Us;
        let Some(stream) = self.stream_if_there(&wanted.name).await? else {
            let wait = || format!("stream {}: settings-api has not made it yet", wanted.name);
            return if is_ours { Ok(true) } else { Err(BusError::Unavailable(wait())) };
        };
        let there = &stream.cached_info().config;
        if !is_ours {
            return drift::judge(there, wanted).map(|_| false).map_err(BusError::Unsuitable);
        }
        for kept in drift::keep_larger(there, wanted) {
            tracing::warn!(
                stream = wanted.name,
                "{kept} was set by another role and stays: a role that starts makes nothing \
                 smaller; set the same for every role, or edit the stream by hand"
            );
        }
        match drift::judge(there, wanted) {
            Ok(Judgement::Update { taken_back }) => {
                if !taken_back.is_empty() {
                    tracing::warn!(
                        stream = wanted.name,
                        limits = taken_back.join(", "),
                        "somebody has set limits by which messages are lost; they are taken back"
                    );
                }
                Ok(true)
            }
            Ok(Judgement::Newer(layout)) => {
                tracing::info!(
                    stream = wanted.name,
                    layout,
                    "a newer version has made this stream"
                );
                Ok(false)
            }
            Err(refusal) => Err(BusError::Unsuitable(refusal)),
        }
    }

    /// A shard that this process does not count but that holds deliveries would be
    /// forgotten: refuse to go on instead.
    ///
    /// # Errors
    /// [`BusError::Unsuitable`] if there is one; [`BusError::Unavailable`].
    pub async fn refuse_forgotten_shards(&self) -> Result<(), BusError> {
        use futures_util::TryStreamExt as _;
        let names: Vec<String> =
            self.0.jetstream.stream_names().try_collect().await.map_err(BusError::unavailable)?;
        for name in names {
            let Some(shard) = self.0.config.names.shard_of_stream(&name) else { continue };
            if shard < self.0.config.shards {
                continue;
            }
            let stream = self.0.jetstream.get_stream(&name).await.map_err(BusError::unavailable)?;
            let waiting = stream.cached_info().state.messages;
            if waiting > 0 {
                return Err(BusError::Unsuitable(format!(
                    "POSTRIDER_DELIVERY_SHARDS is {}, but stream {name} still holds {waiting} deliveries; \
                     set it to at least {} until they are gone",
                    self.0.config.shards,
                    shard + 1
                )));
            }
        }
        Ok(())
    }

    fn events_config(&self) -> Config {
        let config = &self.0.config;
        Config {
            name: config.names.events_stream(),
            subjects: vec![config.names.events_all()],
            retention: RetentionPolicy::Limits,
            // A full stream refuses: this is the one place that pushes back on callers.
            discard: DiscardPolicy::New,
            max_bytes: config.events_max_bytes.try_into().unwrap_or(i64::MAX),
            duplicate_window: config.events_dedup_window,
            num_replicas: config.replicas,
            ..Default::default()
        }
    }

    fn outcomes_config(&self) -> Config {
        let config = &self.0.config;
        Config {
            name: config.names.outcomes_stream(),
            subjects: vec![config.names.outcomes_all()],
            retention: RetentionPolicy::Limits,
            // What archive has not seen is never evicted; a full stream refuses instead.
            discard: DiscardPolicy::New,
            max_bytes: config.outcomes_max_bytes.try_into().unwrap_or(i64::MAX),
            duplicate_window: Duration::from_secs(120),
            num_replicas: config.replicas,
            ..Default::default()
        }
    }

    fn deliveries_config(&self, shard: u32) -> Config {
        let config = &self.0.config;
        Config {
            name: config.names.deliveries_stream(shard),
            subjects: config.names.deliveries_all(shard).into(),
            retention: RetentionPolicy::WorkQueue,
            // No limit on size, count or age: an evicted schedule is a lost retry.
            // One message a subject is no loss: both subjects carry the delivery's
            // id, so all that it removes is an older hop of the same delivery.
            max_messages_per_subject: 1,
            allow_message_schedules: true,
            duplicate_window: config.deliveries_dedup_window,
            num_replicas: config.replicas,
            ..Default::default()
        }
    }

    fn unrouted_config(&self) -> Config {
        let config = &self.0.config;
        Config {
            name: config.names.unrouted_stream(),
            subjects: config.names.unrouted_all().into(),
            retention: RetentionPolicy::WorkQueue,
            // As with deliveries, no limit: a schedule that fires into a full stream may
            // never fire again. fanout counts before it adds.
            max_messages_per_subject: 1,
            allow_message_schedules: true,
            duplicate_window: config.deliveries_dedup_window,
            num_replicas: config.replicas,
            ..Default::default()
        }
    }

    /// A key-value bucket, which is used as the stream that it is.
    fn floors_config(&self) -> Config {
        let config = &self.0.config;
        let bucket = config.names.floors_bucket();
        Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            max_messages_per_subject: 1,
            num_replicas: config.replicas,
            ..Default::default()
        }
    }

    /// A key-value bucket, spelled out as the stream that it is.
    fn targets_config(&self) -> Config {
        let config = &self.0.config;
        let bucket = config.names.targets_bucket();
        Config {
            name: format!("KV_{bucket}"),
            subjects: vec![format!("$KV.{bucket}.>")],
            // Everything in here is gone within minutes anyway, and its writers have
            // it all in memory: after a restart of the broker they write it again. On
            // disk, each write would compete with the deliveries for the flush.
            storage: StorageType::Memory,
            max_messages_per_subject: 1,
            discard: DiscardPolicy::New,
            allow_message_ttl: true,
            // What expires leaves a marker, so that watchers hear of it.
            subject_delete_marker_ttl: Some(TARGETS_MARKER_TTL),
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            num_replicas: config.replicas,
            ..Default::default()
        }
    }

    /// How many deliveries wait in all delivery streams, due and scheduled.
    pub async fn deliveries_waiting(&self) -> Result<u64, BusError> {
        let mut waiting = 0;
        for shard in 0..self.0.config.shards {
            let name = self.0.config.names.deliveries_stream(shard);
            let stream = self.0.jetstream.get_stream(&name).await.map_err(BusError::unavailable)?;
            waiting += stream.cached_info().state.messages;
        }
        Ok(waiting)
    }
}
