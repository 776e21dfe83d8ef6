//! Licences, duplicate versions and sources of dependencies, by cargo-deny.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use dev_servers::environment;

use crate::workspace::{self, cargo, run};

const VERSION: &str = "0.20.2";

pub(crate) fn deny(advisories: bool) -> Result<()> {
    let mut command = Command::new(cargo_deny()?);
    command
        .current_dir(workspace::root())
        .args(["--workspace", "--all-features", "--log-level", "error"])
        .args(["check", "--show-stats", "bans", "licenses", "sources"]);
    if advisories {
        command.arg("advisories");
    }
    run(&mut command)
}

/// The pinned cargo-deny: an installed one of that version, or one that is built
/// once and kept beside the downloaded servers.
fn cargo_deny() -> Result<PathBuf> {
    let installed = Command::new("cargo-deny").arg("--version").output();
    if installed.is_ok_and(|output| output.stdout.trim_ascii().ends_with(VERSION.as_bytes())) {
        return Ok(PathBuf::from("cargo-deny"));
    }
    let tools = environment::cache_dir().join(format!("cargo-deny-{VERSION}"));
    let binary = tools.join("bin/cargo-deny");
    if !binary.is_file() {
        eprintln!("building cargo-deny {VERSION}, once; this takes some two minutes");
        run(cargo()
            .args(["install", "--locked", "cargo-deny", "--version", VERSION, "--root"])
            .arg(&tools))?;
    }
    Ok(binary)
}
