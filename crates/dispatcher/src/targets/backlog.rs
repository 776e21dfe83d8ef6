//! How many deliveries wait for a target, and of an account.
//!
//! Nobody counts them one by one: they are messages of the broker, and come back
//! to whichever dispatcher is free. Each process counts what it has sent to a
//! later moment, until that moment; the sum over all processes is about what
//! waits. One that starts anew knows of what waits once that has come back to it,
//! so that for a quarter of an hour a backlog may grow beyond its limit.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use protocol::v1::{self, TargetBacklog};

use super::{Target, Targets};

/// The most targets that one process tells the others of.
const MOST_TOLD: usize = 1_000;
/// What is worth telling, as a part of the limit.
const WORTH_TELLING: u64 = 100;
/// A wait is counted to within this part of it.
const FINENESS: i64 = 16;

/// What this process has sent to a later moment, of one target.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: u64,
    /// How many wait until when, in seconds since the epoch. The longer a wait,
    /// the coarser its end: a few hundred ends are all that there are.
    by_end: BTreeMap<i64, u64>,
}

impl Backlog {
    pub(super) fn add(&mut self, until: DateTime<Utc>, now: DateTime<Utc>) {
        let until = until.timestamp() + 1;
        let fraction = u64::try_from((until - now.timestamp()) / FINENESS).unwrap_or_default();
        let step = fraction.next_power_of_two().cast_signed();
        let end = until + (-until).rem_euclid(step);
        *self.by_end.entry(end).or_default() += 1;
        self.waiting += 1;
    }

    pub(super) fn waiting(&mut self, now: DateTime<Utc>) -> u64 {
        while let Some(first) = self.by_end.first_entry()
            && *first.key() <= now.timestamp()
        {
            self.waiting -= first.remove();
        }
        self.waiting
    }

    pub(super) fn is_empty(&mut self, now: DateTime<Utc>) -> bool {
        self.waiting(now) == 0
    }
}

/// The same of a primary account and its subaccounts.
#[derive(Debug, Default)]
pub(super) struct AccountBacklog {
    pub(super) backlog: Backlog,
    /// How many may wait.
    most: u64,
}

impl Targets {
    /// Notes that a delivery of this primary account, or of a subaccount, was sent
    /// to a later moment. At most so many may wait.
    pub(crate) fn account_waits(
        &self,
        account_id: &str,
        most: u64,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
    ) {
        let mut state = self.lock();
        if !state.accounts.contains_key(account_id) {
            state.accounts.insert(account_id.to_owned(), AccountBacklog::default());
        }
        if let Some(account) = state.accounts.get_mut(account_id) {
            account.most = most;
            account.backlog.add(until, now);
        }
    }

    /// Whether so many deliveries of this account wait.
    pub(crate) fn is_account_full(&self, account_id: &str, most: u64, now: DateTime<Utc>) -> bool {
        let mut state = self.lock();
        let elsewhere = state.accounts_waiting_elsewhere.get(account_id).copied();
        let here = state.accounts.get_mut(account_id).map(|account| account.backlog.waiting(now));
        here.unwrap_or_default() + elsewhere.unwrap_or_default() >= most
    }

    /// What the other dispatchers should know of what waits, by account.
    pub(crate) fn account_backlogs(&self, now: DateTime<Utc>) -> Vec<v1::AccountBacklog> {
        let mut backlogs: Vec<v1::AccountBacklog> = Vec::new();
        for (account_id, account) in &mut self.lock().accounts {
            let waiting = account.backlog.waiting(now);
            if waiting >= (account.most / WORTH_TELLING).max(1) {
                backlogs.push(v1::AccountBacklog { account_id: account_id.clone(), waiting });
            }
        }
        backlogs.sort_unstable_by_key(|backlog| std::cmp::Reverse(backlog.waiting));
        backlogs.truncate(MOST_TOLD);
        backlogs
    }

    /// What the other dispatchers have sent to later moments, by account.
    pub(crate) fn set_accounts_waiting_elsewhere(&self, waiting: HashMap<String, u64>) {
        self.lock().accounts_waiting_elsewhere = waiting;
    }

    /// Notes that a delivery of this target was sent to a later moment.
    pub(crate) fn waits(&self, target_id: &str, until: DateTime<Utc>, now: DateTime<Utc>) {
        let mut state = self.lock();
        if !state.targets.contains_key(target_id) {
            state.targets.insert(target_id.to_owned(), Target::new("", now));
        }
        if let Some(target) = state.targets.get_mut(target_id) {
            target.backlog.add(until, now);
        }
    }

