//! The facts, ordered by what they are about.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::clients::ERASED;
use crate::history::{Event, Fact, Line, Setup, Subscription};
use crate::state::State;

/// How long a broker that is there again reads its streams and is connected to.
const RECOVERS_MS: u64 = 3_000;
/// Two looks, and time for what the second one finds.
const LOOKED_AT_MS: u64 = 20_000;

/// Events of these kinds are alerts.
const ALERTS: &str = "listed";

/// One time that an event was handed over.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    pub(crate) sent: u64,
    /// When there was an answer, and which: `stored`, `duplicate`, or something else.
    pub(crate) answer: Option<(u64, String)>,
}

impl Send {
    pub(crate) fn is(&self, result: &str) -> bool {
        self.answer.as_ref().is_some_and(|(_, answer)| answer == result)
    }

    /// Whether it may have been stored without anybody knowing.
    pub(crate) fn is_unknown(&self) -> bool {
        !self.is("stored") && !self.is("duplicate")
    }
}

/// One request at a receiver.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) t: u64,
    pub(crate) number: u64,
    pub(crate) url: String,
    pub(crate) event_type: String,
    pub(crate) event_id: String,
    /// 0: it is not answered.
    pub(crate) status: u64,
    pub(crate) answered: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) kind: String,
    pub(crate) on: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) began: u64,
    pub(crate) on: bool,
    /// When it was answered, and how; nothing is known without.
    pub(crate) answer: Option<(u64, u16)>,
}

#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) event_key: String,
    pub(crate) target: String,
    pub(crate) outcome: String,
    pub(crate) reason: String,
    pub(crate) attempts: u64,
    pub(crate) generation: u64,
    pub(crate) t: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) number: u64,
    pub(crate) charged: bool,
    pub(crate) reason: String,
    pub(crate) status: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Acceptance {
    pub(crate) event_key: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Decision {
    pub(crate) verdict: String,
    pub(crate) url: String,
    pub(crate) delivery: String,
}

#[derive(Clone, Debug)]
pub(crate) struct AlertSetting {
    pub(crate) url: String,
    pub(crate) event_type: String,
    pub(crate) disabled: Option<(u64, String)>,
}

/// Everything.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) setup: Setup,
    pub(crate) sends: BTreeMap<Event, Vec<Send>>,
    pub(crate) posts: BTreeMap<String, Vec<Arrival>>,
    pub(crate) faults: Vec<Fault>,
    /// From when to when the machine was too small.
    starved: Vec<(u64, u64)>,
    pub(crate) changes: BTreeMap<Subscription, Vec<Change>>,
    /// By the caller's id.
    pub(crate) acceptances: BTreeMap<String, Vec<Acceptance>>,
    pub(crate) decisions: BTreeMap<String, Vec<Decision>>,
    pub(crate) ends: BTreeMap<String, Vec<End>>,
    pub(crate) attempts: BTreeMap<String, Vec<Attempt>>,
    pub(crate) alert_settings: Vec<AlertSetting>,
    /// From when to when a delivery was seen in two places.
    pub(crate) twice: Vec<(String, u64, u64)>,
    /// When mails came, by delivery.
    pub(crate) mails: BTreeMap<String, Vec<u64>>,
    /// Events as followers got them, by domain.
    pub(crate) followed: BTreeMap<String, Vec<String>>,
    pub(crate) not_followed: Vec<String>,
    /// When the operator was told that the account is erased.
    pub(crate) erased: Option<u64>,
    /// Requests about its events.
    pub(crate) erased_posts: Vec<u64>,
    pub(crate) usages: Vec<Usage>,
    pub(crate) state: State,
}

/// Memory and files of a process at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    pub(crate) process: String,
    pub(crate) resident_kb: u64,
    pub(crate) files: u64,
    pub(crate) at_rest: bool,
}

impl Known {
    pub(crate) fn of(lines: &[Line], state: &State) -> Result<Self> {
        let began = lines.iter().find_map(|line| match &line.fact {
            Fact::Began { setup, epoch_ms } => Some((setup.clone(), *epoch_ms)),
            _ => None,
        });
        let (setup, epoch_ms) = began.context("a history without a beginning")?;
        let mut known = Self {
            setup,
            sends: BTreeMap::new(),
            posts: BTreeMap::new(),
            faults: Vec::new(),
            starved: Vec::new(),
            changes: BTreeMap::new(),
            acceptances: BTreeMap::new(),
            decisions: BTreeMap::new(),
            ends: BTreeMap::new(),
            attempts: BTreeMap::new(),
            alert_settings: Vec::new(),
            twice: Vec::new(),
            mails: BTreeMap::new(),
            followed: BTreeMap::new(),
            not_followed: Vec::new(),
            erased: None,
            erased_posts: Vec::new(),
            usages: Vec::new(),
            state: state.clone(),
        };
        known.read_history(lines);
        known.read_state(state, epoch_ms);
        Ok(known)
    }

