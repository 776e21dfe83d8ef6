//! A store of its own for each test.

use chrono::{DateTime, Utc};
use store::{
    DatabaseUrl, DocumentKey, NewAccount, NewDomain, NewKey, Quotas, SealedKeys, Store, StoreConfig,
};
use testkit::TestEnv;

/// More of everything than a test makes.
pub(crate) const QUOTAS: Quotas =
    Quotas { webhooks: 100, alert_settings: 100, domains: 100, api_keys: 100, subaccounts: 100 };

/// Open, with its schema in place.
pub(crate) async fn open(env: &TestEnv) -> Store {
    let url: DatabaseUrl = env.database_url.parse().expect("a URL");
    let store = Store::open(&StoreConfig { url, max_connections: 8 });
    store.migrate().await.expect("migrated");
    store
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_760_000_000 + seconds, 0).expect("a moment")
}

/// Makes an account of this name; returns its id.
pub(crate) async fn account(store: &Store, name: &str) -> String {
    let [a, b, ..] = model::domain_id(name).as_bytes().to_vec()[..] else { unreachable!() };
    let account_id = format!("{:024x}", u16::from_be_bytes([a, b]));
    let new = NewAccount {
        account_id: account_id.clone(),
        name: name.to_owned(),
        parent_name: None,
        keys: SealedKeys { http_signing_key: vec![1], alerts_signing_key: vec![2] },
        api_key: NewKey::admin(format!("{:08x}-00000000", u16::from_be_bytes([a, b])), [a; 32]),
    };
    store.create_account(&new, at(0)).await.expect("made");
    account_id
}

/// Makes a domain; returns its id and the name of its document.
pub(crate) async fn domain(store: &Store, name: &str, account_name: &str) -> (String, DocumentKey) {
    let new = NewDomain { name: name.to_owned(), account_name: account_name.to_owned() };
    let (domain, key) = store.create_domain(&new, at(0)).await.expect("made");
    (domain.domain_id, key)
}
