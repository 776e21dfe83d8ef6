//! How statistics are shown.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use store::history::{
    Backlog, Counted, Outcomes, SlotRow, TargetFilter, TargetStatistics, slot_start,
};
use utoipa::ToSchema;

use super::Name;
use super::query::Asked;
use crate::journeys::{hex, rfc3339};

/// Slots, and their sum.
#[derive(Serialize, ToSchema)]
#[schema(as = Statistics)]
pub(super) struct Series {
    /// When the first slot begins.
    #[schema(format = DateTime)]
    begin: String,
    /// When the last slot ends.
    #[schema(format = DateTime)]
    end: String,
    /// How long slots are: `5m`, `1h` or `1d`.
    resolution: &'static str,
    total: CountsView,
    slots: Vec<SlotView>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsSlot)]
struct SlotView {
    /// When it begins.
    #[schema(format = DateTime)]
    begin: String,
    #[serde(flatten)]
    counts: CountsView,
}

/// What was counted.
#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsCounts)]
struct CountsView {
    attempts: AttemptsView,
    deliveries: DeliveriesView,
    latency: LatencyView,
}

/// Tries at receivers; what was not the receiver's fault is none.
#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsAttempts)]
struct AttemptsView {
    ok: u64,
    failed: u64,
    /// The part of them that went well, rounded down; `null` without any.
    #[schema(required, example = 0.9987)]
    success_rate: Option<f64>,
}

/// Deliveries, by how they ended.
#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsDeliveries)]
struct DeliveriesView {
    #[serde(flatten)]
    ends: EndsView,
    /// The part of them that was delivered, without what was held or suppressed and so
    /// never was to arrive; rounded down; `null` without any.
    #[schema(required, example = 0.9987)]
    success_rate: Option<f64>,
}

/// Deliveries, by how they ended.
#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsEnds)]
struct EndsView {
    delivered: u64,
    rejected: u64,
    exhausted: u64,
    expired: u64,
    suppressed: u64,
    held: u64,
    poisoned: u64,
}

/// How long receivers took to answer, right to a fourth; `null` without any answer.
#[derive(Serialize, ToSchema)]
#[schema(as = StatisticsLatency)]
struct LatencyView {
    #[schema(required)]
    p50_ms: Option<u32>,
    #[schema(required)]
    p99_ms: Option<u32>,
}

/// Targets, the worst first.
#[derive(Serialize, ToSchema)]
#[schema(as = TargetStatisticsList)]
pub(super) struct Targets {
    /// When the first hour that is counted begins.
    #[schema(format = DateTime)]
    begin: String,
    /// When the last one ends.
    #[schema(format = DateTime)]
    end: String,
    targets: Vec<TargetView>,
}

/// A target.
#[derive(Serialize, ToSchema)]
#[schema(as = TargetStatistics)]
pub(super) struct TargetView {
    target_id: String,
    /// `webhook` or `alert`. An alert setting that is deleted counts as a webhook.
    kind: &'static str,
    /// Without what may be secret in it, of a mail with its mailboxes masked, and of its
    /// parent's for a subaccount the host alone, as in failure logs; `null` when nothing was
    /// tried or kept.
    #[schema(required)]
    url: Option<String>,
    /// Of an alert.
    #[schema(required)]
    alert_setting_id: Option<String>,
    #[serde(flatten)]
    counts: CountsView,
    /// When a try went well last, within the range or before.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_success_at: Option<String>,
    /// When one failed last.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    last_failure_at: Option<String>,
    /// Why that one failed, as a short name.
    #[schema(required)]
    last_failure_reason: Option<String>,
    #[serde(flatten)]
    backlog: BacklogView,
}

/// What there is at this moment. A number that is not whole is a bound: there is more.
#[derive(Serialize, ToSchema)]
#[schema(as = Backlog)]
pub(super) struct BacklogView {
    /// Deliveries that wait for a next try, up to 10,000 of the account.
    waiting: u64,
    is_waiting_whole: bool,
    /// What was not delivered and not sent again, up to 10,000, of one target 1,000.
    undelivered: UndeliveredView,
    is_undelivered_whole: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = BacklogUndelivered)]
struct UndeliveredView {
    rejected: u64,
    exhausted: u64,
    expired: u64,
    suppressed: u64,
    held: u64,
    poisoned: u64,
}

