//! The clock, passed in wherever time matters.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Tells the time and sleeps. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Time>);

trait Time: Send + Sync {
    fn now(&self) -> DateTime<Utc>;

    fn advance(&self, by: Duration);
}

struct System;

struct Fixed(std::sync::Mutex<DateTime<Utc>>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Arc::new(System))
    }

    /// A clock that stands still, for tests.
    pub fn fixed(at: DateTime<Utc>) -> Self {
        Self(Arc::new(Fixed(std::sync::Mutex::new(at))))
    }

    /// This moment.
    pub fn now(&self) -> DateTime<Utc> {
        self.0.now()
    }

    /// Moves a clock that stands still; the machine's clock goes its own way.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }

    /// Seconds since the epoch.
    pub fn epoch_seconds(&self) -> u64 {
        self.now().timestamp().try_into().unwrap_or(0)
    }

    /// Sleeps for this long.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// How long it is until this moment; zero when it has passed.
    pub fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.now()).max(TimeDelta::zero()).to_std().unwrap_or_default()
    }
}

impl Time for System {
    #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now() + TimeDelta::seconds(crate::crash::clock_offset_s())
    }

    fn advance(&self, _by: Duration) {}
}

impl Time for Fixed {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) += by;
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock")
    }
}
