//! docs/configuration.md, which the binary prints from its settings' declarations.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{self, Metadata, TEST_FEATURES, cargo, run};

const PAGE: &str = "docs/configuration.md";

pub(crate) fn config_docs(check: bool) -> Result<()> {
    // The features and packages of the test build, so that nothing is built twice.
    run(cargo().args(["build", "--workspace", "--bin", "postrider"]).args(TEST_FEATURES))?;
    let binary = Metadata::read()?.target_directory().join("debug/postrider");
    let wanted = workspace::capture(Command::new(binary).arg("config-docs"))?;

    let page = workspace::root().join(PAGE);
    if check {
        let found = fs::read_to_string(&page).with_context(|| format!("cannot read {PAGE}"))?;
        if found != wanted {
            bail!("{PAGE} is not what the settings say: run `cargo xtask config-docs`");
        }
    } else {
        fs::write(&page, wanted).with_context(|| format!("cannot write {PAGE}"))?;
    }
    Ok(())
}
