//! Callers that hand events over, and customers that change their settings.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use testkit::http;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::chance::Chance;
use crate::history::{Event, Fact, Recorder, Setup, Subscription};
use crate::receivers::Receivers;
use crate::rig::Rig;

/// An account that is erased on the way; its name, its domain, its events and its receivers
/// have this in them.
pub(crate) const ERASED: &str = "vanishing";
const ERASED_DOMAIN: &str = "mail.vanishing.test";

/// Names of accounts, with their parent and their domain.
const ACCOUNTS: [(&str, Option<&str>, &str); 3] = [
    ("alpha", None, "mail.alpha.test"),
    ("beta", None, "mail.beta.test"),
    ("alpha-sub", Some("alpha"), "mail.sub.test"),
];

/// A receiver's habit, and a name that makes its path its own.
type Place = (&'static str, &'static str);

/// Webhooks that stay: domain, event type, and the receivers' paths.
const WEBHOOKS: [(&str, &str, &[Place]); 6] = [
    ("mail.alpha.test", "clicked", &[("ok", "c1"), ("flaky", "c2"), ("fails", "c3")]),
    ("mail.alpha.test", "opened", &[("rejects", "o1"), ("knows", "o2"), ("slow", "o3")]),
    ("mail.alpha.test", "complained", &[("hangs", "x1"), ("busy", "x2"), ("cuts", "x3")]),
    ("mail.beta.test", "clicked", &[("ok", "b1"), ("knows", "b2")]),
    ("mail.beta.test", "delivered", &[("ok", "b3"), ("fails", "b4")]),
    ("mail.sub.test", "clicked", &[("ok", "s1"), ("flaky", "s2")]),
];

/// Events at once, for a receiver that takes its time: nothing is broken yet.
const BURST: usize = 60;

/// Webhooks of accounts, which stay. By those beside webhooks that come and go it can be
/// told when an event was routed.
const ACCOUNT_WEBHOOKS: [(&str, &[&str]); 3] = [
    ("alpha", &["clicked", "opened", "unsubscribed"]),
    ("beta", &["temporary_fail", "unsubscribed"]),
    ("alpha-sub", &["permanent_fail"]),
];

/// Alerts that stay.
const ALERTS: [(&str, &str, &str, &str); 5] = [
    ("alpha", "ip_listed", "knows", "a1"),
    ("alpha", "ip_listed", "flaky", "a2"),
    ("beta", "domain_listed", "ok", "a3"),
    ("beta", "domain_listed", "fails", "a4"),
    ("alpha-sub", "ip_delisted", "knows", "a5"),
];

/// Webhooks that come and go.
const COMING_AND_GOING: [(&str, &str, &str, &str); 4] = [
    ("mail.alpha.test", "unsubscribed", "ok", "g1"),
    ("mail.beta.test", "temporary_fail", "ok", "g2"),
    ("mail.sub.test", "permanent_fail", "flaky", "g3"),
    ("mail.beta.test", "unsubscribed", "knows", "g4"),
];

const EXAMPLES: [(&str, &str); 11] = [
    ("clicked", include_str!("../../../examples/events/clicked.json")),
    ("opened", include_str!("../../../examples/events/opened.json")),
    ("complained", include_str!("../../../examples/events/complained.json")),
    ("delivered", include_str!("../../../examples/events/delivered.json")),
    ("unsubscribed", include_str!("../../../examples/events/unsubscribed.json")),
    ("temporary_fail", include_str!("../../../examples/events/temporary_fail.json")),
    ("permanent_fail", include_str!("../../../examples/events/permanent_fail.json")),
    ("ip_listed", include_str!("../../../examples/events/ip_listed.json")),
    ("ip_delisted", include_str!("../../../examples/events/ip_delisted.json")),
    ("domain_listed", include_str!("../../../examples/events/domain_listed.json")),
    ("domain_delisted", include_str!("../../../examples/events/domain_delisted.json")),
];

