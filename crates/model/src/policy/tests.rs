use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

const FIRST_DUE: DateTime<Utc> = DateTime::<Utc>::UNIX_EPOCH;

/// Uncharged returns in a row after which the dispatcher sets a delivery aside.
const MOST_RETURNS: u32 = 20;

/// What the broker's clock and a try take at most while nothing is wrong.
const TICK: Duration = Duration::from_millis(250);
const LONGEST_TRY: Duration = Duration::from_secs(10);

fn minutes(list: &[u64]) -> Vec<Duration> {
    list.iter().map(|m| Duration::from_secs(m * 60)).collect()
}

/// The default waits of the two families (reference §7.6, §9.5): eight hours.
fn eight_hours(family: Family) -> Vec<Duration> {
    match family {
        Family::Message => minutes(&[10, 10, 15, 30, 60, 120, 240]),
        Family::Alert => minutes(&[1, 2, 4, 8, 16, 32, 64, 128, 225]),
    }
}

/// What happens to a delivery each time that it is due.
#[derive(Clone, Debug)]
struct Step {
    /// How late it is handed out.
    late: Duration,
    what: What,
    chance: f64,
}

#[derive(Clone, Debug)]
enum What {
    /// It cannot go now: its target is at its limit, or left alone.
    Parked(Duration),
    /// It came back through a fault of ours.
    OurFault,
    /// The receiver was asked, and this is what came: `None` for no answer.
    Tried { took: Duration, status: Option<u16> },
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum End {
    Delivered,
    Rejected,
    ScheduleUsedUp,
    TimeIsUp,
    Parked,
    Poisoned,
}

/// A life from the first due time to the end.
#[derive(Debug)]
struct Life {
    end: End,
    ended_at: DateTime<Utc>,
    /// Begin and end of the tries that were charged.
    tries: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// What lateness and returns of ours have added, to the last one.
    ours: Duration,
}

/// Lives through the steps, again and again, on a clock of its own, by the rules
/// that the dispatcher follows: returns and parks are not charged, and a park
/// ends at the last chance. What is promised of each step is checked on the way.
fn live(policy: &RetryPolicy, event_type: EventType, steps: &[Step]) -> Life {
    let give_up_at = policy.give_up_at(FIRST_DUE);
    let last_chance = policy.last_chance(FIRST_DUE);
    let (mut due, mut returns, mut ours) = (FIRST_DUE, 0, Duration::ZERO);
    let mut tries = Vec::new();
    for step in steps.iter().cycle() {
        let now = after(due, step.late);
        ours += step.late;
        let ended = |end, ended_at, tries| Life { end, ended_at, tries, ours };
        match &step.what {
            What::Parked(_) if now >= last_chance => return ended(End::Parked, now, tries),
            What::Parked(wait) => due = after(now, *wait).min(last_chance),
            What::OurFault if returns >= MOST_RETURNS => return ended(End::Poisoned, now, tries),
            What::OurFault => {
                due = after_our_fault(returns, now, step.chance);
                returns += 1;
                let waited = (due - now).to_std().expect("never early");
                assert!(waited >= Duration::from_secs(5) && waited <= Duration::from_secs(352));
                ours += waited;
            }
            What::Tried { took, status } => {
                let until = after(now, *took);
                tries.push((now, until));
                returns = 0;
                match status.map_or(Answered::Failed, |status| policy.answered(status)) {
                    Answered::Taken => return ended(End::Delivered, until, tries),
                    Answered::Rejected => return ended(End::Rejected, until, tries),
                    Answered::Failed => {}
                }
                let attempt = u32::try_from(tries.len()).expect("few");
                match policy.after_failure(event_type, attempt, FIRST_DUE, until, step.chance) {
                    AfterFailure::Exhausted => return ended(End::ScheduleUsedUp, until, tries),
                    AfterFailure::TimeIsUp => return ended(End::TimeIsUp, until, tries),
                    AfterFailure::RetryAt(at) => {
                        let wait = policy.waits[tries.len() - 1];
                        assert!(at >= after(until, wait), "early: {at} after {until} + {wait:?}");
                        assert!(at <= after(until, wait + wait.div_f64(9.999)), "more than jitter");
                        assert!(at <= give_up_at, "{at} is planned after {give_up_at}");
                        due = at;
                    }
                }
            }
        }
    }
    unreachable!("steps never end")
}

fn a_policy() -> impl Strategy<Value = (RetryPolicy, EventType)> {
    let types = EventType::ALERTS.into_iter().chain(EventType::WEBHOOKS).collect::<Vec<_>>();
    let wait = prop_oneof![
        Just(Duration::ZERO),
        (1..2_000_000_000_u64).prop_map(Duration::from_nanos),
        (1..7_200_u64).prop_map(Duration::from_secs),
        (0..86_400_000_000_007_u64).prop_map(Duration::from_nanos),
    ];
    let waits = prop_oneof![Just(None), vec(wait, 0..12).prop_map(Some)];
    (select(types), waits, any::<bool>()).prop_map(|(event_type, waits, is_resilient)| {
        let family = event_type.family();
        let waits = waits.unwrap_or_else(|| eight_hours(family));
        let preset = if is_resilient { RetryPolicy::resilient } else { RetryPolicy::mailgun };
        (preset(family, waits), event_type)
    })
}

/// Fractions, and what is none.
fn chance() -> impl Strategy<Value = f64> {
    prop_oneof![0.0..=1.0, Just(0.0), Just(1.0), Just(-1.0), Just(7.0)]
}

fn seconds(range: std::ops::Range<f64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_secs_f64)
}

