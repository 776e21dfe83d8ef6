//! Days are made ahead and given up, and no row is lost in between.

use chrono::{DateTime, TimeDelta, Utc};
use store::Store;
use store::history::{DaysKept, EndRow, Retention};
use testkit::TestEnv;

use crate::world::{event_row, open};

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