/// Every caller and customer of one run.
pub(crate) struct Clients {
    pub(crate) recorder: Recorder,
    pub(crate) setup: Setup,
    ops: AtomicU64,
    ids: AtomicU64,
    stopping: AtomicBool,
    /// When each follower has last asked and found nothing new, by domain.
    caught_up: Mutex<BTreeMap<&'static str, u64>>,
    apis: Vec<SocketAddr>,
    ingests: Vec<SocketAddr>,
    /// Events a second, over all callers.
    rate: u64,
}

fn account_of(domain: &str) -> &'static str {
    ACCOUNTS.iter().find(|(_, _, own)| *own == domain).map_or("", |(name, ..)| name)
}

impl Clients {
    pub(crate) fn new(rig: &Rig, recorder: Recorder, setup: Setup, rate: u64) -> Self {
        let addresses = |role: &str, of: fn(&crate::rig::Replica) -> SocketAddr| {
            rig.of(role).into_iter().map(|at| of(&rig.replicas[at])).collect()
        };
        Self {
            recorder,
            setup,
            ops: AtomicU64::new(0),
            ids: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            caught_up: Mutex::default(),
            apis: addresses("settings-api", |replica| replica.http),
            ingests: addresses("ingest", |replica| replica.ingest_http),
            rate: rate.max(1),
        }
    }

    /// Makes the accounts and what stays. Everything has to succeed: nothing is broken yet.
    pub(crate) async fn prepare(&self, rig: &Rig, receivers: &Receivers) -> Result<()> {
        for (name, parent, domain) in ACCOUNTS {
            let key = format!("key-{name}");
            let mut arguments = vec!["account", "create", name, "--key", &key];
            arguments.extend(parent.into_iter().flat_map(|parent| ["--parent", parent]));
            rig.admin(&arguments)?;
            rig.admin(&["domain", "create", domain, "--account", name])?;
        }
        for (domain, event_type, paths) in WEBHOOKS {
            let urls: Vec<String> =
                paths.iter().map(|(habit, name)| receivers.url(habit, name)).collect();
            let mut form = vec![("id", event_type)];
            form.extend(urls.iter().map(|url| ("url", url.as_str())));
            let path = format!("/v3/domains/{domain}/webhooks");
            let request = http::post(self.api(0, &path)).form(&form);
            self.must(account_of(domain), request).await?;
            for url in urls {
                self.was_made(account_of(domain), domain, event_type, &url);
            }
        }
        for (account, event_types) in ACCOUNT_WEBHOOKS {
            let url = receivers.url("ok", account);
            let mut form = vec![("url", url.as_str())];
            form.extend(event_types.iter().map(|event_type| ("event_types", *event_type)));
            self.must(account, http::post(self.api(0, "/v1/webhooks")).form(&form)).await?;
            for event_type in event_types {
                self.was_made(account, "", event_type, &url);
            }
        }
        rig.admin(&["account", "create", ERASED, "--key", &format!("key-{ERASED}")])?;
        rig.admin(&["domain", "create", ERASED_DOMAIN, "--account", ERASED])?;
        let urls =
            [("ok", ERASED), ("fails", ERASED)].map(|(habit, name)| receivers.url(habit, name));
        let mut form = vec![("id", "clicked")];
        form.extend(urls.iter().map(|url| ("url", url.as_str())));
        let path = format!("/v3/domains/{ERASED_DOMAIN}/webhooks");
        self.must(ERASED, http::post(self.api(0, &path)).form(&form)).await?;
        let mail = json!({
            "event_type": "ip_listed", "channel": "email",
            "settings": {"emails": ["ops@beta.test", "cto@beta.test"]},
        });
        let request = http::post(self.api(0, "/v1/alerts/settings/events")).json(&mail);
        self.must("beta", request).await?;
        for (account, event_type, habit, name) in ALERTS {
            let url = receivers.url(habit, name);
            let setting =
                json!({"event_type": event_type, "channel": "webhook", "settings": {"url": url}});
            let request = http::post(self.api(0, "/v1/alerts/settings/events")).json(&setting);
            self.must(account, request).await?;
            self.was_made(account, "", event_type, &url);
        }
        Ok(())
    }