    fn read_history(&mut self, lines: &[Line]) {
        let mut publishes: BTreeMap<u64, Vec<(Event, usize)>> = BTreeMap::new();
        let mut changes: BTreeMap<u64, (Subscription, usize)> = BTreeMap::new();
        let mut posts: BTreeMap<u64, (String, usize)> = BTreeMap::new();
        let mut faults: BTreeMap<usize, usize> = BTreeMap::new();
        let mut twice: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for line in lines {
            let t = line.t;
            match &line.fact {
                Fact::Publish { op, events } => {
                    for event in events {
                        let sends = self.sends.entry(event.clone()).or_default();
                        sends.push(Send { sent: t, answer: None });
                        publishes.entry(*op).or_default().push((event.clone(), sends.len() - 1));
                    }
                }
                Fact::Published { op, results } => {
                    let Some(sent) = publishes.get(op) else { continue };
                    // An answer to the whole says nothing of the single ones.
                    if sent.len() != results.len() {
                        continue;
                    }
                    for ((event, at), result) in sent.iter().zip(results) {
                        if let Some(sends) = self.sends.get_mut(event) {
                            sends[*at].answer = Some((t, result.clone()));
                        }
                    }
                }
                Fact::Change { op, subscription, on } => {
                    let of = self.changes.entry(subscription.clone()).or_default();
                    of.push(Change { began: t, on: *on, answer: None });
                    changes.insert(*op, (subscription.clone(), of.len() - 1));
                }
                Fact::Changed { op, status } => {
                    if let Some((subscription, at)) = changes.get(op)
                        && let Some(of) = self.changes.get_mut(subscription)
                        && *status > 0
                    {
                        of[*at].answer = Some((t, *status));
                    }
                }
                // There has to be nothing of it anywhere, so that nothing can be compared.
                Fact::Post(post) if post.event_id.starts_with(ERASED) => self.erased_posts.push(t),
                Fact::Mail { delivery } => {
                    self.mails.entry(delivery.clone()).or_default().push(t);
                }
                Fact::Followed { domain, ids } => {
                    self.followed.entry(domain.clone()).or_default().extend_from_slice(ids);
                }
                Fact::NotFollowed { domains } => self.not_followed.clone_from(domains),
                Fact::Erased { .. } => self.erased = Some(t),
                Fact::Starved { ms } => self.starved.push((t.saturating_sub(*ms), t)),
                Fact::Usage { process, resident_kb, files, at_rest } => self.usages.push(Usage {
                    process: process.clone(),
                    resident_kb: *resident_kb,
                    files: *files,
                    at_rest: *at_rest,
                }),
                Fact::Post(post) => {
                    let of = self.posts.entry(post.delivery.clone()).or_default();
                    of.push(Arrival {
                        t,
                        number: post.number,
                        url: post.url.clone(),
                        event_type: post.event_type.clone(),
                        event_id: post.event_id.clone(),
                        status: post.status.into(),
                        answered: None,
                    });
                    posts.insert(post.post, (post.delivery.clone(), of.len() - 1));
                }
                Fact::Answer { post } => {
                    if let Some((delivery, at)) = posts.get(post)
                        && let Some(of) = self.posts.get_mut(delivery)
                    {
                        of[*at].answered = Some(t);
                    }
                }
                Fact::Twice { deliveries } => {
                    let over = twice.extract_if(.., |delivery, _| !deliveries.contains(delivery));
                    self.twice.extend(over.map(|(delivery, (from, to))| (delivery, from, to)));
                    for delivery in deliveries {
                        twice.entry(delivery.clone()).or_insert((t, t)).1 = t;
                    }
                }
                Fact::Fault { step, fault, on } => {
                    faults.insert(*step, self.faults.len());
                    let kind: Value = serde_json::from_str(fault).unwrap_or_default();
                    let kind = match &kind {
                        Value::String(name) => name.clone(),
                        Value::Object(fields) => fields.keys().next().cloned().unwrap_or_default(),
                        _ => String::new(),
                    };
                    self.faults.push(Fault { from: t, to: u64::MAX, kind, on: on.clone() });
                }
                Fact::Healed { step } => {
                    if let Some(at) = faults.get(step) {
                        self.faults[*at].to = t;
                    }
                }
                _ => {}
            }
        }
        self.twice.extend(twice.into_iter().map(|(delivery, (from, to))| (delivery, from, to)));
    }

