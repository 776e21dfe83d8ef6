//! Benchmarks, on the release binary.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::workspace;

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU-seconds per 10,000 deliveries by process, rate and latency
    Throughput {
        /// Write the figures here as well
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Passed on; `-- --help` lists what there is
        #[arg(last = true)]
        more: Vec<String>,
    },
}

pub(crate) fn bench(options: Options) -> Result<()> {
    let mut build = workspace::cargo();
    workspace::run(build.args([
        "build",
        "--release",
        "--package",
        "postrider",
        "--package",
        "bench",
    ]))?;
    let What::Throughput { json, more } = options.what;
    let release = workspace::Metadata::read()?.target_directory().join("release");
    let mut bench = std::process::Command::new(release.join("bench"));
    bench.arg("throughput").arg("--binary").arg(release.join("postrider")).args(more);
    if let Some(json) = json {
        bench.arg("--json").arg(json);
    }
    workspace::run(&mut bench)
}
