//! Retry policies as data: what counts as success, what stops, how long to wait.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use protocol::v1::PolicyOverride;
use protocol::v1::policy_override::{Preset, Success as OverriddenSuccess};

use crate::{EventType, Family};

/// Jitter is added to a wait, up to this share of it; never taken away.
const JITTER: f64 = 0.1;

/// What one try may take, from its due time to the next wait, unless a request may take so long
/// that it needs more, or all waits are so short that this would be most of the schedule.
const TRY_ALLOWANCE: Duration = Duration::from_secs(60);

/// How deliveries of one family are tried.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RetryPolicy {
    /// Waits between the tries. There is one try more than there are waits.
    pub waits: Vec<Duration>,
    /// Which answers count as taken.
    pub success: Success,
    /// Answers after which there is no further try.
    pub stop: Vec<u16>,
    /// Types that get one try only.
    pub never_retried: Vec<EventType>,
    /// Whether an alert setting whose schedule is used up is disabled.
    pub disables: bool,
    /// What one try may take at least, from its due time to the next wait.
    pub try_takes: Duration,
}

/// Which HTTP statuses count as taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Success {
    /// 200 alone.
    Only200,
    /// Everything from 200 to 299.
    Any2xx,
}

/// What an HTTP status means under a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answered {
    /// The receiver has it.
    Taken,
    /// The receiver will never take it.
    Rejected,
    /// To be tried again.
    Failed,
}

/// What comes after a failed try that was charged to the receiver.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AfterFailure {
    /// Try again at this moment.
    RetryAt(DateTime<Utc>),
    /// The schedule is used up.
    Exhausted,
    /// Delays of ours have eaten up the schedule's time.
    TimeIsUp,
}

impl RetryPolicy {
    /// Preset `mailgun` for this family, with these waits (API reference 7.6, 9.5).
    pub fn mailgun(family: Family, waits: Vec<Duration>) -> Self {
        match family {
            Family::Message => Self {
                waits,
                success: Success::Only200,
                stop: vec![406],
                never_retried: vec![EventType::Delivered],
                disables: false,
                try_takes: TRY_ALLOWANCE,
            },
            Family::Alert => Self {
                waits,
                success: Success::Any2xx,
                stop: vec![],
                never_retried: vec![],
                disables: true,
                try_takes: TRY_ALLOWANCE,
            },
        }
    }

    /// Preset `resilient`: any 2xx is success, and everything is retried.
    pub fn resilient(family: Family, waits: Vec<Duration>) -> Self {
        let mailgun = Self::mailgun(family, waits);
        Self { success: Success::Any2xx, never_retried: vec![], ..mailgun }
    }

    /// This policy, where one try may take so long.
    pub fn with_tries_of(self, try_takes: Duration) -> Self {
        Self { try_takes, ..self }
    }

    /// This policy with what an account or a URL wants otherwise.
    ///
    /// A preset replaces everything but the waits; what is said besides is laid
    /// over it.
    pub fn overridden(&self, family: Family, by: &PolicyOverride) -> Self {
        let mut policy = match by.preset() {
            Preset::Unspecified => self.clone(),
            Preset::Mailgun => Self::mailgun(family, self.waits.clone()),
            Preset::Resilient => Self::resilient(family, self.waits.clone()),
        }
        .with_tries_of(self.try_takes);
        if let Some(waits) = &by.waits {
            let seconds = waits.seconds.iter().copied().map(u64::from);
            policy.waits = seconds.map(Duration::from_secs).collect();
        }
        match by.success() {
            OverriddenSuccess::Unspecified => {}
            OverriddenSuccess::Only200 => policy.success = Success::Only200,
            OverriddenSuccess::Any2xx => policy.success = Success::Any2xx,
        }
        if let Some(stop) = &by.stop {
            let statuses = stop.statuses.iter();
            policy.stop = statuses.filter_map(|status| u16::try_from(*status).ok()).collect();
        }
        if let Some(retry) = by.retry_delivered {
            policy.never_retried.retain(|event_type| *event_type != EventType::Delivered);
            if !retry {
                policy.never_retried.push(EventType::Delivered);
            }
        }
        if let Some(disables) = by.disable_alerts {
            policy.disables = disables && family == Family::Alert;
        }
        policy
    }

    /// What this status means.
    pub fn answered(&self, status: u16) -> Answered {
        let taken = match self.success {
            Success::Only200 => status == 200,
            Success::Any2xx => (200..300).contains(&status),
        };
        match status {
            _ if taken => Answered::Taken,
            status if self.stop.contains(&status) => Answered::Rejected,
            _ => Answered::Failed,
        }
    }

    /// What comes after try number `attempt` (from 1) failed at `now`. `chance`
    /// is a random fraction from 0 to 1, for the jitter.
    ///
    /// The next try is never earlier than its wait and never planned for later
    /// than [`RetryPolicy::give_up_at`]: when delays of ours leave no room for
    /// both, the schedule ends.
    pub fn after_failure(
        &self,
        event_type: EventType,
        attempt: u32,
        first_due: DateTime<Utc>,
        now: DateTime<Utc>,
        chance: f64,
    ) -> AfterFailure {
        if self.never_retried.contains(&event_type) {
            return AfterFailure::Exhausted;
        }
        let wait = attempt.checked_sub(1).and_then(|done| self.waits.get(done as usize));
        let Some(wait) = wait else { return AfterFailure::Exhausted };
        let give_up_at = self.give_up_at(first_due);
        if after(now, *wait) > give_up_at {
            return AfterFailure::TimeIsUp;
        }
        AfterFailure::RetryAt(after(now, jittered(*wait, chance)).min(give_up_at))
    }

    /// The moment after which no further try is planned: first due + all waits,
    /// with all the jitter and with the time that the tries themselves take.
    pub fn give_up_at(&self, first_due: DateTime<Utc>) -> DateTime<Utc> {
        let allowance = self.allowance();
        let lengthened = |wait: &Duration| jittered(*wait, 1.0).saturating_add(allowance);
        let first = after(first_due, allowance);
        self.waits.iter().fold(first, |at, wait| after(at, lengthened(wait)))
    }

    /// What one try may take: a minute, if the longest wait is of some minutes.
    fn allowance(&self) -> Duration {
        let longest = self.waits.iter().max().copied().unwrap_or_default();
        self.try_takes.max(TRY_ALLOWANCE.min(longest / 4))
    }

    /// The moment at which a delivery whose target could not take it is tried for
    /// the last time, or given up: early enough that it has ended by
    /// [`RetryPolicy::give_up_at`].
    pub fn last_chance(&self, first_due: DateTime<Utc>) -> DateTime<Utc> {
        // What a last try may take, and some time to spare.
        let last_try = TimeDelta::from_std(self.allowance() / 4).unwrap_or(TimeDelta::zero());
        self.give_up_at(first_due) - last_try
    }
}

/// When to try again what came back through no fault of the receiver: soon at
/// first, then less often. `returns` counts from 0.
pub fn after_our_fault(returns: u32, now: DateTime<Utc>, chance: f64) -> DateTime<Utc> {
    let wait = Duration::from_secs(5 << returns.min(6));
    after(now, jittered(wait, chance))
}

/// The wait and its jitter. These are added to each other as whole nanoseconds:
/// a wait that went through a float as a whole could come out shorter.
fn jittered(wait: Duration, chance: f64) -> Duration {
    wait.saturating_add(wait.mul_f64(JITTER * chance.clamp(0.0, 1.0)))
}

/// The last moment that there is, for a wait that goes beyond it.
fn after(at: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
    at.checked_add_signed(wait).unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests;
