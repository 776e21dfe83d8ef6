use std::sync::Arc;
use std::time::Duration;

use model::{EventType, Family, RetryPolicy};
use protocol::v1::AcceptedEvent;

use super::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
}

fn work(id: u32, waits: &[u64]) -> Work {
    let waits = waits.iter().copied().map(Duration::from_secs).collect();
    Work {
        delivery: Delivery {
            delivery_id: format!("{id:032x}"),
            first_due: Some(timestamp(at(0))),
            ..Delivery::default()
        },
        event: AcceptedEvent::default(),
        event_type: EventType::IpListed,
        policy: Arc::new(RetryPolicy::mailgun(Family::Alert, waits)),
        primary: None,
        known: None,
    }
}

/// One try, as [`super::super`] settles it. Says when it comes back, or how it has ended.
fn try_once(
    work: &mut Work,
    tried: Tried,
    faults: &OurFaults,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, (End, String)> {
    try_with_reason(work, tried, "local", faults, now)
}

fn try_with_reason(
    work: &mut Work,
    tried: Tried,
    reason: &str,
    faults: &OurFaults,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, (End, String)> {
    let attempted = Attempted {
        reason: reason.into(),
        charged: !matches!(tried, Tried::Ours | Tried::Relay),
        ..work.attempted(work.delivery.attempt + 1, now)
    };
    let both = Now { own: now, earliest: now };
    match next(work, &tried, &attempted, faults, both, 0.5) {
        Next::End { end, reason } => Err((end, reason)),
        Next::Retry { at } => {
            next_hop(&mut work.delivery, attempted.charged, at);
            Ok(at)
        }
    }
}

/// The schedule of an alert, as it is by default: some eight hours.
const EIGHT_HOURS: [u64; 9] = [60, 120, 240, 480, 960, 1_920, 3_840, 7_680, 13_500];

/// One alone: there may be nobody else whose names could be told.
#[test]
fn a_name_that_the_resolver_cannot_tell_poisons_nothing() {
    let faults = OurFaults::default();
    let (mut alone, mut now) = (work(0, &EIGHT_HOURS), at(0));
    let end = loop {
        match try_with_reason(&mut alone, Tried::Ours, "resolver", &faults, now) {
            Ok(at) => now = at,
            Err(end) => break end,
        }
    };
    assert_eq!(end, (End::Expired, "resolver".to_owned()));
    assert!(now - at(0) >= TimeDelta::hours(8), "{now}");
}

#[test]
fn twenty_returns_of_one_delivery_alone_end_poisoned() {
    for beside_others in [false, true] {
        let faults = OurFaults::default();
        let (mut alone, mut now) = (work(0, &EIGHT_HOURS), at(0));
        let mut returns = 0;
        let end = loop {
            if beside_others {
                for other in 1..4 {
                    let taken = Tried::Answered(Answered::Taken);
                    let ended = try_once(&mut work(other, &EIGHT_HOURS), taken, &faults, now);
                    assert_eq!(ended.unwrap_err().0, End::Delivered);
                }
            }
            match try_once(&mut alone, Tried::Ours, &faults, now) {
                Ok(at) => (now, returns) = (at, returns + 1),
                Err(end) => break end,
            }
        };
        assert_eq!((end, returns), ((End::Poisoned, "local".to_owned()), 20));
        assert_eq!(alone.delivery.attempt, 0, "the receiver was charged");
    }
}

#[test]
fn an_outage_of_ours_poisons_nothing_and_every_delivery_still_ends() {
    for (waits, hours) in [(EIGHT_HOURS.as_slice(), 8..=10), (&[1, 1], 2..=2)] {
        let faults = OurFaults::default();
        let mut works: Vec<_> = (0..3_u32).map(|id| (at(id.into()), work(id, waits))).collect();
        let mut ends = Vec::new();
        while let Some(place) = (0..works.len()).min_by_key(|place| works[*place].0) {
            let (now, work) = &mut works[place];
            match try_once(work, Tried::Ours, &faults, *now) {
                Ok(at) => *now = at,
                Err(end) => {
                    ends.push((end, (*now - at(0)).num_hours()));
                    works.remove(place);
                }
            }
        }
        assert_eq!(ends.len(), 3);
        for ((end, reason), after) in ends {
            assert_eq!((end, reason.as_str()), (End::Expired, "local"), "after {after} hours");
            assert!(hours.contains(&after), "after {after} hours");
        }
    }
}

#[test]
fn what_came_back_through_an_outage_goes_on_when_it_is_over() {
    let faults = OurFaults::default();
    let mut works = [work(0, &EIGHT_HOURS), work(1, &EIGHT_HOURS)];
    let mut now = at(0);
    while now < at(3 * 3_600) {
        let back = works.each_mut().map(|work| try_once(work, Tried::Ours, &faults, now));
        now = back.into_iter().map(|back| back.expect("it comes back")).max().expect("two");
    }
    for work in &mut works {
        let ended = try_once(work, Tried::Answered(Answered::Taken), &faults, now);
        assert_eq!(ended, Err((End::Delivered, "ok".to_owned())));
    }
}

#[test]
fn a_clock_that_is_ahead_gives_nothing_up_and_retries_no_earlier() {
    let faults = OurFaults::default();
    let mut ahead = work(0, &[60, 60]);
    let attempted = Attempted { charged: true, attempt: 1, ..Attempted::default() };
    let now = Now { own: at(8 * 3_600), earliest: at(10) };
    let next = next(&mut ahead, &Tried::Theirs, &attempted, &faults, now, 0.0);
    assert_eq!(next, Next::Retry { at: at(8 * 3_600 + 60) });
}

#[test]
fn a_try_that_fails_when_the_schedules_time_is_up_is_the_last() {
    let faults = OurFaults::default();
    // A wait of a minute and two tries have three minutes and a little.
    let mut in_time = work(1, &[60, 60]);
    assert!(try_once(&mut in_time, Tried::Theirs, &faults, at(120)).is_ok());
    let mut too_late = work(2, &[60, 60]);
    let end = try_once(&mut too_late, Tried::Theirs, &faults, at(3_600));
    assert_eq!(end, Err((End::Exhausted, "give_up_at".to_owned())));
}
