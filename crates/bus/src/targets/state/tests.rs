use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::FutureExt as _;

use super::*;

fn trouble(streak: u32) -> TargetTrouble {
    TargetTrouble { streak, ..TargetTrouble::default() }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::default() + TimeDelta::seconds(second)
}

fn put(streak: u32) -> Entry {
    Entry::Trouble { trouble: trouble(streak), expires_at: at(100) }
}

fn opened(streak: u32) -> Option<(String, Option<TargetTrouble>)> {
    Some(("t".to_owned(), Some(trouble(streak))))
}

fn closed() -> Option<(String, Option<TargetTrouble>)> {
    Some(("t".to_owned(), None))
}

fn heard(changes: &mut Changes) -> Option<(String, Option<TargetTrouble>)> {
    changes.next().now_or_never()
}

fn seen(keys: &[&str]) -> HashSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// Everything that waits is written, under this revision.
fn write(state: &mut State, revision: u64) -> Vec<Option<u32>> {
    let taken = state.take(usize::MAX);
    for write in &taken {
        state.written(write, revision);
    }
    let streak = |write: ToWrite| write.trouble.map(|(trouble, _)| trouble.streak);
    taken.into_iter().map(streak).collect()
}

#[test]
fn a_close_that_is_older_than_the_own_opening_is_no_news() {
    let mut state = State::default();
    let mut changes = state.subscribe();
    state.saw("t", put(1), 1, false);
    assert_eq!(heard(&mut changes), opened(1));
    assert_eq!(state.open("t", &trouble(2), at(100)), Said::Queued);
    state.saw("t", Entry::Closed, 2, false);
    assert_eq!(heard(&mut changes), None);
    assert_eq!(write(&mut state, 3), [Some(2)]);
    // One that comes after it is.
    state.saw("t", Entry::Closed, 4, false);
    assert_eq!(heard(&mut changes), closed());
    // What another one has taken away is not written again.
    state.loaded(&seen(&[]));
    assert_eq!(write(&mut state, 5), []);
}

#[test]
fn a_load_does_not_bring_back_what_was_closed_meanwhile() {
    let mut state = State::default();
    let mut changes = state.subscribe();
    state.saw("t", put(1), 1, false);
    assert_eq!(heard(&mut changes), opened(1));
    // The broker is away.
    state.close("t");
    // It is back, and the load comes before the write.
    state.saw("t", put(1), 1, false);
    state.loaded(&seen(&["t"]));
    assert_eq!(heard(&mut changes), None);
    assert_eq!(write(&mut state, 2), [None]);
    // Another load, begun before the write.
    state.saw("t", put(1), 1, false);
    assert_eq!(heard(&mut changes), None);
    state.saw("t", Entry::Closed, 2, true);
    // From then on others are believed again.
    state.saw("t", put(2), 3, false);
    assert_eq!(heard(&mut changes), opened(2));
}

#[test]
fn a_lost_bucket_takes_away_nothing_and_gets_back_what_is_own() {
    let mut state = State::default();
    let mut changes = state.subscribe();
    state.open("own", &trouble(1), at(100));
    assert_eq!(write(&mut state, 7), [Some(1)]);
    state.saw("t", put(2), 8, false);
    assert_eq!(heard(&mut changes), opened(2));
    assert!(state.loaded(&seen(&[])));
    assert_eq!(heard(&mut changes), None);
    assert_eq!(write(&mut state, 1), [Some(1)]);
    // Its writer writes it again: no news.
    state.saw("t", put(2), 2, false);
    assert_eq!(heard(&mut changes), None);
    assert!(!state.loaded(&seen(&["own"])));
    state.sweep(at(100));
    assert_eq!(heard(&mut changes), closed());
}

#[test]
fn what_was_said_last_is_written_after_a_failure_too() {
    let mut state = State::default();
    state.open("t", &trouble(1), at(100));
    let failed = state.take(10);
    state.open("t", &trouble(2), at(100));
    assert_eq!(state.write_again(&failed[0]), Said::Queued);
    // A confirmation of the first counts for nothing.
    state.written(&failed[0], 5);
    state.saw("t", put(9), 6, false);
    assert_eq!(write(&mut state, 7), [Some(2)]);
    assert_eq!(write(&mut state, 8), []);
}

#[test]
fn what_the_broker_forgets_to_expire_goes_all_the_same() {
    let mut state = State::default();
    let mut changes = state.subscribe();
    state.saw("t", put(1), 1, false);
    state.open("own", &trouble(1), at(50));
    assert_eq!(heard(&mut changes), opened(1));
    state.sweep(at(99));
    assert_eq!(heard(&mut changes), None);
    assert_eq!(write(&mut state, 2), []);
    state.sweep(at(100));
    assert_eq!(heard(&mut changes), closed());
    // The marker comes late, and says nothing new.
    state.saw("t", Entry::Expired, 3, false);
    assert_eq!(heard(&mut changes), None);
}

#[test]
fn a_slow_listener_gets_the_newest_and_a_new_one_what_stands() {
    let mut state = State::default();
    let mut slow = state.subscribe();
    for streak in 1..=3 {
        state.saw("t", put(streak), streak.into(), false);
    }
    let mut new = state.subscribe();
    for changes in [&mut slow, &mut new] {
        assert_eq!(heard(changes), opened(3));
        assert_eq!(heard(changes), None);
    }
    state.saw("t", Entry::Expired, 4, false);
    assert_eq!(heard(&mut state.subscribe()), None);
}

#[test]
fn too_much_is_refused_and_makes_no_harm() {
    let mut state = State::default();
    for number in 0..MOST {
        assert_eq!(state.open(&number.to_string(), &trouble(1), at(100)), Said::Queued);
    }
    assert_eq!(state.open("t", &trouble(1), at(100)), Said::Full);
    assert_eq!(state.open("0", &trouble(2), at(100)), Said::Queued);
    assert_eq!(state.close("t"), Said::Full);
    assert_eq!(write(&mut state, 1).len(), MOST);
    // Closed keys make room once the watch has seen them go.
    state.close("0");
    assert_eq!(write(&mut state, 2), [None]);
    state.saw("0", Entry::Closed, 2, true);
    assert_eq!(state.open("t", &trouble(1), at(100)), Said::Queued);
}

#[test]
fn silence_counts_only_while_we_listen() {
    let mut state = State::default();
    let begun = Instant::now();
    let after = |seconds| begun + Duration::from_secs(seconds);
    let silence = Duration::from_secs(10);
    state.heard("a", DispatcherBeat::default(), begun);
    state.heard("b", DispatcherBeat::default(), begun);
    state.forget_silent(silence, begun, after(9));
    assert_eq!(state.others(), 2);
    // The broker was away for a minute.
    state.forget_silent(silence, after(60), after(69));
    assert_eq!(state.others(), 2);
    state.heard("a", DispatcherBeat::default(), after(69));
    state.forget_silent(silence, after(60), after(70));
    assert_eq!(state.others(), 1);
    state.left("a");
    assert_eq!(state.others(), 0);
}

#[test]
fn after_an_outage_the_broker_calls_everybody_silent() {
    let mut state = State::default();
    let begun = Instant::now();
    let after = |seconds| begun + Duration::from_secs(seconds);
    let silence = Duration::from_secs(10);
    state.heard("a", DispatcherBeat::default(), begun);
    state.silent("a", silence, after(60), after(61));
    assert_eq!(state.others(), 1);
    state.heard("a", DispatcherBeat::default(), after(62));
    state.silent("a", silence, after(60), after(77));
    assert_eq!(state.others(), 0);
    state.silent("never heard of", silence, after(60), after(77));
}
