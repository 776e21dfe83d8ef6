//! Breaks the platform in every way that can be thought of, and checks what is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::mutants;
use crate::workspace::{Metadata, TEST_FEATURES, cargo, root, run};

/// A mutant that is not found within this is not found.
const MUTANT_WITHIN: Duration = Duration::from_secs(600);

#[derive(Args)]
pub(crate) struct Options {
    /// The seed of the first run; without it, one that nobody has had
    #[arg(long)]
    seed: Option<u64>,
    /// How many runs, each with the next seed
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// How long each makes faults
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Brokers: one or three
    #[arg(long, default_value_t = 3)]
    brokers: usize,
    /// Events a second
    #[arg(long, default_value_t = 12)]
    rate: u64,
    /// A bug that is switched on: it has to be found, with as many runs as ten minutes have
    #[arg(long)]
    mutant: Option<String>,
    /// Also faults after which something has to be made anew: consumers, buckets
    #[arg(long)]
    disasters: bool,
    /// Also clocks that are an hour off
    #[arg(long)]
    clocks: bool,
    /// The last release's binary, for half of the processes
    #[arg(long)]
    old_binary: Option<PathBuf>,
    /// Everything is the last release's, and is upgraded under load; nothing else is broken
    #[arg(long, requires = "old_binary")]
    upgrade: bool,
    /// The faults of an earlier run: its `nemesis.json`
    #[arg(long)]
    nemesis: Option<PathBuf>,
    /// Leave out faults of a run that fails for as long as it goes on failing
    #[arg(long)]
    shrink: bool,
    /// Keep the files of runs that passed as well
    #[arg(long)]
    keep: bool,
    /// Say only how each run ended
    #[arg(long)]
    quiet: bool,
}

/// A chaos binary, and the product with crash points and mutants in it.
pub(crate) struct Binaries {
    pub(crate) chaos: PathBuf,
    pub(crate) product: PathBuf,
}

pub(crate) fn chaos(options: &Options) -> Result<()> {
    let binaries = build()?;
    match &options.mutant {
        Some(mutant) => find(&binaries, options, mutant),
        None => runs(&binaries, options),
    }
}

fn runs(binaries: &Binaries, options: &Options) -> Result<()> {
    let first = options.seed.unwrap_or_else(fresh_seed);
    for seed in first..first + options.runs {
        let directory = directory(seed);
        if !one(binaries, options, seed, options.nemesis.as_deref(), &directory)? {
            if options.shrink {
                shrink(binaries, options, seed, &directory)?;
            }
            bail!(
                "seed {seed} has found something: {}; run it again with `cargo xtask chaos --seed \
                 {seed} --seconds {} --brokers {}`",
                directory.display(),
                options.seconds,
                options.brokers
            );
        }
        if !options.keep {
            fs::remove_dir_all(&directory)?;
        }
    }
    Ok(())
}

/// How long eight days last.
const SOAK_FOR: Duration = Duration::from_secs(7_200);

#[derive(Args, Default)]
pub(crate) struct SoakOptions {
    /// How long all days last together, in seconds [default: two hours]
    #[arg(long)]
    seconds: Option<u64>,
    /// Where its files are kept
    #[arg(long)]
    directory: Option<PathBuf>,
}

pub(crate) fn soak(options: &SoakOptions) -> Result<()> {
    let Binaries { chaos, product } = build()?;
    let directory = options.directory.clone();
    let directory = directory.unwrap_or_else(|| std::env::temp_dir().join("postrider-soak"));
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let seconds = options.seconds.unwrap_or(SOAK_FOR.as_secs());
    run(Command::new(chaos)
        .current_dir(root())
        .args(["soak", "--days", "8", "--seconds", &seconds.to_string()])
        .arg("--binary")
        .arg(product)
        .arg("--directory")
        .arg(directory))
}

/// For `cargo xtask test`, which has built everything: fresh seeds for as long as this, with
/// three brokers and with one by turns, and then these mutants, which have to be found.
pub(crate) fn for_a_while(lasting: Duration, mutants: &[&str]) -> Result<()> {
    let binaries = built()?;
    let options = |brokers| Options {
        seed: None,
        runs: 1,
        seconds: 40,
        brokers,
        rate: 12,
        mutant: None,
        disasters: false,
        clocks: false,
        old_binary: None,
        upgrade: false,
        nemesis: None,
        shrink: false,
        keep: false,
        quiet: true,
    };
    let began = Instant::now();
    let mut brokers = 3;
    while began.elapsed() < lasting {
        runs(&binaries, &options(brokers))?;
        brokers = 4 - brokers;
    }
    // Not beside the runs: what is late on a machine that has too much to do says nothing.
    mutants.iter().try_for_each(|mutant| find(&binaries, &options(3), mutant))
}

/// Mutants that the first run finds; `docs/chaos.md` has all of them.
pub(crate) const QUICK_MUTANTS: [&str; 5] = [
    "same_id_after_window",
    "ack_before_outcome",
    "statistics_count_twice",
    "publish_skipped",
    "limit_not_shared",
];

