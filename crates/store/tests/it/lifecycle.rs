//! Whose database it is, and how accounts end.

use store::{AccountStatus, SealedKeys, StoreError};
use testkit::TestEnv;

use crate::world::{account, at, domain, open};

#[tokio::test]
async fn a_database_is_claimed_by_one_region() {
    let env = TestEnv::new();
    let url = env.database_url.parse().expect("a URL");
    let bare = store::Store::open(&store::StoreConfig { url, max_connections: 2 });
    // Nobody's, as long as it has no schema.
    bare.check_region("us").await.expect("nobody's");
    bare.claim_for_region("us").await.expect_err("there is nowhere to note it");

    let store = open(&env).await;
    store.check_region("eu").await.expect("nobody's still");
    let (us, eu) = tokio::join!(store.claim_for_region("us"), bare.claim_for_region("eu"));
    let (winner, refused) = match (us, eu) {
        (Ok(()), Err(refused)) => ("us", refused),
        (Err(refused), Ok(())) => ("eu", refused),
        other => panic!("one of them gets it: {other:?}"),
    };
    let StoreError::OtherRegion { found, .. } = &refused else { panic!("{refused}") };
    assert_eq!(found, winner);
    assert!(refused.to_string().contains("give each region a database of its own"), "{refused}");
    store.claim_for_region(winner).await.expect("again");
    assert_eq!(env.sql("SELECT count(*) FROM deployment").trim(), "1");
}

#[tokio::test]
async fn an_erasure_is_all_or_nothing_and_can_be_repeated() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let account_id = account(&store, "one").await;
    let (domain_id, _) = domain(&store, "mail.one.example", "one").await;
    let seal = |id: &str| SealedKeys {
        http_signing_key: format!("http of {id}").into(),
        alerts_signing_key: format!("alerts of {id}").into(),
    };
    let early = store.erase_account(&account_id, seal, at(1)).await;
    assert!(matches!(early, Err(StoreError::AccountNotClosed { name }) if name == "one"));
    let closed = AccountStatus::Closed;
    store.change_account_status(&account_id, closed, None, at(1)).await.expect("closed");

    // Whatever goes wrong on the way, nothing has happened.
    env.sql(&format!("INSERT INTO erasures VALUES ('{account_id}', 1, 0, 0, now(), NULL)"));
    store.erase_account(&account_id, seal, at(2)).await.expect_err("in the way");
    let names = "SELECT a.name, d.name, a.erased_at IS NULL FROM accounts a \
                 JOIN domains d USING (account_id)";
    assert_eq!(env.sql(names).trim(), "one|mail.one.example|t");
    env.sql("DELETE FROM erasures");

    let keys = store.erase_account(&account_id, seal, at(2)).await.expect("erased");
    assert_eq!(keys.len(), 2);
    assert_eq!(env.sql(names).trim(), format!("erased-{account_id}|{domain_id}|f"));
    let versions = env.sql("SELECT version FROM accounts");
    let again = store.erase_account(&account_id, seal, at(3)).await.expect("again");
    assert_eq!((again, env.sql("SELECT version FROM accounts")), (keys, versions));
    assert_eq!(store.erasure_passes(at(2)).await.expect("read").len(), 1);
}

#[tokio::test]
async fn one_pass_counts_once_and_the_last_one_comes_later() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let account_id = account(&store, "one").await;
    let seal = |_: &str| SealedKeys { http_signing_key: vec![], alerts_signing_key: vec![] };
    let closed = AccountStatus::Closed;
    store.change_account_status(&account_id, closed, None, at(0)).await.expect("closed");
    store.erase_account(&account_id, seal, at(0)).await.expect("erased");
    let passes = async |now| store.erasure_passes(at(now)).await.expect("read");
    let [first] = &passes(0).await[..] else { panic!("one pass is due") };
    // Two replicas have done the same one.
    for _ in 0..2 {
        store.erasure_pass_done(first, at(10)).await.expect("noted");
    }
    assert!(passes(600).await.is_empty());
    let [last] = &passes(610).await[..] else { panic!("the last pass is due") };
    store.erasure_pass_done(last, at(620)).await.expect("noted");
    assert!(passes(10_000).await.is_empty());
    let details = store.account_details(&account_id).await.expect("there");
    assert_eq!(details.erasure_done_at, Some(at(620)));
}
