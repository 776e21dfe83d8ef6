//! Retry policies as data: what counts as success, what stops, how long to wait.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{EventType, Family};

/// Jitter is added to a wait, up to this share of it; never taken away.
const JITTER: f64 = 0.1;

/// What one try may take, from its due time to the next wait.
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
            },
            Family::Alert => {
                Self { waits, success: Success::Any2xx, stop: vec![], never_retried: vec![] }
            }
        }
    }

    /// Preset `resilient`: any 2xx is success, and everything is retried.
    pub fn resilient(family: Family, waits: Vec<Duration>) -> Self {
        let mailgun = Self::mailgun(family, waits);
        Self { success: Success::Any2xx, never_retried: vec![], ..mailgun }
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
        match wait {
            Some(_) if now > self.give_up_at(first_due) => AfterFailure::TimeIsUp,
            Some(wait) => AfterFailure::RetryAt(now + jittered(*wait, chance)),
            None => AfterFailure::Exhausted,
        }
    }

    /// The moment after which no further try is planned: first due + all waits,
    /// with all the jitter and with the time that the tries themselves take.
    pub fn give_up_at(&self, first_due: DateTime<Utc>) -> DateTime<Utc> {
        let lengthened = |wait: &Duration| jittered(*wait, 1.0) + to_delta(TRY_ALLOWANCE);
        self.waits.iter().fold(first_due, |at, wait| at + lengthened(wait))
    }
}

/// When to try again what came back through no fault of the receiver: soon at
/// first, then less often. `returns` counts from 0.
pub fn after_our_fault(returns: u32, now: DateTime<Utc>, chance: f64) -> DateTime<Utc> {
    let wait = Duration::from_secs(5 << returns.min(6));
    now + jittered(wait, chance)
}

fn jittered(wait: Duration, chance: f64) -> TimeDelta {
    to_delta(wait.mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0)))
}

fn to_delta(wait: Duration) -> TimeDelta {
    TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(list: &[u64]) -> Vec<Duration> {
        list.iter().map(|m| Duration::from_secs(m * 60)).collect()
    }

    #[test]
    fn statuses_mean_what_each_family_says() {
        let send = RetryPolicy::mailgun(Family::Message, vec![]);
        assert_eq!(send.answered(200), Answered::Taken);
        assert_eq!(send.answered(406), Answered::Rejected);
        for status in [201, 204, 301, 400, 410, 429, 500, 503] {
            assert_eq!(send.answered(status), Answered::Failed, "{status}");
        }
        let alerts = RetryPolicy::mailgun(Family::Alert, vec![]);
        assert_eq!(alerts.answered(204), Answered::Taken);
        assert_eq!(alerts.answered(406), Answered::Failed);
        let resilient = RetryPolicy::resilient(Family::Message, vec![]);
        assert_eq!(resilient.answered(202), Answered::Taken);
        assert_eq!(resilient.answered(406), Answered::Rejected);
    }

    #[test]
    fn waits_follow_the_schedule_and_are_never_early() {
        let policy =
            RetryPolicy::mailgun(Family::Message, minutes(&[10, 10, 15, 30, 60, 120, 240]));
        let first_due = DateTime::<Utc>::UNIX_EPOCH;
        let mut now = first_due;
        for (attempt, wait) in (1..).zip(&policy.waits) {
            for chance in [0.0, 0.5, 1.0] {
                let after =
                    policy.after_failure(EventType::Clicked, attempt, first_due, now, chance);
                let AfterFailure::RetryAt(at) = after else { panic!("attempt {attempt} ended") };
                let waited = (at - now).to_std().expect("positive");
                assert!(waited >= *wait && waited <= wait.mul_f64(1.1), "{attempt}: {waited:?}");
            }
            now += to_delta(*wait);
        }
        let last = policy.after_failure(EventType::Clicked, 8, first_due, now, 0.0);
        assert_eq!(last, AfterFailure::Exhausted);
        assert!(policy.give_up_at(first_due) > now);
    }

    #[test]
    fn delivered_events_get_one_try_unless_resilient() {
        let now = DateTime::<Utc>::UNIX_EPOCH;
        let after = |p: RetryPolicy| p.after_failure(EventType::Delivered, 1, now, now, 0.0);
        let waits = minutes(&[10]);
        assert_eq!(
            after(RetryPolicy::mailgun(Family::Message, waits.clone())),
            AfterFailure::Exhausted
        );
        assert!(matches!(
            after(RetryPolicy::resilient(Family::Message, waits)),
            AfterFailure::RetryAt(_)
        ));
    }

    #[test]
    fn a_schedule_whose_time_is_up_ends_early() {
        let policy = RetryPolicy::mailgun(Family::Alert, minutes(&[1, 2]));
        let first_due = DateTime::<Utc>::UNIX_EPOCH;
        let late = first_due + TimeDelta::minutes(6);
        let after = policy.after_failure(EventType::IpListed, 1, first_due, late, 0.0);
        assert_eq!(after, AfterFailure::TimeIsUp);
    }
}
