//! The demo data: an account with a domain, and a subaccount with one.

use anyhow::Result;

use super::{Product, say};
use crate::workspace::capture;

/// Each does nothing when it has been done by an earlier run.
const COMMANDS: [&str; 4] = [
    "account create demo --key key-demo",
    "domain create mail.demo.example --account demo",
    "account create demo-sub --key key-demo-sub --parent demo",
    "domain create mail.sub.example --account demo-sub",
];

pub(super) fn seed(postrider: &Product) -> Result<()> {
    say("seeding the demo data");
    for command in COMMANDS {
        let mut admin = postrider.command();
        admin.arg("admin").args(command.split(' ')).arg("--if-absent");
        // What it prints is for operators; its complaints still come through.
        capture(&mut admin)?;
    }
    Ok(())
}
