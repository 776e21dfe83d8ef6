//! A stretch of load, and what became of those events whose receiver is well.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use crate::load::{Group, Sent};
use crate::platform::{Platform, get};
use crate::receiver::Seen;

/// The event that all benchmarks publish.
const EVENT: &str = include_str!("../../../examples/events/clicked.json");
/// How long the last of what is due now may take to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// What happened in a stretch of load.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) sent: Sent,
    /// What the receiver got that is well: the first group's events.
    pub(crate) seen: Seen,
    /// CPU-seconds by process.
    pub(crate) cpu: BTreeMap<String, f64>,
    /// Deliveries that could not go when they were due, by reason.
    pub(crate) parked: BTreeMap<String, u64>,
}

impl Segment {
    /// Events of the first group that did not arrive.
    pub(crate) fn missing(&self) -> u64 {
        self.sent.by_group.first().map_or(0, |sent| sent.saturating_sub(self.seen.deliveries))
    }

    /// How many cores the whole machine's worth of processes kept busy.
    pub(crate) fn cores(&self) -> f64 {
        self.cpu.values().sum::<f64>() / self.sent.seconds
    }
}

impl Platform {
    /// Publishes at this rate, and waits until the first group's events have arrived.
    pub(crate) async fn segment(
        &self,
        groups: &[Group],
        rate: u64,
        seconds: u64,
    ) -> Result<Segment> {
        self.forget().await?;
        let before = self.usage().await?;
        let sent = self.publish(groups, rate * seconds, Some(rate)).await?;
        let seen = self.arrived(sent.by_group[0], PATIENCE).await?;
        let after = self.usage().await?;
        Ok(Segment {
            sent,
            seen,
            cpu: since(&after.cpu, &before.cpu, |now, then| now - then),
            parked: since(&after.parked, &before.parked, |now, then| now - then),
        })
    }

    /// The receiver forgets what it has seen.
    pub(crate) async fn forget(&self) -> Result<()> {
        get(&self.receiver_addr, "/forget").await.map(drop)
    }

    /// Publishes so many events, evenly spread over the groups.
    pub(crate) async fn publish(
        &self,
        groups: &[Group],
        events: u64,
        rate: Option<u64>,
    ) -> Result<Sent> {
        let mut load = Command::new(std::env::current_exe()?);
        load.args(["load", "--ingest", &self.ingest, "--event", EVENT]);
        load.args(["--events", &events.to_string()]);
        for group in groups {
            load.args(["--group", &group.argument()]);
        }
        if let Some(rate) = rate {
            load.args(["--rate", &rate.to_string()]);
        }
        let load = load.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = load.wait_with_output().await?;
        ensure!(output.status.success(), "the load generator failed");
        serde_json::from_slice(&output.stdout).context("the load generator says what it did")
    }

    /// Waits until so many deliveries have arrived; less only after all patience.
    pub(crate) async fn arrived(&self, wanted: u64, patience: Duration) -> Result<Seen> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = self.seen().await?;
            if seen.deliveries >= wanted || Instant::now() > deadline {
                return Ok(seen);
            }
            sleep_until(Instant::now() + Duration::from_millis(25)).await;
        }
    }

    /// What the receiver has seen since it forgot.
    pub(crate) async fn seen(&self) -> Result<Seen> {
        let answer = get(&self.receiver_addr, "/").await?;
        let body = answer.split("\r\n\r\n").nth(1).context("the receiver answers")?;
        Ok(serde_json::from_str(body)?)
    }

    /// What has been used up so far.
    pub(crate) async fn usage(&self) -> Result<Usage> {
        Ok(Usage {
            cpu: self.cpu(),
            parked: self.counter("dispatcher", "postrider_parked_total").await?,
        })
    }
}

/// Counts of a platform since it was started.
pub(crate) struct Usage {
    pub(crate) cpu: BTreeMap<String, f64>,
    pub(crate) parked: BTreeMap<String, u64>,
}

/// What was added to each since then.
pub(crate) fn since<T: Copy + Default>(
    now: &BTreeMap<String, T>,
    then: &BTreeMap<String, T>,
    less: impl Fn(T, T) -> T,
) -> BTreeMap<String, T> {
    let before = |name: &String| then.get(name).copied().unwrap_or_default();
    now.iter().map(|(name, value)| (name.clone(), less(*value, before(name)))).collect()
}
