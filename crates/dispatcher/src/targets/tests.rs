use std::collections::BTreeMap;
use std::iter;

use super::*;

const LONGEST: Duration = Duration::from_secs(10);

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_000_000 + seconds)
}

fn targets(concurrency: u32, slots: usize) -> Arc<Targets> {
    Targets::new(TargetLimits {
        concurrency,
        rate: None,
        slots,
        backlog: u64::MAX,
        longest_try: LONGEST,
    })
}

#[track_caller]
fn go(targets: &Arc<Targets>, id: &str, now: DateTime<Utc>) -> Permit {
    match targets.admit("", id, 0, 0.0, now) {
        Admission::Go(permit) => permit,
        other => panic!("{id} may not go: {other:?}"),
    }
}

#[track_caller]
fn parked(
    targets: &Arc<Targets>,
    id: &str,
    parks: u32,
    now: DateTime<Utc>,
) -> (DateTime<Utc>, Wait) {
    match targets.admit("", id, parks, 0.0, now) {
        Admission::Park { at, wait } => (at, wait),
        other => panic!("{id} is not parked: {other:?}"),
    }
}

fn report(permit: Permit, came: Came, now: DateTime<Utc>) -> Option<Change> {
    permit.report(came, Duration::from_millis(100), 0.0, now)
}

/// Opens a target's breaker by five tries without an answer.
fn open(targets: &Arc<Targets>, id: &str, now: DateTime<Utc>) -> Option<Change> {
    (0..5).fold(None, |_, _| report(go(targets, id, now), Came::Down, now))
}

#[test]
fn a_target_has_its_limit_and_the_rest_is_spread() {
    let targets = targets(2, 4_096);
    let first = go(&targets, "a", at(0));
    let _second = go(&targets, "a", at(0));
    let (one, wait) = parked(&targets, "a", 0, at(0));
    let (two, _) = parked(&targets, "a", 0, at(0));
    assert_eq!(wait, Wait::Concurrency);
    assert!(one >= at(0) + SHORTEST_PARK && two > one, "{one} {two}");
    let _other = go(&targets, "b", at(0));
    drop(first);
    let _third = go(&targets, "a", at(0));
}

#[test]
fn a_target_that_works_fast_has_a_queue() {
    let targets = targets(2, 4_096);
    report(go(&targets, "a", at(0)), Came::Taken, at(0));
    let under_way = [go(&targets, "a", at(0)), go(&targets, "a", at(0))];
    let queue = |at| match targets.admit("", "a", 0, 0.0, at) {
        Admission::Queue(turn) => turn,
        other => panic!("no queue: {other:?}"),
    };
    let mut first = queue(at(0));
    let gone = queue(at(0));
    let mut third = queue(at(0));
    assert!(first.try_recv().is_err());
    let [one, two] = under_way;
    report(one, Came::Taken, at(0));
    let _first = first.try_recv().expect("its turn");
    drop(gone);
    drop(two);
    let third = third.try_recv().expect("its turn, since the one before has gone");

    // At a hundred milliseconds a try and two at once, half a second is ten places.
    let waiting: Vec<_> = (0..10).map(|_| queue(at(0))).collect();
    assert_eq!(parked(&targets, "a", 0, at(0)).1, Wait::Concurrency);
    // A target that has kept a try waiting has no queue any more.
    assert_eq!(parked(&targets, "a", 0, at(2)).1, Wait::Concurrency);
    // One in trouble sends all of them away, to ask again.
    let asked = Came::Busy(Some(Duration::from_secs(60)));
    report(third, asked, at(2));
    assert!(waiting.into_iter().all(|mut turn| turn.try_recv().is_err()));
}

#[test]
fn what_a_fast_target_has_no_room_for_comes_back_at_its_pace() {
    let targets = targets(50, 8);
    for _ in 0..40 {
        let permit = go(&targets, "a", at(0));
        permit.report(Came::Taken, Duration::from_millis(5), 0.0, at(0));
    }
    let _under_way: Vec<_> = (0..50).map(|_| go(&targets, "a", at(0))).collect();
    let Admission::Queue(_turn) = targets.admit("", "a", 0, 0.0, at(0)) else { panic!("no queue") };
    // Fifty at a time and five milliseconds each are ten in a millisecond.
    let last = (0..1_000).map(|_| parked(&targets, "a", 0, at(0)).0).max().unwrap();
    assert!(last < at(0) + SHORTEST_PARK + TimeDelta::milliseconds(110), "{last}");
}

