//! Events become visible in the order of their positions, whoever inserts them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use model::event_filter::EventFilter;
use store::history::{EventRow, EventScope, EventSearch, Order, PAGE_BYTES};
use testkit::TestEnv;

use crate::world::{at, event_row, open};

const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
/// Batches and rows of each inserter: one has long statements, which draw their
/// positions early and are committed late; the others are quick.
const INSERTERS: [(usize, usize); 4] = [(4, 3_000), (150, 3), (150, 3), (150, 3)];

fn row(n: usize) -> EventRow {
    // Each comes with a time of its own, in no order.
    let seconds = i64::try_from(n * 7919 % 10_007).expect("small");
    event_row("delivered", &format!("e{n}"), ACCOUNT, at(seconds), at(20_000))
}

/// With positions from a sequence alone, without the lock, this fails.
#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_by_arrival_misses_nothing_and_gets_nothing_twice() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let domain_id = row(0).domain_id.expect("a domain");
    let running = AtomicUsize::new(INSERTERS.len());
    let inserter = async |inserter: usize| {
        let (batches, length) = INSERTERS[inserter];
        for batch in 0..batches {
            let first = inserter * 100_000 + batch * length;
            let rows: Vec<EventRow> = (first..first + length).map(row).collect();
            store.insert_events(&rows).await.expect("inserted");
        }
        running.fetch_sub(1, Ordering::SeqCst);
    };
    let search = EventSearch {
        scope: EventScope::Domain { account_id: ACCOUNT.to_owned(), domain_id },
        from: None,
        to: None,
        filter: EventFilter::All(Vec::new()),
    };
    let reader = async {
        let (mut above, mut seen) = (0, Vec::new());
        loop {
            let is_last = running.load(Ordering::SeqCst) == 0;
            let visible = store.last_event_position(domain_id).await.expect("read");
            // A page ends also with the event that fills its bytes.
            while above < visible {
                let order = Order::Ascending;
                let found = store.events_by_arrival(&search, order, above, visible, 10_000).await;
                let found = found.expect("read");
                let bytes = found.iter().map(|event| event.event.len()).sum::<usize>();
                let last = found.last().map(|event| event.place.position);
                above = last.filter(|_| bytes >= PAGE_BYTES).unwrap_or(visible);
                seen.extend(found.into_iter().map(|event| event.event));
            }
            if is_last {
                break seen;
            }
        }
    };
    let (.., seen) = tokio::join!(inserter(0), inserter(1), inserter(2), inserter(3), reader);
    let distinct: BTreeSet<&Vec<u8>> = seen.iter().collect();
    assert_eq!(seen.len(), distinct.len(), "nothing twice");
    assert_eq!(seen.len().to_string(), env.sql("SELECT count(*) FROM events").trim());
}

#[tokio::test]
async fn pages_by_time_begin_behind_an_event_even_where_many_have_one_time() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let rows: Vec<EventRow> = (0..50)
        .map(|n| event_row("opened", &format!("e{n}"), ACCOUNT, at(n / 20), at(5)))
        .collect();
    store.insert_events(&rows).await.expect("inserted");
    let search = EventSearch {
        scope: EventScope::Accounts(vec![ACCOUNT.to_owned()]),
        from: None,
        to: None,
        filter: EventFilter::All(Vec::new()),
    };
    for order in [Order::Ascending, Order::Descending] {
        let (mut behind, mut seen) = (None, Vec::new());
        loop {
            let page = store.events_by_time(&search, order, behind, None, 7).await.expect("read");
            let Some(last) = page.last() else { break };
            behind = Some(last.place);
            seen.extend(page.into_iter().map(|event| event.place));
        }
        assert_eq!(seen.len(), 50, "{order:?}");
        assert!(
            seen.is_sorted_by(|a, b| if order == Order::Ascending { a < b } else { a > b }),
            "{order:?}"
        );
    }
}

#[tokio::test]
async fn several_accounts_are_searched_as_one() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let accounts: Vec<String> = (0..3).map(|n| format!("{n:024x}")).collect();
    let rows: Vec<EventRow> = (0..30)
        .map(|n| {
            let account = &accounts[n % 3];
            let seconds = i64::try_from(n).expect("small");
            event_row("opened", &format!("e{n}"), account, at(seconds), at(40))
        })
        .collect();
    store.insert_events(&rows).await.expect("inserted");
    let search = |accounts: &[String]| EventSearch {
        scope: EventScope::Accounts(accounts.to_vec()),
        from: Some(at(3)),
        to: Some(at(20)),
        filter: EventFilter::All(Vec::new()),
    };
    let two = search(&accounts[..2]);
    let page = store.events_by_time(&two, Order::Descending, None, None, 4).await.expect("read");
    let moments: Vec<i64> =
        page.iter().map(|event| (event.place.occurred_at - at(0)).num_seconds()).collect();
    assert_eq!(moments, [19, 18, 16, 15]);
    assert_eq!(store.count_events(&two, 100).await.expect("counted"), 12);
    assert_eq!(store.count_events(&two, 5).await.expect("counted"), 5);
    assert_eq!(store.count_events(&search(&accounts[2..]), 100).await.expect("counted"), 6);
}

#[tokio::test]
async fn a_time_far_ahead_is_stored_as_a_day_after_the_event_was_accepted() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let far = event_row("opened", "far", ACCOUNT, at(86_400 * 400), at(0));
    store.insert_events(&[far]).await.expect("inserted");
    assert_eq!(env.sql("SELECT occurred_at - accepted_at FROM events"), "1 day");
}
