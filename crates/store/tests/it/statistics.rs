//! Statistics agree with the rows that they are counted from, whatever comes twice,
//! at once or too late.

use chrono::{DateTime, TimeDelta, Utc};
use store::Store;
use store::history::{
    AttemptRow, Counted, EndRow, Retention, TargetFilter, TargetOrder, TargetStatistics, Uuid,
    slot_start,
};
use testkit::TestEnv;

use crate::world::{account, at, open};

fn id(n: usize) -> Uuid {
    store::history::id(&format!("{n:032x}")).expect("an id")
}

/// A try of the delivery of this number, to one of a few targets of a few accounts.
fn attempt(n: usize) -> AttemptRow {
    let is_taken = !n.is_multiple_of(3);
    AttemptRow {
        delivery_id: id(n + 1),
        hop: 0,
        event_key: id(n),
        account_id: format!("{:0>24}", n % 5),
        target_id: (!n.is_multiple_of(7)).then(|| id(n % 11 + 1)),
        generation: 0,
        attempt: 1,
        charged: !n.is_multiple_of(13),
        started_at: at(i64::try_from(n).expect("small") * 7),
        duration_ms: u32::try_from(n % 900).expect("small"),
        url: format!("https://hooks.example.net/{}", n % 11),
        status: (n % 3 != 1).then_some(200),
        reason: if is_taken { "ok" } else { "status" }.to_owned(),
        detail: String::new(),
        response_snippet: String::new(),
        next_attempt_at: None,
        level: Some("account".to_owned()),
        event: None,
    }
}

fn end(n: usize) -> EndRow {
    let outcomes =
        ["delivered", "rejected", "exhausted", "expired", "suppressed", "held", "poisoned"];
    let AttemptRow { delivery_id, event_key, account_id, target_id, started_at, .. } = attempt(n);
    EndRow {
        delivery_id,
        event_key: Some(event_key),
        account_id,
        target_id,
        generation: 0,
        hop: 0,
        outcome: outcomes[n % outcomes.len()].to_owned(),
        reason: String::new(),
        ended_at: started_at + TimeDelta::seconds(1),
        attempts: 1,
        last_url: None,
        last_status: None,
        delivery: None,
    }
}

/// Lines that differ between what statistics say and what rows say, of all accounts
/// and targets, slot by slot.
fn differences(env: &TestEnv) -> String {
    env.sql(
        "WITH tried AS (SELECT account_id, target_id, started_at AS at, reason = 'ok' AS is_ok, \
         (reason = 'ok' OR status IS NOT NULL)::int AS answered FROM attempts WHERE charged), \
         slotted AS (SELECT account_id, '00000000-0000-0000-0000-000000000000'::uuid AS target_id, \
         300 AS seconds, at, is_ok, answered FROM tried UNION ALL \
         SELECT account_id, target_id, 3600, at, is_ok, answered FROM tried \
         WHERE target_id IS NOT NULL), \
         ended AS (SELECT account_id, '00000000-0000-0000-0000-000000000000'::uuid AS target_id, \
         300 AS seconds, ended_at AS at, outcome FROM ends UNION ALL \
         SELECT account_id, target_id, 3600, ended_at, outcome FROM ends \
         WHERE target_id IS NOT NULL), \
         slots AS (SELECT account_id, target_id, seconds, \
         to_timestamp(floor(extract(epoch FROM at) / seconds) * seconds) AS starts_at, \
         is_ok, answered, NULL AS outcome FROM slotted UNION ALL \
         SELECT account_id, target_id, seconds, \
         to_timestamp(floor(extract(epoch FROM at) / seconds) * seconds), \
         NULL, NULL, outcome FROM ended), \
         wanted AS (SELECT account_id, target_id, seconds, starts_at, \
         count(*) FILTER (WHERE is_ok) AS taken, count(*) FILTER (WHERE NOT is_ok) AS failed, \
         coalesce(sum(answered), 0)::bigint AS answered, \
         count(*) FILTER (WHERE outcome = 'delivered') AS delivered, \
         count(*) FILTER (WHERE outcome = 'rejected') AS rejected, \
         count(*) FILTER (WHERE outcome = 'exhausted') AS exhausted, \
         count(*) FILTER (WHERE outcome = 'expired') AS expired, \
         count(*) FILTER (WHERE outcome = 'suppressed') AS suppressed, \
         count(*) FILTER (WHERE outcome = 'held') AS held, \
         count(*) FILTER (WHERE outcome = 'poisoned') AS poisoned \
         FROM slots GROUP BY 1, 2, 3, 4), \
         found AS (SELECT account_id, target_id, seconds, starts_at, taken, failed, \
         (SELECT coalesce(sum(l), 0)::bigint FROM unnest(latencies) AS l) AS answered, delivered, \
         rejected, exhausted, expired, suppressed, held, poisoned FROM statistics) \
         (SELECT 'only counted', * FROM found EXCEPT ALL SELECT 'only counted', * FROM wanted) \
         UNION ALL \
         (SELECT 'only there', * FROM wanted EXCEPT ALL SELECT 'only there', * FROM found)",
    )
}

