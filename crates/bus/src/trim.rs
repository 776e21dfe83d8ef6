//! Keeps a stream within its replay budget, and never purges what somebody
//! still needs.

use std::collections::VecDeque;

use async_nats::jetstream;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::TryStreamExt as _;

use crate::{Bus, BusError};

/// What is younger than this is never purged: by then every copy of a replicated
/// stream has it, and every consumer's leader has seen it.
const SETTLED_AFTER: TimeDelta = TimeDelta::seconds(60);

/// Purges one stream, a little at a time.
pub struct Trimmer {
    bus: Bus,
    stream: String,
    /// Its name in metrics.
    label: &'static str,
    /// The size at which it takes nothing more.
    limit_bytes: u64,
    budget_bytes: u64,
    /// Without these roles' consumers nothing is purged.
    roles: [&'static str; 2],
    keep: TimeDelta,
    /// Whether what the broker remembers the ids of is kept as well.
    keeps_window: bool,
    /// Where the stream ended at earlier looks, the oldest first.
    earlier: VecDeque<(DateTime<Utc>, u64)>,
}

impl Bus {
    /// For the stream of accepted events. What the broker has to remember as
    /// accepted stays for as long.
    pub fn events_trimmer(&self) -> Trimmer {
        let config = &self.0.config;
        let stream = config.names.events_stream();
        let sizes = (config.events_max_bytes, config.events_replay_bytes);
        let roles = ["fanout", "archive"];
        Trimmer { keeps_window: true, ..self.trimmer(stream, "events", sizes, roles) }
    }

    /// For the stream of outcomes.
    pub fn outcomes_trimmer(&self) -> Trimmer {
        let config = &self.0.config;
        let stream = config.names.outcomes_stream();
        let roles = ["archive", "settings-api"];
        let sizes = (config.outcomes_max_bytes, config.outcomes_replay_bytes);
        self.trimmer(stream, "outcomes", sizes, roles)
    }

    fn trimmer(
        &self,
        stream: String,
        label: &'static str,
        (limit_bytes, budget_bytes): (u64, u64),
        roles: [&'static str; 2],
    ) -> Trimmer {
        let (bus, earlier) = (self.clone(), VecDeque::new());
        let (keep, keeps_window) = (SETTLED_AFTER, false);
        Trimmer {
            bus,
            stream,
            label,
            limit_bytes,
            budget_bytes,
            roles,
            keep,
            keeps_window,
            earlier,
        }
    }
}

impl Trimmer {
    /// One look, which tells operators how large the stream is, and a purge of what is over the budget, if all of it is done.
    /// Safe to run from many processes. Looks should be some seconds apart.
    pub async fn look(&mut self) -> Result<(), BusError> {
        let bus = std::sync::Arc::clone(&self.bus.0);
        let stream = bus.jetstream.get_stream(&self.stream).await.map_err(BusError::unavailable)?;
        let state = &stream.cached_info().state;
        if self.keeps_window {
            // Another role may have raised it since.
            let window = stream.cached_info().config.duplicate_window;
            self.keep = self.keep.max(TimeDelta::from_std(window).unwrap_or(TimeDelta::MAX));
        }
        let label = self.label;
        metrics::gauge!("postrider_stream_messages", "stream" => label).set(state.messages as f64);
        metrics::gauge!("postrider_stream_bytes", "stream" => label).set(state.bytes as f64);
        metrics::gauge!("postrider_stream_limit_bytes", "stream" => label)
            .set(self.limit_bytes as f64);
        let settled = self.settled(bus.clock.now(), state.last_sequence);
        if state.bytes <= self.budget_bytes || state.messages == 0 {
            return Ok(());
        }
        let consumers: Vec<jetstream::consumer::Info> =
            stream.consumers().try_collect().await.map_err(BusError::unavailable)?;
        let durable = |role| consumers.iter().any(|c| c.name == bus.config.names.consumer(role));
        if !self.roles.iter().all(|role| durable(role)) {
            return Ok(());
        }
        // The floor of a consumer that takes few of the subjects stays behind.
        // With nothing left for it, it is done with all that is settled: its
        // leader's copy of the stream may be a moment behind, but not a minute.
        let done_to = |consumer: &jetstream::consumer::Info| {
            let has_unacked =
                consumer.num_ack_pending > 0 && !chassis::mutant("trim_ignores_unacked");
            let idle = consumer.num_pending == 0 && !has_unacked;
            if idle { settled } else { consumer.ack_floor.stream_sequence }
        };
        let done = consumers.iter().map(done_to).min().unwrap_or(0);
        let average = (state.bytes / state.messages).max(1);
        let excess = (state.bytes - self.budget_bytes) / average;
        let up_to = done.min(settled).min(state.first_sequence.saturating_add(excess));
        if up_to < state.first_sequence {
            return Ok(());
        }
        stream.purge().sequence(up_to + 1).await.map_err(BusError::unavailable)?;
        tracing::info!(stream = self.stream, up_to, "purged what is done and over the budget");
        Ok(())
    }

    /// Notes where the stream ends now; returns where it ended long enough ago.
    fn settled(&mut self, now: DateTime<Utc>, last: u64) -> u64 {
        self.earlier.push_back((now, last));
        let long_ago = now - self.keep;
        while self.earlier.get(1).is_some_and(|(at, _)| *at <= long_ago) {
            self.earlier.pop_front();
        }
        self.earlier.front().filter(|(at, _)| *at <= long_ago).map_or(0, |(_, last)| *last)
    }
}
