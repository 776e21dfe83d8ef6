//! What the APIs tell of an account's deliveries.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::path;
use crate::query::Query;

/// Slots, and their sum.
#[derive(Debug, Deserialize)]
pub(super) struct Statistics {
    pub(super) total: Counts,
    pub(super) slots: Vec<Slot>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Slot {
    pub(super) begin: DateTime<Utc>,
    #[serde(flatten)]
    pub(super) counts: Counts,
}

#[derive(Debug, Deserialize)]
pub(super) struct Counts {
    pub(super) attempts: Attempts,
    pub(super) deliveries: Deliveries,
    pub(super) latency: Latency,
}

#[derive(Debug, Deserialize)]
pub(super) struct Attempts {
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) success_rate: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Deliveries {
    pub(super) delivered: u64,
    #[serde(flatten)]
    pub(super) others: Undelivered,
    pub(super) success_rate: Option<f64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Latency {
    pub(super) p50_ms: Option<u32>,
    pub(super) p99_ms: Option<u32>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Backlog {
    pub(super) waiting: u64,
    pub(super) is_waiting_whole: bool,
    pub(super) undelivered: Undelivered,
    pub(super) is_undelivered_whole: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Undelivered {
    rejected: u64,
    exhausted: u64,
    expired: u64,
    suppressed: u64,
    pub(super) held: u64,
    poisoned: u64,
}

impl Undelivered {
    /// What was to arrive, and did not.
    pub(super) fn failed(&self) -> u64 {
        self.rejected + self.exhausted + self.expired + self.poisoned
    }

    /// What was not to arrive, for now or at all.
    pub(super) fn not_sent(&self) -> u64 {
        self.held + self.suppressed
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Targets {
    pub(super) targets: Vec<Target>,
}

impl Targets {
    /// Those with which something is wrong.
    pub(super) fn worst(&self) -> Vec<&Target> {
        self.targets.iter().filter(|target| target.is_in_trouble()).collect()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Target {
    pub(super) kind: String,
    pub(super) url: Option<String>,
    pub(super) alert_setting_id: Option<String>,
    #[serde(flatten)]
    pub(super) counts: Counts,
    pub(super) last_success_at: Option<DateTime<Utc>>,
    pub(super) last_failure_at: Option<DateTime<Utc>>,
    pub(super) last_failure_reason: Option<String>,
    #[serde(flatten)]
    pub(super) backlog: Backlog,
}

impl Target {
    fn is_in_trouble(&self) -> bool {
        let Counts { attempts, deliveries, .. } = &self.counts;
        attempts.failed > 0 || deliveries.others.failed() > 0
    }

    pub(super) fn name(&self) -> &str {
        let setting = self.alert_setting_id.as_deref();
        self.url.as_deref().or(setting).unwrap_or("not known any more")
    }

    /// Where its failures are listed, in which URLs stand as here.
    pub(super) fn failures(&self) -> Option<String> {
        let url = self.url.as_deref()?;
        Some(format!("{}{}", path::FAILURES, Query::default().with("url", url)))
    }
}
