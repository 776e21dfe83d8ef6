//! The settings that documents give to roles: they exist, and no secret is among them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::document::{Document, Pods};

/// Generated from the settings' declarations, which `cargo xtask config-docs` sees to.
const PAGE: &str = "docs/configuration.md";

/// Settings that hold a secret, or may.
const SECRET: [&str; 4] = [
    "POSTRIDER_DATABASE_URL",
    "POSTRIDER_SECRET_KEY",
    "POSTRIDER_SMTP_URL",
    "POSTRIDER_EGRESS_PROXY",
];

/// Every setting that there is, with its default.
pub(super) struct Known(BTreeMap<String, String>);

impl Known {
    pub(super) fn read(root: &Path) -> Result<Self> {
        let page = fs::read_to_string(root.join(PAGE));
        Ok(Self::from_page(&page.with_context(|| format!("cannot read {PAGE}"))?))
    }

    pub(super) fn from_page(page: &str) -> Self {
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `POSTRIDER_"));
        let settings = rows.filter_map(|row| {
            let mut cells = row.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            let default = cells.next()?.trim_matches('`');
            Some((format!("POSTRIDER_{name}"), default.to_owned()))
        });
        Self(settings.collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What a setting is for these pods: what they are given, else the default.
    pub(super) fn in_force(
        &self,
        documents: &[Document],
        pods: Pods<'_>,
        name: &str,
    ) -> Option<String> {
        let own = pods.containers().flat_map(environment).find(|(given, _)| *given == name);
        let own = own.and_then(|(_, entry)| entry["value"].as_str());
        let mut shared = documents.iter().filter(|document| document.kind() == "ConfigMap");
        own.or_else(|| shared.find_map(|map| map.at(&["data", name]).as_str()))
            .map(str::to_owned)
            .or_else(|| self.0.get(name).cloned())
    }
}

fn environment(container: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = container["env"].as_array().into_iter().flatten();
    entries.filter_map(|entry| Some((entry["name"].as_str()?, entry)))
}

/// What is wrong with the settings of all documents.
pub(super) fn check(documents: &[Document], known: &Known) -> Vec<String> {
    let mut problems = Vec::new();
    for document in documents {
        let mut demand = |holds: bool, what: String| {
            if !holds {
                problems.push(format!("{}: {what}", document.name()));
            }
        };
        let data = document.at(&["data"]).as_object().into_iter().flatten();
        for (name, value) in data.filter(|(name, _)| is_ours(name)) {
            demand(known.has(name), format!("there is no setting {name}"));
            let is_open = SECRET.contains(&name.as_str()) || holds_a_password(value);
            demand(!is_open, format!("{name} stands in the open"));
        }
        for (name, entry) in
            document.pods().iter().flat_map(|pods| pods.containers()).flat_map(environment)
        {
            if !is_ours(name) {
                continue;
            }
            demand(known.has(name), format!("there is no setting {name}"));
            let value = &entry["value"];
            let is_open = !value.is_null() && SECRET.contains(&name) || holds_a_password(value);
            demand(!is_open, format!("{name} stands in the open"));
        }
    }
    problems
}

fn is_ours(name: &str) -> bool {
    name.starts_with("POSTRIDER_")
}

/// A URL with a user.
fn holds_a_password(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// A duration of the settings, in seconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(number.div_ceil(1000)),
        "s" => Some(number),
        "m" => Some(number * 60),
        "h" => Some(number * 3600),
        _ => None,
    }
}

/// A size of the settings, or of NATS' configuration, in bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1,
        "KiB" => 1 << 10,
        "MiB" | "MB" => 1 << 20,
        "GiB" | "GB" => 1 << 30,
        "TiB" | "TB" => 1 << 40,
        _ => return None,
    };
    Some(number.parse::<u64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn known() -> Known {
        Known::from_page(
            "| setting | default | what it does |\n| --- | --- | --- |\n\
             | `POSTRIDER_LOG` | `info` | What is logged. |\n\
             | `POSTRIDER_NATS_URL` | `nats://127.0.0.1:4222` | NATS. |\n\
             | `POSTRIDER_SECRET_KEY` | **required** | 32 bytes. |\n",
        )
    }

    fn map(name: &str, value: &str) -> Document {
        Document::new(json!({"kind": "ConfigMap", "data": {name: value}}))
    }

    fn pod(entry: Value) -> Document {
        let spec = json!({"containers": [{"name": "fanout", "env": [entry]}]});
        Document::new(json!({"kind": "Deployment", "spec": {"template": {"spec": spec}}}))
    }

    #[test]
    fn settings_that_do_not_exist_and_secrets_in_the_open_are_found() {
        let known = known();
        let secret = json!({"secretKeyRef": {"name": "postrider", "key": "POSTRIDER_SECRET_KEY"}});
        for right in [
            map("POSTRIDER_LOG", "debug"),
            map("postrider.json", "{}"),
            pod(json!({"name": "POSTRIDER_SECRET_KEY", "valueFrom": secret})),
            pod(json!({"name": "POSTRIDER_NATS_URL", "value": "nats://nats:4222"})),
        ] {
            assert_eq!(check(&[right], &known), [""; 0]);
        }
        for wrong in [
            map("POSTRIDER_LOGS", "debug"),
            map("POSTRIDER_SECRET_KEY", "00"),
            map("POSTRIDER_NATS_URL", "nats://user:password@nats:4222"),
            pod(json!({"name": "POSTRIDER_LOGS", "value": "debug"})),
            pod(json!({"name": "POSTRIDER_SECRET_KEY", "value": "00"})),
        ] {
            assert_eq!(check(std::slice::from_ref(&wrong), &known).len(), 1, "{wrong:?}");
        }
    }

    #[test]
    fn what_is_in_force_is_the_roles_own_else_everybodys_else_the_default() {
        let known = known();
        let own = pod(json!({"name": "POSTRIDER_LOG", "value": "trace"}));
        let none = pod(json!({"name": "TZ", "value": "UTC"}));
        let shared = map("POSTRIDER_LOG", "debug");
        for (document, others, wanted) in [
            (&own, vec![shared.clone()], "trace"),
            (&none, vec![shared], "debug"),
            (&none, vec![], "info"),
        ] {
            let pods = document.pods().unwrap();
            assert_eq!(known.in_force(&others, pods, "POSTRIDER_LOG").as_deref(), Some(wanted));
        }
    }

    #[test]
    fn durations_and_sizes_are_read() {
        assert_eq!(seconds("25s"), Some(25));
        assert_eq!(seconds("1500ms"), Some(2));
        assert_eq!(seconds("2m"), Some(120));
        assert_eq!(seconds("soon"), None);
        assert_eq!(bytes("2GiB"), Some(2 << 30));
        assert_eq!(bytes("16GB"), Some(16 << 30));
        assert_eq!(bytes("much"), None);
    }
}
