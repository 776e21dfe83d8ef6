//! Callers that hand events over and customers that change webhooks, each noting what was
//! acknowledged.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use testkit::http;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::ledger::{Ledger, change_path, event_id};
use super::platform::Platform;
use super::receiver::{PATHS, Receiver};
use crate::chance::Chance;

const ACCOUNT: &str = "alpha";
const KEY: &str = "key-alpha";
const DOMAINS: [&str; 3] = ["one.alpha.test", "two.alpha.test", "three.alpha.test"];
const EXAMPLE: &str = include_str!("../../../../examples/events/clicked.json");
const CALLERS: u64 = 3;
const ANSWER_WITHIN: Duration = Duration::from_secs(8);

/// Everybody outside. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Clients(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ledger: Ledger,
    api: SocketAddr,
    ingest: SocketAddr,
    receiver: SocketAddr,
    /// Events a second, over all callers.
    rate: u64,
    events: AtomicU64,
    changes: AtomicU64,
}

impl Clients {
    pub(super) fn new(platform: &Platform, receiver: &Receiver, ledger: Ledger, rate: u64) -> Self {
        Self(Arc::new(Inner {
            ledger,
            api: platform.api,
            ingest: platform.ingest,
            receiver: receiver.address(),
            rate: rate.max(1),
            events: AtomicU64::new(0),
            changes: AtomicU64::new(0),
        }))
    }

    /// Makes the account and its webhooks.
    pub(super) async fn prepare(&self, platform: &Platform) -> Result<()> {
        platform.admin(&["account", "create", ACCOUNT, "--key", KEY])?;
        for (number, domain) in DOMAINS.into_iter().enumerate() {
            platform.admin(&["domain", "create", domain, "--account", ACCOUNT])?;
            let urls = PATHS.map(|path| format!("http://{}{path}", self.0.receiver));
            let mut form = vec![("id", "clicked")];
            form.extend(urls.iter().map(|url| ("url", url.as_str())));
            self.0.make_webhook(domain, &form).await?;
            let url = format!("http://{}{}", self.0.receiver, change_path(number, 0));
            self.0.make_webhook(domain, &[("id", "opened"), ("url", &url)]).await?;
        }
        Ok(())
    }

    /// Starts everybody, until the tasks are aborted.
    pub(super) fn start(&self, seed: u64, tasks: &mut JoinSet<()>) {
        for number in 0..CALLERS {
            let (inner, chance) =
                (Arc::clone(&self.0), Chance::of(seed, &format!("caller {number}")));
            tasks.spawn(async move { inner.hand_over(chance).await });
        }
        for number in 0..DOMAINS.len() {
            let (inner, chance) =
                (Arc::clone(&self.0), Chance::of(seed, &format!("customer {number}")));
            tasks.spawn(async move { inner.change(number, chance).await });
        }
    }
}

impl Inner {
    async fn make_webhook(&self, domain: &str, form: &[(&str, &str)]) -> Result<()> {
        let url = format!("http://{}/v3/domains/{domain}/webhooks", self.api);
        let response = http::post(url).form(form).basic_auth("api", KEY).send().await?;
        ensure!(response.status == 200, "{}: {}", response.status, response.text());
        Ok(())
    }

    /// One caller. What gets no answer is not sent again: nothing was promised of it.
    async fn hand_over(&self, mut chance: Chance) {
        let example: Value = serde_json::from_str(EXAMPLE).unwrap_or_default();
        let url = format!("http://{}/v1/events", self.ingest);
        loop {
            let count = chance.between(1, 20);
            let first = self.events.fetch_add(count, Ordering::Relaxed);
            let body = (first..first + count).map(|event| {
                let mut body = example.clone();
                body["id"] = event_id(event).into();
                body["domain"] = (*chance.one_of(&DOMAINS)).into();
                body
            });
            let request = http::post(url.as_str()).json(&Value::Array(body.collect())).send();
            let next = Instant::now() + Duration::from_millis(count * CALLERS * 1_000 / self.rate);
            if let Ok(Ok(response)) = timeout(ANSWER_WITHIN, request).await {
                let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
                let results = body["results"].as_array().map(Vec::as_slice).unwrap_or_default();
                for (event, result) in (first..).zip(results) {
                    if result["status"] == json!("stored") {
                        self.ledger.event_stored(event);
                    }
                }
            }
            sleep_until(next).await;
        }
    }

    /// The customer of one domain, who moves a webhook to one URL after the other.
    async fn change(&self, domain: usize, mut chance: Chance) {
        let url = format!("http://{}/v3/domains/{}/webhooks/opened", self.api, DOMAINS[domain]);
        loop {
            let change = self.changes.fetch_add(1, Ordering::Relaxed) + 1;
            let target = format!("http://{}{}", self.receiver, change_path(domain, change));
            let request =
                http::put(url.as_str()).form(&[("url", &target)]).basic_auth("api", KEY).send();
            let response = timeout(ANSWER_WITHIN, request).await;
            if matches!(response, Ok(Ok(response)) if response.status == 200) {
                self.ledger.change_made(domain, change);
            }
            sleep_until(Instant::now() + Duration::from_millis(chance.between(20, 300))).await;
        }
    }
}