    fn read_state(&mut self, state: &State, epoch_ms: u64) {
        let rows = |name: &str| state.rows.get(name).map(Vec::as_slice).unwrap_or_default();
        let t = |row: &Value, name: &str| row[name].as_u64().map(|at| at.saturating_sub(epoch_ms));
        for row in rows("events") {
            self.acceptances
                .entry(text(row, "event_id"))
                .or_default()
                .push(Acceptance { event_key: text(row, "event_key") });
        }
        for row in rows("decisions") {
            self.decisions.entry(text(row, "event_key")).or_default().push(Decision {
                verdict: text(row, "verdict"),
                url: text(row, "url"),
                delivery: id(row, "delivery_id"),
            });
        }
        for row in rows("ends") {
            self.ends.entry(id(row, "delivery_id")).or_default().push(End {
                event_key: text(row, "event_key"),
                target: text(row, "target_id"),
                outcome: text(row, "outcome"),
                reason: text(row, "reason"),
                attempts: row["attempts"].as_u64().unwrap_or_default(),
                generation: row["generation"].as_u64().unwrap_or_default(),
                t: t(row, "at_ms").unwrap_or_default(),
            });
        }
        for row in rows("attempts") {
            self.attempts.entry(id(row, "delivery_id")).or_default().push(Attempt {
                number: row["attempt"].as_u64().unwrap_or_default(),
                charged: row["charged"].as_bool().unwrap_or_default(),
                reason: text(row, "reason"),
                status: row["status"].as_u64().unwrap_or_default(),
            });
        }
        for row in rows("alert_settings") {
            self.alert_settings.push(AlertSetting {
                url: text(row, "url"),
                event_type: text(row, "event_type"),
                disabled: t(row, "disabled_ms").map(|at| (at, text(row, "reason"))),
            });
        }
    }

    /// Faults of which one may explain that something was done twice or late between these
    /// moments: those that hit a process of this role, or a broker.
    pub(crate) fn excuses(&self, role: &str, from: u64, to: u64) -> usize {
        self.that_excuse(role, from, to).count()
    }

    /// When the last of these was over.
    pub(crate) fn excused_until(&self, role: &str, from: u64, to: u64) -> Option<u64> {
        self.that_excuse(role, from, to).map(|fault| fault.to).max()
    }

    fn that_excuse(&self, role: &str, from: u64, to: u64) -> impl Iterator<Item = &Fault> {
        self.faults.iter().filter(move |fault| {
            let is_broker = fault.on.iter().any(|on| on.starts_with("nats"));
            let over = fault.to + if is_broker { RECOVERS_MS } else { 0 };
            fault.from <= to
                && over >= from
                && fault.kind != "hold_settings"
                && (is_broker || fault.on.iter().any(|on| on.starts_with(role)))
        })
    }

    /// Faults that hit a broker between these moments.
    pub(crate) fn broker_faults(&self, from: u64, to: u64) -> usize {
        let hits = |fault: &&Fault| {
            fault.from <= to && fault.to >= from && fault.on.iter().any(|on| on.starts_with("nats"))
        };
        self.faults.iter().filter(hits).count()
    }

    /// How much of the time between these moments some fault lasted, or the machine was
    /// starved, in milliseconds.
    pub(crate) fn troubled_ms(&self, from: u64, to: u64) -> u64 {
        let overlap = |fault: &Fault| fault.to.min(to).saturating_sub(fault.from.max(from));
        self.faults.iter().map(overlap).sum::<u64>() + self.starved_ms(from, to)
    }

    pub(crate) fn starved_ms(&self, from: u64, to: u64) -> u64 {
        self.starved
            .iter()
            .map(|(since, until)| until.min(&to).saturating_sub(*since.max(&from)))
            .sum()
    }

    /// The moment up to which nothing was broken.
    pub(crate) fn first_fault(&self) -> u64 {
        self.faults.iter().map(|fault| fault.from).min().unwrap_or(u64::MAX)
    }

    /// Deliveries that go out by mail.
    pub(crate) fn mailed(&self) -> BTreeSet<&str> {
        let decisions = self.decisions.values().flatten();
        let by_mail = decisions.filter(|decision| !decision.url.starts_with("http"));
        let by_mail = by_mail.map(|decision| decision.delivery.as_str());
        self.mails.keys().map(String::as_str).chain(by_mail).collect()
    }

    /// Whether the settings may have been older than they were at this moment: until the
    /// guard has looked at the bucket, which it does every six seconds, and its documents are
    /// all there.
    pub(crate) fn has_old_settings(&self, from: u64, to: u64) -> bool {
        let restored = self.faults.iter().filter(|fault| fault.kind == "restore_settings");
        restored
            .into_iter()
            .any(|fault| fault.from <= to && fault.to.saturating_add(LOOKED_AT_MS) >= from)
    }

    pub(crate) fn has_wrong_clocks(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind == "wrong_clock")
    }

    /// The waits that an event of this kind has, in milliseconds.
    pub(crate) fn waits_ms(&self, event_type: &str) -> &[u64] {
        match () {
            () if event_type.contains(ALERTS) => &self.setup.alert_waits_ms,
            // Not retried, by Mailgun's rule.
            () if event_type == "delivered" => &[],
            () => &self.setup.send_waits_ms,
        }
    }

    /// Deliveries of which anything is known.
    pub(crate) fn deliveries(&self) -> BTreeSet<&String> {
        let decided =
            self.decisions.values().flatten().filter(|decision| decision.verdict == "chosen");
        self.posts
            .keys()
            .chain(self.ends.keys())
            .chain(decided.map(|decision| &decision.delivery))
            .filter(|delivery| !delivery.is_empty())
            .collect()
    }
}

fn text(row: &Value, name: &str) -> String {
    row[name].as_str().unwrap_or_default().to_owned()
}

/// Ids are hex on the wire, and PostgreSQL writes them as UUIDs.
fn id(row: &Value, name: &str) -> String {
    text(row, name).replace('-', "")
}
