//! How many events of one customer are taken, so that none of them fills the broker.
//!
//! Each process counts for itself: nobody has to be asked while events come in.
//! With several of them a customer gets as often as much, if its callers spread
//! their calls.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Events between two sweeps of accounts that have all of their allowance again.
const SWEEP_EVERY: u32 = 10_000;

/// What has been taken lately, by primary account.
#[derive(Debug)]
pub(crate) struct EventQuota {
    /// Events in a second; 0 for no limit.
    per_second: u32,
    /// How many seconds' worth of them may come at once.
    burst: TimeDelta,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When an account has all of its allowance again.
    whole_at: HashMap<String, DateTime<Utc>>,
    until_sweep: u32,
}

/// An event that is too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct TooMany {
    /// What the account may send in a second.
    pub(crate) per_second: u32,
    /// When there is room for the next one.
    pub(crate) retry_after: Duration,
}

impl EventQuota {
    pub(crate) fn new(per_second: u32, burst: Duration) -> Self {
        let burst = TimeDelta::from_std(burst).unwrap_or(TimeDelta::MAX);
        Self { per_second, burst, state: Mutex::default() }
    }

    /// Takes one event of this account, whose own quota is in force if it has one.
    pub(crate) fn take(
        &self,
        account_id: &str,
        own: Option<u32>,
        now: DateTime<Utc>,
    ) -> Result<(), TooMany> {
        let per_second = own.unwrap_or(self.per_second);
        if per_second == 0 {
            return Ok(());
        }
        let share = TimeDelta::nanoseconds(1_000_000_000 / i64::from(per_second));
        // One event at a time is always possible.
        let burst = self.burst.max(share);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let whole_at = state.whole_at.get(account_id).copied().unwrap_or(now).max(now) + share;
        let over = whole_at - now - burst;
        if over > TimeDelta::zero() {
            return Err(TooMany { per_second, retry_after: over.to_std().unwrap_or_default() });
        }
        match state.whole_at.get_mut(account_id) {
            Some(there) => *there = whole_at,
            None => {
                state.whole_at.insert(account_id.to_owned(), whole_at);
            }
        }
        state.until_sweep = state.until_sweep.saturating_sub(1);
        if state.until_sweep == 0 {
            state.until_sweep = SWEEP_EVERY;
            state.whole_at.retain(|_, whole_at| *whole_at > now);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms)
    }

    #[test]
    fn a_burst_is_taken_and_then_what_is_allowed_in_a_second() {
        let quota = EventQuota::new(10, Duration::from_secs(2));
        let taken = |at| (0..100).filter(|_| quota.take("a", None, at).is_ok()).count();
        assert_eq!(taken(at(0)), 20);
        let too_many = quota.take("a", None, at(0)).expect_err("too many");
        assert_eq!(too_many.retry_after, Duration::from_millis(100));
        assert_eq!(taken(at(1_000)), 10);
        assert_eq!(taken(at(60_000)), 20, "nobody saves up more than the burst");
        assert!(quota.take("b", None, at(0)).is_ok(), "another account is another matter");
    }

    #[test]
    fn an_accounts_own_quota_is_in_force_and_zero_is_none() {
        let quota = EventQuota::new(1, Duration::ZERO);
        let taken = |id, own| (0..50).filter(|_| quota.take(id, own, at(0)).is_ok()).count();
        assert_eq!(taken("a", None), 1);
        assert_eq!(taken("b", Some(0)), 50);
        assert_eq!(EventQuota::new(0, Duration::ZERO).take("a", None, at(0)), Ok(()));
        // What is whole again is forgotten.
        (0..SWEEP_EVERY * 2).for_each(|n| {
            let _ = quota.take(&n.to_string(), None, at(i64::from(n) * 10));
        });
        let known = quota.state.lock().expect("no panic").whole_at.len();
        assert!(known <= SWEEP_EVERY as usize + 100, "{known}");
    }
}
