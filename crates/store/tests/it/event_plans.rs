//! What PostgreSQL does for a page of events, on enough rows to matter.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use model::event_filter::{EventFilter, FilterField, parse};
use store::Store;
use store::history::{EventPlace, EventScope, EventSearch, Order, Retention, Uuid};
use testkit::TestEnv;

use crate::world::open;

pub(crate) const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
pub(crate) const ROWS: i64 = 300_000;
const DAYS: i64 = 6;

fn noon(env: &TestEnv) -> DateTime<Utc> {
    let seconds = env.sql("SELECT extract(epoch FROM date_trunc('day', now(), 'UTC'))::bigint");
    let seconds: i64 = seconds.trim().parse().expect("a number");
    DateTime::from_timestamp(seconds + 43_200, 0).expect("a moment")
}

/// Six days of two accounts with three domains each. One message in fifty fails,
/// one in two hundred is complained of. Bodies are short, which makes a scan
/// from end to end look cheaper to the planner than it is.
pub(crate) async fn fill(env: &TestEnv, store: &Store) -> DateTime<Utc> {
    let noon = noon(env);
    for day in 0..DAYS {
        let retention = Retention {
            events_days: 30,
            routings_days: 30,
            attempts_days: 30,
            ends_days: 30,
            undelivered_days: 30,
            statistics_days: 90,
        };
        store.keep_days(&retention, noon - TimeDelta::days(day)).await.expect("kept");
    }
    env.sql(&format!(
        "INSERT INTO events (event_key, account_id, domain_id, event_type, event_id, occurred_at, \
         accepted_at, position, caller, event, recipient, message_id, subject, size_bytes) \
         SELECT md5(n::text)::uuid, CASE WHEN n % 2 = 0 THEN '{ACCOUNT}' ELSE repeat('b', 24) END, \
         md5('domain' || n % 6)::uuid, \
         CASE WHEN n % 200 = 0 THEN 'complained' WHEN n % 100 = 2 THEN 'temporary_fail' \
         WHEN n % 10 = 4 THEN 'opened' WHEN n % 4 = 0 THEN 'accepted' ELSE 'delivered' END, \
         'e' || n, at - interval '2 seconds', at, n, '', '\\x00', \
         'r' || n % 50000 || '@a.example', 'm' || n / 3 || '@a.example', 'Order ' || n, n \
         FROM (SELECT n, to_timestamp({}) - (({ROWS} - n) * interval '1.5 seconds') AS at \
         FROM generate_series(1, {ROWS}) AS n) AS numbers",
        noon.timestamp()
    ));
    env.sql("ANALYZE events");
    noon
}

fn filter(expressions: &[(&str, &str)]) -> EventFilter {
    let all = expressions.iter().map(|(name, text)| {
        let (_, field) = FilterField::ALL.iter().find(|(known, _)| known == name).expect("known");
        parse(*field, text).expect("an expression")
    });
    EventFilter::All(all.collect())
}

/// Fails when a partition is read from end to end.
pub(crate) fn assert_no_scan(what: &str, plan: &str) {
    // Reading an empty partition whole costs nothing.
    let is_scan = |line: &&str| line.contains("Seq Scan") && !line.contains("cost=0.00..0.00");
    assert_eq!(plan.lines().find(is_scan), None, "{what}:\n{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_read_from_indexes_and_days_that_do_not_matter_are_left_out() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let noon = fill(&env, &store).await;
    let domain_id: Uuid = env.sql("SELECT md5('domain4')::uuid").trim().parse().expect("an id");
    let of_domain = || EventScope::Domain { account_id: ACCOUNT.to_owned(), domain_id };
    let of_account = || EventScope::Accounts(vec![ACCOUNT.to_owned()]);
    let both = || EventScope::Accounts(vec![ACCOUNT.to_owned(), "b".repeat(24)]);
    let days_ago = |days| Some(noon - TimeDelta::days(days));
    let place = EventPlace { occurred_at: noon - TimeDelta::days(2), position: 1 };

    let mut told = String::new();
    // What is asked for; the index that answers; the days that are looked at.
    for (scope, from, to, expressions, behind, index, days) in [
        (of_domain(), None, None, &[][..], None, "events_domain|domain_id_occurred_at", 16),
        (of_domain(), days_ago(1), None, &[], None, "domain_id_occurred_at", 11),
        (of_domain(), None, None, &[], Some(place), "domain_id_occurred_at", 16),
        (
            of_domain(),
            days_ago(3),
            days_ago(2),
            &[("event", "delivered")],
            None,
            "domain_id_occurred_at",
            13,
        ),
        (
            of_domain(),
            None,
            None,
            &[("event", "failed")],
            None,
            "domain_id_occurred_at_position_idx1",
            16,
        ),
        (of_domain(), None, None, &[("event", "complained")], None, "event_type", 16),
        (of_domain(), None, None, &[("recipient", "r4242@a.example")], None, "recipient", 16),
        (of_domain(), None, None, &[("message-id", "<m4242@a.example>")], None, "message_id", 16),
        (
            of_domain(),
            None,
            None,
            &[("subject", "4242"), ("size", ">100")],
            None,
            "domain_id_occurred_at",
            16,
        ),
        (of_account(), days_ago(1), None, &[], None, "account_id_occurred_at", 11),
        (both(), days_ago(1), None, &[("event", "accepted")], None, "account_id_occurred_at", 11),
    ] {
        for order in [Order::Ascending, Order::Descending] {
            let search =
                EventSearch { scope: scope.clone(), from, to, filter: filter(expressions) };
            let plan = store.explain_events_by_time(&search, order, behind, 100).await;
            let plan = plan.expect("explained");
            let what = format!("{expressions:?} from {from:?} {order:?}");
            assert_no_scan(&what, &plan);
            assert!(index.split('|').any(|index| plan.contains(index)), "{what}, {index}:\n{plan}");
            // An index of a day is named after it: events_20261121_….
            let day = |line: &str| {
                let (_, name) = line.split_once(" on events_")?;
                name.split(['_', ' ']).next().map(str::to_owned)
            };
            let looked_at = plan.lines().filter_map(day).collect::<BTreeSet<_>>().len();
            assert!(looked_at <= days, "{what}, {looked_at} days:\n{plan}");
            let _ = writeln!(told, "{what}: {looked_at}");
        }
    }
    println!("{told}");
}