fn failure() -> impl Strategy<Value = What> {
    let status = prop_oneof![Just(None), select(vec![301, 400, 404, 429, 500, 503]).prop_map(Some)];
    (seconds(0.0..LONGEST_TRY.as_secs_f64()), status)
        .prop_map(|(took, status)| What::Tried { took, status })
}

/// Everything that may happen.
fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let answered = (seconds(0.0..600.0), select(vec![200, 202, 406, 418]))
        .prop_map(|(took, status)| What::Tried { took, status: Some(status) });
    let what = prop_oneof![
        // Not shorter than the shortest park there is.
        3 => seconds(0.25..60.0).prop_map(What::Parked),
        1 => seconds(60.0..20_000.0).prop_map(What::Parked),
        3 => Just(What::OurFault),
        12 => failure(),
        1 => answered,
    ];
    let late = prop_oneof![
        8 => seconds(0.0..TICK.as_secs_f64()),
        1 => seconds(0.0..40_000.0),
    ];
    let step = (late, what, chance()).prop_map(|(late, what, chance)| Step { late, what, chance });
    vec(step, 1..40)
}

/// Failures, and nothing that is ours.
fn failures_alone() -> impl Strategy<Value = Vec<Step>> {
    let step = (seconds(0.0..TICK.as_secs_f64()), failure(), chance());
    vec(step.prop_map(|(late, what, chance)| Step { late, what, chance }), 1..20)
}

