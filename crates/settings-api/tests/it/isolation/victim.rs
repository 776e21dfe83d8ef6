//! Accounts that have one of everything.

use model::EventType;
use serde_json::{Value, json};
use store::history::EndRow;
use testkit::TestEnv;
use testkit::http::Request;

use super::BEHALF;
use super::operations::{CLICKED, Ids};
use crate::event_resends::body;
use crate::events::{event, row};
use crate::journeys::{decision, ended, routed};
use crate::world::{World, send};

/// An account, its admin key and the ids of what it has.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) ids: Ids,
}

/// A key of an account.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

impl Account {
    /// With nothing but its key.
    pub(crate) async fn new(world: &World, name: &str, parent: Option<&Self>) -> Self {
        let id = world.account(name, parent.map_or("", |parent| parent.name.as_str())).await;
        // That of a subaccount that it does not have.
        let mut ids = Ids::nowhere();
        ids.set("subaccount_id", &id);
        Self { name: name.to_owned(), key: format!("key-{name}"), id, ids }
    }

    /// With one of everything.
    pub(crate) async fn furnished(world: &World, name: &str, parent: Option<&Self>) -> Self {
        let mut account = Self::new(world, name, parent).await;
        let domain = format!("mail.{name}.example");
        let post = async |path: &str, body: Value| {
            send(account.request(world, "POST", path).json(&body)).await.expect_status(200).json()
        };
        post("/v4/domains", json!({"name": domain})).await;
        let webhooks = format!("/v3/domains/{domain}/webhooks");
        post(&webhooks, json!({"id": "clicked", "url": CLICKED})).await;
        let url = format!("https://hooks.example.net/of-{name}");
        let webhook = json!({"url": url, "event_types": ["opened"], "description": name});
        let webhook = text(&post("/v1/webhooks", webhook).await, "webhook_id");
        let alert = json!({
            "event_type": "ip_listed", "channel": "email",
            "settings": {"emails": [format!("ops@{name}.example")]}
        });
        let alert = text(&post("/v1/alerts/settings/events", alert).await, "id");
        let put = async |path: &str, body: Value| {
            send(account.request(world, "PUT", path).json(&body)).await
        };
        let headers = json!({"authorization": format!("Bearer of-{name}")});
        let options = json!({"url": CLICKED, "headers": headers});
        put("/postrider/v1/urls", options).await.expect_status(200);
        let resend = text(&post("/postrider/v1/resends", json!({"per_second": 1})).await, "id");
        // Paused if it is not done already; from here on it stays as it is.
        put(&format!("/postrider/v1/resends/{resend}"), json!({"state": "paused"})).await;
        let key = account.make_key(world, &[("role", "basic"), ("description", name)]).await;
        let events = account.request(world, "GET", &format!("/v3/{domain}/events"));
        let events = send(events).await.expect_status(200).json();
        let page = text(&events["paging"], "first");
        let page = page.rsplit('/').next().expect("a link's last part");
        let (event_id, delivery_id) = Box::pin(account.exhaust(world)).await;
        account.ids.set("event_id", &event_id);
        account.ids.set("delivery_id", &delivery_id);
        account.ids.set("page", page);
        account.ids.set("domain", &domain);
        account.ids.set("webhook_id", &webhook);
        account.ids.set("id", &alert);
        account.ids.set("key_id", &key.id);
        account.ids.set("resend_id", &resend);
        account
    }

    /// Puts an event into history that could not be delivered; returns its id and its
    /// delivery's.
    async fn exhaust(&self, world: &World) -> (String, String) {
        let event_id = format!("event-of-{}", self.name);
        let event = row(&self.id, event(EventType::Clicked, &event_id, 0));
        let decisions = vec![decision(&event, CLICKED, "chosen", "domain")];
        let end = EndRow {
            delivery: Some(body(&event, CLICKED)),
            ..ended(&event, CLICKED, "exhausted", "schedule")
        };
        let store = world.store();
        store.insert_routed(&[routed(&event, decisions)]).await.expect("inserted");
        let delivery_id = end.delivery_id.simple().to_string();
        store.insert_ends(&[end]).await.expect("inserted");
        store.insert_events(&[event]).await.expect("inserted");
        store.close().await;
        (event_id, delivery_id)
    }

