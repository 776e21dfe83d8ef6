//! How figures become charts.

use chrono::{DateTime, TimeDelta, Utc};

use super::figures::{Slot, Statistics};
use crate::chart::{Bars, Column, Lines};

/// Columns of a chart, at most: so many can be told from each other.
const MOST_COLUMNS: usize = 120;

/// How far back the page looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Range {
    Hour,
    Day,
    Week,
    Month,
    Quarter,
}

impl Range {
    pub(super) const ALL: [Self; 5] =
        [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Quarter];

    /// The range of this name; a day for every other name.
    pub(super) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|range| range.name() == name).unwrap_or(Self::Day)
    }

    /// As addresses have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Day => "24h",
            Self::Week => "7d",
            Self::Month => "30d",
            Self::Quarter => "90d",
        }
    }

    /// For people.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Hour => "1 hour",
            Self::Day => "24 hours",
            Self::Week => "7 days",
            Self::Month => "30 days",
            Self::Quarter => "90 days",
        }
    }

    pub(super) const fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(30),
            Self::Quarter => TimeDelta::days(90),
        }
    }

    /// As the APIs call it.
    pub(super) const fn resolution(self) -> &'static str {
        match self {
            Self::Hour | Self::Day => "5m",
            Self::Week => "1h",
            Self::Month | Self::Quarter => "1d",
        }
    }

    fn moment(self, at: DateTime<Utc>) -> String {
        let format = match self {
            Self::Hour | Self::Day => "%H:%M",
            Self::Week => "%a %H:%M",
            Self::Month | Self::Quarter => "%b %-d",
        };
        at.format(format).to_string()
    }
}

/// All of them, over the same time.
#[derive(Debug)]
pub(super) struct Charts {
    pub(super) deliveries: Bars,
    pub(super) rate: Lines,
    pub(super) latency: Lines,
    /// Below each of them: when it begins, its middle, when it ends.
    pub(super) times: [String; 3],
}

impl Charts {
    pub(super) fn of(range: Range, statistics: &Statistics) -> Self {
        let slots = &statistics.slots;
        let groups: Vec<&[Slot]> =
            slots.chunks(slots.len().div_ceil(MOST_COLUMNS).max(1)).collect();
        let sum =
            |group: &[Slot], count: &dyn Fn(&Slot) -> u64| group.iter().map(count).sum::<u64>();
        let columns: Vec<Column> = groups
            .iter()
            .map(|group| Column {
                when: group.first().map(|slot| range.moment(slot.begin)).unwrap_or_default(),
                parts: vec![
                    sum(group, &|slot| slot.counts.deliveries.delivered),
                    sum(group, &|slot| slot.counts.deliveries.others.not_sent()),
                    sum(group, &|slot| slot.counts.deliveries.others.failed()),
                ],
            })
            .collect();
        let rate = groups.iter().map(|group| {
            let ok = sum(group, &|slot| slot.counts.attempts.ok);
            let all = ok + sum(group, &|slot| slot.counts.attempts.failed);
            (ok * 100).checked_div(all).and_then(|percent| u32::try_from(percent).ok())
        });
        let line = |of: &dyn Fn(&Slot) -> Option<u32>| slots.iter().map(of).collect::<Vec<_>>();
        let time =
            |slot: Option<&Slot>| slot.map(|slot| range.moment(slot.begin)).unwrap_or_default();
        Self {
            deliveries: Bars::of(
                &columns,
                &[("delivered", "good"), ("held or suppressed", "wait"), ("not delivered", "bad")],
            ),
            rate: Lines::up_to(100, &[rate.collect()]),
            latency: Lines::of(&[
                line(&|slot| slot.counts.latency.p50_ms),
                line(&|slot| slot.counts.latency.p99_ms),
            ]),
            times: [time(slots.first()), time(slots.get(slots.len() / 2)), "now".to_owned()],
        }
    }
}