proptest! {
    #[test]
    fn no_delivery_is_tried_early_too_often_or_too_long(
        (policy, event_type) in a_policy(),
        steps in any_steps(),
    ) {
        // Whether a try is early is checked at each step.
        let life = live(&policy, event_type, &steps);
        let most = if policy.never_retried.contains(&event_type) { 1 } else { policy.waits.len() + 1 };
        prop_assert!(life.tries.len() <= most, "{life:?}");
        // Nothing takes it beyond the end but what is ours, and the last try.
        let last_try = life.tries.last().map_or(Duration::ZERO, |(began, ended)| {
            (*ended - *began).to_std().expect("forward")
        });
        let latest = after(policy.give_up_at(FIRST_DUE), life.ours + last_try);
        prop_assert!(life.ended_at <= latest, "{life:?}, at most {latest}");
        match life.end {
            End::ScheduleUsedUp => prop_assert_eq!(life.tries.len(), most),
            End::TimeIsUp => prop_assert!(life.tries.len() < most),
            End::Parked => prop_assert!(life.ended_at >= policy.last_chance(FIRST_DUE)),
            End::Delivered | End::Rejected => prop_assert!(!life.tries.is_empty()),
            End::Poisoned => {}
        }
    }

    #[test]
    fn a_receiver_that_fails_gets_all_its_tries_while_nothing_of_ours_delays_them(
        (policy, event_type) in a_policy(),
        steps in failures_alone(),
    ) {
        let life = live(&policy, event_type, &steps);
        let one_try = policy.never_retried.contains(&event_type);
        let tries = if one_try { 1 } else { policy.waits.len() + 1 };
        prop_assert_eq!(life.end, End::ScheduleUsedUp);
        prop_assert_eq!(life.tries.len(), tries);
        prop_assert!(life.ended_at <= after(policy.give_up_at(FIRST_DUE), LONGEST_TRY + TICK));
        for (pair, wait) in life.tries.windows(2).zip(&policy.waits) {
            let waited = (pair[1].0 - pair[0].1).to_std().expect("forward");
            prop_assert!(waited >= *wait && waited <= wait.mul_f64(1.1) + TICK + TICK);
        }
    }

    #[test]
    fn waits_without_end_bring_nothing_down(
        waits in vec((any::<u64>(), 0..1_000_000_000_u32), 0..5),
        attempt in any::<u32>(),
        chance in chance(),
    ) {
        let waits = waits.into_iter().map(|(secs, nanos)| Duration::new(secs, nanos)).collect();
        let policy = RetryPolicy::mailgun(Family::Message, waits);
        let next =
            policy.after_failure(EventType::Clicked, attempt, FIRST_DUE, FIRST_DUE, chance);
        if let AfterFailure::RetryAt(at) = next {
            prop_assert!(at <= policy.give_up_at(FIRST_DUE));
        }
    }
}

#[test]
fn every_end_can_be_reached() {
    let mut runner = TestRunner::deterministic();
    let mut ends = std::collections::BTreeMap::new();
    for _ in 0..400 {
        let new = (a_policy(), any_steps()).new_tree(&mut runner).expect("a life");
        let ((policy, event_type), steps) = new.current();
        *ends.entry(live(&policy, event_type, &steps).end).or_insert(0) += 1;
    }
    // Twenty returns in a row are rare, and have a test of their own.
    for end in [End::Delivered, End::Rejected, End::ScheduleUsedUp, End::TimeIsUp, End::Parked] {
        assert!(ends.get(&end).copied().unwrap_or_default() > 3, "{end:?}: {ends:?}");
    }
}

