//! How deliveries have ended, as history has it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use crate::platform::Platform;
use crate::report::rounded;

/// How long a request may take: what a last try may need, once it has begun.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// What an end may be late: the broker's clock ticks every quarter of a second,
/// and whatever is due in the same second is worked on one after the other.
const TOLERANCE: Duration = Duration::from_secs(5);
/// How long history may take to hear of the last end.
const HISTORY_BEHIND: Duration = Duration::from_secs(60);

/// When deliveries are given up that began with this schedule.
#[derive(Clone, Debug)]
pub(crate) struct Schedule(pub(crate) Vec<Duration>);

impl Schedule {
    /// The value of the setting.
    pub(crate) fn setting(&self) -> String {
        let waits = self.0.iter().map(|wait| format!("{}s", wait.as_secs()));
        waits.collect::<Vec<_>>().join(",")
    }

    /// From first due to `give_up_at`: every wait with its tenth of jitter, and a
    /// minute for the try before it.
    pub(crate) fn give_up_after(&self) -> Duration {
        let first = Duration::from_secs(60);
        first
            + self
                .0
                .iter()
                .map(|wait| wait.mul_f64(1.1) + Duration::from_secs(60))
                .sum::<Duration>()
    }

    /// By when everything has to be over that is published until now.
    pub(crate) fn over_after(&self) -> Duration {
        self.give_up_after() + REQUEST_LIMIT + TOLERANCE + HISTORY_BEHIND
    }
}

/// How the deliveries of one account have ended.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Ends {
    /// Deliveries that were to be made.
    pub(crate) published: u64,
    /// Those that have ended.
    pub(crate) ended: u64,
    /// By end and its reason.
    pub(crate) by_end: BTreeMap<String, u64>,
    /// Tries of the delivery that was tried most.
    pub(crate) most_tries: u64,
    /// The end that was latest in relation to its `give_up_at`: below 0, all
    /// ended before.
    pub(crate) latest_end_after_give_up_s: f64,
}

impl Ends {
    /// Those of several accounts together.
    pub(crate) fn total(all: Vec<Self>) -> Self {
        let latest = all.iter().map(|ends| ends.latest_end_after_give_up_s);
        let mut total = Self {
            latest_end_after_give_up_s: latest.fold(f64::NEG_INFINITY, f64::max),
            ..Self::default()
        };
        for ends in all {
            total.published += ends.published;
            total.ended += ends.ended;
            total.most_tries = total.most_tries.max(ends.most_tries);
            for (end, count) in ends.by_end {
                *total.by_end.entry(end).or_default() += count;
            }
        }
        total
    }

    /// What is not as it should be, in words.
    pub(crate) fn failures(&self, whose: &str) -> Vec<String> {
        let mut failures = Vec::new();
        if self.ended != self.published {
            failures.push(format!("{whose}: {} of {} ended", self.ended, self.published));
        }
        let allowed = (REQUEST_LIMIT + TOLERANCE).as_secs_f64();
        let latest = self.latest_end_after_give_up_s;
        if latest > allowed {
            failures.push(format!("{whose}: an end was {latest} s after its give_up_at"));
        }
        failures
    }
}

impl Platform {
    /// How the deliveries of this account have ended so far.
    pub(crate) fn ends(&self, account: &str, published: u64, schedule: &Schedule) -> Result<Ends> {
        // An event that was routed twice counts from the first time.
        let rows = self.query(&format!(
            "SELECT e.outcome || ': ' || e.reason, count(*), max(e.attempts), \
             max(extract(epoch FROM e.ended_at - r.first_due)) \
             FROM accounts a JOIN ends e USING (account_id) \
             LEFT JOIN (SELECT event_key, min(routed_at) AS first_due FROM routing_decisions \
             GROUP BY event_key) r USING (event_key) WHERE a.name = '{account}' GROUP BY 1"
        ))?;
        let mut ends = Ends { published, ..Ends::default() };
        let mut latest = f64::NEG_INFINITY;
        for row in rows.lines() {
            let mut columns = row.split('|');
            let mut column = || columns.next().context("a row has four columns");
            let end = column()?.to_owned();
            let count: u64 = column()?.parse()?;
            ends.most_tries = ends.most_tries.max(column()?.parse()?);
            // Without a routing there is no telling: that is a failure as well.
            latest = latest.max(column()?.parse().unwrap_or(f64::INFINITY));
            ends.ended += count;
            ends.by_end.insert(end, count);
        }
        let give_up_after = schedule.give_up_after().as_secs_f64();
        ends.latest_end_after_give_up_s = rounded(latest - give_up_after);
        Ok(ends)
    }

    /// How many deliveries of these accounts have ended undelivered: the cheap question.
    pub(crate) fn undelivered(&self, accounts: &[String]) -> Result<u64> {
        let count = self.query(&format!(
            "SELECT count(*) FROM ends WHERE outcome <> 'delivered' AND account_id IN \
             (SELECT account_id FROM accounts WHERE name IN ('{}'))",
            accounts.join("','")
        ))?;
        Ok(count.trim().parse()?)
    }

    /// Waits until so many deliveries of these accounts have ended undelivered,
    /// or until the moment after which that is a failure.
    pub(crate) async fn wait_for_undelivered(
        &self,
        accounts: &[String],
        wanted: u64,
        deadline: Instant,
    ) -> Result<()> {
        while self.undelivered(accounts)? < wanted && Instant::now() < deadline {
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_ends_after_its_waits_and_a_minute_each() {
        let schedule = Schedule(vec![Duration::from_secs(10), Duration::from_secs(20)]);
        assert_eq!(schedule.setting(), "10s,20s");
        assert_eq!(schedule.give_up_after(), Duration::from_secs(213));
    }

    #[test]
    fn what_is_missing_or_late_is_a_failure() {
        let good =
            Ends { published: 2, ended: 2, latest_end_after_give_up_s: 14.9, ..Ends::default() };
        assert!(good.failures("x").is_empty());
        let lost = Ends { ended: 1, ..good };
        assert_eq!(lost.failures("x").len(), 1);
        let late = Ends { latest_end_after_give_up_s: 15.1, ..lost };
        assert_eq!(late.failures("x").len(), 2);
    }
}
