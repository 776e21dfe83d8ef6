//! The operations of the served description, and what a request of each needs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};
use testkit::Receiver;
use testkit::http::{Request, Response};

use crate::world::{World, send};

/// Where the domain of every furnished account sends its clicks.
pub(crate) const CLICKED: &str = "https://hooks.example.net/clicked";

/// Where some clients look for operations, besides where they are described.
const ALIASES: [(&str, &str); 6] = [
    ("list_alert_event_types", "/v1/alerts"),
    ("create_alert_setting", "/v1/alerts/settings"),
    ("delete_alert_setting", "/v1/alerts/settings/{id}"),
    ("reset_alerts_signing_key", "/v1/alerts/settings/webhooks/signing/key"),
    ("get_http_signing_key", "/v5/accounts/http/signing/key"),
    ("regenerate_http_signing_key", "/v5/accounts/http/signing/key"),
];

/// Makes names that no request has had before.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Ids of the things of one account, by the parameter that they are given as.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ids(BTreeMap<&'static str, String>);

impl Ids {
    /// Ids in the right form that nothing has.
    pub(crate) fn nowhere() -> Self {
        let mut ids = Self::default();
        ids.set("domain", "nowhere.example");
        ids.set("webhook_id", &"0".repeat(24));
        ids.set("id", "00000000-0000-4000-8000-000000000000");
        ids.set("key_id", "00000000-00000000");
        ids.set("page", "AAAA");
        ids.set("subaccount_id", &"1".repeat(24));
        ids.set("resend_id", "00000000-0000-4000-8000-000000000001");
        ids.set("event_id", "event-of-nobody");
        ids.set("delivery_id", &"0".repeat(32));
        ids
    }

    pub(crate) fn set(&mut self, parameter: &'static str, id: &str) {
        self.0.insert(parameter, id.to_owned());
    }

    pub(crate) fn get(&self, parameter: &str) -> &str {
        // Names a kind of event, and is the same for everybody.
        if parameter == "webhook_name" {
            return "clicked";
        }
        self.0.get(parameter).unwrap_or_else(|| {
            panic!("no example of the path parameter {parameter}: add one to isolation's Ids, and to what Account::furnished makes")
        })
    }

    /// A text without these ids.
    pub(crate) fn hidden_in(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (parameter, id)| {
            text.replace(id.as_str(), &format!("<{parameter}>"))
        })
    }

    /// The ids themselves. Links to pages are stored nowhere.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        let stored = self.0.iter().filter(|(parameter, _)| **parameter != "page");
        stored.map(|(_, id)| id.as_str())
    }
}

/// From whose side an answer is looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    Owner,
    Subaccount,
    ParentOnBehalf,
}

/// One method of one path.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    /// In the description.
    pub(crate) path: String,
    /// Where it is called: the same, or one of the paths that are not described.
    pub(crate) called_at: String,
    tag: String,
    /// Of a receiver that answers everything with 200.
    receiver_url: String,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} {})", self.id, self.method, self.called_at)
    }
}

/// All operations, in the order of the description.
pub(crate) async fn documented(world: &World, receiver: &Receiver) -> Vec<Operation> {
    let description = send(world.anonymous("GET", "/openapi.json")).await.expect_status(200).json();
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            operations.push(Operation {
                id: text(&operation["operationId"]),
                method: method.to_uppercase(),
                path: path.clone(),
                called_at: path.clone(),
                tag: text(&operation["tags"][0]),
                receiver_url: receiver.url("/"),
            });
        }
    }
    assert!(operations.len() > 40, "only {} operations are described", operations.len());
    for (id, called_at) in ALIASES {
        let described = operations.iter().find(|operation| operation.id == id);
        let described = described.unwrap_or_else(|| panic!("{id} is not described"));
        operations.push(Operation { called_at: called_at.to_owned(), ..described.clone() });
    }
    operations
}

impl Operation {
    /// A request that does something for whoever has these ids.
    pub(crate) fn request(&self, world: &World, ids: &Ids) -> Request {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.request_of(world, &self.path_with(ids), self.query(ids), self.body(number))
    }

    /// A request of these parts.
    pub(crate) fn request_of(
        &self,
        world: &World,
        path: &str,
        query: Option<String>,
        body: Option<Value>,
    ) -> Request {
        let path = query.map_or(path.to_owned(), |query| format!("{path}?{query}"));
        let request = world.anonymous(&self.method, &path);
        match body {
            Some(body) => request.json(&body),
            None => request,
        }
    }

    /// Where it is called for these ids.
    pub(crate) fn path_with(&self, ids: &Ids) -> String {
        let path = self.called_at.clone();
        self.parameters().fold(path, |path, parameter| {
            path.replace(&format!("{{{parameter}}}"), ids.get(parameter))
        })
    }

