//! Those who have something: everything that they have is marked.

use std::collections::BTreeMap;

use model::EventType;
use serde_json::{Value, json};
use store::history::AttemptRow;
use testkit::{Receiver, TestEnv};

use crate::events::{event, row};
use crate::isolation::victim::Account;
use crate::journeys::{decision, failed, routed};
use crate::world::{DEADLINE, World, send};

/// The names of the owner and of its subaccount, which are in everything that they have.
pub(super) static MARKS: [&str; 2] = ["zq7main", "zq7sub"];

/// Values for requests, by the names in `parameters.rs`.
pub(super) struct Things(BTreeMap<&'static str, Value>);

/// An account that has one of everything.
pub(super) struct Owner {
    pub(super) account: Account,
    pub(super) url: String,
    pub(super) things: Things,
}

impl Things {
    pub(super) fn get(&self, thing: &str) -> &Value {
        self.0.get(thing).unwrap_or_else(|| panic!("nobody has a {thing}: add one in owner.rs"))
    }

    /// Right in their form, and nobody's.
    pub(super) fn of_nobody(receiver: &Receiver, name: &str) -> Self {
        let url = receiver.url(&format!("/services/{name}?token={name}"));
        let page = json!("A".repeat(160));
        let mut things: BTreeMap<&'static str, Value> = [
            ("domain", json!(format!("mail.{name}.example"))),
            ("webhook_id", json!("0".repeat(24))),
            ("id", json!("00000000-0000-4000-8000-000000000000")),
            ("key_id", json!("00000000-00000000")),
            ("subaccount_id", json!("1".repeat(24))),
            ("resend_id", json!("00000000-0000-4000-8000-000000000001")),
            ("event_id", json!("event-of-nobody")),
            ("delivery_id", json!("0".repeat(32))),
            ("name", json!(name)),
        ]
        .into();
        for list in ["events", "failures", "why", "webhooks"] {
            things.insert(page_of(list), page.clone());
        }
        common(&mut things, name, &"2".repeat(24), &url, page);
        Self(things)
    }
}

/// The name of links to the pages of a list.
pub(super) fn page_of(list: &str) -> &'static str {
    match list {
        "events" => "page of events",
        "failures" => "page of failures",
        "why" => "page of why",
        "webhooks" => "page of webhooks",
        other => panic!("no list is called {other}"),
    }
}

fn common(
    things: &mut BTreeMap<&'static str, Value>,
    name: &str,
    account_id: &str,
    url: &str,
    page: Value,
) {
    let email = format!("ops@{name}.example");
    let condition = |attribute: &str, value: &str| json!({"AND": [{"attribute": attribute, "comparator": "=", "values": [{"value": value}]}]});
    things.insert("url", json!(url));
    things.insert("urls", json!([url]));
    things.insert("target_id", json!(model::message_target_id(account_id, url)));
    things.insert("email", json!(email));
    things.insert("emails", json!([email]));
    things.insert("text", json!(name));
    things.insert("alert destination", json!({"url": url}));
    things.insert("logs of an account", condition("subaccount", account_id));
    things.insert("logs of a domain", condition("domain", &format!("mail.{name}.example")));
    things.insert("page of logs", json!({"token": page}));
}

impl Owner {
    pub(super) async fn new(
        world: &World,
        env: &TestEnv,
        receiver: &Receiver,
        name: &str,
        parent: Option<&Account>,
    ) -> Self {
        let account = Account::furnished(world, name, parent).await;
        let url = receiver.url(&format!("/services/{name}?token={name}"));
        let call = async |method: &str, path: &str, body: Value| {
            send(account.request(world, method, path).json(&body)).await.expect_status(200)
        };
        let contact = json!({"contact_email": format!("ops@{name}.example")});
        call("PUT", "/postrider/v1/account", contact).await;
        for types in [["delivered"], ["complained"]] {
            let of_type = format!("{url}&of={}", types[0]);
            let webhook = json!({"url": of_type, "event_types": types, "description": name});
            call("POST", "/v1/webhooks", webhook).await;
        }
        let webhooks = format!("/v3/domains/mail.{name}.example/webhooks");
        call("POST", &webhooks, json!({"id": "unsubscribed", "url": url})).await;
        let options = json!({
            "url": url, "paused": true, "headers": {format!("x-{name}"): name},
        });
        call("PUT", "/postrider/v1/urls", options).await;
        let alert = json!({
            "event_type": "ip_delisted", "channel": "webhook", "settings": {"url": url}
        });
        call("POST", "/v1/alerts/settings/events", alert).await;
        let resend = json!({"url": url, "per_second": 1});
        let resend = call("POST", "/postrider/v1/resends", resend).await.json();
        let path = format!("/postrider/v1/resends/{}", resend["id"].as_str().expect("an id"));
        send(account.request(world, "PUT", &path).json(&json!({"state": "paused"}))).await;
        exhausted(world, &account, &url).await;
        jobs_rest(env).await;
        let things = things(world, &account, name, &url).await;
        Self { account, url, things }
    }

