//! Jobs that send again, and who may be at which.

use chassis::Clock;
use chrono::{DateTime, TimeDelta, Utc};
use store::history::Uuid;
use store::{AfterNote, NewResend, Store};
use testkit::TestEnv;

use crate::world::open;

const ACCOUNT: &str = "acc0acc0acc0acc0acc0acc0";

/// Two deliveries to each of two targets.
async fn fill(env: &TestEnv) -> Store {
    let store = open(env).await;
    env.sql(&format!(
        "INSERT INTO accounts (account_id, name, status, sealed_http_signing_key, \
         sealed_alerts_signing_key, created_at, updated_at) \
         VALUES ('{ACCOUNT}', 'demo', 'open', '', '', now(), now())"
    ));
    env.sql(&format!(
        "INSERT INTO undelivered (delivery_id, account_id, target_id, outcome, ended_at, delivery) \
         SELECT md5('d' || n)::uuid, '{ACCOUNT}', md5('t' || (n % 2))::uuid, 'held', \
         now() - n * interval '1 minute', 'x' FROM generate_series(1, 4) n"
    ));
    store
}

async fn make(store: &Store, number: u128, target_id: Option<Uuid>, at: DateTime<Utc>) {
    let outcomes = ["held".to_owned()];
    let (target, since) = ("", None);
    let (named_by, outcomes) = (ACCOUNT, outcomes.as_slice());
    let job = NewResend { target_id, target, named_by, outcomes, since, per_second: 1_000 };
    store.create_resend(ACCOUNT, Uuid::from_u128(number), &job, at).await.expect("made");
}

#[tokio::test]
async fn two_jobs_that_name_the_same_are_not_in_hand_at_once() {
    let env = TestEnv::new();
    let store = fill(&env).await;
    let target = |name: &str| env.sql(&format!("SELECT md5('{name}')::uuid")).trim().parse().ok();
    let now = Clock::system().now();
    let at = |seconds: i64| now + TimeDelta::seconds(seconds);
    make(&store, 1, target("t0"), at(1)).await;
    make(&store, 3, target("t1"), at(2)).await;
    make(&store, 2, None, at(3)).await;
    let claim = |number: u128, seconds: i64| {
        let store = &store;
        let next = store.next_resend_batch(Uuid::from_u128(number), at(seconds));
        async move { next.await.expect("asked") }
    };
    let first = claim(1, 4).await.expect("the first is due");
    assert_eq!((first.left(), first.repeats_since()), (2, None));
    // The second names everything, and would send the same. The third would not, and waits
    // too: the jobs of a tenant take turns.
    assert!(claim(3, 5).await.is_none());

    // Nobody has noted what was sent, and nobody is there any more.
    let later = claim(4, 60).await.expect("left by whoever was at it");
    let since = later.repeats_since().expect("it may have been sent");
    assert!((since - at(4)).abs() < TimeDelta::seconds(1), "{since}");
    env.sql("UPDATE resends SET state = 'cancelled' WHERE resend_id <> '00000000-0000-0000-0000-000000000002'");
    // Another one's batch counts as well, until it is too long ago.
    assert!(claim(5, 61).await.is_none());
    let second = claim(6, 100).await.expect("the second is due");
    let since = second.repeats_since().expect("the others may have sent them");
    assert!((since - at(4)).abs() < TimeDelta::seconds(1), "{since}");
    let forgotten = claim(7, 100 + 2 * 3600).await.expect("left by whoever was at it");
    let since = forgotten.repeats_since().expect("it may have been sent");
    assert!((since - at(100)).abs() < TimeDelta::seconds(1), "{since}");
}

/// The broker has some of a batch, and who was at it cannot say which, again and again.
#[tokio::test]
async fn what_may_have_been_sent_is_remembered_until_all_of_it_is_noted() {
    let env = TestEnv::new();
    let store = fill(&env).await;
    let now = Clock::system().now();
    let at = |seconds: i64| now + TimeDelta::seconds(seconds);
    make(&store, 1, None, at(1)).await;
    let claim = async |seconds: i64| {
        let next = store.next_resend_batch(Uuid::from_u128(9), at(seconds)).await;
        next.expect("asked").expect("due")
    };
    let since = |seconds: i64| at(seconds).timestamp();
    let mut first = claim(2).await;
    assert_eq!((first.left(), first.repeats_since()), (4, None));
    store.note_resent(&mut first, AfterNote::LetGoUnsure, at(3)).await.expect("noted");
    for seconds in [10, 70] {
        let mut again = claim(seconds).await;
        assert_eq!(again.repeats_since().map(|at| at.timestamp()), Some(since(2)));
        let ids: Vec<Uuid> = again.next(1).map(|(id, _)| id).collect();
        again.looked_at(1, ids);
        store.note_resent(&mut again, AfterNote::LetGoUnsure, at(seconds)).await.expect("noted");
    }
    // Nobody lets go of it, and a claim that is over is no older than what is not noted.
    assert_eq!(claim(80).await.repeats_since().map(|at| at.timestamp()), Some(since(2)));
    let mut last = claim(120).await;
    assert_eq!(last.repeats_since().map(|at| at.timestamp()), Some(since(2)));
    let ids: Vec<Uuid> = last.next(10).map(|(id, _)| id).collect();
    assert_eq!(ids.len(), 2);
    last.looked_at(2, ids);
    store.note_resent(&mut last, AfterNote::LetGo, at(121)).await.expect("noted");
    make(&store, 2, None, at(122)).await;
    let next = store.next_resend_batch(Uuid::from_u128(9), at(130)).await.expect("asked");
    assert_eq!(next.expect("due").repeats_since(), None);
}
