//! The image, and that everything is of the versions that belong together.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use dev_servers::pins;
use dev_servers::tools::PythonTools;
use serde_json::Value;

use super::compose::is_version;
use super::pods::is_pinned;

const FILE: &str = "deploy/Dockerfile";
const LINTER: &str = "xtask/src/deploy/hadolint.yaml";
const CHART: &str = "deploy/helm/postrider";

/// What is wrong with the image, and with the versions that charts name.
pub(super) fn check(
    root: &Path,
    python: &PythonTools,
    files: &BTreeMap<String, Value>,
) -> Result<Vec<String>> {
    let read = |file: &str| {
        fs::read_to_string(root.join(file)).with_context(|| format!("cannot read {file}"))
    };
    let version = quoted_after(&read("Cargo.toml")?, "version = ").unwrap_or_default();
    let toolchain = quoted_after(&read("rust-toolchain.toml")?, "channel = ").unwrap_or_default();
    let mut problems = check_file(&read(FILE)?, &version, &toolchain);
    problems.extend(lint(root, python)?);

    let version_of = |chart: &str| files.get(&format!("{chart}/Chart.yaml"));
    let app = |chart: &str| version_of(chart).and_then(|file| file["appVersion"].as_str());
    for (chart, wanted) in [
        (CHART.to_owned(), version.as_str()),
        (format!("{CHART}/charts/nats"), pins::NATS.version),
        (format!("{CHART}/charts/postgresql"), pins::POSTGRES.version),
    ] {
        let found = app(&chart).unwrap_or_default();
        if !is_version(&format!(":{found}"), wanted) {
            problems.push(format!("{chart}: appVersion is {found}, ours is {wanted}"));
        }
    }
    Ok(problems)
}

fn lint(root: &Path, python: &PythonTools) -> Result<Vec<String>> {
    let output = Command::new(python.program("hadolint"))
        .current_dir(root)
        .args(["--config", LINTER, "--no-color", "--failure-threshold", "info", FILE])
        .output()
        .context("cannot run hadolint")?;
    if output.status.success() {
        return Ok(Vec::new());
    }
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).lines().map(str::to_owned).collect())
}

/// What hadolint does not look at.
fn check_file(text: &str, version: &str, toolchain: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let mut demand = |holds: bool, what: String| {
        if !holds {
            problems.push(format!("{FILE}: {what}"));
        }
    };
    let argument = |name: &str| {
        let prefix = format!("ARG {name}=");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    };
    demand(argument("RUST_VERSION") == toolchain, format!("Rust is not {toolchain}"));
    demand(argument("VERSION") == version, format!("the version is not {version}"));

    let instruction = |word: &'static str| {
        text.lines().filter_map(move |line| line.strip_prefix(word)).map(str::trim)
    };
    let mut stages = Vec::new();
    for from in instruction("FROM ") {
        let mut words = from.split(' ');
        let image = words.next().unwrap_or_default().replace("${RUST_VERSION}", toolchain);
        let is_stage = stages.contains(&image);
        demand(is_stage || is_pinned(&Value::from(image.as_str())), format!("{image} has no tag"));
        stages.extend(words.nth(1).map(str::to_owned));
    }
    let user = instruction("USER ").next_back().unwrap_or("root");
    let is_nobody =
        user.split(':').next().is_some_and(|id| id.parse::<u32>().is_ok_and(|id| id > 0));
    demand(is_nobody, format!("runs as {user}, not as a number that is nobody special"));
    demand(
        text.contains("io.postrider.sbom="),
        "does not say where its list of parts is".to_owned(),
    );
    problems
}

/// What stands in quotes after the first of these words.
fn quoted_after(text: &str, word: &str) -> Option<String> {
    let (_, rest) = text.split_once(word)?;
    rest.split('"').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHT: &str = "ARG RUST_VERSION=1.95.0\n\
        FROM rust:${RUST_VERSION}-bookworm AS build\nFROM build AS more\n\
        FROM gcr.io/distroless/cc-debian12:nonroot\nARG VERSION=0.1.0\n\
        LABEL io.postrider.sbom=\"/sbom.json\"\nUSER 65532:65532\n";

    #[test]
    fn what_is_wrong_with_an_image_is_found() {
        assert_eq!(check_file(RIGHT, "0.1.0", "1.95.0"), [""; 0]);
        for (from, to) in [
            ("RUST_VERSION=1.95.0", "RUST_VERSION=1.90.0"),
            ("ARG VERSION=0.1.0", "ARG VERSION=0.2.0"),
            ("cc-debian12:nonroot", "cc-debian12"),
            ("cc-debian12:nonroot", "cc-debian12:latest"),
            ("USER 65532:65532", "USER root"),
            ("USER 65532:65532", "USER 0"),
            ("USER 65532:65532\n", ""),
            ("io.postrider.sbom", "other"),
        ] {
            let wrong = RIGHT.replace(from, to);
            assert_eq!(check_file(&wrong, "0.1.0", "1.95.0").len(), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn versions_are_read() {
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\nedition = \"2024\"\n";
        assert_eq!(quoted_after(manifest, "version = ").as_deref(), Some("0.1.0"));
        assert_eq!(quoted_after("", "version = "), None);
    }
}
