//! Cuts the power of the brokers under load, and counts what they have forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::chaos::{self, Binaries};
use crate::workspace::root;

/// What makes the disks, and the Debian packages that have it.
const TOOLS: [(&str, &str); 6] = [
    ("mkfs.xfs", "xfsprogs"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("losetup", "mount"),
    ("unshare", "util-linux"),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Brokers: one or three
    #[arg(long, default_value_t = 1)]
    nodes: u64,
    /// When the brokers flush what they acknowledge: before they do, or as NATS comes
    #[arg(long, value_parser = ["always", "lazy"], default_value = "always")]
    sync: String,
    /// How often the power is cut
    #[arg(long, default_value_t = 5)]
    cuts: u64,
    /// Decides when it is cut; without it, a seed that nobody has had
    #[arg(long)]
    seed: Option<u64>,
    /// The most seconds under load before a cut; the least are three
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Events a second
    #[arg(long, default_value_t = 60)]
    rate: u64,
    /// Go on after a loss, to see how often it happens
    #[arg(long)]
    keep_going: bool,
}

pub(crate) fn powercut(options: &Options) -> Result<()> {
    if let Some(reason) = why_not() {
        println!("powercut: skipped: {reason}");
        return Ok(());
    }
    run(&chaos::build()?, options)
}

/// For `cargo xtask test`, which has built everything: the set-ups that must lose nothing, then
/// one that does lose something, to show that a loss is seen.
pub(crate) fn every_set_up() -> Result<()> {
    if let Some(reason) = why_not() {
        println!("powercut: skipped: {reason}");
        return Ok(());
    }
    let binaries = chaos::built()?;
    for (nodes, sync, cuts) in [(1, "always", 10), (3, "always", 10), (1, "lazy", 2)] {
        let options = Options {
            nodes,
            sync: sync.to_owned(),
            cuts,
            seed: None,
            seconds: 20,
            rate: 60,
            keep_going: false,
        };
        run(&binaries, &options)?;
    }
    Ok(())
}

fn run(binaries: &Binaries, options: &Options) -> Result<()> {
    let seed = options.seed.unwrap_or_else(chaos::fresh_seed);
    let directory = std::env::temp_dir().join(format!("postrider-powercut-{seed}"));
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let sync = options.sync.as_str();
    println!("powercut: {} node(s), sync {sync}, seed {seed}", options.nodes);
    // Mounts of a namespace of its own end with its last process, however that ends.
    let mut command = Command::new("unshare");
    command.current_dir(root()).args(["--mount", "--propagation", "private"]);
    command.arg(&binaries.chaos).arg("powercut").arg("--binary").arg(&binaries.product);
    command.args(["--sync", sync]).arg("--directory").arg(&directory);
    for (name, value) in [
        ("--seed", seed),
        ("--nodes", options.nodes),
        ("--cuts", options.cuts),
        ("--seconds", options.seconds),
        ("--rate", options.rate),
    ] {
        command.args([name, &value.to_string()]);
    }
    command.args(options.keep_going.then_some("--keep-going"));
    let status = command.status().context("cannot run unshare")?;
    if !status.success() {
        bail!(
            "the power cut of seed {seed} failed; its disks and logs are in {}",
            directory.display()
        );
    }
    fs::remove_dir_all(&directory)?;
    Ok(())
}

/// Why no power can be cut here.
fn why_not() -> Option<String> {
    if !dev_servers::is_root() {
        return Some("mounting file systems needs root".to_owned());
    }
    if let Some((tool, package)) = TOOLS.iter().find(|(tool, _)| find(tool).is_none()) {
        return Some(format!("{tool} is missing; Debian's package {package} has it"));
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("this machine has no loop devices".to_owned());
    }
    (!chaos::may_mount()).then(|| "root may not mount here, as in most containers".to_owned())
}

/// Where a tool is on the path.
fn find(tool: &str) -> Option<PathBuf> {
    let path = dev_servers::environment::text("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path);
    directories.map(|directory| directory.join(tool)).find(|file| file.is_file())
}
