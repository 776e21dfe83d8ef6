//! Nobody's clock is believed alone.
//!
//! Retries are fired by the broker's clock and planned by ours. A process compares the two,
//! plans by the broker's, gives nothing up before both say that its time is over, and is
//! not ready while they disagree.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bus::Bus;
use chassis::{Clock, Readiness};
use chrono::{DateTime, TimeDelta, Utc};
use protocol::v1::Delivery;

use crate::settle::{Now, moment, timestamp};

/// How often to compare.
const EVERY: Duration = Duration::from_secs(10);
/// Less than this is the way to the broker and back, and counts as none.
const NOTHING: TimeDelta = TimeDelta::seconds(1);
/// How far from the moment at which the broker stored it a delivery may say that it was
/// first due.
const FIRST_DUE_MARGIN: TimeDelta = TimeDelta::seconds(60);

/// How far this process's clock is ahead of the broker's.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    ahead_ms: AtomicI64,
}

impl Clocks {
    /// By how much ours is ahead of the broker's; nothing when they agree about.
    pub(crate) fn ahead(&self) -> TimeDelta {
        TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Relaxed))
    }

    /// This moment, by both clocks.
    pub(crate) fn now(&self, clock: &Clock) -> Now {
        let own = clock.now();
        Now { own, earliest: own.min(own - self.ahead()) }
    }

    /// Compares the clocks until the process ends.
    pub(crate) async fn keep_comparing(
        self: Arc<Self>,
        bus: Bus,
        clock: Clock,
        most: Duration,
        readiness: Readiness,
    ) {
        let most = TimeDelta::from_std(most).unwrap_or(TimeDelta::MAX);
        loop {
            match bus.ahead_of_broker().await {
                Ok(ahead) => self.note(ahead, most, &readiness),
                // Readiness tells of a broker that is away.
                Err(error) => tracing::debug!(%error, "cannot compare clocks with the broker"),
            }
            clock.sleep(EVERY).await;
        }
    }

    fn note(&self, ahead: TimeDelta, most: TimeDelta, readiness: &Readiness) {
        metrics::gauge!("postrider_clock_skew_seconds").set(ahead.as_seconds_f64());
        let agree = ahead.abs() <= most;
        if !agree {
            tracing::error!(
                ahead_seconds = ahead.as_seconds_f64(),
                "the clocks of this process and of the broker disagree"
            );
        }
        readiness.set("clock", agree);
        let counts = ahead.abs() > NOTHING;
        let ahead_ms = if counts { ahead.num_milliseconds() } else { 0 };
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
    }
}

/// Has the broker witness when a delivery was first due: it stored its first hop then. By
/// the clock of whoever made it alone, it could be over before it was tried.
pub(crate) fn witness_first_due(delivery: &mut Delivery, stored_at: DateTime<Utc>) {
    let is_first = delivery.hop == 0;
    let first_due = moment(delivery.first_due.as_ref());
    let is_off = first_due.is_none_or(|due| (due - stored_at).abs() > FIRST_DUE_MARGIN);
    if is_first && is_off {
        delivery.first_due = Some(timestamp(stored_at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
    }

    #[test]
    fn when_a_delivery_was_first_due_is_witnessed_by_the_broker() {
        let delivery = |hop, first_due| Delivery {
            hop,
            first_due: Some(timestamp(at(first_due))),
            ..Delivery::default()
        };
        for (hop, first_due, then) in
            [(0, -8 * 3_600, 0), (0, 8 * 3_600, 0), (0, -30, -30), (1, -8 * 3_600, -8 * 3_600)]
        {
            let mut delivery = delivery(hop, first_due);
            witness_first_due(&mut delivery, at(0));
            assert_eq!(moment(delivery.first_due.as_ref()), Some(at(then)), "{hop} {first_due}");
        }
    }

    #[test]
    fn nothing_is_given_up_before_both_clocks_say_so() {
        let (clock, readiness) = (Clock::fixed(at(0)), Readiness::default());
        let clocks = Clocks::default();
        let most = TimeDelta::seconds(30);
        for (ahead_ms, earliest, is_ready) in [
            (800, 0, true),
            (20_000, -20, true),
            (8 * 3_600_000, -8 * 3_600, false),
            (-40_000, 0, false),
        ] {
            clocks.note(TimeDelta::milliseconds(ahead_ms), most, &readiness);
            let now = clocks.now(&clock);
            assert_eq!((now.own, now.earliest), (at(0), at(earliest)), "{ahead_ms}");
            assert_eq!(readiness.missing().is_empty(), is_ready, "{ahead_ms}");
        }
    }
}
