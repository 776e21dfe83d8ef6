//! Whether our own faults are everybody's at the moment.
//!
//! A resolver or a proxy that is away fails every delivery alike; that says nothing of any
//! of them, and none is to be set aside because of it. One that fails while the others
//! arrive, or that is alone, has a fault of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bus::HopKey;
use chrono::{DateTime, TimeDelta, Utc};

/// For how long tries are looked back at, in minutes: longer than the longest wait
/// between two of a delivery, so that even two of them see each other.
const MINUTES: i64 = 12;

/// What has come of the tries of this process lately.
#[derive(Debug, Default)]
pub(crate) struct OurFaults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    by_minute: VecDeque<Minute>,
    /// The delivery that failed last by a fault of ours, and the last one that was another.
    last: Option<(HopKey, DateTime<Utc>)>,
    last_other: Option<(HopKey, DateTime<Utc>)>,
}

#[derive(Debug)]
struct Minute {
    since_epoch: i64,
    ours: u64,
    all: u64,
}

impl OurFaults {
    /// Notes a try.
    pub(crate) fn note(&self, delivery_id: &str, is_ours: bool, now: DateTime<Utc>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since_epoch = now.timestamp() / 60;
        if state.by_minute.back().is_none_or(|minute| minute.since_epoch != since_epoch) {
            state.by_minute.push_back(Minute { since_epoch, ours: 0, all: 0 });
            let is_over = |minute: &Minute| (since_epoch - minute.since_epoch).abs() >= MINUTES;
            state.by_minute.retain(|minute| !is_over(minute));
        }
        if let Some(minute) = state.by_minute.back_mut() {
            minute.all += 1;
            minute.ours += u64::from(is_ours);
        }
        if is_ours {
            let key = HopKey::of(delivery_id, 0);
            if state.last.is_some_and(|(last, _)| last != key) {
                state.last_other = state.last;
            }
            state.last = Some((key, now));
        }
    }

    /// Whether most tries fail by faults of ours, and not those of one delivery alone.
    pub(crate) fn are_common(&self, now: DateTime<Utc>) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |at: DateTime<Utc>| now - at < TimeDelta::minutes(MINUTES);
        let ours: u64 = state.by_minute.iter().map(|minute| minute.ours).sum();
        let all: u64 = state.by_minute.iter().map(|minute| minute.all).sum();
        state.last_other.is_some_and(|(_, at)| is_recent(at)) && ours * 2 > all
    }
}