#[test]
fn only_a_delivery_that_always_comes_back_is_poisoned_and_that_takes_hours_not_days() {
    let policy = RetryPolicy::mailgun(Family::Message, eight_hours(Family::Message));
    let step = |what| Step { late: Duration::ZERO, what, chance: 1.0 };
    let life = live(&policy, EventType::Clicked, &[step(What::OurFault)]);
    assert_eq!((life.end, life.tries.len()), (End::Poisoned, 0));
    assert!(life.ended_at - FIRST_DUE < TimeDelta::hours(2), "{life:?}");

    // One try in between, and the count begins anew.
    let mut steps = vec![step(What::OurFault); 20];
    steps.push(step(What::Tried { took: Duration::ZERO, status: Some(500) }));
    let life = live(&policy, EventType::Clicked, &steps);
    assert_ne!(life.end, End::Poisoned, "{life:?}");
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
fn the_schedule_of_message_events_takes_eight_hours_to_the_minute() {
    let policy = RetryPolicy::mailgun(Family::Message, eight_hours(Family::Message));
    let failed = What::Tried { took: Duration::ZERO, status: Some(500) };
    let step = Step { late: Duration::ZERO, what: failed, chance: 0.0 };
    let life = live(&policy, EventType::Clicked, std::slice::from_ref(&step));
    let minutes = life.tries.iter().map(|(began, _)| (*began - FIRST_DUE).num_minutes());
    assert_eq!(minutes.collect::<Vec<_>>(), [0, 10, 20, 35, 65, 125, 245, 485]);
    assert_eq!(life.end, End::ScheduleUsedUp);
    // With all the jitter, and a minute for each try.
    assert_eq!(policy.give_up_at(FIRST_DUE) - FIRST_DUE, TimeDelta::seconds(485 * 66 + 8 * 60));

    let life = live(&policy, EventType::Delivered, std::slice::from_ref(&step));
    assert_eq!((life.end, life.tries.len()), (End::ScheduleUsedUp, 1));
    let resilient = RetryPolicy::resilient(Family::Message, eight_hours(Family::Message));
    let life = live(&resilient, EventType::Delivered, &[step]);
    assert_eq!((life.end, life.tries.len()), (End::ScheduleUsedUp, 8));
}

#[test]
fn a_schedule_ends_when_delays_of_ours_leave_no_room_for_its_next_wait() {
    let policy = RetryPolicy::mailgun(Family::Alert, minutes(&[1, 2]));
    // Three minutes, a tenth of that, and a minute for each of the three tries.
    let give_up_at = FIRST_DUE + TimeDelta::seconds(378);
    assert_eq!(policy.give_up_at(FIRST_DUE), give_up_at);
    let after = |attempt, now, chance| {
        policy.after_failure(EventType::IpListed, attempt, FIRST_DUE, now, chance)
    };
    assert_eq!(policy.last_chance(FIRST_DUE), give_up_at - TimeDelta::seconds(15));
    let last = give_up_at - TimeDelta::minutes(2);
    assert_eq!(after(2, last, 0.0), AfterFailure::RetryAt(give_up_at));
    assert_eq!(after(2, last, 1.0), AfterFailure::RetryAt(give_up_at), "jitter gives way");
    let later = last + TimeDelta::nanoseconds(1);
    assert_eq!(after(2, later, 0.0), AfterFailure::TimeIsUp);
    assert!(matches!(after(1, later, 0.0), AfterFailure::RetryAt(_)), "a shorter wait fits");
    assert_eq!(after(1, give_up_at, 0.0), AfterFailure::TimeIsUp);
}

#[test]
fn what_an_account_wants_otherwise_is_laid_over_a_preset() {
    use protocol::v1::policy_override::{Statuses, Waits};

    let base = RetryPolicy::mailgun(Family::Message, eight_hours(Family::Message));
    assert_eq!(base.overridden(Family::Message, &PolicyOverride::default()), base);
    let resilient =
        PolicyOverride { preset: Preset::Resilient.into(), ..PolicyOverride::default() };
    assert_eq!(
        base.overridden(Family::Message, &resilient),
        RetryPolicy::resilient(Family::Message, base.waits.clone())
    );
    let otherwise = PolicyOverride {
        preset: Preset::Resilient.into(),
        waits: Some(Waits { seconds: vec![1, 2] }),
        success: OverriddenSuccess::Only200.into(),
        stop: Some(Statuses { statuses: vec![410] }),
        retry_delivered: Some(false),
        disable_alerts: Some(false),
    };
    let policy = base.overridden(Family::Message, &otherwise);
    assert_eq!(policy.waits, [Duration::from_secs(1), Duration::from_secs(2)]);
    assert_eq!(policy.answered(204), Answered::Failed);
    assert_eq!(policy.answered(406), Answered::Failed);
    assert_eq!(policy.answered(410), Answered::Rejected);
    assert_eq!(policy.never_retried, [EventType::Delivered]);
    let alerts = RetryPolicy::mailgun(Family::Alert, vec![]);
    assert!(alerts.disables && !alerts.overridden(Family::Alert, &otherwise).disables);
    // A URL's policy is based on its account's.
    let of_url = PolicyOverride { retry_delivered: Some(true), ..PolicyOverride::default() };
    let policy = policy.overridden(Family::Message, &of_url);
    assert!(policy.never_retried.is_empty() && policy.waits.len() == 2);
}

#[test]
fn a_short_timeout_takes_no_time_away_from_a_long_schedule() {
    let policy = |waits: &[u64], tries: f64| {
        let waits = waits.iter().copied().map(Duration::from_secs).collect();
        RetryPolicy::mailgun(Family::Message, waits).with_tries_of(Duration::from_secs_f64(tries))
    };
    let room = |policy: RetryPolicy| (policy.give_up_at(FIRST_DUE) - FIRST_DUE).num_seconds();
    // One wait with its jitter, and two tries.
    assert_eq!(room(policy(&[600], 60.0)), 660 + 120);
    assert_eq!(room(policy(&[600], 6.0)), 660 + 120);
    assert_eq!(room(policy(&[600], 180.0)), 660 + 360);
    assert_eq!(room(policy(&[10], 0.5)), 11 + 5);
}
