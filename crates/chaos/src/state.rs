//! The last state: what database and broker hold once everything has come to rest.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::REGION;
use crate::clients::ERASED;
use crate::nemesis::Nemesis;

/// Rows of history and settings that the checker reads.
const QUERIES: [(&str, &str); 9] = [
    (
        "events",
        "SELECT event_key, event_id, event_type, a.name AS account, \
         (extract(epoch FROM accepted_at) * 1000)::bigint AS at_ms \
         FROM events e JOIN accounts a USING (account_id)",
    ),
    (
        "decisions",
        "SELECT event_key, verdict, url, delivery_id, target_id, \
         (extract(epoch FROM routed_at) * 1000)::bigint AS at_ms FROM routing_decisions",
    ),
    (
        "ends",
        "SELECT delivery_id, account_id, event_key, outcome, reason, attempts, generation, target_id, \
         (extract(epoch FROM ended_at) * 1000)::bigint AS at_ms FROM ends",
    ),
    (
        "attempts",
        "SELECT delivery_id, account_id, hop, attempt, charged, reason, status, url, generation, \
         (extract(epoch FROM started_at) * 1000)::bigint AS at_ms FROM attempts",
    ),
    (
        "alert_settings",
        "SELECT setting_id, a.name AS account, event_type, url, s.disabled_reason AS reason, \
         generation, (extract(epoch FROM s.disabled_at) * 1000)::bigint AS disabled_ms \
         FROM alert_settings s JOIN accounts a USING (account_id)",
    ),
    ("outbox", "SELECT document_key, version FROM settings_outbox"),
    (
        "statistics",
        "SELECT account_id, target_id = '00000000-0000-0000-0000-000000000000' AS is_of_all, \
         sum(taken)::bigint AS taken, sum(failed)::bigint AS failed, \
         sum(delivered)::bigint AS delivered, sum(rejected)::bigint AS rejected, \
         sum(exhausted)::bigint AS exhausted, sum(expired)::bigint AS expired, \
         sum(suppressed)::bigint AS suppressed, sum(held)::bigint AS held, \
         sum(poisoned)::bigint AS poisoned FROM statistics GROUP BY 1, 2",
    ),
    (
        "account_settings",
        "SELECT 'account.' || account_id AS key, version, ARRAY(\
         SELECT w.url FROM account_webhooks w WHERE w.account_id = a.account_id UNION \
         SELECT s.url FROM alert_settings s WHERE s.account_id = a.account_id \
         AND s.url IS NOT NULL ORDER BY 1) AS urls FROM accounts a",
    ),
    (
        "domain_settings",
        "SELECT 'domain.' || domain_id AS key, version, ARRAY(\
         SELECT w.url FROM domain_webhooks w WHERE w.domain_id = d.domain_id \
         GROUP BY 1 ORDER BY 1) AS urls FROM domains d",
    ),
];

/// What the checker knows of the end of a run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct State {
    /// Rows by query.
    pub(crate) rows: BTreeMap<String, Vec<Value>>,
    /// What the broker says of its streams.
    pub(crate) streams: Vec<Value>,
    /// And of their consumers, by stream.
    pub(crate) consumers: BTreeMap<String, Vec<Value>>,
    /// Subjects that still hold a message, of the streams of deliveries.
    pub(crate) waiting: Vec<String>,
    /// Settings on the broker, by key, in hex.
    #[serde(default)]
    pub(crate) documents: BTreeMap<String, String>,
    /// Where the erased account still stands.
    #[serde(default)]
    pub(crate) traces: Vec<String>,
}

impl State {
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        Ok(std::fs::write(path, serde_json::to_string(self)?)?)
    }

    pub(crate) fn of(nemesis: &Nemesis<'_>) -> Result<Self> {
        let mut state = Self::of_broker(nemesis);
        for (name, query) in QUERIES {
            let text = nemesis.rig.query(&format!("SELECT row_to_json(r) FROM ({query}) r"))?;
            let rows = text.lines().filter(|line| !line.trim().is_empty());
            let rows = rows.map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
            state.rows.insert(name.to_owned(), rows.collect::<Result<_>>()?);
        }
        state.read_messages(nemesis);
        state.read_traces(nemesis)?;
        Ok(state)
    }

    /// The documents, and messages that the erased account stands in.
    fn read_messages(&mut self, nemesis: &Nemesis<'_>) {
        let url = nemesis.rig.brokers.urls().swap_remove(0);
        let streams: Vec<String> = self.consumers.keys().cloned().collect();
        for stream in streams {
            let messages = nemesis.runtime.block_on(testkit::broker::messages(&url, &stream));
            for (subject, data) in messages {
                if let Some(key) = subject.strip_prefix(&format!("$KV.{REGION}_settings.")) {
                    self.documents.insert(key.to_owned(), hex(&data));
                }
                if data.windows(ERASED.len()).any(|window| window == ERASED.as_bytes()) {
                    self.traces.push(format!("a message on {subject}"));
                }
            }
        }
    }

    /// Rows that the erased account stands in.
    fn read_traces(&mut self, nemesis: &Nemesis<'_>) -> Result<()> {
        let tables = nemesis.rig.query(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' \
             AND table_name <> '_sqlx_migrations'",
        )?;
        for table in tables.lines() {
            // Bytes are printed in hex.
            let hex = hex(ERASED.as_bytes());
            let found = nemesis.rig.query(&format!(
                "SELECT count(*) FROM {table} t \
                 WHERE t::text LIKE '%{ERASED}%' OR t::text LIKE '%{hex}%'"
            ))?;
            if found.trim() != "0" {
                self.traces.push(format!("{} rows of {table}", found.trim()));
            }
        }
        Ok(())
    }

    pub(crate) fn of_broker(nemesis: &Nemesis<'_>) -> Self {
        let mut state = Self::default();
        let names = nemesis.ask("STREAM.NAMES", &json!({}));
        let names = names.as_ref().and_then(|names| names["streams"].as_array());
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            let question = match name.contains("DELIVERIES") {
                true => json!({"subjects_filter": ">"}),
                false => json!({}),
            };
            let Some(info) = nemesis.ask(&format!("STREAM.INFO.{name}"), &question) else {
                continue;
            };
            if let Some(subjects) = info["state"]["subjects"].as_object() {
                state.waiting.extend(subjects.keys().cloned());
            }
            let list = nemesis.ask(&format!("CONSUMER.LIST.{name}"), &json!({}));
            let list = list.and_then(|list| list["consumers"].as_array().cloned());
            state.consumers.insert(name.to_owned(), list.unwrap_or_default());
            state.streams.push(info);
        }
        state
    }

    /// What is not at rest; nothing when all is.
    pub(crate) fn unrest(&self, region: &str) -> Vec<String> {
        let mut unrest = Vec::new();
        for info in &self.streams {
            let name = info["config"]["name"].as_str().unwrap_or_default();
            if name.starts_with(&format!("{region}_DELIVERIES")) && info["state"]["messages"] != 0 {
                unrest.push(format!("{name} holds {} deliveries", info["state"]["messages"]));
            }
        }
        for (stream, consumers) in &self.consumers {
            for info in consumers {
                // Those without a name are of who follows a stream for a while. When that is over,
                // the broker keeps them for half a minute more.
                if info["config"]["durable_name"].is_null() {
                    continue;
                }
                let (pending, unacked) = (&info["num_pending"], &info["num_ack_pending"]);
                if pending != 0 || unacked != 0 {
                    let name = &info["name"];
                    unrest
                        .push(format!("{name} of {stream}: {pending} pending, {unacked} unacked"));
                }
            }
        }
        unrest
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
