//! Licences, duplicate versions and sources of dependencies, by cargo-deny.

use std::process::Command;

use anyhow::Result;
use dev_servers::{fetch, pins};

use crate::workspace::{self, run};

pub(crate) fn deny(advisories: bool) -> Result<()> {
    let mut command = Command::new(fetch(&pins::CARGO_DENY)?.join("bin/cargo-deny"));
    command
        .current_dir(workspace::root())
        .args(["--workspace", "--all-features", "--log-level", "error"])
        .args(["check", "--show-stats", "bans", "licenses", "sources"]);
    if advisories {
        command.arg("advisories");
    }
    run(&mut command)
}
