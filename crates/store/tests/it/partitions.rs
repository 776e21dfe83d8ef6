//! Days are made ahead and given up, and no row is lost in between.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection};
use store::Store;
use store::history::{DaysKept, EndRow, HistoryTable, Retention};
use testkit::{TestEnv, eventually};

use crate::world::{account, event_row, open, open_with};

const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
const RETENTION: Retention = Retention {
    events_days: 30,
    routings_days: 30,
    attempts_days: 30,
    ends_days: 30,
    undelivered_days: 5,
    statistics_days: 90,
};

/// Noon of today, as the database sees it, and so many days later.
fn noon(env: &TestEnv, days: i64) -> DateTime<Utc> {
    let seconds = env.sql("SELECT extract(epoch FROM date_trunc('day', now(), 'UTC'))::bigint");
    let seconds: i64 = seconds.trim().parse().expect("a number");
    DateTime::from_timestamp(seconds + 43_200, 0).expect("a moment") + TimeDelta::days(days)
}

async fn keep(store: &Store, now: DateTime<Utc>) -> DaysKept {
    store.keep_days(&RETENTION, now).await.expect("kept").expect("nobody else is at it")
}

fn end(n: u32, outcome: &str, ended_at: DateTime<Utc>) -> EndRow {
    EndRow {
        delivery_id: store::history::id(&format!("{n:032x}")).expect("an id"),
        event_key: None,
        account_id: ACCOUNT.to_owned(),
        target_id: None,
        generation: 0,
        hop: 0,
        outcome: outcome.to_owned(),
        reason: "schedule".to_owned(),
        ended_at,
        attempts: 1,
        last_url: None,
        last_status: None,
        delivery: (outcome != "delivered").then(|| vec![1]),
    }
}

#[tokio::test]
async fn a_row_whose_day_is_not_made_waits_in_the_default_partition() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let today = noon(&env, 0);
    let rows = [-20, -1, 0, 5, 400].map(|days| {
        event_row("opened", &format!("e{days}"), ACCOUNT, today, today + TimeDelta::days(days))
    });
    store.insert_events(&rows).await.expect("inserted");
    assert_eq!(env.sql("SELECT count(*) FROM events_default").trim(), "5");

    let done = keep(&store, today).await;
    // Those around today, and the one that a row was waiting for.
    assert_eq!(done.made.iter().filter(|made| made.starts_with("events_")).count(), 11);
    assert_eq!(env.sql("SELECT count(*) FROM events_default").trim(), "1");
    assert_eq!(env.sql("SELECT count(*) FROM events").trim(), "5");
    // A second time there is nothing to do, and inserts can be repeated.
    assert_eq!(keep(&store, today).await, DaysKept::default());
    store.insert_events(&rows).await.expect("inserted");
    assert_eq!(env.sql("SELECT count(*) FROM events").trim(), "5");
    // A day later there is one day more for each table.
    assert_eq!(keep(&store, noon(&env, 1)).await.made.len(), 5);
}

#[tokio::test]
async fn days_are_dropped_when_all_of_them_is_too_old() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let today = noon(&env, 0);
    let old = [-31, -30, -29].map(|days| {
        event_row("opened", &format!("e{days}"), ACCOUNT, today, today + TimeDelta::days(days))
    });
    store.insert_events(&old).await.expect("inserted");
    // The day of the oldest is not made: it goes at once.
    let done = keep(&store, today).await;
    assert_eq!((done.late, done.dropped.len()), (1, 0));
    assert_eq!(env.sql("SELECT count(*) FROM events").trim(), "2");

    // The clock of a process that is ahead gives up nothing: the database knows better.
    let done = keep(&store, noon(&env, 365)).await;
    assert!(done.dropped.is_empty(), "{done:?}");
    // Neither does one that is behind.
    let done = keep(&store, noon(&env, -3)).await;
    assert!(done.dropped.is_empty(), "{done:?}");

    let fewer = Retention { events_days: 29, ..RETENTION };
    let done = store.keep_days(&fewer, today).await.expect("kept").expect("alone");
    assert_eq!(done.dropped.len(), 1, "{done:?}");
    assert_eq!(env.sql("SELECT event_id FROM events").trim(), "e-29");
}