#[test]
fn the_queue_of_a_target_that_is_fast_again_is_pulled_in() {
    let targets = targets(64, 4_096);
    report(go(&targets, "a", at(0)), Came::Taken, at(0));
    let hanging: Vec<_> = (0..64).map(|_| go(&targets, "a", at(0))).collect();
    let last = (0..10_000).map(|_| parked(&targets, "a", 0, at(5)).0).max().unwrap();
    assert!(last > at(600), "{last}");
    hanging.into_iter().for_each(|permit| {
        permit.report(Came::Taken, Duration::from_millis(50), 0.0, at(6));
    });
    // All of it works at its old pace again.
    for _ in 0..64 {
        go(&targets, "a", at(6)).report(Came::Taken, Duration::from_millis(50), 0.0, at(6));
    }
    let _under_way: Vec<_> = (0..64).map(|_| go(&targets, "a", at(7))).collect();
    let queued = |targets: &Arc<Targets>| match targets.admit("", "a", 0, 0.0, at(7)) {
        Admission::Park { at, .. } => Some(at),
        _ => None,
    };
    let next = (0..2_000).find_map(|_| queued(&targets)).expect("one is parked");
    assert!(next < at(8), "{next}");
}

#[test]
fn targets_that_keep_tries_waiting_share_a_quarter() {
    let targets = targets(64, 8);
    for id in ["a", "b"] {
        report(go(&targets, id, at(0)), Came::Taken, at(0));
    }
    let _hanging = [go(&targets, "a", at(0)), go(&targets, "b", at(0))];
    // Two of eight places, from the moment on at which they may be hanging.
    let _late = [go(&targets, "a", at(2)), go(&targets, "b", at(2))];
    assert_eq!(parked(&targets, "a", 0, at(2)).1, Wait::UnprovenShare);
}

#[test]
fn five_tries_without_an_answer_open_and_a_probe_closes() {
    let targets = targets(64, 4_096);
    let opened = open(&targets, "a", at(0)).expect("opened");
    assert_eq!(opened, Change::Opened { until: at(5), streak: 1 });
    let (until, wait) = parked(&targets, "a", 0, at(1));
    assert_eq!(wait, Wait::Breaker);
    assert!(until >= at(5));
    assert_eq!(targets.open_breakers(at(1)), 1);

    // One probe alone.
    let probe = go(&targets, "a", at(6));
    parked(&targets, "a", 0, at(6));
    assert_eq!(report(probe, Came::Taken, at(6)), Some(Change::Closed));
    let _free = [go(&targets, "a", at(6)), go(&targets, "a", at(6))];
}

