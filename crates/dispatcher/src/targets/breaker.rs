//! A breaker: closed, open, probing.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::{Came, delta};

/// Tries in a row without an answer that open a breaker.
const OPENS_AFTER: u32 = 5;
/// How long it is open at first; twice as long each time in a row.
const FIRST_OPEN: Duration = Duration::from_secs(5);
const LONGEST_OPEN: Duration = Duration::from_secs(5 * 60);
/// The longest that a target can ask for by `Retry-After`.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// Whether a target is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Breaker {
    Closed {
        /// Tries in a row without an answer.
        down: u32,
    },
    Open {
        until: DateTime<Utc>,
        /// Times in a row.
        streak: u32,
    },
    /// One try is under way that tells.
    Probing { streak: u32 },
}

/// Whether a try may pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Passage {
    Free,
    /// Alone, to find out.
    Probe,
    /// Not before this moment.
    Not(DateTime<Utc>),
}

/// What other dispatchers should know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// The target is left alone until this moment, for the `streak`th time in a row.
    Opened { until: DateTime<Utc>, streak: u32 },
    /// The target answers again.
    Closed,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::Closed { down: 0 }
    }
}

impl Breaker {
    pub(super) fn is_default(self) -> bool {
        self == Self::default()
    }

    pub(super) fn is_closed(self) -> bool {
        matches!(self, Self::Closed { .. })
    }

    pub(super) fn is_open(self, now: DateTime<Utc>) -> bool {
        matches!(self, Self::Open { until, .. } if now < until)
    }

    pub(super) fn passage(self, under_way: usize, now: DateTime<Utc>) -> Passage {
        match self {
            Self::Closed { .. } => Passage::Free,
            Self::Open { until, .. } if now < until => Passage::Not(until),
            // Those that were under way when it opened still tell.
            Self::Open { .. } if under_way == 0 => Passage::Probe,
            // A probe that was dropped without a report is made again.
            Self::Probing { .. } if under_way == 0 => Passage::Probe,
            Self::Open { .. } | Self::Probing { .. } => Passage::Not(now + delta(FIRST_OPEN)),
        }
    }

    /// A try passes as a probe.
    pub(super) fn probe(&mut self) {
        if let Self::Open { streak, .. } = *self {
            *self = Self::Probing { streak };
        }
    }

    /// No longer than a target itself can ask for: the clock of who says more is wrong.
    pub(super) fn opened_elsewhere(
        &mut self,
        until: DateTime<Utc>,
        streak: u32,
        now: DateTime<Utc>,
    ) {
        let until = until.min(now + delta(LONGEST_ASKED));
        match self {
            Self::Open { until: own, .. } if *own >= until => {}
            breaker => *breaker = Self::Open { until, streak },
        }
    }

    /// `chance` is a random fraction from 0 to 1: targets that went down together
    /// are not probed together.
    pub(super) fn report(&mut self, came: Came, chance: f64, now: DateTime<Utc>) -> Option<Change> {
        let (down, streak) = match *self {
            Self::Closed { down } => (down, 0),
            Self::Open { streak, .. } | Self::Probing { streak } => (OPENS_AFTER, streak),
        };
        let open_for = match came {
            Came::Unknown => return None,
            Came::Taken | Came::Answered => {
                let was_in_trouble = !self.is_closed();
                *self = Self::default();
                return was_in_trouble.then_some(Change::Closed);
            }
            // Tries that were under way when it opened add nothing.
            Came::Down if matches!(self, Self::Open { .. }) => return None,
            Came::Down if down + 1 < OPENS_AFTER => {
                *self = Self::Closed { down: down + 1 };
                return None;
            }
            Came::Down => backed_off(streak),
            Came::Busy(asked) => {
                asked.unwrap_or_default().min(LONGEST_ASKED).max(backed_off(streak))
            }
        };
        let until = now + delta(open_for.mul_f64(1.0 + 0.1 * chance.clamp(0.0, 1.0)));
        let streak = match *self {
            // One more answer of the same trouble.
            Self::Open { streak, .. } => streak,
            _ => streak + 1,
        };
        if matches!(*self, Self::Open { until: own, .. } if own >= until) {
            return None;
        }
        *self = Self::Open { until, streak };
        Some(Change::Opened { until, streak })
    }
}

fn backed_off(streak: u32) -> Duration {
    FIRST_OPEN.saturating_mul(1 << streak.min(16)).min(LONGEST_OPEN)
}