    /// The same, with what it has by this subaccount.
    pub(super) fn with_subaccount(mut self, sub: &Self) -> Self {
        self.things.0.insert("subaccount_id", json!(sub.account.id));
        self
    }
}

/// Waits until no job that sends again is at work.
pub(super) async fn jobs_rest(env: &TestEnv) {
    testkit::eventually(DEADLINE, "jobs at rest", || async {
        let running = "SELECT count(*) FROM resends WHERE state = 'running'";
        (env.sql(running).trim() == "0").then_some(())
    })
    .await;
}

/// Two events that failed to arrive, marked wherever they can be.
async fn exhausted(world: &World, account: &Account, url: &str) {
    let name = &account.name;
    let mut events = Vec::new();
    for n in 0..2 {
        let mut event = event(EventType::Clicked, &format!("{name}-{n}"), 30 + n);
        event.domain = format!("mail.{name}.example");
        if let Some(protocol::v1::event::Kind::Clicked(clicked)) = &mut event.kind {
            clicked.recipient = format!("to@{name}.example");
            clicked.url = format!("https://shop.example/{name}");
        }
        events.push(row(&account.id, event));
    }
    let attempts: Vec<_> = events
        .iter()
        .map(|event| AttemptRow {
            url: egress::loggable(url),
            detail: format!("{name} failed"),
            response_snippet: format!("{name} is busy"),
            level: Some("account".to_owned()),
            ..failed(event, url)
        })
        .collect();
    let decisions =
        events.iter().map(|event| routed(event, vec![decision(event, url, "chosen", "domain")]));
    let store = world.store();
    store.insert_routed(&decisions.collect::<Vec<_>>()).await.expect("inserted");
    store.insert_attempts(&attempts).await.expect("inserted");
    store.insert_events(&events).await.expect("inserted");
    store.close().await;
}

async fn things(world: &World, account: &Account, name: &str, url: &str) -> Things {
    let mut things: BTreeMap<&'static str, Value> = [
        "domain",
        "webhook_id",
        "id",
        "key_id",
        "subaccount_id",
        "resend_id",
        "event_id",
        "delivery_id",
    ]
    .map(|thing| (thing, json!(account.ids.get(thing))))
    .into();
    things.insert("name", json!(name));
    let asked: String = url::form_urlencoded::byte_serialize(url.as_bytes()).collect();
    for (list, path) in [
        ("failures", "/postrider/v1/failures?limit=1".to_owned()),
        ("why", format!("/postrider/v1/why?url={asked}&begin=1760000000&limit=1")),
        ("webhooks", "/postrider/v1/webhooks?limit=1".to_owned()),
    ] {
        let page = send(account.request(world, "GET", &path)).await.expect_status(200).json();
        let next = page["paging"]["next"].as_str().unwrap_or_else(|| panic!("{list}: {page}"));
        let (_, token) = next.split_once("page=").expect("a link");
        things.insert(page_of(list), json!(token));
    }
    let path = format!("/v3/mail.{name}.example/events?begin=1760000000&ascending=yes&limit=1");
    let page = send(account.request(world, "GET", &path)).await.expect_status(200).json();
    let next = page["paging"]["next"].as_str().expect("a link");
    things.insert(page_of("events"), json!(next.rsplit('/').next().expect("a part")));
    let body = json!({"start": "Thu, 09 Oct 2025 08:00:00 +0000", "pagination": {"limit": 1}});
    let logs = account.request(world, "POST", "/v1/analytics/logs").json(&body);
    let page = send(logs).await.expect_status(200).json()["pagination"]["next"].clone();
    common(&mut things, name, &account.id, url, page);
    Things(things)
}
