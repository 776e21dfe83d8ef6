//! What NATS itself says of the configurations that it is given.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use dev_servers::{Scratch, fetch, pins};

use super::document::Document;

/// That of the composition.
const FILE: &str = "deploy/compose/nats.conf";
/// What stands in the Secret that `include` leads to.
const USERS: &str = "deploy/nats/auth.conf";

/// What is wrong with the configurations in these renderings, and with the one of
/// the composition. The server only reads them; files that pods mount are left out.
pub(super) fn check<'a>(
    root: &Path,
    charts: impl Iterator<Item = (&'a String, &'a Vec<Document>)>,
) -> Result<Vec<String>> {
    let read = |file: &str| {
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let users = read(USERS)?;
    let mut texts = vec![(FILE.to_owned(), read(FILE)?)];
    for (values, documents) in charts {
        let configs = documents.iter().filter_map(|map| map.at(&["data", "nats.conf"]).as_str());
        texts.extend(configs.map(|text| (values.clone(), text.to_owned())));
    }
    let scratch = Scratch::new()?;
    let server = fetch(&pins::NATS)?.join("bin/nats-server");
    let mut problems = Vec::new();
    for (name, text) in texts {
        let file = scratch.path().join("nats.conf");
        fs::write(&file, standing_alone(&text, &users))?;
        let mut command = Command::new(&server);
        command.arg("-t").arg("-c").arg(&file).env("POD_NAME", "postrider-nats-0");
        for user in ["INGEST", "FANOUT", "DISPATCHER", "ARCHIVE", "SETTINGS_API", "OPERATOR"] {
            command.env(format!("{user}_PASSWORD"), "secret");
        }
        let output = command.output().context("cannot run NATS")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            problems.push(format!("{name}: NATS refuses its configuration: {said}"));
        }
    }
    Ok(problems)
}

/// The text with the users in the place where they are included, and without
/// certificates, of which there are none here.
fn standing_alone(text: &str, users: &str) -> String {
    let mut alone = String::new();
    let mut in_tls = false;
    for line in text.lines() {
        let line_of = line.trim();
        in_tls |= line_of == "tls {";
        if line_of.starts_with("include ") {
            alone.push_str(users);
        } else if !in_tls {
            alone.push_str(line);
        }
        alone.push('\n');
        in_tls &= line_of != "}";
    }
    alone
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn certificates_are_left_out_and_users_put_in() {
        let text =
            "port: 4222\ntls {\n  cert_file: /a\n}\ninclude auth/auth.conf\nhttp_port: 8222\n";
        let alone = standing_alone(text, "authorization {}");
        let lines: Vec<&str> = alone.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines, ["port: 4222", "authorization {}", "http_port: 8222"]);
    }

    #[test]
    fn what_the_server_refuses_is_told() {
        let map = |text: &str| {
            let map = json!({"kind": "ConfigMap", "data": {"nats.conf": text}});
            (text.to_owned(), vec![Document::new(map)])
        };
        let charts = [map("port: 4222\n"), map("jetstream { sync_intervall: always }\n")];
        let charts = charts.iter().map(|(name, documents)| (name, documents));
        let problems = check(crate::workspace::root(), charts).unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
    }
}