#[track_caller]
fn assert_agree(env: &TestEnv) {
    let differences = differences(env);
    assert_eq!(differences.trim(), "", "statistics and rows");
}

fn sum(env: &TestEnv, column: &str) -> i64 {
    let all = "target_id = '00000000-0000-0000-0000-000000000000'";
    let sum = env.sql(&format!("SELECT coalesce(sum({column}), 0) FROM statistics WHERE {all}"));
    sum.trim().parse().expect("a number")
}

#[tokio::test]
async fn what_comes_twice_counts_once() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let attempts: Vec<AttemptRow> = (0..300).map(attempt).collect();
    let ends: Vec<EndRow> = (0..300).map(end).collect();
    // Parts of it twice in one batch, all of it in three.
    let repeated: Vec<AttemptRow> = attempts.iter().chain(&attempts[50..90]).cloned().collect();
    for _ in 0..2 {
        store.insert_attempts(&repeated[..200]).await.expect("inserted");
        store.insert_attempts(&repeated).await.expect("inserted");
        store.insert_ends(&ends[..200]).await.expect("inserted");
        store.insert_ends(&ends).await.expect("inserted");
        // The end of a copy that the broker has handed out again.
        let later =
            |row: &EndRow| EndRow { ended_at: row.ended_at + TimeDelta::hours(2), ..row.clone() };
        let late: Vec<EndRow> = ends.iter().map(later).collect();
        store.insert_ends(&late).await.expect("inserted");
    }
    assert_agree(&env);
    assert_eq!(sum(&env, "taken + failed"), (0..300).filter(|n| n % 13 != 0).count() as i64);
    assert_eq!(sum(&env, "delivered"), (0..300).filter(|n| n % 7 == 0).count() as i64);

    // Moments of one microsecond are one row, and so one try.
    let mut again = attempt(1_000);
    again.started_at += TimeDelta::nanoseconds(1_500);
    let twin =
        AttemptRow { started_at: again.started_at + TimeDelta::nanoseconds(300), ..again.clone() };
    store.insert_attempts(&[again, twin]).await.expect("inserted");
    assert_agree(&env);
}

#[tokio::test]
async fn a_batch_that_is_refused_counts_nothing() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let bad = AttemptRow { account_id: "a\0b".to_owned(), ..attempt(9) };
    let error = store.insert_attempts(&[attempt(1), bad]).await.expect_err("refused");
    assert!(error.is_about_the_data(), "{error}");
    let too_early = DateTime::from_timestamp(-8_000_000_000_000, 0).expect("a moment");
    let bad = EndRow { ended_at: too_early, ..end(9) };
    store.insert_ends(&[end(1), bad]).await.expect_err("refused");
    assert_eq!(env.sql("SELECT count(*) FROM statistics").trim(), "0");
    // Its good neighbours are tried again alone, as archive does.
    store.insert_attempts(&[attempt(1)]).await.expect("inserted");
    assert_agree(&env);
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_overlap_count_everything_once_and_wait_for_each_other() {
    let env = TestEnv::new();
    let store = open(&env).await;
    // Four replicas with the same messages, in batches of other sizes and orders,
    // whose slots are the same few.
    let write = async |batch: usize, is_reversed: bool| {
        let mut numbers: Vec<usize> = (0..1_200).collect();
        if is_reversed {
            numbers.reverse();
        }
        for part in numbers.chunks(batch) {
            let attempts: Vec<AttemptRow> = part.iter().map(|n| attempt(*n)).collect();
            let ends: Vec<EndRow> = part.iter().map(|n| end(*n)).collect();
            let (a, b) = tokio::join!(store.insert_attempts(&attempts), store.insert_ends(&ends));
            a.expect("inserted");
            b.expect("inserted");
        }
    };
    tokio::join!(write(37, false), write(41, true), write(150, false), write(7, true));
    assert_agree(&env);
    let counted = (0..1_200).filter(|n| n % 13 != 0).count() as i64;
    assert_eq!(sum(&env, "taken + failed"), counted);
    assert_eq!(sum(&env, "held"), (0..1_200).filter(|n| n % 7 == 5).count() as i64);
}

