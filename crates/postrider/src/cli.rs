//! The command line.

mod admin;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::admin::{
    AccountCommand, AccountStatus, Admin, AdminOptions, DomainCommand, KeyCommand, Limit,
    QuotaArguments, SettingsCommand, WebhookCommand,
};

const EXAMPLES: &str = "\
Examples:
  postrider all                                     every role in one process
  postrider dispatcher                              one role, as in production
  postrider admin account create demo               an account; prints its API key
  postrider admin domain create mail.demo.example --account demo
  postrider send-event examples/events/delivered.json
  postrider config-docs                             every setting there is

Settings come from the environment, POSTRIDER_*.";

/// A webhook and alert delivery platform, compatible with Mailgun's.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every role in this process, but for the request bin
    All,
    /// Run settings-api: the customers' REST calls and the internal Admin service
    SettingsApi,
    /// Run ingest: take events over gRPC and HTTP
    Ingest,
    /// Run fanout: work out who is to hear of each event
    Fanout,
    /// Run the dispatcher: send deliveries and retry them
    Dispatcher,
    /// Run archive: keep the history in PostgreSQL
    Archive,
    /// Run the console: pages over the customers' REST calls
    Console,
    /// Run the request bin: throw-away receivers for tests; needs nothing else
    RequestBin,
    /// Bring the database schema up to date, and end
    Migrate,
    /// Accounts, domains, keys, account-level webhooks
    #[command(subcommand)]
    Admin(Admin),
    /// Hand over events from a file and print what became of each
    SendEvent(SendEvent),
    /// Print the reference of all settings, as Markdown
    ConfigDocs,
}

/// Hand over events from a file and print what became of each.
///
/// The file holds one JSON object, an array of them, or one a line. One line is
/// printed for each event: what became of it, and its id. Exits with 1 when any
/// of them was not stored.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  postrider send-event examples/events/ip_listed.json
  postrider send-event examples/events/batch.ndjson
  generate-events | postrider send-event -")]
pub(crate) struct SendEvent {
    /// The file; - is standard input
    pub(crate) file: PathBuf,
    /// Where ingest listens for gRPC [default: POSTRIDER_INGEST_GRPC_ADDR, or http://127.0.0.1:9090]
    #[arg(long)]
    pub(crate) addr: Option<String>,
    #[command(flatten)]
    pub(crate) credentials: Credentials,
}

/// How a command proves who asks, and knows whom it has reached.
#[derive(Args, Debug)]
#[command(next_help_heading = "Security")]
pub(crate) struct Credentials {
    /// Roots of the service's certificate, in PEM [default: those that Mozilla trusts]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Name that the service's certificate is for [default: the host in --addr]
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
    /// Certificate to show, in PEM
    #[arg(long, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,
    /// Its private key, in PEM
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,
    /// File with the token to send, alone or as name:token
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
