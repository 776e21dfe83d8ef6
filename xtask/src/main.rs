//! The only entry to every chore. CI calls the same commands as people do.
//!
//! What must always hold: whatever CI runs can be run here, with servers of its
//! own on free ports; nothing but a Rust toolchain and Python with pip has to be
//! installed before, and Prometheus where there is no Debian to fetch it from;
//! every failure says what to do.
//!
//! Deliberately absent: the product's crates. This has to build fast, and also
//! when they do not build.

mod alerts;
mod bench;
mod chaos;
mod config_docs;
mod deny;
mod deploy;
mod fuzz;
mod lint;
mod mutants;
mod powercut;
mod rig;
mod sbom;
mod sqlx;
mod stop;
mod test;
mod tidy;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of this repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything on this machine, with demo data
    Up(up::Options),
    /// Run three brokers and several of every role on this machine, to see what happens
    /// when some of them go
    Rig(rig::Options),
    /// Run what CI runs: the checks, then the tests
    Test(test::Options),
    /// Measure the release binary
    Bench(bench::Options),
    /// Break the platform by a seed, and check what must always hold
    Chaos(chaos::Options),
    /// Eight days in two hours: nothing is broken, and nothing may grow
    Soak(chaos::SoakOptions),
    /// Run the test that each mutant has to turn red, with the mutant switched on
    Mutants(mutants::Options),
    /// Cut the power of the brokers under load, and count what they have forgotten
    Powercut(powercut::Options),
    /// Fuzz the parsers that strangers reach, and check what must always hold of them
    Fuzz(fuzz::Options),
    /// Format the code
    Fmt {
        /// Only say what is not formatted
        #[arg(long)]
        check: bool,
    },
    /// Run clippy; a warning is an error
    Lint,
    /// Check the rules of this repository that no other tool knows
    Tidy,
    /// Write the query data that `store` is built from
    Sqlx {
        /// Only say whether it is up to date
        #[arg(long)]
        check: bool,
    },
    /// Check licences, duplicate versions and sources of dependencies
    Deny {
        /// Check for known vulnerabilities as well, which downloads the database of advisories
        #[arg(long)]
        advisories: bool,
    },
    /// Render the Helm chart and judge it, the composition and the image
    Chart,
    /// Check and test the alerts, and what they and the dashboard ask for
    Alerts,
    /// Print the list of what the product is built from, as CycloneDX
    Sbom,
    /// Write docs/configuration.md from the settings' declarations
    ConfigDocs {
        /// Only say whether it is up to date
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Up(options) => up::up(&options),
        Command::Rig(options) => rig::rig(&options),
        Command::Test(options) => test::test(&options),
        Command::Bench(options) => bench::bench(options),
        Command::Chaos(options) => chaos::chaos(&options),
        Command::Soak(options) => chaos::soak(&options),
        Command::Mutants(options) => mutants::mutants(&options),
        Command::Powercut(options) => powercut::powercut(&options),
        Command::Fuzz(options) => fuzz::fuzz(&options),
        Command::Fmt { check } => lint::fmt(check),
        Command::Lint => lint::clippy(),
        Command::Tidy => tidy::tidy(),
        Command::Sqlx { check } => sqlx::sqlx(check),
        Command::Deny { advisories } => deny::deny(advisories),
        Command::Chart => deploy::chart(),
        Command::Alerts => alerts::alerts(),
        Command::Sbom => sbom::sbom(),
        Command::ConfigDocs { check } => config_docs::config_docs(check),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