    pub(crate) fn request(&self, world: &World, method: &str, path: &str) -> Request {
        world.anonymous(method, path).basic_auth("api", &self.key)
    }

    pub(crate) async fn make_key(&self, world: &World, fields: &[(&str, &str)]) -> Key {
        let post = self.request(world, "POST", "/v1/keys").form(fields);
        let made = send(post).await.expect_status(200).json();
        Key { id: text(&made, "id"), secret: text(&made, "secret") }
    }
}

/// Disables a subaccount as its parent does.
async fn disable(world: &World, parent: &Account, sub: &Account) {
    let path = format!("/v5/accounts/subaccounts/{}/disable", sub.id);
    send(parent.request(world, "POST", &path)).await.expect_status(200);
}

/// Brings a subaccount into the state that an operation on it needs.
pub(crate) async fn prepare(world: &World, parent: &Account, sub: &Account, operation: &str) {
    match operation {
        "enable_subaccount" => disable(world, parent, sub).await,
        "get_subaccount_monthly_limit" => {
            let path = format!("/v5/accounts/subaccounts/{}/limit/custom/monthly?limit=7", sub.id);
            send(parent.request(world, "PUT", &path)).await.expect_status(200);
        }
        _ => {}
    }
}

/// As a list of SQL.
fn ids_of(accounts: &[&Account]) -> String {
    accounts.iter().map(|account| format!("'{}'", account.id)).collect::<Vec<_>>().join(", ")
}

/// All that is stored of these accounts, in tables that are added later too, and what the
/// delivery path sees of them.
pub(crate) async fn snapshot_of(accounts: &[&Account], world: &World, env: &TestEnv) -> String {
    let ids = ids_of(accounts);
    // Neither when keys were last used nor how often was called is a setting.
    let tables = env.sql(
        "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' \
         AND column_name = 'account_id' AND table_name <> 'rate_windows'",
    );
    let rows = |table: &str, which: &str| {
        format!(
            "SELECT '{table} ' || (to_jsonb(t) - 'last_used_at')::text FROM {table} t \
             WHERE {which}"
        )
    };
    let of_domains =
        format!("domain_id IN (SELECT domain_id FROM domains WHERE account_id IN ({ids}))");
    let mut statements = vec![
        rows("domain_webhooks", &of_domains),
        format!("SELECT 'subaccount ' || account_id FROM accounts WHERE parent_id IN ({ids})"),
    ];
    let names = tables.lines().map(str::trim).filter(|name| !name.is_empty());
    let of_accounts = format!("account_id IN ({ids})");
    statements.extend(names.map(|table| rows(table, &of_accounts)));
    let mut snapshot = env.sql(&format!("{} ORDER BY 1", statements.join(" UNION ALL ")));
    for account in accounts {
        snapshot.push_str(&format!("{:?}\n", world.account_document(&account.name).await));
        let domain = format!("mail.{}.example", account.name);
        snapshot.push_str(&format!("{:?}\n", world.domain_document(&domain).await));
    }
    // History shows its ids with hyphens.
    let plain = snapshot.replace('-', "");
    for id in accounts.iter().flat_map(|account| account.ids.all()) {
        assert!(plain.contains(&id.replace('-', "")), "{id} is not in the snapshot");
    }
    snapshot
}

/// An account of which there is a subaccount in every state, and a stranger.
pub(crate) struct Victim {
    pub(crate) main: Account,
    pub(crate) sub: Account,
    /// A subaccount that has nothing, and calls.
    pub(crate) bare_sub: Account,
    pub(crate) disabled_sub: Account,
    pub(crate) closed_sub: Account,
    pub(crate) sending_key: String,
    pub(crate) revoked_key: String,
    pub(crate) expired_key: String,
    /// Accounts of others.
    pub(crate) stranger: Account,
    pub(crate) disabled: Account,
    pub(crate) closed: Account,
}

