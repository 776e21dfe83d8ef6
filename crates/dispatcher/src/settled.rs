//! What this process is working on, and what it has finished lately.
//!
//! An ack can get lost and a lease can run out; the broker then hands the
//! message out again, perhaps to this very process. It must not ask the
//! receiver a second time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};

/// Finished hops that are remembered, at most.
const CAPACITY: usize = 200_000;

pub(crate) struct Settled {
    clock: Clock,
    remember: TimeDelta,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hops: HashMap<String, Progress>,
    finished: VecDeque<(DateTime<Utc>, String)>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Progress {
    UnderWay,
    Finished,
}

/// What is known of a hop that was just handed out.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Known {
    /// Nothing: it is entered as under way now.
    New,
    /// This process is at it.
    UnderWay,
    /// This process has settled it; only the ack has not arrived.
    Finished,
}

impl Settled {
    /// Remembers long enough for any ack of a lease to have been missed and repeated.
    pub(crate) fn new(lease: Duration, clock: Clock) -> Self {
        let remember = TimeDelta::from_std(lease * 10).unwrap_or(TimeDelta::hours(1));
        Self { clock, remember, state: Mutex::default() }
    }

    /// Enters a hop, or says what is known of it.
    pub(crate) fn begin(&self, hop: &str) -> Known {
        let mut state = self.lock();
        match state.hops.get(hop) {
            Some(Progress::UnderWay) => Known::UnderWay,
            Some(Progress::Finished) => Known::Finished,
            None => {
                state.hops.insert(hop.to_owned(), Progress::UnderWay);
                Known::New
            }
        }
    }

    /// The hop's message was acked.
    pub(crate) fn finish(&self, hop: &str) {
        let now = self.clock.now();
        let mut state = self.lock();
        if let Some(progress) = state.hops.get_mut(hop) {
            *progress = Progress::Finished;
            state.finished.push_back((now, hop.to_owned()));
        }
        let too_old = now - self.remember;
        while state.finished.front().is_some_and(|(at, _)| *at < too_old)
            || state.finished.len() > CAPACITY
        {
            if let Some((_, hop)) = state.finished.pop_front() {
                state.hops.remove(&hop);
            }
        }
    }

    /// The hop may be begun again once this is dropped, because its message goes
    /// back to the broker or because whoever was at it has panicked.
    pub(crate) fn abandon_on_drop<'a>(&'a self, hop: &'a str) -> Abandon<'a> {
        Abandon(Some((self, hop)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Settled::abandon_on_drop`].
pub(crate) struct Abandon<'a>(Option<(&'a Settled, &'a str)>);

impl Abandon<'_> {
    /// The hop was settled.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some((settled, hop)) = self.0 {
            settled.lock().hops.remove(hop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_is_begun_once_and_forgotten_in_time() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let settled = Settled::new(Duration::from_secs(30), clock.clone());
        assert_eq!(settled.begin("a:0"), Known::New);
        assert_eq!(settled.begin("a:0"), Known::UnderWay);
        settled.finish("a:0");
        assert_eq!(settled.begin("a:0"), Known::Finished);
        assert_eq!(settled.begin("a:1"), Known::New);
        drop(settled.abandon_on_drop("a:1"));
        assert_eq!(settled.begin("a:1"), Known::New);

        clock.advance(Duration::from_secs(301));
        settled.finish("a:1");
        assert_eq!(settled.begin("a:0"), Known::New);
    }
}
