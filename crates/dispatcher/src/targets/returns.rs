//! When deliveries come back that wait for targets which are left alone.
//!
//! So many a second, and in the order in which they went, as far as their own waits allow.
//! The order is for the broker's sake: it reads what falls due from the blocks in which it
//! was stored, and answers nobody meanwhile. What was stored together falls due together,
//! so that it reads a block or two; with moments at random it read all there were.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};

/// How many of these come back to one process in a second. Each of them costs some writes,
/// and one a target would do, to find out whether it answers again: a large backlog of
/// dead targets is not to slow the others down.
const A_SECOND: u64 = 500;
/// A backlog that would wait for longer than this, in seconds, comes back faster.
const LONGEST: u64 = 1_350;

/// What lies further ahead, in seconds, is left as it is: another dispatcher's clock is wrong.
const FURTHEST: usize = 86_400;
/// Our own has been set back when it shows so many seconds less than before.
const SET_BACK: i64 = 60;

/// What this process has sent to later moments, second by second.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// The second, since the epoch, of the first number.
    first: i64,
    by_second: VecDeque<u64>,
    waiting: u64,
}

impl Returns {
    /// Takes the first free moment that is not earlier than this one.
    pub(super) fn take(&mut self, earliest: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        self.forget(now);
        let most = A_SECOND.max(self.waiting / LONGEST);
        let from = usize::try_from(earliest.timestamp() - self.first).unwrap_or_default();
        if from > FURTHEST {
            return earliest;
        }
        if self.by_second.len() <= from {
            self.by_second.resize(from + 1, 0);
        }
        let is_full = |count: &&u64| **count >= most;
        let place = from + self.by_second.range(from..).take_while(is_full).count();
        if place == self.by_second.len() {
            self.by_second.push_back(0);
        }
        let taken = self.by_second[place];
        self.by_second[place] += 1;
        self.waiting += 1;
        let second = self.first + i64::try_from(place).unwrap_or_default();
        let into = TimeDelta::microseconds((taken * 1_000_000 / most).cast_signed());
        DateTime::from_timestamp(second, 0).map_or(earliest, |at| earliest.max(at + into))
    }

    /// What has come back waits no more.
    fn forget(&mut self, now: DateTime<Utc>) {
        if now.timestamp() < self.first - SET_BACK {
            *self = Self::default();
        }
        let over = usize::try_from(now.timestamp() - self.first).unwrap_or_default();
        let gone = self.by_second.drain(..over.min(self.by_second.len()));
        self.waiting -= gone.sum::<u64>();
        self.first = self.first.max(now.timestamp());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1_000_000_000 + milliseconds)
    }

    #[test]
    fn they_come_back_in_the_order_in_which_they_went() {
        let mut returns = Returns::default();
        let moments: Vec<_> = (0..2_000)
            .map(|n| {
                let now = at(n / 4);
                returns.take(now + TimeDelta::seconds(5), now)
            })
            .collect();
        assert_eq!(moments[0], at(5_000));
        assert!(moments.is_sorted());
        assert_eq!(moments[1_999], at(8_998));
    }

    #[test]
    fn who_waits_for_longer_holds_up_nobody_who_does_not() {
        let mut returns = Returns::default();
        for _ in 0..1_000 {
            returns.take(at(160_000), at(0));
        }
        assert_eq!(returns.take(at(5_000), at(0)), at(5_000));
        assert_eq!(returns.take(at(5_300), at(0)), at(5_300));
        assert_eq!(returns.take(at(160_000), at(0)), at(162_000));
    }

    #[test]
    fn of_very_many_more_come_back_in_a_second() {
        let full = |seconds: usize| Returns {
            first: at(0).timestamp(),
            by_second: vec![A_SECOND; seconds].into(),
            waiting: A_SECOND * seconds as u64,
        };
        // Up to the longest wait they queue; beyond it there is room again in each second.
        assert_eq!(full(1_350).take(at(5_000), at(0)), at(1_350_000));
        assert!(full(2_000).take(at(5_000), at(0)) < at(6_000));
    }

    #[test]
    fn a_clock_that_is_wrong_takes_no_memory() {
        let mut returns = Returns::default();
        let year = 365 * 86_400 * 1_000;
        assert_eq!(returns.take(at(year), at(0)), at(year));
        assert!(returns.by_second.is_empty());
        // Ours has been set right, once forwards and once backwards.
        assert_eq!(returns.take(at(5_000), at(0)), at(5_000));
        assert_eq!(returns.take(at(year + 5_000), at(year)), at(year + 5_000));
        assert_eq!(returns.take(at(5_000), at(0)), at(5_000));
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut returns = Returns::default();
        for n in 0..25_000 {
            returns.take(at(4 * n), at(4 * n));
        }
        assert_eq!((returns.waiting, returns.by_second.len()), (250, 1));
        returns.take(at(200_000), at(200_000));
        assert_eq!((returns.waiting, returns.by_second.len()), (1, 1));
    }
}