#[test]
fn a_probe_that_fails_doubles_the_time_up_to_a_bound() {
    let targets = targets(64, 4_096);
    let mut now = at(0);
    let mut change = open(&targets, "a", now);
    let mut lengths = Vec::new();
    for _ in 0..9 {
        let Some(Change::Opened { until, .. }) = change else { panic!("not opened: {change:?}") };
        lengths.push((until - now).num_seconds());
        now = until;
        change = report(go(&targets, "a", now), Came::Down, now);
    }
    assert_eq!(lengths, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
}

#[test]
fn a_probe_that_is_lost_is_made_again() {
    let targets = targets(64, 4_096);
    open(&targets, "a", at(0));
    drop(go(&targets, "a", at(6)));
    let _again = go(&targets, "a", at(6));
}

#[test]
fn any_answer_counts_as_alive_and_only_a_success_proves() {
    let targets = targets(64, 4);
    for _ in 0..20 {
        assert_eq!(report(go(&targets, "a", at(0)), Came::Answered, at(0)), None);
    }
    // One of four slots is for targets without a success.
    let _held = go(&targets, "a", at(0));
    assert_eq!(parked(&targets, "b", 0, at(0)).1, Wait::UnprovenShare);
    report(_held, Came::Taken, at(0));
    let _proven = [go(&targets, "a", at(0)), go(&targets, "a", at(0)), go(&targets, "b", at(0))];
    // A success does not speak for ever.
    drop(_proven);
    let _late = go(&targets, "b", at(601));
    assert_eq!(parked(&targets, "a", 0, at(601)).1, Wait::UnprovenShare);
}

#[test]
fn who_asks_to_be_left_alone_is() {
    let targets = targets(64, 4_096);
    let asked = Came::Busy(Some(Duration::from_secs(120)));
    let change = report(go(&targets, "a", at(0)), asked, at(0));
    assert_eq!(change, Some(Change::Opened { until: at(120), streak: 1 }));
    assert_eq!(parked(&targets, "a", 0, at(60)).1, Wait::Breaker);
    // A day is too much to ask.
    let asked = Came::Busy(Some(Duration::from_secs(86_400)));
    let Some(Change::Opened { until, .. }) = report(go(&targets, "b", at(0)), asked, at(0)) else {
        panic!("not opened")
    };
    assert_eq!(until, at(900));
}

#[test]
fn what_others_know_is_taken_over() {
    let targets = targets(64, 4_096);
    targets.opened_elsewhere("a", at(60), 3, at(0));
    assert_eq!(parked(&targets, "a", 0, at(0)).1, Wait::Breaker);
    targets.closed_elsewhere("a");
    drop(go(&targets, "a", at(0)));

    // The clock of one dispatcher is not believed by all the others.
    targets.opened_elsewhere("b", at(8 * 3_600), 1, at(0));
    assert_eq!(parked(&targets, "b", 0, at(899)).1, Wait::Breaker);
    drop(go(&targets, "b", at(901)));

    // Limits are shared by those that live.
    targets.set_live(32);
    let _two = [go(&targets, "a", at(0)), go(&targets, "a", at(0))];
    assert_eq!(parked(&targets, "a", 0, at(0)).1, Wait::Concurrency);
}

#[test]
fn a_target_that_fails_fast_has_a_queue_too() {
    let targets = targets(2, 4_096);
    report(go(&targets, "a", at(0)), Came::Answered, at(0));
    let [first, _second] = [go(&targets, "a", at(1)), go(&targets, "a", at(1))];
    let Admission::Queue(mut turn) = targets.admit("", "a", 0, 0.0, at(1)) else {
        panic!("no queue")
    };
    report(first, Came::Answered, at(1));
    let third = turn.try_recv().expect("it has its turn");
    // It counts among those that may hang.
    assert_eq!(targets.lock().unproven, 2);
    report(third, Came::Down, at(1));
    assert_eq!(targets.lock().unproven, 1);
    let _third = go(&targets, "a", at(1));
    assert_eq!(parked(&targets, "a", 0, at(1)).1, Wait::Concurrency, "it is in trouble");
}

#[test]
fn targets_that_fail_fast_keep_their_share_of_the_slots_in_their_queues_too() {
    // A quarter of 32 for all that have taken nothing.
    let targets = targets(2, 32);
    let mut under_way = Vec::new();
    let mut waiting = Vec::new();
    for id in ["a", "b", "c"] {
        report(go(&targets, id, at(0)), Came::Answered, at(0));
        under_way.extend([go(&targets, id, at(1)), go(&targets, id, at(1))]);
    }
    for id in ["a", "b", "c"] {
        for _ in 0..2 {
            match targets.admit("", id, 0, 0.0, at(1)) {
                Admission::Queue(turn) => waiting.push(turn),
                Admission::Park { wait, .. } => assert_eq!(wait, Wait::Concurrency),
                Admission::Go(_) => panic!("it has as many as it may have"),
            }
        }
    }
    assert_eq!((under_way.len(), waiting.len()), (6, 2));
    // Who has given up does not count for ever.
    drop(waiting);
    under_way.into_iter().for_each(drop);
    let state = targets.lock();
    assert_eq!((state.unproven, state.unproven_waiters), (0, 0));
}

#[test]
fn a_rate_is_kept_over_all_dispatchers() {
    let limits = TargetLimits {
        concurrency: 64,
        rate: Some(10.0),
        slots: 4_096,
        backlog: u64::MAX,
        longest_try: LONGEST,
    };
    let targets = Targets::new(limits);
    targets.set_live(2);
    drop(go(&targets, "a", at(0)));
    let places: Vec<_> = (0..4).map(|_| parked(&targets, "a", 0, at(0))).collect();
    assert!(places.iter().all(|(_, wait)| *wait == Wait::Rate));
    let apart = places.windows(2).map(|pair| pair[1].0 - pair[0].0);
    assert!(apart.into_iter().all(|apart| apart == TimeDelta::milliseconds(200)));
}

#[test]
fn the_longer_a_delivery_waits_the_rarer_it_asks() {
    let targets = targets(64, 4_096);
    let mut now = at(0);
    let mut asked = 0_u32;
    while now < at(8 * 3_600) {
        targets.opened_elsewhere("a", now + TimeDelta::minutes(5), 9, now);
        now = parked(&targets, "a", asked, now).0;
        asked += 1;
    }
    assert!((30..=45).contains(&asked), "{asked}");
}

#[test]
fn however_many_wait_for_dead_targets_few_come_back_at_a_time() {
    let targets = targets(64, 4_096);
    // Those of 200,000 deliveries, 2,000 of which come in each of the first 100 seconds.
    let mut returns: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    let mut most = 0;
    for second in 0..600 {
        let now = at(second);
        targets.opened_elsewhere("a", now + TimeDelta::seconds(1), 1, now);
        let back = returns.remove(&second).unwrap_or_default();
        most = most.max(back.len());
        let new = if second < 100 { 2_000 } else { 0 };
        for (n, parks) in back.into_iter().chain(iter::repeat_n(0, new)).enumerate() {
            let chance = (n % 100) as f64 / 100.0;
            let Admission::Park { at: due, .. } = targets.admit("", "a", parks, chance, now) else {
                panic!("its breaker is open");
            };
            returns.entry((due - at(0)).num_seconds()).or_default().push(parks + 1);
        }
    }
    assert_eq!(most, 500);
}

#[test]
fn targets_that_are_not_used_are_forgotten() {
    let targets = targets(64, 4_096);
    for n in 0..1_000 {
        report(go(&targets, &format!("t{n}"), at(0)), Came::Taken, at(0));
    }
    open(&targets, "trouble", at(0));
    for n in 0..SWEEP_EVERY {
        drop(go(&targets, "busy", at(700 + i64::from(n % 2))));
    }
    let mut left: Vec<_> = targets.lock().targets.keys().cloned().collect();
    left.sort();
    assert_eq!(left, ["busy", "trouble"]);
}

#[test]
fn a_process_that_was_frozen_does_not_take_its_targets_for_slow() {
    let targets = targets(1, 4_096);
    let frozen = go(&targets, "a", at(0));
    // Two hours in the middle of a request.
    let thawed = at(7_200);
    let (back, wait) = parked(&targets, "a", 0, thawed);
    assert_eq!(wait, Wait::Concurrency);
    assert!(back <= thawed + TimeDelta::seconds(10), "{back}");
    frozen.report(Came::Answered, Duration::from_secs(7_200), 0.0, thawed);
    let _next = go(&targets, "a", thawed + TimeDelta::seconds(1));
    let (back, _) = parked(&targets, "a", 0, thawed + TimeDelta::seconds(1));
    assert!(back <= thawed + TimeDelta::seconds(12), "{back}");
}

#[test]
fn a_tenant_with_many_slow_targets_leaves_room_for_new_ones_of_others() {
    // A share of 64 slots.
    let targets = targets(64, 256);
    let ask = |tenant: &str, id: &str| targets.admit(tenant, id, 0, 0.0, at(0));
    let mut under_way = Vec::new();
    for n in 0..100 {
        if let Admission::Go(permit) = ask("greedy", &format!("greedy-{n}")) {
            under_way.push(permit);
        }
    }
    assert_eq!(under_way.len(), 24, "three eighths of the share");
    for tenant in ["a", "b"] {
        for n in 0..8 {
            match ask(tenant, &format!("{tenant}-{n}")) {
                Admission::Go(permit) => under_way.push(permit),
                other => panic!("{tenant} has no room for its {n}th: {other:?}"),
            }
        }
    }
    under_way.clear();
    let state = targets.lock();
    assert_eq!((state.unproven, state.unproven_of.len()), (0, 0));
}
