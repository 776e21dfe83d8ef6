//! What runs behind the board: one task writes, one watches, one says that this
//! dispatcher is there.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::header::{NATS_MARKER_REASON, NATS_MESSAGE_TTL, NATS_ROLLUP};
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use bytes::Bytes;
use chassis::Tasks;
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use prost::Message as _;
use protocol::v1::{DispatcherBeat, TargetTrouble};

use super::state::{Entry, Said, ToWrite};
use super::{TargetBoard, dropped, expires_at};
use crate::BusError;
use crate::streams::TARGETS_MARKER_TTL;

/// Who wrote it. On the message and not in the value, because what takes a key
/// away has no value.
const INSTANCE: &str = "Postrider-Instance";
pub(crate) const KV_OPERATION: &str = "KV-Operation";
/// Writes under way at once.
const WRITES: usize = 64;
/// Waits after a failure: the first one, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long a leave may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// How long after its time something is forgotten of which the broker has not
/// said so. It counts in seconds, and by clocks that are not quite ours.
const SWEEP_AFTER: Duration = Duration::from_secs(5);
/// The longest that anything is kept, whatever its `until` says.
const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);

impl TargetBoard {
    /// Writes what there is to write, several keys at once and each key after
    /// what was said of it before.
    pub(super) async fn keep_writing(self) {
        let mut wait = FIRST_WAIT;
        let mut connected = self.0.bus.0.connected.clone();
        loop {
            let batch = self.state().take(WRITES);
            if batch.is_empty() {
                self.0.to_write.notified().await;
                continue;
            }
            connected.borrow_and_update();
            let results = tokio::select! {
                results = join_all(batch.iter().map(|write| self.write(write))) => results,
                // Nobody answers what was asked over the old connection. Written twice,
                // it is still the same.
                _ = connected.changed() => {
                    let unanswered = |_| Err(BusError::Unavailable("reconnected".into()));
                    batch.iter().map(unanswered).collect()
                }
            };
            let mut failure = None;
            for (write, result) in batch.iter().zip(results) {
                match result {
                    Ok(Some(revision)) => self.state().written(write, revision),
                    Ok(None) => {}
                    Err(error @ BusError::Unavailable(_)) => {
                        if self.state().write_again(write) == Said::Full {
                            dropped("full");
                        }
                        failure = Some(error);
                    }
                    Err(error) => {
                        tracing::warn!(%error, target.id = write.target_id, "the broker refuses a target's trouble");
                        dropped("refused");
                    }
                }
            }
            let Some(error) = failure else {
                wait = FIRST_WAIT;
                continue;
            };
            tracing::debug!(%error, "the other dispatchers are not told yet");
            metrics::counter!("postrider_target_board_writes_failed_total").increment(1);
            self.0.bus.0.clock.sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Returns the revision, unless there was nothing left to write.
    async fn write(&self, write: &ToWrite) -> Result<Option<u64>, BusError> {
        let key = format!("trouble.{}", write.target_id);
        let Some((trouble, expires_at)) = &write.trouble else {
            return self.take_away(&key).await.map(Some);
        };
        let ttl = self.0.bus.0.clock.until(*expires_at);
        if ttl.is_zero() {
            return Ok(None);
        }
        self.put(&key, trouble.encode_to_vec().into(), ttl).await.map(Some)
    }

    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<u64, BusError> {
        self.publish(key, HeaderMap::new(), value, ttl).await
    }

    /// Replaces the key by a marker that says so, which goes as well after a while.
    async fn take_away(&self, key: &str) -> Result<u64, BusError> {
        let mut headers = HeaderMap::new();
        headers.insert(KV_OPERATION, "PURGE");
        headers.insert(NATS_ROLLUP, "sub");
        self.publish(key, headers, Bytes::new(), TARGETS_MARKER_TTL).await
    }

    async fn publish(
        &self,
        key: &str,
        mut headers: HeaderMap,
        value: Bytes,
        ttl: Duration,
    ) -> Result<u64, BusError> {
        let bus = &self.0.bus.0;
        if !self.0.bus.is_connected() {
            // The client would buffer it; by then it may be out of date.
            return Err(BusError::Unavailable("not connected".into()));
        }
        headers.insert(INSTANCE, self.0.instance.as_str());
        headers.insert(NATS_MESSAGE_TTL, format!("{}s", whole_seconds(ttl)));
        let subject = format!("{}{key}", self.prefix());
        let published: Result<u64, PublishError> = async {
            let sent = bus.jetstream.publish_with_headers(subject, headers, value);
            Ok(sent.await?.await?.sequence)
        }
        .await;
        published.map_err(|error| {
            if error.kind() == PublishErrorKind::StreamNotFound {
                // The watch makes the bucket anew.
                self.0.to_restart.notify_one();
            }
            BusError::from(error)
        })
    }

    /// Says again and again that this dispatcher is there, until the stop.
    ///
    /// Dying in here leaves the others to count one too many until the key's time
    /// is over: each takes a little less than its share meanwhile.
    pub(super) async fn keep_beating(self, tasks: Tasks) {
        let clock = &self.0.bus.0.clock;
        let times = self.0.times;
        let key = format!("dispatcher.{}", self.0.instance);
        loop {
            let value = self.state().own_beat().encode_to_vec().into();
            let beat = tokio::select! {
                beat = self.put(&key, value, times.live_ttl) => beat,
                // Over a new connection, or into a new bucket.
                () = self.0.to_beat.notified() => continue,
                () = tasks.stopping() => break,
            };
            let wait = match beat {
                Ok(_) => times.live_every,
                Err(error) => {
                    tracing::debug!(%error, "this dispatcher could not say that it is there");
                    times.live_every.min(Duration::from_millis(500))
                }
            };
            tokio::select! {
                () = clock.sleep(wait) => {}
                () = self.0.to_beat.notified() => {}
                () = tasks.stopping() => break,
            }
        }
        let left = tokio::time::timeout(LEAVE_WITHIN, self.take_away(&key)).await;
        if !matches!(left, Ok(Ok(_))) {
            tracing::debug!(
                "the other dispatchers will notice by themselves that this one has gone"
            );
        }
    }

    /// Loads everything and follows, over and over.
    pub(super) async fn keep_watching(self) {
        let mut wait = FIRST_WAIT;
        let mut connected = self.0.bus.0.connected.clone();
        loop {
            connected.borrow_and_update();
            let watched = tokio::select! {
                watched = self.watch_once() => watched,
                // The client would go on where it was, in a bucket that may be another;
                // and what was asked over the old connection is not answered any more.
                _ = connected.changed() => Ok(()),
                () = self.0.to_restart.notified() => Ok(()),
            };
            match watched {
                Ok(()) => wait = FIRST_WAIT,
                Err(error) => {
                    tracing::debug!(%error, "the watch of targets in trouble begins again");
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
            self.0.bus.0.clock.sleep(wait).await;
        }
    }

    async fn watch_once(&self) -> Result<(), BusError> {
        let bus = &self.0.bus.0;
        if !self.0.bus.is_connected() {
            return Err(BusError::Unavailable("not connected".into()));
        }
        self.0.bus.ensure_targets_bucket().await?;
        let since = Instant::now();
        let stream = format!("KV_{}", bus.config.names.targets_bucket());
        let stream = bus.jetstream.get_stream(stream).await.map_err(BusError::unavailable)?;
        let made = stream.cached_info().created;
        let consumer = stream
            .create_consumer(push::OrderedConfig {
                deliver_subject: bus.client.new_inbox(),
                filter_subject: format!("{}>", self.prefix()),
                deliver_policy: DeliverPolicy::LastPerSubject,
                ..Default::default()
            })
            .await
            .map_err(BusError::unavailable)?;
        let mut last_revision = 0;
        let mut seen = Some(HashSet::new());
        if consumer.cached_info().num_pending == 0 {
            // Nothing comes that could end the load.
            self.finish_load(seen.take());
        }
        let mut messages = consumer.messages().await.map_err(BusError::unavailable)?;
        let mut tick = std::pin::pin!(bus.clock.sleep(self.0.times.live_every));
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = &mut tick => {
                    tick.set(bus.clock.sleep(self.0.times.live_every));
                    let info = stream.get_info().await.map_err(BusError::unavailable)?;
                    // Made again by somebody else, or the same one come back empty.
                    if info.created != made || info.state.last_sequence < last_revision {
                        return Ok(());
                    }
                    self.sweep(since);
                    continue;
                }
            };
            let Some(message) = message else { return Ok(()) };
            let message = message.map_err(BusError::unavailable)?;
            let info = message.info().map_err(BusError::unavailable)?;
            let (revision, pending) = (info.stream_sequence, info.pending);
            last_revision = revision;
            if let Some(key) = message.subject.strip_prefix(&self.prefix()) {
                if let (Some(seen), Some(target_id)) = (&mut seen, key.strip_prefix("trouble.")) {
                    seen.insert(target_id.to_owned());
                }
                let headers = message.headers.as_ref();
                self.apply(key, headers, &message.payload, revision, since);
            }
            if pending == 0 {
                self.finish_load(seen.take());
            }
        }
    }

    fn finish_load(&self, seen: Option<HashSet<String>>) {
        let Some(seen) = seen else { return };
        if self.state().loaded(&seen) {
            self.0.to_write.notify_one();
        }
        // In a bucket that is new, nobody knows of this dispatcher.
        self.0.to_beat.notify_one();
        self.0.loaded.send_replace(true);
    }

    /// The broker's own expiry says all this sooner, unless a marker was lost.
    fn sweep(&self, since: Instant) {
        let times = self.0.times;
        let mut state = self.state();
        state.sweep(self.0.bus.0.clock.now() - SWEEP_AFTER);
        state.forget_silent(times.live_ttl + times.live_every * 2, since, Instant::now());
        let live = state.others() + 1;
        drop(state);
        self.set_live(live);
    }

    fn apply(
        &self,
        key: &str,
        headers: Option<&HeaderMap>,
        value: &[u8],
        revision: u64,
        since: Instant,
    ) {
        let by = headers.and_then(|headers| headers.get(INSTANCE));
        let by_us = by.is_some_and(|by| by.as_str() == self.0.instance);
        let taken_away = headers.is_some_and(|headers| headers.get(KV_OPERATION).is_some());
        let expired = headers.is_some_and(|headers| headers.get(NATS_MARKER_REASON).is_some());
        if let Some(instance) = key.strip_prefix("dispatcher.") {
            if instance == self.0.instance {
                return;
            }
            let (times, now) = (self.0.times, Instant::now());
            let mut state = self.state();
            if taken_away {
                state.left(instance);
            } else if expired {
                let silence = times.live_ttl.saturating_sub(times.live_every);
                state.silent(instance, silence, since, now);
            } else {
                // One of another version is there all the same.
                state.heard(instance, DispatcherBeat::decode(value).unwrap_or_default(), now);
            }
            let live = state.others() + 1;
            drop(state);
            self.set_live(live);
        } else if let Some(target_id) = key.strip_prefix("trouble.") {
            let entry = if taken_away {
                Entry::Closed
            } else if expired {
                Entry::Expired
            } else {
                match TargetTrouble::decode(value) {
                    Ok(trouble) => {
                        let expires_at = expires_at(&trouble, self.0.times.keep_past_until);
                        Entry::Trouble { trouble, expires_at }
                    }
                    Err(error) => {
                        tracing::warn!(%error, target.id = target_id, "a target's trouble cannot be read");
                        return;
                    }
                }
            };
            self.state().saw(target_id, entry, revision, by_us);
        }
    }

    fn set_live(&self, live: usize) {
        self.0.live.send_if_modified(|there| {
            let changed = *there != live;
            *there = live;
            changed
        });
    }

    fn prefix(&self) -> String {
        format!("$KV.{}.", self.0.bus.0.config.names.targets_bucket())
    }
}

/// Rounded up: what is written with a time to live lives at least as long.
fn whole_seconds(ttl: Duration) -> u64 {
    let ttl = ttl.min(LONGEST_TTL);
    (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).max(1)
}
