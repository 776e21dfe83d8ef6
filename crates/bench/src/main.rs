//! Benchmarks: real servers, the release binary, a receiver and a load
//! generator as processes of their own.
//!
//! What must always hold: a figure says what it is made of, and nothing that a
//! real deployment would do is left out. The receivers and the load generator
//! are listed by themselves: they are the other ends, not the platform.
//!
//! Machines differ, so that what matters is one run against another on the same
//! machine. `noisy`, `backlog` and `resend` pass or fail by the ratio of two
//! measurements of the same run, and by whether every delivery has ended in time. `projection`
//! and `history` have limits in absolute figures, which are options; `attacks` has both.

mod attacks;
mod backlog;
mod broker;
mod cpu;
mod customers;
mod ends;
mod footprint;
mod hanging;
mod history;
mod load;
mod noisy;
mod platform;
mod projection;
mod receiver;
mod report;
mod resend;
mod segment;
mod throughput;

use clap::{Parser, Subcommand};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
    /// What receivers that hang do to the others.
    Noisy(noisy::Options),
    /// What a great many deliveries for dead targets cost.
    Backlog(backlog::Options),
    /// How fast history is written.
    Projection(projection::Options),
    /// How fast a long history is read.
    History(history::Options),
    /// What a bulk resend does to everybody else.
    Resend(resend::Options),
    /// Attacks of a stranger, or of one tenant, on the others and on the process.
    Attacks(attacks::Options),
    /// The receiver, as a process of its own.
    #[command(hide = true)]
    Receiver,
    /// Receivers that never answer, as a process of their own.
    #[command(hide = true)]
    Hanging(hanging::Options),
    /// The load generator, as a process of its own.
    #[command(hide = true)]
    Load(load::Options),
    /// An attacker, as a process of its own.
    #[command(hide = true)]
    Attacker(attacks::AttackerOptions),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    allow_many_sockets()?;
    // One thread each for the other ends: they are not what is measured.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build()?;
    match cli.what {
        What::Throughput(options) => runtime.block_on(throughput::run(options)),
        What::Noisy(options) => runtime.block_on(noisy::run(options)),
        What::Backlog(options) => runtime.block_on(backlog::run(options)),
        What::Projection(options) => runtime.block_on(projection::run(options)),
        What::History(options) => runtime.block_on(history::run(options)),
        What::Resend(options) => runtime.block_on(resend::run(options)),
        What::Attacks(options) => runtime.block_on(attacks::run(options)),
        What::Receiver => runtime.block_on(receiver::run()),
        What::Hanging(options) => runtime.block_on(hanging::run(options)),
        What::Load(options) => runtime.block_on(load::run(options)),
        What::Attacker(options) => runtime.block_on(attacks::attack(options)),
    }
}

/// A thousand receivers that hang are thousands of sockets. All processes that
/// are started here inherit this; in a container the limit is as high anyway.
fn allow_many_sockets() -> anyhow::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(())
}