/// Two of them, others with every commit.
pub(crate) fn mutants_by_turns() -> [&'static str; 2] {
    let mutant = |number: usize| QUICK_MUTANTS[number % QUICK_MUTANTS.len()];
    let turn = mutants::turn();
    [mutant(2 * turn), mutant(2 * turn + 1)]
}

pub(crate) fn build() -> Result<Binaries> {
    run(cargo()
        .args(["build", "--package", "postrider", "--package", "chaos"])
        .args(TEST_FEATURES))?;
    built()
}

pub(crate) fn built() -> Result<Binaries> {
    let target = Metadata::read()?.target_directory().join("debug");
    Ok(Binaries { chaos: target.join("chaos"), product: target.join("postrider") })
}

/// One run. Whether it found nothing.
fn one(
    binaries: &Binaries,
    options: &Options,
    seed: u64,
    nemesis: Option<&Path>,
    directory: &Path,
) -> Result<bool> {
    let mut command = if may_mount() {
        // Disks that can be filled are mounts, which end with their namespace.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]).arg(&binaries.chaos);
        command
    } else {
        Command::new(&binaries.chaos)
    };
    command.current_dir(root()).arg("run").arg("--binary").arg(&binaries.product);
    command.args(["--seed", &seed.to_string(), "--seconds", &options.seconds.to_string()]);
    command.args(["--brokers", &options.brokers.to_string(), "--rate", &options.rate.to_string()]);
    command.arg("--directory").arg(directory);
    let paths = [("--old-binary", options.old_binary.as_deref()), ("--nemesis", nemesis)];
    for (name, path) in paths.into_iter().filter_map(|(name, path)| Some((name, path?))) {
        command.arg(name).arg(path);
    }
    for (name, is_set) in [
        ("--disasters", options.disasters),
        ("--clocks", options.clocks),
        ("--upgrade", options.upgrade),
    ] {
        command.args(is_set.then_some(name));
    }
    command.args(options.mutant.iter().flat_map(|mutant| ["--mutant", mutant]));
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    let succeeded = if options.quiet {
        let output = command.output().context("cannot run chaos")?;
        let printed = String::from_utf8_lossy(&output.stdout);
        let summary = printed.lines().next().unwrap_or("no verdict");
        println!("seed {seed}, {} brokers: {summary}", options.brokers);
        if !output.status.success() && options.mutant.is_none() {
            println!("{}{printed}", String::from_utf8_lossy(&output.stderr));
        }
        output.status.success()
    } else {
        command.status().context("cannot run chaos")?.success()
    };
    if !succeeded && !directory.join("verdict.json").exists() {
        bail!("seed {seed} did not come to a verdict: {}", directory.display());
    }
    Ok(succeeded)
}

/// Whether this process can have mounts of its own.
pub(crate) fn may_mount() -> bool {
    let mut probe = Command::new("unshare");
    let probe = probe.args(["--mount", "true"]).stderr(Stdio::null()).status();
    dev_servers::is_root() && probe.is_ok_and(|status| status.success())
}

/// Runs with a mutant until it is found.
fn find(binaries: &Binaries, options: &Options, mutant: &str) -> Result<()> {
    let began = Instant::now();
    let mut seed = options.seed.unwrap_or_else(fresh_seed);
    let options = Options {
        mutant: Some(mutant.to_owned()),
        seconds: options.seconds,
        old_binary: options.old_binary.clone(),
        nemesis: None,
        ..*options
    };
    while began.elapsed() < MUTANT_WITHIN {
        let directory = directory(seed);
        let found = !one(binaries, &options, seed, None, &directory)?;
        fs::remove_dir_all(&directory)?;
        if found {
            println!("mutant {mutant}: found after {} s, seed {seed}", began.elapsed().as_secs());
            return Ok(());
        }
        seed += 1;
    }
    bail!("mutant {mutant} was not found within {} s", MUTANT_WITHIN.as_secs())
}

/// Leaves out half of the faults, then quarters, and so on, while what is left still finds
/// something. What it ends with is the smallest list that has failed.
fn shrink(binaries: &Binaries, options: &Options, seed: u64, failed: &Path) -> Result<()> {
    let mut steps: Vec<serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(failed.join("nemesis.json"))?)?;
    let smaller = failed.with_extension("smaller");
    let list = failed.with_extension("nemesis.json");
    let mut part = steps.len().div_ceil(2);
    while part > 0 && steps.len() > 1 {
        let mut from = 0;
        while from < steps.len() {
            let to = (from + part).min(steps.len());
            let fewer: Vec<_> = [&steps[..from], &steps[to..]].concat();
            fs::write(&list, serde_json::to_string_pretty(&fewer)?)?;
            if !fewer.is_empty() && !one(binaries, options, seed, Some(&list), &smaller)? {
                eprintln!("{} faults are enough", fewer.len());
                steps = fewer;
            } else {
                from = to;
            }
        }
        part /= 2;
    }
    fs::write(&list, serde_json::to_string_pretty(&steps)?)?;
    eprintln!("{} faults are left: {}", steps.len(), list.display());
    Ok(())
}

fn directory(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("postrider-chaos-{seed}"))
}

/// The process and the moment are enough: it has to be another one each time, not a secret one.
pub(crate) fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(std::process::id()) % 1_000_000_000
}