    async fn must(&self, account: &str, request: http::Request) -> Result<()> {
        let answer = request.basic_auth("api", &format!("key-{account}")).send().await?;
        ensure!(answer.status < 300, "{}: {}", answer.status, answer.text());
        Ok(())
    }

    fn was_made(&self, account: &str, domain: &str, event_type: &str, url: &str) {
        let op = self.op();
        let subscription = Subscription {
            account: account.to_owned(),
            domain: domain.to_owned(),
            event_type: event_type.to_owned(),
            url: url.to_owned(),
        };
        self.recorder.note(Fact::Change { op, subscription, on: true });
        self.recorder.note(Fact::Changed { op, status: 200 });
    }

    /// Starts everybody.
    pub(crate) fn start(self: &Arc<Self>, receivers: &Receivers, tasks: &mut JoinSet<()>) {
        for number in 0..4 {
            let clients = Arc::clone(self);
            tasks.spawn(async move { clients.hand_over(number).await });
        }
        for (domain, event_type, habit, name) in COMING_AND_GOING {
            let clients = Arc::clone(self);
            let url = receivers.url(habit, name);
            tasks.spawn(async move { clients.come_and_go(domain, event_type, &url).await });
        }
        let clients = Arc::clone(self);
        tasks.spawn(async move { clients.resend().await });
        let clients = Arc::clone(self);
        tasks.spawn(async move { clients.burst().await });
        let clients = Arc::clone(self);
        tasks.spawn(async move { clients.hand_over_what_vanishes().await });
        for (account, _, domain) in ACCOUNTS {
            let clients = Arc::clone(self);
            tasks.spawn(async move { clients.follow(account, domain).await });
        }
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Domains whose followers have not asked since this moment and found nothing new.
    pub(crate) fn behind(&self, since: u64) -> Vec<String> {
        let caught_up = self.caught_up.lock().unwrap_or_else(PoisonError::into_inner);
        let is_behind = |domain: &&str| caught_up.get(domain).is_none_or(|at| *at < since);
        let domains = ACCOUNTS.iter().map(|(_, _, domain)| *domain);
        domains.filter(is_behind).map(str::to_owned).collect()
    }

    fn has_caught_up(&self, domain: &'static str, asked_at: u64) {
        let mut caught_up = self.caught_up.lock().unwrap_or_else(PoisonError::into_inner);
        caught_up.insert(domain, asked_at);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn op(&self) -> u64 {
        self.ops.fetch_add(1, Ordering::Relaxed)
    }

    fn api(&self, number: usize, path: &str) -> String {
        format!("http://{}{path}", self.apis[number % self.apis.len()])
    }

    async fn pause(&self, ms: u64) {
        sleep_until(Instant::now() + Duration::from_millis(ms)).await;
    }

    /// One caller.
    async fn hand_over(&self, number: u64) {
        let mut chance = Chance::of(self.setup.seed, &format!("caller {number}"));
        let mut sent: VecDeque<(u64, Event)> = VecDeque::new();
        let window = self.setup.events_window_ms;
        while !self.is_stopping() {
            let now = self.recorder.now_ms();
            while sent.len() > 200 {
                sent.pop_front();
            }
            let age = |(at, _): &&(u64, Event)| now - *at;
            let events = match chance.below(100) {
                0..60 => vec![self.new_event(&mut chance)],
                60..75 => (0..chance.between(2, 6)).map(|_| self.new_event(&mut chance)).collect(),
                75..88 => {
                    let young: Vec<_> = sent.iter().filter(|sent| age(sent) < window / 2).collect();
                    young.last().map(|(_, event)| vec![event.clone()]).unwrap_or_default()
                }
                // Versions that know of no acceptances take what comes again later for the same.
                _ if self.setup.begins_old => Vec::new(),
                // Well after its window, while a retry of it may wait.
                _ => {
                    let old: Vec<_> = sent
                        .iter()
                        .filter(|sent| (window + 2_000..3 * window).contains(&age(sent)))
                        .collect();
                    if old.is_empty() { Vec::new() } else { vec![chance.one_of(&old).1.clone()] }
                }
            };
            if !events.is_empty() {
                let first = usize::from(chance.is(50));
                for again in 0..3 {
                    // Without an answer the same is sent again, to the other process.
                    if self.publish(&events, first + again).await {
                        let at = self.recorder.now_ms();
                        sent.extend(events.into_iter().map(|event| (at, event)));
                        break;
                    }
                    self.pause(300).await;
                }
            }
            let mean = 4_000 / self.rate;
            self.pause(chance.between(mean / 2, mean * 3 / 2)).await;
        }
    }

    fn new_event(&self, chance: &mut Chance) -> Event {
        let (event_type, _) = chance.one_of(&EXAMPLES);
        let (account, _, domain) = chance.one_of(&ACCOUNTS);
        let is_alert = event_type.contains("listed");
        Event {
            account: (*account).to_owned(),
            domain: if is_alert { String::new() } else { (*domain).to_owned() },
            event_type: (*event_type).to_owned(),
            id: format!("e{}", self.ids.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Whether there was an answer for each.
    async fn publish(&self, events: &[Event], number: usize) -> bool {
        let op = self.op();
        let body: Vec<Value> = events.iter().map(as_json).collect();
        let url = format!("http://{}/v1/events", self.ingests[number % self.ingests.len()]);
        self.recorder.note(Fact::Publish { op, events: events.to_vec() });
        let request = http::post(url).json(&Value::Array(body)).send();
        let answer = timeout(Duration::from_secs(8), request).await;
        let results = match answer {
            Ok(Ok(answer)) if answer.status == 200 || answer.status == 503 => {
                serde_json::from_slice::<Value>(&answer.body)
                    .ok()
                    .and_then(|body| {
                        body["results"]
                            .as_array()
                            .map(|results| results.iter().map(result).collect())
                    })
                    .unwrap_or_default()
            }
            Ok(Ok(answer)) => {
                let text = answer.text();
                vec![format!("{} {}", answer.status, text.chars().take(200).collect::<String>())]
            }
            _ => Vec::new(),
        };
        let is_known = results.len() == events.len()
            && results.iter().all(|result| result == "stored" || result == "duplicate");
        self.recorder.note(Fact::Published { op, results });
        is_known
    }

    /// A customer who makes a webhook, and deletes it again.
    async fn come_and_go(&self, domain: &str, event_type: &str, url: &str) {
        let mut chance = Chance::of(self.setup.seed, url);
        let account = account_of(domain);
        let mut on = true;
        while !self.is_stopping() {
            let path = format!("/v3/domains/{domain}/webhooks");
            let number = chance.below(2);
            let request = if on {
                http::post(self.api(number, &path)).form(&[("id", event_type), ("url", url)])
            } else {
                http::delete(self.api(number, &format!("{path}/{event_type}")))
            };
            let subscription = Subscription {
                account: account.to_owned(),
                domain: domain.to_owned(),
                event_type: event_type.to_owned(),
                url: url.to_owned(),
            };
            let op = self.op();
            self.recorder.note(Fact::Change { op, subscription, on });
            let request = request.basic_auth("api", &format!("key-{account}")).send();
            let answer = timeout(Duration::from_secs(8), request).await;
            let status = answer.ok().and_then(Result::ok).map_or(0, |answer| answer.status);
            self.recorder.note(Fact::Changed { op, status });
            // What has failed, or says that it is so already, is followed by its opposite.
            on = !on;
            self.pause(chance.between(500, 3_000)).await;
        }
    }

    /// Many at once, before anything is broken.
    async fn burst(&self) {
        self.pause(2_000).await;
        let event = |_| Event {
            account: "alpha".to_owned(),
            domain: "mail.alpha.test".to_owned(),
            event_type: "opened".to_owned(),
            id: format!("e{}", self.ids.fetch_add(1, Ordering::Relaxed)),
        };
        let events: Vec<Event> = (0..BURST).map(event).collect();
        self.publish(&events, 0).await;
    }

    /// Events of the account that is erased. They stand in no list of what has to be: nothing
    /// may be left of them.
    async fn hand_over_what_vanishes(&self) {
        let mut chance = Chance::of(self.setup.seed, ERASED);
        let mut number = 0;
        while !self.is_stopping() {
            let event = Event {
                account: ERASED.to_owned(),
                domain: ERASED_DOMAIN.to_owned(),
                event_type: "clicked".to_owned(),
                id: format!("{ERASED}-{number}"),
            };
            number += 1;
            let url =
                format!("http://{}/v1/events", self.ingests[chance.below(self.ingests.len())]);
            let request = http::post(url).json(&Value::Array(vec![as_json(&event)])).send();
            // Its answer does not matter.
            drop(timeout(Duration::from_secs(2), request).await);
            self.pause(chance.between(300, 900)).await;
        }
    }

    /// Someone who follows the events of a domain, without an end.
    async fn follow(&self, account: &str, domain: &'static str) {
        let first = format!("/v3/{domain}/events?begin=1&ascending=yes&limit=50");
        let mut path = first;
        let mut number = 0;
        loop {
            number += 1;
            let asked_at = self.recorder.now_ms();
            let request = http::get(self.api(number, &path));
            let request = request.basic_auth("api", &format!("key-{account}")).send();
            let answer = timeout(Duration::from_secs(8), request).await;
            let page = match answer {
                Ok(Ok(answer)) if answer.status == 200 => {
                    serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
                }
                _ => Value::Null,
            };
            let Some(items) = page["items"].as_array() else {
                self.pause(500).await;
                continue;
            };
            let ids: Vec<String> =
                items.iter().filter_map(|item| item["id"].as_str().map(str::to_owned)).collect();
            let next = page["paging"]["next"].as_str().unwrap_or_default();
            let next = next.splitn(4, '/').nth(3).map(|path| format!("/{path}"));
            path = next.unwrap_or(path);
            if ids.is_empty() {
                self.has_caught_up(domain, asked_at);
                self.pause(500).await;
            } else {
                self.recorder.note(Fact::Followed { domain: domain.to_owned(), ids });
            }
        }
    }

    /// Someone who has sent again what did not arrive, now and then.
    async fn resend(&self) {
        let mut chance = Chance::of(self.setup.seed, "resends");
        while !self.is_stopping() {
            self.pause(chance.between(6_000, 15_000)).await;
            let account = *chance.one_of(&["alpha", "beta"]);
            let op = self.op();
            self.recorder.note(Fact::Resend { op, account: account.to_owned() });
            let outcomes = json!({"outcomes": ["exhausted", "held"], "per_second": 20});
            let request = http::post(self.api(chance.below(2), "/postrider/v1/resends"))
                .json(&outcomes)
                .basic_auth("api", &format!("key-{account}"))
                .send();
            let answer = timeout(Duration::from_secs(8), request).await;
            let status = answer.ok().and_then(Result::ok).map_or(0, |answer| answer.status);
            self.recorder.note(Fact::Resent { op, status });
        }
    }
}

fn as_json(event: &Event) -> Value {
    let example = EXAMPLES.iter().find(|(name, _)| *name == event.event_type);
    let mut body: Value =
        example.and_then(|(_, text)| serde_json::from_str(text).ok()).unwrap_or_default();
    body["id"] = event.id.as_str().into();
    if event.domain.is_empty() {
        body["account"] = event.account.as_str().into();
    } else {
        body["domain"] = event.domain.as_str().into();
    }
    body
}

fn result(result: &Value) -> String {
    let status = result["status"].as_str().map(str::to_owned);
    status.unwrap_or_else(|| format!("refused: {}", result["error"]))
}

/// Whether all examples can be read, before anything runs.
pub(crate) fn check_examples() -> Result<()> {
    for (name, text) in EXAMPLES {
        serde_json::from_str::<Value>(text).with_context(|| format!("example {name}"))?;
    }
    Ok(())
}