#[tokio::test]
async fn of_an_erased_account_nothing_is_counted() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let [erased, other] = [account(&store, "one").await, account(&store, "two").await];
    let seal = |_: &str| store::SealedKeys { http_signing_key: vec![], alerts_signing_key: vec![] };
    let closed = store::AccountStatus::Closed;
    store.change_account_status(&erased, closed, None, at(1)).await.expect("closed");
    store.erase_account(&erased, seal, at(2)).await.expect("erased");
    let of = |account_id: &String, n| AttemptRow { account_id: account_id.clone(), ..attempt(n) };
    store
        .insert_attempts(&[of(&erased, 1), of(&other, 2), of(&erased, 3)])
        .await
        .expect("inserted");
    let ended = EndRow { account_id: erased, ..end(1) };
    store.insert_ends(&[ended, end(2)]).await.expect("inserted");
    assert_agree(&env);
    assert_eq!(sum(&env, "taken + failed"), 1);
}

/// All that is counted of an account, summed.
async fn whole(store: &Store, account_id: &str, around: DateTime<Utc>) -> Counted {
    let (from, to) = (around - TimeDelta::days(400), around + TimeDelta::days(400));
    let mut whole = Counted::default();
    for slot in store.statistics(account_id, None, from, to).await.expect("read") {
        whole.add(&slot.counted);
    }
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_are_folded_into_hours_and_given_up_and_nothing_is_lost_in_between() {
    const RETENTION: Retention = Retention {
        events_days: 30,
        routings_days: 30,
        attempts_days: 30,
        ends_days: 30,
        undelivered_days: 30,
        statistics_days: 10,
    };
    let env = TestEnv::new();
    let store = open(&env).await;
    let now: i64 = env.sql("SELECT extract(epoch FROM now())::bigint").trim().parse().expect("now");
    let now = DateTime::from_timestamp(now, 0).expect("a moment");
    let account_id = "a".repeat(24);
    // A try every twenty minutes, from eight days ago on.
    let tries: Vec<AttemptRow> = (0..576)
        .map(|n| AttemptRow {
            account_id: account_id.clone(),
            charged: true,
            started_at: now - TimeDelta::minutes(20 * i64::try_from(n).expect("small")),
            ..attempt(n)
        })
        .collect();
    // While it is folded and given up, some of it comes only now.
    let writing = async {
        for part in tries.chunks(16) {
            store.insert_attempts(part).await.expect("inserted");
        }
    };
    let folding = async {
        for _ in 0..10 {
            store.keep_days(&RETENTION, now).await.expect("kept");
        }
    };
    tokio::join!(writing, folding);
    store.keep_days(&RETENTION, now).await.expect("kept").expect("alone");
    let counted = whole(&store, &account_id, now).await;
    assert_eq!(counted.taken + counted.failed, 576);
    let unanswered = tries.iter().filter(|row| row.reason != "ok" && row.status.is_none());
    assert_eq!(counted.latencies.total(), 576 - unanswered.count() as u64);
    let slots = |seconds| {
        let count = format!(
            "SELECT count(*) FROM statistics WHERE seconds = {seconds} AND target_id = \
             '00000000-0000-0000-0000-000000000000'"
        );
        env.sql(&count).trim().parse::<i64>().expect("a number")
    };
    // Three days of short ones, up to an hour more, and an hour each before that.
    assert!((216..=219).contains(&slots(300)), "{}", slots(300));
    assert!((119..=122).contains(&slots(3_600)), "{}", slots(3_600));
    let done = store.keep_days(&RETENTION, now).await.expect("kept").expect("alone");
    assert_eq!(done.slots, 0);

    // Each of them stands where it was.
    let from = slot_start(now - TimeDelta::days(6), 3_600);
    let hour = store.statistics(&account_id, None, from, from + TimeDelta::hours(1)).await;
    let hour = hour.expect("read");
    assert_eq!(hour.len(), 1);
    assert_eq!(hour[0].counted.taken + hour[0].counted.failed, 3);

    let fewer = Retention { statistics_days: 1, ..RETENTION };
    store.keep_days(&fewer, now).await.expect("kept").expect("alone");
    let kept = whole(&store, &account_id, now).await;
    // Since yesterday's midnight.
    assert!((72..=145).contains(&(kept.taken + kept.failed)), "{kept:?}");
}

async fn targets(store: &Store, order: TargetOrder, limit: i64) -> Vec<TargetStatistics> {
    let filter = TargetFilter {
        account_id: "a".repeat(24),
        target_id: None,
        from: slot_start(at(0), 3_600),
        to: slot_start(at(0), 3_600) + TimeDelta::hours(24),
        order,
        limit,
    };
    store.target_statistics(&filter, at(100)).await.expect("read")
}

#[tokio::test]
async fn the_worst_targets_come_first_and_tell_what_was_last() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let row = |n: usize, target: usize, seconds: i64, reason: &str| AttemptRow {
        account_id: "a".repeat(24),
        target_id: Some(id(target)),
        charged: true,
        started_at: at(seconds),
        duration_ms: 100,
        status: (reason == "ok").then_some(200),
        reason: reason.to_owned(),
        url: format!("https://hooks.example.net/{target}/{seconds}"),
        next_attempt_at: (reason != "ok").then(|| at(seconds + 600)),
        level: Some("account".to_owned()),
        event: None,
        ..attempt(n)
    };
    let mut rows = Vec::new();
    // Many tries, of which a few failed; one of one; none that failed.
    rows.extend((0..20).map(|n| row(n, 1, i64::try_from(n).expect("small"), "ok")));
    rows.extend((20..25).map(|n| row(n, 1, 30 + i64::try_from(n).expect("small"), "timeout")));
    rows.push(row(30, 2, 50, "connect"));
    rows.push(row(31, 3, 60, "ok"));
    // Long before, and of somebody else.
    rows.push(row(40, 2, -90_000, "ok"));
    rows.push(AttemptRow { account_id: "b".repeat(24), ..row(41, 4, 50, "connect") });
    store.insert_attempts(&rows).await.expect("inserted");
    let held = |n: usize, target: usize| EndRow {
        account_id: "a".repeat(24),
        target_id: Some(id(target)),
        outcome: "held".to_owned(),
        delivery: Some(vec![7]),
        ..end(n)
    };
    store.insert_ends(&[held(50, 2), held(51, 2), held(52, 5)]).await.expect("inserted");

    let found = targets(&store, TargetOrder::Failures, 10).await;
    let numbers: Vec<(u128, u64, u64)> = found
        .iter()
        .map(|one| (one.target_id.as_u128(), one.counted.taken, one.counted.failed))
        .collect();
    assert_eq!(numbers, [(1, 20, 5), (2, 0, 1), (5, 0, 0), (3, 1, 0)]);
    let found = targets(&store, TargetOrder::SuccessRate, 2).await;
    let [worst, second] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((worst.target_id, second.target_id), (id(2), id(1)));
    assert_eq!(worst.last_taken_at, Some(at(-90_000)));
    assert_eq!(worst.last_failed_at, Some(at(50)));
    assert_eq!(worst.last_reason.as_deref(), Some("connect"));
    assert_eq!(worst.last_url.as_deref(), Some("https://hooks.example.net/2/50"));
    assert_eq!((worst.backlog.waiting, worst.backlog.undelivered.held), (1, 2));
    assert!(worst.backlog.is_waiting_whole && worst.backlog.is_undelivered_whole);
    assert_eq!(second.counted.latencies.percentile_ms(50), Some(125));

    let all = store.backlog(&"a".repeat(24), at(100)).await.expect("counted");
    assert_eq!((all.waiting, all.undelivered.held, all.undelivered.total()), (6, 3, 3));
    let later = store.backlog(&"a".repeat(24), at(1_000)).await.expect("counted");
    assert_eq!(later.waiting, 0);
    let kept = store.one_undelivered(&"a".repeat(24), id(5)).await.expect("read");
    assert_eq!(kept, Some(vec![7]));
    assert_eq!(store.one_undelivered(&"b".repeat(24), id(5)).await.expect("read"), None);
}
