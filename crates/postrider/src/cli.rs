//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// Run every role in this process
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

#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Accounts and subaccounts
    #[command(subcommand)]
    Account(AccountCommand),
    /// Sending domains
    #[command(subcommand)]
    Domain(DomainCommand),
    /// API keys
    #[command(subcommand)]
    Key(KeyCommand),
    /// Account-level webhooks
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Show the keys that sign an account's deliveries
    SigningKeys {
        /// Name of the account
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Make an account; prints its first API key, which is never shown again
    #[command(after_help = "\
Examples:
  postrider admin account create demo --key key-demo
  postrider admin account create demo-sub --parent demo")]
    Create {
        /// 1 to 64 of a-z, 0-9, "-", "_", "."
        name: String,
        /// First API key; made up without this
        #[arg(long)]
        key: Option<String>,
        /// Make a subaccount of this account
        #[arg(long)]
        parent: Option<String>,
        /// Succeed when the account is there already with this parent and key
        #[arg(long)]
        if_absent: bool,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// List all accounts
    List {
        #[command(flatten)]
        to: AdminOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Make a domain
    Create {
        /// Name of the domain, such as mail.demo.example
        domain: String,
        /// Name of the account that it belongs to
        #[arg(long)]
        account: String,
        /// Succeed when the account has this domain already
        #[arg(long)]
        if_absent: bool,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// List domains
    List {
        /// Of this account only
        #[arg(long)]
        account: Option<String>,
        #[command(flatten)]
        to: AdminOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make one more API key; it is never shown again
    Create {
        /// Name of the account
        #[arg(long)]
        account: String,
        /// The key; made up without this
        #[arg(long)]
        key: Option<String>,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// List the keys of an account, revoked ones too
    List {
        /// Name of the account
        #[arg(long)]
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Revoke a key at once
    Revoke {
        /// Id of the key, as listed
        key_id: String,
        #[command(flatten)]
        to: AdminOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Make an account-level webhook
    #[command(after_help = "\
Example:
  postrider admin webhook create --account demo --url https://hooks.demo.example/mail \\
      --event delivered --event permanent_fail")]
    Create {
        /// Name of the account
        #[arg(long)]
        account: String,
        /// Where its events are to go
        #[arg(long)]
        url: String,
        /// A webhook id such as delivered or permanent_fail; may be repeated
        #[arg(long = "event", required = true)]
        events: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// List the account-level webhooks of an account
    List {
        /// Name of the account
        #[arg(long)]
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Delete an account-level webhook
    Delete {
        /// Id of the webhook, as listed
        webhook_id: String,
        /// Name of the account
        #[arg(long)]
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
}

/// What every admin command takes.
#[derive(Args, Debug)]
pub(crate) struct AdminOptions {
    /// Where the internal Admin service is [default: POSTRIDER_ADMIN_ADDR, or http://127.0.0.1:9092]
    #[arg(long)]
    pub(crate) addr: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
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
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
