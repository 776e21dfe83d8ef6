//! The one binary: every role, and the operator's commands.
//!
//! What must always hold: settings are read and checked before a port is
//! bound, and all problems with them are told at once (exit code 64); a stop
//! lets everything that is in flight end; a role that fails ends the process,
//! so that whoever runs it sees that and starts it again.
//!
//! Deliberately absent: what the roles do. This crate only puts them together.

mod address;
mod admin;
mod cli;
mod config_docs;
mod output;
mod roles;
mod send_event;
mod serve;
mod settings;
mod streams;

use std::process::ExitCode;

use clap::Parser as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::cli::{Cli, Command};
use crate::roles::Role;

/// A delivery makes and drops many pieces of memory of all sizes: with the C
/// library's allocator that is a quarter of what a delivery costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Wrong settings: `EX_USAGE` of sysexits.
const EXIT_SETTINGS: u8 = 64;

fn main() -> ExitCode {
    let _armed = chassis::arm_crash_points();
    let cli = Cli::parse();
    allow_many_sockets();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("postrider: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(cli.command));
    // What is still running now has had its time.
    runtime.shutdown_background();
    ended.unwrap_or_else(|error| {
        eprintln!("postrider: {error:#}");
        match error.downcast_ref::<chassis::config::ConfigError>() {
            Some(chassis::config::ConfigError::Settings(_)) => ExitCode::from(EXIT_SETTINGS),
            _ => ExitCode::FAILURE,
        }
    })
}

/// Takes as many open files as the process may have. Each try of a delivery is a socket, and
/// what a process has without asking is often 1,024, for the sake of programs that use `select`.
fn allow_many_sockets() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        eprintln!("postrider: cannot raise the limit of open files: {error}");
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::All => serve::serve(&Role::PLATFORM).await,
        Command::SettingsApi => serve::serve(&[Role::SettingsApi]).await,
        Command::Ingest => serve::serve(&[Role::Ingest]).await,
        Command::Fanout => serve::serve(&[Role::Fanout]).await,
        Command::Dispatcher => serve::serve(&[Role::Dispatcher]).await,
        Command::Archive => serve::serve(&[Role::Archive]).await,
        Command::Console => serve::serve(&[Role::Console]).await,
        Command::RequestBin => serve::serve(&[Role::RequestBin]).await,
        Command::Migrate => serve::migrate().await,
        Command::Admin(command) => admin::run(command).await,
        Command::SendEvent(command) => send_event::run(command).await,
        Command::ConfigDocs => output::print(&config_docs::text()),
    }
}
