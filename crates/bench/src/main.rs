//! Benchmarks: real servers, the release binary, a receiver and a load
//! generator as processes of their own.
//!
//! What must always hold: a figure says what it is made of, and nothing that a
//! real deployment would do is left out. The receiver and the load generator
//! are listed by themselves: they are the other ends, not the platform.
//!
//! Deliberately absent: limits to pass or fail by. Machines differ; what
//! matters is one run against another on the same machine.

mod cpu;
mod load;
mod platform;
mod receiver;
mod throughput;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Benchmarks of Postrider")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU-seconds per 10,000 deliveries, rate and latency.
    Throughput(throughput::Options),
    /// The receiver, as a process of its own.
    #[command(hide = true)]
    Receiver,
    /// The load generator, as a process of its own.
    #[command(hide = true)]
    Load(load::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // One thread each for the other ends: they are not what is measured.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    match cli.what {
        What::Throughput(options) => runtime.block_on(throughput::run(options)),
        What::Receiver => runtime.block_on(receiver::run()),
        What::Load(options) => runtime.block_on(load::run(options)),
    }
}
