//! What this process is working on, and what it has finished lately.
//!
//! An ack can get lost and a lease can run out; the broker then hands the
//! message out again, perhaps to this very process. It must not ask the
//! receiver a second time.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::HopKey;
use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};

/// What an ack may take on its way, on top of the lease.
const MARGIN: Duration = Duration::from_secs(30);

/// What is finished is remembered for two leases and a margin at least, and for twice as
/// long at most: a message whose ack was lost comes back after one lease. At 10,000 a
/// second and a lease of thirty seconds these are up to 1.8 million hops in two sets, which
/// take some 30 bytes each: 55 MB. At a tenth of that load it is a tenth.
pub(crate) struct Settled {
    clock: Clock,
    remember: TimeDelta,
    state: Mutex<State>,
}

struct State {
    under_way: HashSet<HopKey>,
    finished: HashSet<HopKey>,
    /// What was finished in the period before.
    finished_before: HashSet<HopKey>,
    period_began: DateTime<Utc>,
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
        let remember = TimeDelta::from_std(lease * 2 + MARGIN).unwrap_or(TimeDelta::hours(1));
        let state = State {
            under_way: HashSet::new(),
            finished: HashSet::new(),
            finished_before: HashSet::new(),
            period_began: clock.now(),
        };
        Self { clock, remember, state: Mutex::new(state) }
    }

    /// Enters a hop, or says what is known of it.
    pub(crate) fn begin(&self, hop: HopKey) -> Known {
        let mut state = self.lock();
        if state.finished.contains(&hop) || state.finished_before.contains(&hop) {
            if chassis::mutant("settled_forgets") {
                return Known::New;
            }
            return Known::Finished;
        }
        if state.under_way.insert(hop) { Known::New } else { Known::UnderWay }
    }

    /// The hop's message was acked.
    pub(crate) fn finish(&self, hop: HopKey) {
        let now = self.clock.now();
        let mut state = self.lock();
        state.under_way.remove(&hop);
        // A clock that was set back begins a period too, so that none goes on for ever.
        if (now - state.period_began).abs() > self.remember {
            state.period_began = now;
            state.finished_before = std::mem::take(&mut state.finished);
        }
        state.finished.insert(hop);
    }

    /// The hop may be begun again once this is dropped, because its message goes
    /// back to the broker or because whoever was at it has panicked.
    pub(crate) fn abandon_on_drop(&self, hop: HopKey) -> Abandon<'_> {
        Abandon(Some((self, hop)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See [`Settled::abandon_on_drop`].
pub(crate) struct Abandon<'a>(Option<(&'a Settled, HopKey)>);

impl Abandon<'_> {
    /// The hop was settled.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        if let Some((settled, hop)) = self.0 {
            settled.lock().under_way.remove(&hop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(delivery: u32, hop: u32) -> HopKey {
        HopKey::of(&format!("{delivery:032x}"), hop)
    }

    #[test]
    fn a_hop_is_begun_once_and_forgotten_in_time() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let settled = Settled::new(Duration::from_secs(30), clock.clone());
        let (a0, a1) = (hop(0, 0), hop(0, 1));
        assert_eq!(settled.begin(a0), Known::New);
        assert_eq!(settled.begin(a0), Known::UnderWay);
        settled.finish(a0);
        assert_eq!(settled.begin(a0), Known::Finished);
        assert_eq!(settled.begin(a1), Known::New);
        drop(settled.abandon_on_drop(a1));
        assert_eq!(settled.begin(a1), Known::New);

        clock.advance(Duration::from_secs(91));
        settled.finish(a1);
        assert_eq!(settled.begin(a0), Known::Finished);
        clock.advance(Duration::from_secs(91));
        settled.finish(hop(0, 2));
        assert_eq!(settled.begin(a0), Known::New);
    }

    #[test]
    fn a_busy_minute_does_not_make_it_forget() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let settled = Settled::new(Duration::from_secs(30), clock.clone());
        for n in 0..250_000 {
            settled.begin(hop(n, 0));
            settled.finish(hop(n, 0));
            clock.advance(Duration::from_micros(240));
        }
        assert!((0..250_000).step_by(997).all(|n| settled.begin(hop(n, 0)) == Known::Finished));
    }
}
