//! Formatting and clippy.

use anyhow::Result;

use crate::workspace::{TEST_FEATURES, cargo, run};

pub(crate) fn fmt(check: bool) -> Result<()> {
    let mut command = cargo();
    command.args(["fmt", "--all"]);
    if check {
        command.arg("--check");
    }
    run(&mut command)
}

pub(crate) fn clippy() -> Result<()> {
    run(cargo()
        .args(["clippy", "--workspace", "--all-targets"])
        .args(TEST_FEATURES)
        .args(["--", "-D", "warnings"]))
}
