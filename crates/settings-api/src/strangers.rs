//! Addresses from which calls come without a key that is known.
//!
//! A key cannot be guessed, but each guess asks the database. So the answer to whoever has
//! guessed often takes a second; keys that are known are answered as ever, also those that
//! come from the same address, as behind a proxy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chassis::Clock;
use chassis::door::network;
use chrono::{DateTime, TimeDelta, Utc};

/// Failures of an address in a minute that are answered at once.
const FREE: u32 = 300;
const WINDOW: TimeDelta = TimeDelta::minutes(1);
/// Addresses that are remembered.
const MOST: usize = 10_000;
/// How long the answer to one failure too many takes.
pub(crate) const DELAY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Strangers {
    clock: Clock,
    seen: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Debug)]
struct Failures {
    count: u32,
    until: DateTime<Utc>,
}

impl Strangers {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, seen: Mutex::default() }
    }

    /// Counts a failure. Says whether its answer is to be delayed.
    pub(crate) fn failed(&self, address: IpAddr) -> bool {
        let (now, address) = (self.clock.now(), network(address));
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST && !seen.contains_key(&address) {
            seen.retain(|_, failures| failures.until > now);
            // So many addresses at once are one stranger's.
            if seen.len() >= MOST {
                return true;
            }
        }
        let begun = || Failures { count: 0, until: now + WINDOW };
        let failures = seen.entry(address).or_insert_with(begun);
        if failures.until <= now {
            *failures = begun();
        }
        failures.count = failures.count.saturating_add(1);
        failures.count > FREE
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn who_fails_often_waits_until_the_minute_is_over() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let strangers = Strangers::new(clock.clone());
        let [one, other] = [1, 2].map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)));
        assert!((0..FREE).all(|_| !strangers.failed(one)));
        assert!(strangers.failed(one) && !strangers.failed(other));
        clock.advance(Duration::from_secs(60));
        assert!(!strangers.failed(one));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let strangers = Strangers::new(clock.clone());
        let address = |n: u32| IpAddr::V4(Ipv4Addr::from_bits(n));
        let most = u32::try_from(MOST).unwrap();
        assert!((0..most).all(|n| !strangers.failed(address(n))));
        assert!(strangers.failed(address(most)));
        clock.advance(Duration::from_secs(60));
        assert!(!strangers.failed(address(most)));
        assert_eq!(strangers.seen.lock().unwrap().len(), 1);
    }
}
