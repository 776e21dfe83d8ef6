//! What goes on in one phase: looks at the broker while events are published.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio::time::Instant;

use super::pause;
use crate::load::{Group, Sent};
use crate::platform::Platform;
use crate::report::rounded;
use crate::segment::{Usage, since};

/// Between two looks at the broker.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the last of a phase's healthy events may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// What one phase came to.
#[derive(Debug, Serialize)]
pub(super) struct Phase {
    name: &'static str,
    seconds: f64,
    /// Deliveries in the broker, due and waiting.
    waiting_at_most: u64,
    waiting_at_its_end: u64,
    /// Of the broker, at most.
    broker_memory_mb: u64,
    broker_disk_mb: u64,
    dispatcher_memory_mb: u64,
    /// Messages written to the streams of deliveries, and to all streams.
    delivery_writes_per_s: f64,
    writes_per_s: f64,
    /// The most between two looks.
    writes_per_s_at_most: f64,
    /// From just before an event is published to its arrival at a healthy
    /// target: median, 99th percentile, largest.
    healthy_latency_ms: [f64; 3],
    healthy_sent: u64,
    healthy_missing: u64,
    generator_behind_ms: f64,
    /// CPU-seconds a second, by process.
    cores: BTreeMap<String, f64>,
    /// Deliveries that could not go when they were due, by reason.
    parked: BTreeMap<String, u64>,
}

impl Phase {
    /// What matters, for whoever watches.
    pub(super) fn line(&self) -> String {
        format!(
            "{}: {:.0} s, {} waiting, broker {} MB and {} MB on disk, {:.0} writes/s, healthy p99 {} ms",
            self.name,
            self.seconds,
            self.waiting_at_most,
            self.broker_memory_mb,
            self.broker_disk_mb,
            self.writes_per_s,
            self.healthy_latency_ms[1],
        )
    }

    pub(super) fn failure(&self) -> Option<String> {
        let Self { name, healthy_missing, .. } = self;
        (*healthy_missing > 0)
            .then(|| format!("{name}: {healthy_missing} healthy deliveries did not arrive"))
    }
}

/// A phase that is under way.
pub(super) struct Watch<'a> {
    platform: &'a Platform,
    began: Instant,
    before: Usage,
    first: Look,
    latest: Look,
    phase: Phase,
}

/// One look at the broker.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    waiting: u64,
    /// Writes since the streams were made.
    to_deliveries: u64,
    to_all: u64,
}

impl<'a> Watch<'a> {
    pub(super) async fn begin(platform: &'a Platform, name: &'static str) -> Result<Self> {
        platform.forget().await?;
        let first = look(platform).await?;
        Ok(Self {
            platform,
            began: Instant::now(),
            before: platform.usage().await?,
            first,
            latest: first,
            phase: Phase {
                name,
                seconds: 0.0,
                waiting_at_most: 0,
                waiting_at_its_end: 0,
                broker_memory_mb: 0,
                broker_disk_mb: 0,
                dispatcher_memory_mb: 0,
                delivery_writes_per_s: 0.0,
                writes_per_s: 0.0,
                writes_per_s_at_most: 0.0,
                healthy_latency_ms: [0.0; 3],
                healthy_sent: 0,
                healthy_missing: 0,
                generator_behind_ms: 0.0,
                cores: BTreeMap::new(),
                parked: BTreeMap::new(),
            },
        })
    }

    /// Publishes, and looks at the broker meanwhile.
    pub(super) async fn load(&mut self, groups: &[Group], events: u64, rate: u64) -> Result<Sent> {
        let platform = self.platform;
        let load = platform.publish(groups, events, Some(rate));
        let mut load = std::pin::pin!(load);
        let sent = loop {
            tokio::select! {
                sent = &mut load => break sent?,
                () = pause(LOOK_EVERY) => self.look().await?,
            }
        };
        self.look().await?;
        self.phase.healthy_sent += sent.by_group[0];
        self.phase.generator_behind_ms =
            self.phase.generator_behind_ms.max(rounded(sent.behind_ms));
        Ok(sent)
    }

    async fn look(&mut self) -> Result<()> {
        let look = look(self.platform).await?;
        let megabytes = |bytes: u64| bytes / 1_000_000;
        let phase = &mut self.phase;
        let most = |value: &mut u64, now: u64| *value = now.max(*value);
        most(&mut phase.waiting_at_most, look.waiting);
        most(&mut phase.broker_memory_mb, megabytes(self.platform.nats_rss_bytes()));
        most(&mut phase.broker_disk_mb, megabytes(self.platform.nats_disk_bytes()));
        most(&mut phase.dispatcher_memory_mb, megabytes(self.platform.rss_bytes("dispatcher")));
        // Two looks in quick succession say nothing of a second.
        if look.at - self.latest.at >= LOOK_EVERY / 2 {
            let rate = look.writes_since(&self.latest);
            phase.writes_per_s_at_most = rounded(rate.max(phase.writes_per_s_at_most));
            self.latest = look;
        }
        phase.waiting_at_its_end = look.waiting;
        Ok(())
    }

    /// Waits for what is still on its way to healthy targets, and sums up.
    pub(super) async fn end(mut self) -> Result<Phase> {
        let seen = self.platform.arrived(self.phase.healthy_sent, PATIENCE).await?;
        self.look().await?;
        let last = look(self.platform).await?;
        let after = self.platform.usage().await?;
        let seconds = self.began.elapsed().as_secs_f64();
        let mut phase = self.phase;
        phase.seconds = rounded(seconds);
        phase.delivery_writes_per_s = rounded(last.deliveries_since(&self.first));
        phase.writes_per_s = rounded(last.writes_since(&self.first));
        phase.healthy_latency_ms = seen.latency_ms;
        phase.healthy_missing = phase.healthy_sent.saturating_sub(seen.deliveries);
        phase.cores =
            since(&after.cpu, &self.before.cpu, |now, then| rounded((now - then) / seconds));
        phase.parked = since(&after.parked, &self.before.parked, |now, then| now - then);
        Ok(phase)
    }
}

async fn look(platform: &Platform) -> Result<Look> {
    let streams = platform.streams().await?;
    let of_deliveries = || streams.iter().filter(|stream| stream.is_of_deliveries());
    Ok(Look {
        at: Instant::now(),
        waiting: of_deliveries().map(|stream| stream.state.messages).sum(),
        to_deliveries: of_deliveries().map(|stream| stream.state.last_seq).sum(),
        to_all: streams.iter().map(|stream| stream.state.last_seq).sum(),
    })
}

impl Look {
    fn writes_since(&self, earlier: &Self) -> f64 {
        (self.to_all - earlier.to_all) as f64 / (self.at - earlier.at).as_secs_f64()
    }

    fn deliveries_since(&self, earlier: &Self) -> f64 {
        (self.to_deliveries - earlier.to_deliveries) as f64 / (self.at - earlier.at).as_secs_f64()
    }
}
