//! A store of its own for each test.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::EventType;
use model::event_filter::SearchTexts;
use prost::Message as _;
use protocol::v1::Event;
use store::history::EventRow;
use store::{
    DatabaseUrl, DocumentKey, NewAccount, NewDomain, NewKey, Quotas, SealedKeys, Store, StoreConfig,
};
use testkit::{TestEnv, eventually};

/// More of everything than a test makes.
pub(crate) const QUOTAS: Quotas =
    Quotas { webhooks: 100, alert_settings: 100, domains: 100, api_keys: 100, subaccounts: 100 };

/// Open, with its schema in place.
pub(crate) async fn open(env: &TestEnv) -> Store {
    let store = open_at(&env.database_url);
    store.migrate().await.expect("migrated");
    store
}

/// Open, whatever is there.
pub(crate) fn open_at(url: &str) -> Store {
    let url: DatabaseUrl = url.parse().expect("a URL");
    Store::open(&StoreConfig { url, max_connections: 8 })
}

/// Open, with the limits that this puts into the URL: `-c name=value …`.
pub(crate) async fn open_with(env: &TestEnv, options: &str) -> Store {
    let options = options.replace(' ', "%20").replace('=', "%3D");
    let separator = if env.database_url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}options={options}", env.database_url);
    let store = open_at(&url);
    store.migrate().await.expect("migrated");
    store
}

/// Waits until no connection to the database is left. What a connection has done is
/// counted when it ends, and it is not seen any more after that: so before scans are
/// counted, both what filled the tables and what read them has to have ended.
pub(crate) async fn connections_ended(env: &TestEnv) {
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'parallel worker')";
    eventually(Duration::from_secs(20), "connections to end", || async {
        (env.sql(others).trim() == "0").then_some(())
    })
    .await;
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

/// A message event as archive stores it.
pub(crate) fn event_row(
    event_type: &str,
    event_id: &str,
    account_id: &str,
    occurred_at: DateTime<Utc>,
    accepted_at: DateTime<Utc>,
) -> EventRow {
    let kinds = EventType::WEBHOOKS.into_iter();
    let event_type = kinds.into_iter().find(|kind| kind.as_str() == event_type).expect("a kind");
    let domain = "mail.demo.example";
    let event = model::sample(event_type, event_id, occurred_at.into(), account_id, domain);
    row_of(event, account_id, occurred_at, accepted_at)
}

/// This event as archive stores it.
pub(crate) fn row_of(
    event: Event,
    account_id: &str,
    occurred_at: DateTime<Utc>,
    accepted_at: DateTime<Utc>,
) -> EventRow {
    let kind = event.kind.as_ref().expect("a kind");
    let event_type = EventType::of(kind);
    let key = model::event_key(account_id, event_type, &event.id);
    EventRow {
        event_key: store::history::id(&key).expect("an id"),
        account_id: account_id.to_owned(),
        domain_id: store::history::id(&model::domain_id(&event.domain)),
        event_type: event_type.as_str().to_owned(),
        event_id: event.id.clone(),
        occurred_at,
        accepted_at,
        caller: "test".to_owned(),
        search: SearchTexts::of(kind),
        event: event.encode_to_vec(),
    }
}