    pub(crate) fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
    }

    pub(crate) fn query(&self, ids: &Ids) -> Option<String> {
        match self.id.as_str() {
            "delete_account_webhooks" => Some(format!("webhook_ids={}", ids.get("webhook_id"))),
            "remove_domain_webhook_urls" | "remove_domain_webhook_urls_v3" => {
                Some(format!("url={CLICKED}"))
            }
            "delete_url_options" => Some(format!("url={CLICKED}")),
            "why" => Some(format!("url={CLICKED}&begin=1760000000")),
            _ => None,
        }
    }

    /// The body that the operation needs; names in it have this number.
    pub(crate) fn body(&self, number: u32) -> Option<Value> {
        let url = format!("https://hooks.example.net/{number}");
        let features = json!({"webhooks_redact_pii": {"enabled": true}});
        let alert = json!({
            "event_type": "ip_delisted", "channel": "webhook",
            "settings": {"url": format!("{}{number}", self.receiver_url)}
        });
        Some(match self.id.as_str() {
            "create_domain_webhook" => json!({"id": "opened", "url": [url]}),
            "update_domain_webhook" => json!({"url": [url]}),
            // The URL that every domain has.
            "replace_domain_webhook_url" | "replace_domain_webhook_url_v3" => {
                json!({"url": CLICKED, "event_types": ["clicked", "complained"]})
            }
            "add_domain_webhook_url" | "create_account_webhook" | "update_account_webhook" => {
                json!({"url": url, "event_types": ["complained"]})
            }
            "test_domain_webhook" => json!({"url": self.receiver_url}),
            "create_alert_setting" | "update_alert_setting" => alert,
            "test_alert_webhook" => json!({"event_type": "ip_listed", "url": self.receiver_url}),
            "test_webhook" => json!({"event_type": "ip_listed", "url": self.receiver_url}),
            "test_alert_email" => json!({"event_type": "ip_listed", "emails": ["a@demo.example"]}),
            "update_account" | "create_subaccount" => json!({"name": format!("n{number}")}),
            "set_account_contact" => json!({"contact_email": "owner@demo.example"}),
            // A subaccount may set this as well.
            "update_account_features" => json!({"sending": {"enabled": true}}),
            "update_subaccount_features" => features,
            "create_domain" | "create_domain_v3" => json!({"name": format!("n{number}.example")}),
            "update_domain" | "update_domain_v3" => json!({"webhooks_redact_pii": true}),
            "create_key" => json!({"role": "basic"}),
            "set_policies" => json!({"message": {"preset": "resilient"}}),
            "set_url_options" => json!({"url": url, "headers": {"x-number": url}}),
            "pause_url" => json!({"url": CLICKED, "paused": true}),
            "create_resend" => json!({"outcomes": ["held"]}),
            "resend_event" => json!({"all": true}),
            "change_resend" => json!({"state": "cancelled"}),
            "set_subaccount_monthly_limit" => json!({"limit": 7}),
            _ => return None,
        })
    }

    /// Whether the request names something that belongs to an account.
    pub(crate) fn names_something(&self) -> bool {
        self.parameters().any(|parameter| parameter != "webhook_name")
    }

    /// Whether the operation is refused whoever asks: Slack is not supported.
    pub(crate) fn is_not_supported(&self) -> bool {
        self.path.contains("slack")
    }

    fn only_looks(&self) -> bool {
        // A search, which is too long for a query.
        self.method == "GET" || self.id == "list_logs"
    }

    /// A key with this role looks, and sees no signing key.
    pub(crate) fn basic_may(&self) -> bool {
        self.only_looks() && self.id != "get_http_signing_key"
    }

    /// A key with this role changes settings, and neither the account itself
    /// nor its subaccounts nor its keys.
    pub(crate) fn developer_may(&self) -> bool {
        let settings = ["domain webhooks", "account webhooks", "alerts", "domains", "delivery"];
        let of_accounts = ["/v5/accounts/http_signing_key", "/v5/accounts/features"];
        self.only_looks()
            || settings.contains(&self.tag.as_str())
            || of_accounts.contains(&self.path.as_str())
    }

    /// Checks that somebody who may do this has done it.
    #[track_caller]
    pub(crate) fn check_answer(&self, answer: &Response, expected: Expected, who: &str) {
        let is_sub = expected != Expected::Owner;
        let names_subaccount = self.parameters().any(|parameter| parameter == "subaccount_id");
        let statuses: &[u16] = match self.id.as_str() {
            _ if self.is_not_supported() => &[501],
            // A call must be on behalf of the subaccount that it ends.
            "delete_subaccount" if expected == Expected::ParentOnBehalf => &[200],
            "delete_subaccount" => &[400],
            // It may have been sent again by whoever may.
            "resend_delivery" => &[200, 409],
            // It may be done already.
            "change_resend" if !names_subaccount => &[200, 409],
            // A subaccount has no subaccounts.
            "create_subaccount" if is_sub => &[403],
            _ if is_sub && names_subaccount => &[404],
            _ => &[200, 204],
        };
        assert!(
            statuses.contains(&answer.status),
            "{self}: {} to {who} instead of one of {statuses:?}; if the request lacks something, \
             add it to Operation::body or ::query: {}",
            answer.status,
            answer.text()
        );
    }
}