impl Victim {
    pub(crate) async fn new(world: &World, env: &TestEnv) -> Self {
        let main = Account::furnished(world, "victim", None).await;
        let sub = Account::furnished(world, "victim-sub", Some(&main)).await;
        let bare_sub = Account::new(world, "bare-sub", Some(&main)).await;
        let disabled_sub = Account::furnished(world, "disabled-sub", Some(&main)).await;
        disable(world, &main, &disabled_sub).await;
        let closed_sub = Account::furnished(world, "closed-sub", Some(&main)).await;
        let close = main.request(world, "DELETE", "/v5/accounts/subaccounts");
        send(close.header(BEHALF, &closed_sub.id)).await.expect_status(200);

        let sending_key = main.make_key(world, &[("role", "sending")]).await.secret;
        let revoked = main.make_key(world, &[("role", "admin")]).await;
        let delete = main.request(world, "DELETE", &format!("/v1/keys/{}", revoked.id));
        send(delete).await.expect_status(200);
        let expired = main.make_key(world, &[("role", "admin"), ("expiration", "3600")]).await;
        env.sql("UPDATE api_keys SET expires_at = created_at WHERE expires_at IS NOT NULL");

        let stranger = Account::new(world, "stranger", None).await;
        let disabled = Account::new(world, "disabled", None).await;
        let closed = Account::new(world, "closed", None).await;
        // By hand, so that the closed one still has its key.
        env.sql("UPDATE accounts SET status = name WHERE name IN ('disabled', 'closed')");
        Self {
            main,
            sub,
            bare_sub,
            disabled_sub,
            closed_sub,
            sending_key,
            revoked_key: revoked.secret,
            expired_key: expired.secret,
            stranger,
            disabled,
            closed,
        }
    }

    /// What the main account has, one of its subaccounts included.
    pub(crate) fn ids(&self) -> Ids {
        let mut ids = self.main.ids.clone();
        ids.set("subaccount_id", &self.sub.id);
        ids
    }

    fn accounts(&self) -> [&Account; 4] {
        [&self.main, &self.sub, &self.disabled_sub, &self.closed_sub]
    }

    fn account_ids(&self) -> String {
        ids_of(&self.accounts())
    }

    /// See [`snapshot_of`].
    pub(crate) async fn snapshot(&self, world: &World, env: &TestEnv) -> String {
        snapshot_of(&self.accounts(), world, env).await
    }

    /// Panics when the accounts are not as they were in this snapshot.
    pub(crate) async fn is_as_before(
        &self,
        before: &str,
        world: &World,
        env: &TestEnv,
        operation: &str,
    ) {
        let after = self.snapshot(world, env).await;
        let changed: Vec<_> = before.lines().filter(|line| !after.contains(line)).collect();
        assert!(before == after, "{operation} has changed {changed:#?}");
    }

    /// What no answer to anybody else may have in it.
    pub(crate) fn secrets(&self, env: &TestEnv) -> Vec<String> {
        let ids = self.account_ids();
        let mut secrets: Vec<String> = env
            .sql(&format!(
                "SELECT key_id FROM api_keys WHERE account_id IN ({ids}) \
                 UNION ALL SELECT domain_id FROM domains WHERE account_id IN ({ids}) \
                 UNION ALL SELECT name FROM domains WHERE account_id IN ({ids}) \
                 UNION ALL SELECT webhook_id FROM account_webhooks WHERE account_id IN ({ids}) \
                 UNION ALL SELECT url FROM account_webhooks WHERE account_id IN ({ids}) \
                 UNION ALL SELECT setting_id::text FROM alert_settings WHERE account_id IN ({ids}) \
                 UNION ALL SELECT unnest(emails) FROM alert_settings WHERE account_id IN ({ids}) \
                 UNION ALL SELECT account_id FROM accounts WHERE account_id IN ({ids})"
            ))
            .lines()
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        assert!(secrets.len() > 25, "there is something to find: {secrets:?}");
        // A parent's id is shown to its subaccounts.
        secrets.retain(|secret| *secret != self.main.id);
        secrets
    }
}