impl Series {
    pub(super) fn of(asked: &Asked, rows: &[SlotRow]) -> Self {
        let seconds = asked.resolution.seconds();
        let mut slots: BTreeMap<DateTime<Utc>, Counted> = BTreeMap::new();
        let mut begin = asked.from;
        while begin < asked.to {
            slots.insert(begin, Counted::default());
            begin += TimeDelta::seconds(seconds.into());
        }
        let mut total = Counted::default();
        for row in rows {
            total.add(&row.counted);
            if let Some(slot) = slots.get_mut(&slot_start(row.starts_at, seconds)) {
                slot.add(&row.counted);
            }
        }
        let slot = |(begin, counted): (DateTime<Utc>, Counted)| SlotView {
            begin: rfc3339(begin),
            counts: CountsView::of(&counted),
        };
        Self {
            begin: rfc3339(asked.from),
            end: rfc3339(asked.to),
            resolution: asked.resolution.as_str(),
            total: CountsView::of(&total),
            slots: slots.into_iter().map(slot).collect(),
        }
    }
}

impl CountsView {
    fn of(counted: &Counted) -> Self {
        let Counted { taken, failed, latencies, outcomes } = counted;
        let tried = outcomes.total() - outcomes.held - outcomes.suppressed;
        Self {
            attempts: AttemptsView {
                ok: *taken,
                failed: *failed,
                success_rate: rate(*taken, taken + failed),
            },
            deliveries: DeliveriesView {
                ends: EndsView::of(outcomes),
                success_rate: rate(outcomes.delivered, tried),
            },
            latency: LatencyView {
                p50_ms: latencies.percentile_ms(50),
                p99_ms: latencies.percentile_ms(99),
            },
        }
    }
}

impl EndsView {
    fn of(outcomes: &Outcomes) -> Self {
        let Outcomes { delivered, rejected, exhausted, expired, suppressed, held, poisoned } =
            *outcomes;
        Self { delivered, rejected, exhausted, expired, suppressed, held, poisoned }
    }
}

impl Targets {
    pub(super) fn of(filter: &TargetFilter, targets: Vec<TargetView>) -> Self {
        Self { begin: rfc3339(filter.from), end: rfc3339(filter.to), targets }
    }
}

impl TargetView {
    pub(super) fn of(target: &TargetStatistics, name: Name) -> Self {
        let Name { url, alert_setting_id } = name;
        // Only alerts go to mailboxes.
        let is_mail = url.as_deref().is_some_and(|url| url.starts_with("mailto:"));
        Self {
            target_id: hex(target.target_id),
            kind: if alert_setting_id.is_some() || is_mail { "alert" } else { "webhook" },
            url,
            alert_setting_id,
            counts: CountsView::of(&target.counted),
            last_success_at: target.last_taken_at.map(rfc3339),
            last_failure_at: target.last_failed_at.map(rfc3339),
            last_failure_reason: target.last_reason.clone(),
            backlog: BacklogView::of(&target.backlog),
        }
    }
}

impl BacklogView {
    pub(super) fn of(backlog: &Backlog) -> Self {
        let Outcomes { delivered: _, rejected, exhausted, expired, suppressed, held, poisoned } =
            backlog.undelivered;
        Self {
            waiting: backlog.waiting,
            is_waiting_whole: backlog.is_waiting_whole,
            undelivered: UndeliveredView {
                rejected,
                exhausted,
                expired,
                suppressed,
                held,
                poisoned,
            },
            is_undelivered_whole: backlog.is_undelivered_whole,
        }
    }
}

/// Rounded down to four digits: 1 is all of them, and nothing less.
fn rate(part: u64, whole: u64) -> Option<f64> {
    let in_ten_thousand = (u128::from(part) * 10_000).checked_div(whole.into())?;
    Some(f64::from(u32::try_from(in_ten_thousand).unwrap_or(10_000)) / 10_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_one_for_all_of_them_alone() {
        assert_eq!(rate(0, 0), None);
        assert_eq!(rate(0, 3), Some(0.0));
        assert_eq!(rate(1, 3), Some(0.3333));
        assert_eq!(rate(999_999, 1_000_000), Some(0.9999));
        assert_eq!(rate(u64::MAX, u64::MAX), Some(1.0));
    }
}
