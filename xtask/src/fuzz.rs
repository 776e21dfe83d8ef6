//! Fuzzes the parsers that strangers reach, by cargo-fuzz and a nightly compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::workspace::{Metadata, cargo_subcommand, root, run};

/// Longest input that is made, in bytes; the targets make some of them longer themselves.
const LONGEST_BYTES: u64 = 4_096;
/// Seconds that one input may take.
const SLOWEST_SECONDS: u64 = 30;

#[derive(Args)]
pub(crate) struct Options {
    /// Only this target; all without it
    target: Option<String>,
    /// How long each target is fuzzed
    #[arg(long, default_value_t = 3)]
    minutes: u64,
    /// Leave out of the corpora, when it is over, what reaches nothing that others do not reach
    #[arg(long)]
    minimise: bool,
}

pub(crate) fn fuzz(options: &Options) -> Result<()> {
    if let Some(reason) = why_not() {
        println!("fuzz: skipped: {reason}");
        return Ok(());
    }
    let all = targets()?;
    let chosen: Vec<&String> = match &options.target {
        Some(name) if !all.contains(name) => {
            bail!("there is no target {name}; there are {}", all.join(", "))
        }
        Some(name) => all.iter().filter(|target| *target == name).collect(),
        None => all.iter().collect(),
    };
    lock()?;
    let mut failed = Vec::new();
    for target in chosen {
        println!("\nfuzz: {target}, {} minute(s)", options.minutes);
        // A fault of one target does not hide those of the others.
        if let Err(error) = fuzz_one(target, options.minutes) {
            eprintln!("error: {error:#}");
            failed.push(target.as_str());
        } else if options.minimise {
            run(cargo_fuzz("cmin")?.arg(target).arg(corpus(target)))?;
        }
    }
    if !failed.is_empty() {
        bail!(
            "faults were found in {}; their inputs are in crates/fuzz/artifacts: put them into \
             crates/fuzz/regressions when they are mended",
            failed.join(", ")
        );
    }
    Ok(())
}

/// For `cargo xtask test --long`.
pub(crate) fn a_minute_each() -> Result<()> {
    fuzz(&Options { target: None, minutes: 1, minimise: false })
}

fn fuzz_one(target: &str, minutes: u64) -> Result<()> {
    let corpus = corpus(target);
    fs::create_dir_all(&corpus)?;
    let mut command = cargo_fuzz("run")?;
    command.arg(target).arg(corpus);
    let others = ["seeds", "regressions"].map(|place| folder().join(place).join(target));
    command.args(others.iter().filter(|place| place.is_dir()));
    command.args(["--", "-print_final_stats=1"]);
    for (name, value) in [
        ("max_total_time", 60 * minutes),
        ("max_len", LONGEST_BYTES),
        ("timeout", SLOWEST_SECONDS),
        ("rss_limit_mb", 4_096),
    ] {
        command.arg(format!("-{name}={value}"));
    }
    let dictionary = folder().join(format!("dictionaries/{target}.dict"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    run(&mut command)
}

/// Without a sanitizer of memory: nothing of ours is unsafe, and inputs are many more without.
fn cargo_fuzz(what: &str) -> Result<Command> {
    let mut command = nightly();
    command.args(["fuzz", what, "--sanitizer", "none", "--fuzz-dir"]).arg(folder());
    command.arg("--target-dir").arg(Metadata::read()?.target_directory().join("fuzz"));
    Ok(command)
}

fn nightly() -> Command {
    let mut command = cargo_subcommand(PathBuf::from("rustup"));
    command.args(["run", "nightly", "cargo"]);
    command
}

fn folder() -> PathBuf {
    root().join("crates/fuzz")
}

fn corpus(target: &str) -> PathBuf {
    folder().join("corpus").join(target)
}

/// The binaries of the manifest.
fn targets() -> Result<Vec<String>> {
    let manifest = folder().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    Ok(binaries(&text))
}

fn binaries(manifest: &str) -> Vec<String> {
    let sections = manifest.split("[[bin]]").skip(1);
    let names = sections.filter_map(|section| section.split("name = \"").nth(1)?.split('"').next());
    names.map(str::to_owned).collect()
}

/// The fuzzed code is built from the same versions as the product.
fn lock() -> Result<()> {
    let (ours, theirs) = (root().join("Cargo.lock"), folder().join("Cargo.lock"));
    let written = |file: &Path| fs::metadata(file).and_then(|found| found.modified()).ok();
    if written(&theirs) < written(&ours) {
        fs::copy(ours, theirs)?;
    }
    Ok(())
}

/// Why nothing can be fuzzed here.
fn why_not() -> Option<String> {
    let runs = |mut command: Command| {
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let with = |argument: &str| {
        let mut command = nightly();
        command.args([argument, "--version"]);
        command
    };
    if !runs(with("--quiet")) {
        return Some("there is no nightly compiler; `rustup toolchain install nightly`".to_owned());
    }
    (!runs(with("fuzz"))).then(|| "cargo-fuzz is missing; `cargo install cargo-fuzz`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_binaries_of_the_manifest() {
        let manifest = "[package]\nname = \"fuzz\"\n\n[[bin]]\nname = \"a\"\npath = \"x\"\n\n[[bin]]\nname = \"b\"\n";
        assert_eq!(binaries(manifest), ["a", "b"]);
        assert!(targets().unwrap().contains(&"forms".to_owned()));
    }
}
