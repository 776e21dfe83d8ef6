//! Documents leave in the order of their versions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::v1;
use store::{
    AccountStatus, Document, DocumentKey, DomainWebhook, NewHeader, NewUrlOptions, SigningKeyKind,
    UrlHeader,
};
use testkit::{TestEnv, within};

use crate::world::{QUOTAS, account, at, domain, open};

const SOON: std::time::Duration = std::time::Duration::from_secs(10);

fn version(document: &Document) -> u64 {
    match document {
        Document::Account(document) => document.version,
        Document::Domain(document) => document.version,
    }
}

#[tokio::test]
async fn a_change_waits_in_the_outbox_until_it_is_done() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let key = DocumentKey::Account(account(&store, "demo").await);
    assert_eq!(store.unpublished(at(0), at(0)).await.expect("listed"), std::slice::from_ref(&key));
    assert_eq!(store.unpublished(at(-1), at(0)).await.expect("listed"), []);

    // Given up on the way: it is still there.
    let publication = store.publication(&key).await.expect("answered").expect("waiting");
    drop(publication);
    let publication = store.publication(&key).await.expect("answered").expect("still waiting");
    let Document::Account(document) = publication.document() else { panic!("an account") };
    assert_eq!((document.name.as_str(), document.version), ("demo", 1));
    publication.done().await.expect("noted");
    assert!(store.publication(&key).await.expect("answered").is_none());
    assert_eq!(store.unpublished(at(0), at(0)).await.expect("listed"), []);
}

#[tokio::test]
async fn one_publication_at_a_time_and_one_for_many_changes() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let account_id = account(&store, "demo").await;
    let key = DocumentKey::Account(account_id.clone());
    let first = store.publication(&key).await.expect("answered").expect("waiting");

    let replace_key = |sealed: u8, at| {
        let (store, account_id) = (store.clone(), account_id.clone());
        async move {
            let kind = SigningKeyKind::Alerts;
            store.replace_signing_key(&account_id, kind, &[sealed], None, at).await
        }
    };
    // A change does not wait for the broker; its publication does.
    replace_key(3, at(1)).await.expect("changed");
    replace_key(4, at(2)).await.expect("changed");
    let second = chassis::Tasks::new().spawn({
        let (store, key) = (store.clone(), key.clone());
        async move { store.publication(&key).await.expect("answered") }
    });
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
    testkit::eventually(SOON, "the second to wait", || async {
        (env.sql(waits).trim() == "1").then_some(())
    })
    .await;
    assert_eq!(version(first.document()), 1);
    first.done().await.expect("noted");

    let second = within(SOON, "the second", second).await.expect("no panic").expect("waiting");
    assert_eq!(version(second.document()), 3, "the newest state, not the next one");
    second.done().await.expect("noted");
    assert!(store.publication(&key).await.expect("answered").is_none());
    assert_eq!(env.sql("SELECT count(*) FROM settings_outbox").trim(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_of_one_moment() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let account_id = account(&store, "demo").await;
    let (domain_id, key) = domain(&store, "mail.demo.example", "demo").await;
    // The URL of each state has the version that this state is going to have.
    let state = |version: u64| DomainWebhook {
        event_type: "clicked".to_owned(),
        urls: [1, 2, 3].map(|n| format!("https://hooks.example.net/{version}/{n}")).into(),
    };
    store
        .create_domain_webhook(&account_id, &domain_id, &state(2), &QUOTAS, at(1))
        .await
        .expect("made");

    let stop = Arc::new(AtomicBool::new(false));
    let writer = chassis::Tasks::new().spawn({
        let (store, stop) = (store.clone(), Arc::clone(&stop));
        async move {
            let mut version = 2;
            while !stop.load(Ordering::Relaxed) {
                version += 1;
                let state = state(version);
                store
                    .replace_domain_webhook(&account_id, &domain_id, &state, &QUOTAS, at(2))
                    .await
                    .expect("saved");
            }
            version
        }
    });
    let mut last = 0;
    while last < 100 {
        let Some(publication) = store.publication(&key).await.expect("answered") else { continue };
        let Document::Domain(document) = publication.document() else { panic!("a domain") };
        assert!(document.version > last, "{} after {last}", document.version);
        last = document.version;
        assert_eq!(document.webhooks[0].urls, state(last).urls);
        publication.done().await.expect("noted");
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("no panic");
    if let Some(publication) = store.publication(&key).await.expect("answered") {
        last = version(publication.document());
        publication.done().await.expect("noted");
    }
    assert_eq!(last, written);
}

#[tokio::test]
async fn a_document_that_cannot_be_published_is_tried_less_and_less_often() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let key = DocumentKey::Account(account(&store, "demo").await);
    let due = async |seconds| {
        store.unpublished(at(0), at(seconds)).await.expect("listed") == std::slice::from_ref(&key)
    };
    let mut now = 0;
    for wait in [1, 2, 4, 8, 16, 32, 60, 60] {
        assert!(due(now).await);
        store.put_off(&key, at(now)).await.expect("put off");
        assert!(!due(now + wait - 1).await && due(now + wait).await, "after {wait} s");
        now += wait;
    }
}

// What is refused is rolled back beside the next statement.
#[tokio::test(flavor = "multi_thread")]
async fn settings_that_would_be_too_large_are_refused_and_an_account_of_before_is_disabled() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let account_id = account(&store, "demo").await;
    // A hundred KiB of headers for each URL.
    let set = async |url: &str| {
        let header =
            |n: u32| NewHeader::Set(UrlHeader { name: format!("x-{n}"), sealed: vec![7; 10_240] });
        let headers = (0..10).map(header).collect();
        let new =
            NewUrlOptions { url, is_paused: false, policy: None, headers, legacy_payload: false };
        store.set_url_options(&account_id, &new, at(1)).await
    };
    set("https://a.example/").await.expect("100 KiB");
    set("https://b.example/").await.expect("200 KiB");
    let error = set("https://c.example/").await.expect_err("300 KiB").to_string();
    assert!(error.contains("at most 256 KiB") && error.contains("have 301 KiB"), "{error}");
    assert_eq!(env.sql("SELECT count(*) FROM url_options").trim(), "2");

    // As a version left it that knew no limit.
    env.sql(
        "INSERT INTO url_options (account_id, url, updated_at) \
         SELECT account_id, 'https://c.example/', updated_at FROM url_options LIMIT 1; \
         INSERT INTO url_headers (account_id, url, name, sealed) \
         SELECT account_id, 'https://c.example/', name, sealed \
         FROM url_headers WHERE url = 'https://a.example/'",
    );
    let key = DocumentKey::Account(account_id.clone());
    let published = async || {
        let publication = store.publication(&key).await.expect("answered").expect("waiting");
        let Document::Account(document) = publication.document() else { panic!("an account") };
        (document.status(), document.url_options.len())
    };
    assert_eq!(published().await, (v1::AccountStatus::Open, 3));
    let change = store.change_account_status(&account_id, AccountStatus::Disabled, None, at(2));
    change.await.expect("whatever its settings are");
    assert_eq!(published().await, (v1::AccountStatus::Disabled, 0));
    let change = store.change_account_status(&account_id, AccountStatus::Open, None, at(3));
    change.await.expect("opened");
    let deleted = store.delete_url_options(&account_id, "https://c.example/", at(4)).await;
    deleted.expect("what makes them smaller is never refused");
    assert_eq!(published().await, (v1::AccountStatus::Open, 2));
}
