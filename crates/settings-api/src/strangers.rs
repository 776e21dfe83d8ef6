//! Addresses from which calls come without a key that is known.
//!
//! A key cannot be guessed, but each guess asks the database. So keys from where guesses came
//! often are looked up two at a time, and the answer to one more guess takes a second.
//! Keys that are known are answered as soon as they are looked up, also those that come from
//! the same address, as behind a proxy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chassis::Clock;
use chassis::door::network;
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Failures of an address in a minute that are answered at once.
const FREE: u32 = 300;
const WINDOW: TimeDelta = TimeDelta::minutes(1);
/// Addresses that are remembered.
const MOST: usize = 10_000;
/// Look-ups at once for an address with more of them: it may be a proxy's, before all customers,
/// and two at once are more of them in a second than it can have calls open.
const AT_ONCE: usize = 2;
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
    /// Of those that came often.
    turns: Arc<Semaphore>,
}

impl Strangers {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, seen: Mutex::default() }
    }

    /// Waits until a key from this address may be looked up: for those before it, where many
    /// have failed. Kept until it is looked up.
    pub(crate) async fn turn(&self, address: IpAddr) -> Option<OwnedSemaphorePermit> {
        let turns = {
            let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            let failures = seen.get(&network(address))?;
            if failures.count <= FREE || failures.until <= self.clock.now() {
                return None;
            }
            Arc::clone(&failures.turns)
        };
        // It is never closed.
        turns.acquire_owned().await.ok()
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
        let turns = || Arc::new(Semaphore::new(AT_ONCE));
        let begun = || Failures { count: 0, until: now + WINDOW, turns: turns() };
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

    use futures_util::FutureExt as _;

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

    #[tokio::test]
    async fn keys_from_where_many_failed_are_looked_up_two_at_a_time() {
        let clock = Clock::fixed(DateTime::UNIX_EPOCH);
        let strangers = Strangers::new(clock.clone());
        let [one, other] = [1, 2].map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)));
        assert!((0..=FREE).any(|_| strangers.failed(one)));
        let first = strangers.turn(one).await.expect("a turn");
        let second = strangers.turn(one).await.expect("a turn");
        assert!(strangers.turn(one).now_or_never().is_none(), "three at a time");
        assert!(strangers.turn(other).now_or_never().is_some_and(|turn| turn.is_none()));
        drop((first, second));
        assert!(strangers.turn(one).now_or_never().is_some());
        clock.advance(Duration::from_secs(60));
        assert!(strangers.turn(one).await.is_none(), "the minute is over");
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