    /// Whether as many deliveries wait for this target as may.
    pub(crate) fn is_backlog_full(&self, target_id: &str, now: DateTime<Utc>) -> bool {
        let mut state = self.lock();
        let elsewhere = state.waiting_elsewhere.get(target_id).copied().unwrap_or_default();
        let here = state.targets.get_mut(target_id).map_or(0, |target| target.backlog.waiting(now));
        here + elsewhere >= self.limits.backlog
    }

    /// What the other dispatchers should know of what waits: the longest backlogs.
    pub(crate) fn backlogs(&self, now: DateTime<Utc>) -> Vec<TargetBacklog> {
        let least = (self.limits.backlog / WORTH_TELLING).max(1);
        let mut backlogs: Vec<TargetBacklog> = Vec::new();
        for (target_id, target) in &mut self.lock().targets {
            let waiting = target.backlog.waiting(now);
            if waiting >= least {
                backlogs.push(TargetBacklog { target_id: target_id.clone(), waiting });
            }
        }
        backlogs.sort_unstable_by_key(|backlog| std::cmp::Reverse(backlog.waiting));
        backlogs.truncate(MOST_TOLD);
        backlogs
    }

    /// What the other dispatchers have sent to later moments.
    pub(crate) fn set_waiting_elsewhere(&self, waiting: HashMap<String, u64>) {
        self.lock().waiting_elsewhere = waiting;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;

    use super::super::TargetLimits;
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
    }

    fn targets(backlog: u64) -> Arc<Targets> {
        Targets::new(TargetLimits {
            concurrency: 1,
            rate: None,
            slots: 16,
            backlog,
            longest_try: std::time::Duration::from_secs(10),
        })
    }

    #[test]
    fn what_waits_is_counted_until_its_moment_and_never_for_less() {
        for wait in [0, 1, 7, 60, 901, 3_600, 8 * 3_600] {
            let mut backlog = Backlog::default();
            backlog.add(at(wait), at(0));
            assert_eq!(backlog.waiting(at(wait)), 1, "{wait}");
            let beyond = 2 + wait / 8;
            assert_eq!(backlog.waiting(at(wait + beyond)), 0, "{wait}");
        }
    }

    #[test]
    fn a_large_backlog_takes_little_room() {
        let mut backlog = Backlog::default();
        for n in 0..1_000_000 {
            backlog.add(at(n % (8 * 3_600)), at(0));
        }
        assert_eq!(backlog.waiting(at(0)), 1_000_000);
        assert!(backlog.by_end.len() < 500, "{}", backlog.by_end.len());
    }

    #[test]
    fn a_backlog_is_full_by_what_all_dispatchers_know() {
        let targets = targets(100);
        (0..60).for_each(|_| targets.waits("a", at(60), at(0)));
        assert!(!targets.is_backlog_full("a", at(0)));
        targets.set_waiting_elsewhere(HashMap::from([("a".to_owned(), 40)]));
        assert!(targets.is_backlog_full("a", at(0)));
        assert!(!targets.is_backlog_full("b", at(0)));
        assert!(!targets.is_backlog_full("a", at(70)), "what has come back does not wait");
    }

    #[test]
    fn an_accounts_backlog_is_counted_over_its_targets_and_dispatchers() {
        let targets = targets(100);
        (0..60).for_each(|_| targets.account_waits("a", 100, at(60), at(0)));
        assert!(!targets.is_account_full("a", 100, at(0)));
        targets.set_accounts_waiting_elsewhere(HashMap::from([("a".to_owned(), 40)]));
        assert!(targets.is_account_full("a", 100, at(0)));
        assert!(!targets.is_account_full("a", 200, at(0)), "an account may have more than others");
        assert!(!targets.is_account_full("b", 100, at(0)));
        let told = targets.account_backlogs(at(0));
        assert_eq!(told, [v1::AccountBacklog { account_id: "a".to_owned(), waiting: 60 }]);
        assert!(targets.account_backlogs(at(120)).is_empty());
    }

    #[test]
    fn the_longest_backlogs_are_told_and_short_ones_are_not() {
        let targets = targets(1_000);
        for (target, count) in [("short", 9), ("long", 20), ("longer", 30)] {
            (0..count).for_each(|_| targets.waits(target, at(60), at(0)));
        }
        let told: Vec<_> = targets.backlogs(at(0)).into_iter().map(|b| b.target_id).collect();
        assert_eq!(told, ["longer", "long"]);
        assert!(targets.backlogs(at(120)).is_empty());
    }
}