#[tokio::test]
async fn what_was_not_delivered_is_counted_when_its_body_goes() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let day = |days| noon(&env, days);
    let ends = [
        end(1, "exhausted", day(-6)),
        end(2, "exhausted", day(-6)),
        end(3, "rejected", day(-6)),
        end(4, "delivered", day(-6)),
        end(5, "exhausted", day(-5)),
        // Its day will have been given up before it comes.
        end(6, "held", day(-9)),
    ];
    store.insert_ends(&ends[..5]).await.expect("inserted");
    let longer = Retention { undelivered_days: 10, ..RETENTION };
    store.keep_days(&longer, day(0)).await.expect("kept").expect("alone");
    store.insert_ends(&ends[5..]).await.expect("inserted");

    let done = keep(&store, day(0)).await;
    assert_eq!(done.expired, 4);
    assert_eq!(
        env.sql("SELECT outcome, deliveries, current_date - ended_on FROM expired ORDER BY 1"),
        "exhausted|2|6\nheld|1|9\nrejected|1|6"
    );
    assert_eq!(env.sql("SELECT count(*) FROM undelivered").trim(), "1");
    // How they ended is known for longer.
    assert_eq!(env.sql("SELECT count(*) FROM ends").trim(), "6");
    assert_eq!(keep(&store, day(0)).await.expired, 0);
}

#[tokio::test]
async fn one_process_at_a_time_keeps_the_days() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let today = noon(&env, 0);
    let (a, b) =
        tokio::join!(store.keep_days(&RETENTION, today), store.keep_days(&RETENTION, today));
    let done = [a.expect("kept"), b.expect("kept")];
    let made: usize = done.iter().flatten().map(|done| done.made.len()).sum();
    assert_eq!(made, 50, "{done:?}");
}

#[tokio::test]
async fn rows_are_inserted_while_days_are_made_and_given_up() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let today = noon(&env, 0);
    let insert = async {
        for n in 0..200 {
            let at = today - TimeDelta::days(n % 4);
            let row = event_row("opened", &format!("e{n}"), ACCOUNT, today, at);
            // While its day is being made it may have no place for a moment, and is
            // tried again, as archive does.
            while let Err(error) = store.insert_events(std::slice::from_ref(&row)).await {
                assert!(!error.is_about_the_data(), "{error}");
            }
        }
    };
    let days = async {
        for n in 0..3 {
            keep(&store, noon(&env, n)).await;
        }
    };
    tokio::join!(insert, days);
    keep(&store, today).await;
    assert_eq!(env.sql("SELECT count(*) FROM events").trim(), "200");
    assert_eq!(env.sql("SELECT count(*) FROM events_default").trim(), "0");
}

