//! Benchmarks, on the release binary.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::workspace;

/// The option that says what is measured.
const BINARY: &str = "--binary";

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU-seconds per 10,000 deliveries by process, rate and latency
    Throughput(Common),
    /// What receivers that hang do to the others; fails when they hold them up
    Noisy {
        /// Only whether it works, within a minute
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        common: Common,
    },
    /// What deliveries that wait for dead targets cost; fails when one does not end in time
    Backlog {
        /// How many
        #[arg(long)]
        count: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// What a bulk resend does to others; fails when it holds them up
    Resend {
        /// How many deliveries are sent again
        #[arg(long)]
        count: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// Attacks of a stranger or of one tenant on the others and on the process; fails when
    /// an attack gets through
    Attacks {
        /// Only whether it works
        #[arg(long)]
        quick: bool,
        /// Only these, with commas between
        #[arg(long)]
        only: Option<String>,
        /// Another binary than that of this checkout, such as an older one
        #[arg(long)]
        binary: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
    /// How fast history is written; fails below 20,000 rows a second
    Projection {
        /// Only whether it works
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        common: Common,
    },
    /// How fast a long history is read; fails when a page takes too long
    History {
        /// Events in it
        #[arg(long)]
        rows: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Args)]
struct Common {
    /// Write the figures here as well
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Passed on; `-- --help` lists what there is
    #[arg(last = true)]
    more: Vec<String>,
}

pub(crate) fn bench(options: Options) -> Result<()> {
    let (mut arguments, common) = match options.what {
        What::Throughput(common) => (vec!["throughput".to_owned()], common),
        What::Noisy { quick, common } => (with("noisy", quick.then(quickly)), common),
        What::Backlog { count, common } => {
            (with("backlog", count.map(|count| format!("--count={count}"))), common)
        }
        What::Resend { count, common } => {
            (with("resend", count.map(|count| format!("--count={count}"))), common)
        }
        What::Attacks { quick, only, binary, common } => {
            let mut arguments = with("attacks", quick.then(quickly));
            arguments.extend(only.map(|only| format!("--only={only}")));
            arguments.extend(binary.map(|binary| format!("{BINARY}={}", binary.display())));
            (arguments, common)
        }
        What::Projection { quick, common } => (with("projection", quick.then(quickly)), common),
        What::History { rows, common } => {
            (with("history", rows.map(|rows| format!("--rows={rows}"))), common)
        }
    };
    arguments.extend(common.more);
    run(&arguments, common.json)
}

fn with(name: &str, option: Option<String>) -> Vec<String> {
    [name.to_owned()].into_iter().chain(option).collect()
}

fn quickly() -> String {
    "--quick".to_owned()
}

/// Receivers that hang hold nobody up. Takes half an hour.
pub(crate) fn noisy() -> Result<()> {
    run(&["noisy".to_owned()], None)
}

/// A million deliveries for dead targets all end. Takes half an hour.
pub(crate) fn long_backlog() -> Result<()> {
    run(&["backlog".to_owned(), "--count=1000000".to_owned()], None)
}

/// A hundred thousand deliveries are sent again, and hold nobody up. Takes four minutes.
pub(crate) fn long_resend() -> Result<()> {
    run(&["resend".to_owned(), "--count=100000".to_owned()], None)
}

/// No attack gets through. Takes forty minutes, and needs root for one of them.
pub(crate) fn attacks() -> Result<()> {
    run(&["attacks".to_owned()], None)
}

/// History is written fast enough. Takes two minutes.
pub(crate) fn projection() -> Result<()> {
    run(&["projection".to_owned()], None)
}

/// Pages of ten million events come fast enough. Takes half an hour, and 20 GB of disk.
pub(crate) fn long_history() -> Result<()> {
    run(&["history".to_owned(), "--rows=10000000".to_owned()], None)
}

fn run(arguments: &[String], json: Option<PathBuf>) -> Result<()> {
    let mut build = workspace::cargo();
    workspace::run(build.args([
        "build",
        "--release",
        "--package",
        "postrider",
        "--package",
        "bench",
    ]))?;
    let release = workspace::Metadata::read()?.target_directory().join("release");
    let mut bench = std::process::Command::new(release.join("bench"));
    bench.args(arguments);
    if !arguments.iter().any(|argument| argument.starts_with(BINARY)) {
        bench.arg(BINARY).arg(release.join("postrider"));
    }
    if let Some(json) = json {
        bench.arg("--json").arg(json);
    }
    workspace::run(&mut bench)
}
