//! Sign-ins that failed, so that nobody tries keys without end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderValue};
use chassis::Clock;
use chassis::door::network;
use chrono::{DateTime, TimeDelta, Utc};

/// Failures of one address in a window, after which it has to wait.
const ALLOWED: u32 = 10;
const WINDOW: TimeDelta = TimeDelta::minutes(1);
/// Addresses remembered at once. When there are more, those of a window that is
/// over are forgotten, and then all.
const MOST: usize = 10_000;

/// Counts failures by address, in this process.
pub(crate) struct Attempts {
    clock: Clock,
    failed: Mutex<HashMap<IpAddr, Failed>>,
}

struct Failed {
    since: DateTime<Utc>,
    times: u32,
}

impl Attempts {
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, failed: Mutex::default() }
    }

    /// Whether this address may try now.
    pub(crate) fn may_try(&self, from: IpAddr) -> bool {
        let now = self.clock.now();
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed
            .get(&network(from))
            .is_none_or(|failed| failed.times < ALLOWED || is_over(failed, now))
    }

    /// Notes a failure.
    pub(crate) fn has_failed(&self, from: IpAddr) {
        let now = self.clock.now();
        let mut all = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, failed| !is_over(failed, now));
        }
        if all.len() >= MOST {
            all.clear();
        }
        let failed = all.entry(network(from)).or_insert(Failed { since: now, times: 0 });
        if is_over(failed, now) {
            *failed = Failed { since: now, times: 0 };
        }
        failed.times += 1;
    }
}

fn is_over(failed: &Failed, now: DateTime<Utc>) -> bool {
    now - failed.since >= WINDOW
}

/// Where a visitor comes from: what the outermost of our proxies has seen, or the
/// other side of the connection.
pub(crate) fn origin(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> IpAddr {
    let Some(back) = proxies.checked_sub(1) else { return peer };
    // A visitor may have written the values further to the left: they may be no text.
    let values = headers.get_all("x-forwarded-for").iter().rev().map(HeaderValue::as_bytes);
    let found = values.flat_map(|value| value.rsplit(|byte| *byte == b',')).nth(back);
    let text = found.and_then(|address| std::str::from_utf8(address).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(peer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_fails_too_often_waits_and_nobody_else() {
        let clock = Clock::fixed(DateTime::from_timestamp(0, 0).unwrap());
        let attempts = Attempts::new(clock.clone());
        let (one, same, other) = ("2001:db8::1", "2001:db8::2:3", "2001:db8:0:1::1");
        for _ in 0..ALLOWED {
            assert!(attempts.may_try(address(one)));
            attempts.has_failed(address(one));
        }
        assert!(!attempts.may_try(address(one)) && !attempts.may_try(address(same)));
        assert!(attempts.may_try(address(other)));
        clock.advance(Duration::from_secs(60));
        assert!(attempts.may_try(address(one)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let clock = Clock::fixed(DateTime::from_timestamp(0, 0).unwrap());
        let attempts = Attempts::new(clock);
        for number in 0..u32::try_from(MOST).unwrap() + 5 {
            attempts.has_failed(IpAddr::V4(number.into()));
        }
        assert!(attempts.failed.lock().unwrap().len() <= MOST);
    }

    #[test]
    fn a_visitor_cannot_say_where_he_comes_from() {
        let headers = HeaderMap::from_iter([(
            "x-forwarded-for".parse().unwrap(),
            "1.1.1.1, 2.2.2.2".parse().unwrap(),
        )]);
        let peer = address("3.3.3.3");
        assert_eq!(origin(peer, &headers, 0), peer);
        assert_eq!(origin(peer, &headers, 1), address("2.2.2.2"));
        assert_eq!(origin(peer, &headers, 2), address("1.1.1.1"));
        assert_eq!(origin(peer, &headers, 3), peer);
        assert_eq!(origin(peer, &HeaderMap::new(), 1), peer);
        // A visitor's own value hides nothing of what our proxy adds, be it text or not.
        let added = HeaderValue::from_bytes(b"caf\xe9, 2.2.2.2").unwrap();
        let headers = HeaderMap::from_iter([("x-forwarded-for".parse().unwrap(), added)]);
        assert_eq!(origin(peer, &headers, 1), address("2.2.2.2"));
    }
}