/// So many ends of the day before the days that are made, all in the default partition.
fn fill_ends(env: &TestEnv, rows: u32) {
    env.sql(&format!(
        "INSERT INTO ends (delivery_id, account_id, generation, hop, outcome, reason, ended_at, \
         attempts) SELECT lpad(to_hex(n), 32, '0')::uuid, '{ACCOUNT}', 0, 0, 'delivered', '', \
         date_trunc('day', now(), 'UTC') - interval '4 days' + n * interval '1 ms', 1 \
         FROM generate_series(1, {rows}) n"
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_of_a_late_day_are_moved_while_others_are_inserted() {
    let env = TestEnv::new();
    // So many rows are not moved by one statement in this time.
    let store = open_with(&env, "-c statement_timeout=250ms").await;
    const ROWS: u32 = 60_000;
    fill_ends(&env, ROWS);
    let days = chassis::Tasks::new().spawn({
        let (store, today) = (store.clone(), noon(&env, 0));
        async move { store.keep_days(&RETENTION, today).await }
    });
    let mut longest = Duration::ZERO;
    let mut inserted = 0;
    while !days.is_finished() {
        let at = noon(&env, -4) + TimeDelta::milliseconds(inserted.into());
        let row = end(100_000 + inserted, "delivered", at);
        let began = Instant::now();
        while let Err(error) = store.insert_ends(std::slice::from_ref(&row)).await {
            assert!(!error.is_about_the_data(), "{error}");
        }
        longest = longest.max(began.elapsed());
        inserted += 1;
    }
    let done = days.await.expect("no panic").expect("kept").expect("alone");
    assert!(done.left.is_empty(), "{done:?}");
    assert!(done.moved >= ROWS.into(), "{done:?}");
    assert!(longest < Duration::from_secs(2), "an insert waited for {longest:?}");
    let count = |table: &str| env.sql(&format!("SELECT count(*) FROM {table}"));
    assert_eq!(count("ends").trim(), (ROWS + inserted).to_string());
    assert_eq!(count("ends_default").trim(), "0");
    assert_eq!(env.sql("SELECT to_regclass('ends_strays') IS NULL").trim(), "t");
}

#[tokio::test]
async fn a_move_of_rows_that_was_interrupted_goes_on_where_it_was() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let account_id = account(&store, "demo").await;
    let today = noon(&env, 0);
    let row = |n: i64, account_id: &str| {
        event_row("opened", &format!("e{n}"), account_id, today, noon(&env, -9 - n % 2))
    };
    let rows: Vec<_> = (0..10).map(|n| row(n, ACCOUNT)).chain([row(11, &account_id)]).collect();
    store.insert_events(&rows).await.expect("inserted");
    // As a process leaves it that has died.
    env.sql(
        "ALTER TABLE events DETACH PARTITION events_default; \
         ALTER TABLE events_default RENAME TO events_strays; \
         CREATE TABLE events_default PARTITION OF events DEFAULT",
    );
    env.sql("UPDATE accounts SET status = 'closed', erased_at = now()");
    // Handed out once more meanwhile.
    store.insert_events(&rows[..2]).await.expect("inserted");
    let last = env.sql("SELECT max(position) FROM events");

    let done = keep(&store, today).await;
    assert!(done.moved >= 11 && done.left.is_empty(), "{done:?}");
    assert_eq!(env.sql("SELECT count(*), count(DISTINCT event_key) FROM events").trim(), "10|10");
    assert_eq!(env.sql("SELECT count(*) FROM events_default").trim(), "0");
    // Whoever has followed up to here sees each of those that were not seen meanwhile.
    let later = format!("SELECT count(*) FROM events WHERE position > {}", last.trim());
    assert_eq!(env.sql(&later).trim(), "8");
    let done = keep(&store, today).await;
    assert_eq!(done, DaysKept::default());
}

#[tokio::test]
async fn a_day_that_is_being_read_is_dropped_later_and_holds_up_no_other_table() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let old = noon(&env, -31);
    store.insert_events(&[event_row("opened", "e", ACCOUNT, old, old)]).await.expect("inserted");
    store.insert_ends(&[end(1, "exhausted", noon(&env, -31))]).await.expect("inserted");
    let longer = Retention { events_days: 40, ends_days: 40, undelivered_days: 40, ..RETENTION };
    store.keep_days(&longer, noon(&env, 0)).await.expect("kept").expect("alone");

    let mut reader = PgConnection::connect(&env.database_url).await.expect("connected");
    let mut reading = reader.begin().await.expect("begun");
    sqlx::query("SELECT count(*) FROM events").execute(&mut *reading).await.expect("read");
    let day = |name: &str| format!("{name}_{}", old.format("%Y%m%d"));
    let done = keep(&store, noon(&env, 0)).await;
    assert_eq!(done.dropped, [day("ends"), day("undelivered")], "{done:?}");
    assert_eq!(done.left.len(), 1, "{done:?}");
    assert!(done.left[0].starts_with(&day("events")), "{done:?}");
    drop(reading);
    reader.close().await.expect("closed");
    let done = keep(&store, noon(&env, 0)).await;
    assert_eq!((done.dropped, done.left), (vec![day("events")], vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_and_a_day_that_is_dropped_do_not_wait_for_each_other() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let old = noon(&env, -31);
    store.insert_ends(&[end(1, "exhausted", old)]).await.expect("inserted");
    let longer = Retention { ends_days: 40, undelivered_days: 40, ..RETENTION };
    store.keep_days(&longer, noon(&env, 0)).await.expect("kept").expect("alone");

    let mut reader = PgConnection::connect(&env.database_url).await.expect("connected");
    let mut reading = reader.begin().await.expect("begun");
    // As a query has them that is being planned, and has not come to their days yet.
    let tables = "LOCK TABLE ONLY ends, ONLY undelivered IN ACCESS SHARE MODE";
    sqlx::query(tables).execute(&mut *reading).await.expect("locked");
    sqlx::query("SET LOCAL lock_timeout = '50ms'").execute(&mut *reading).await.expect("set");
    let dropping = chassis::Tasks::new().spawn({
        let (store, today) = (store.clone(), noon(&env, 0));
        async move { keep(&store, today).await }
    });
    for days in ["SELECT count(*) FROM ends", "SELECT count(*) FROM undelivered"] {
        let table = days.rsplit(' ').next().expect("a table");
        let waits = format!(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass"
        );
        eventually(Duration::from_secs(10), "the pass to wait for the reader", || async {
            (env.sql(&waits).trim() == "1").then_some(())
        })
        .await;
        sqlx::query(days).execute(&mut *reading).await.expect("read");
    }
    let done = dropping.await.expect("not cancelled");
    assert_eq!((done.dropped.len(), done.left.len()), (0, 2), "{done:?}");
    drop(reading);
    reader.ping().await.expect("rolled back");
    let done = keep(&store, noon(&env, 0)).await;
    assert_eq!((done.dropped.len(), done.left.len()), (2, 0), "{done:?}");
}

#[tokio::test]
async fn no_timeout_of_an_idle_session_takes_the_lock_on_days_away() {
    let env = TestEnv::new();
    let short = "-c idle_in_transaction_session_timeout=200ms -c statement_timeout=200ms \
                 -c idle_session_timeout=200ms";
    let store = open_with(&env, short).await;
    // Many slots to fold keep the pass busy for some seconds.
    env.sql(&format!(
        "INSERT INTO statistics (account_id, target_id, seconds, starts_at, taken) \
         SELECT '{ACCOUNT}', gen_random_uuid(), 300, now() - interval '10 days', 1 \
         FROM generate_series(1, 39000)"
    ));
    let done = keep(&store, noon(&env, 0)).await;
    assert_eq!((done.slots, done.left.len()), (39_000, 0), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_lost_gives_the_days_to_another_process() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let today = noon(&env, 0);
    // It waits for this table, again and again, and holds the lock on days meanwhile.
    let mut holder = PgConnection::connect(&env.database_url).await.expect("connected");
    let mut holding = holder.begin().await.expect("begun");
    sqlx::query("LOCK TABLE events").execute(&mut *holding).await.expect("locked");
    let first = chassis::Tasks::new().spawn({
        let store = store.clone();
        async move { store.keep_days(&RETENTION, today).await }
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                   AND application_name = 'postrider session' AND wait_event_type = 'Lock'";
    eventually(Duration::from_secs(10), "the first to wait", || async {
        (env.sql(waiting).trim() == "1").then_some(())
    })
    .await;
    assert_eq!(store.keep_days(&RETENTION, today).await.expect("asked"), None);
    env.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name = 'postrider session'",
    );
    first.await.expect("no panic").expect_err("its session is lost, and so is the pass");
    drop(holding);
    holder.close().await.expect("closed");
    assert_eq!(keep(&store, today).await.made.len(), 50);
}

#[tokio::test]
async fn the_days_of_a_batch_are_made_before_its_rows_are_written() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let today = noon(&env, 0);
    let day = |days| noon(&env, days).date_naive();
    let days = [day(-40), day(-20), day(0), day(400)].into();
    let make = async |now| {
        store.make_days(HistoryTable::Events, &days, &RETENTION, now).await.expect("made")
    };
    // Neither what is not kept any more, nor what a wrong clock has told.
    assert_eq!(make(today).await, [day(-20), day(0)].into());
    assert_eq!(make(today).await, [day(-20), day(0)].into());
    let row = event_row("opened", "e", ACCOUNT, today, noon(&env, -20));
    store.insert_events(&[row]).await.expect("inserted");
    assert_eq!(env.sql("SELECT count(*) FROM events_default").trim(), "0");
}
