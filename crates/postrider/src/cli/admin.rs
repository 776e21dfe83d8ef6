//! The command line of `postrider admin`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Credentials;

/// An account is named by its name or by its id.
#[derive(Debug, Subcommand)]
pub(crate) enum Admin {
    /// Show how the deployment is at this moment
    ///
    /// Streams with their leaders and copies, what waits for whom and how long, and what could not be asked.
    Status {
        #[command(flatten)]
        to: AdminOptions,
    },
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
    /// Settings documents on the broker
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Make deliveries anew that a disaster has taken from the broker
    ///
    /// Those that were decided, have no end in history, and stand or wait nowhere. They go on with their next
    /// try. Settings need no such thing: what the broker lacks of them is published again by itself.
    Reconcile {
        /// Leave alone what was decided less than this many seconds ago [default: an hour]
        #[arg(long, value_name = "SECONDS")]
        older_than: Option<u32>,
        /// Leave alone what was decided more than this many seconds ago [default: two days]
        #[arg(long, value_name = "SECONDS")]
        since: Option<u32>,
        /// Only count
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Show the keys that sign an account's deliveries
    SigningKeys {
        /// Name or id of the account
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Seal all stored secrets under the first key of POSTRIDER_SECRET_KEY
    ///
    /// The last but one step of a change of that key; docs/lifecycle.md has all of them.
    ResealSecrets {
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
    /// Show one account with its quotas
    Show {
        /// Name or id of the account
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Change the contact address and the quotas of an account; what is not given stays
    #[command(after_help = "\
Examples:
  postrider admin account update demo --contact-email ops@demo.example
  postrider admin account update demo --max-webhooks 20000 --max-domains default
  postrider admin account update demo --events-per-second 500 --waiting-deliveries 100000")]
    Update {
        /// Name or id of the account
        account: String,
        /// Whom to write to about its settings and deliveries; "" for nobody
        #[arg(long)]
        contact_email: Option<String>,
        #[command(flatten)]
        quotas: QuotaArguments,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Open, disable or close an account; closing is final
    ///
    /// Closing revokes all API keys of the account and closes its subaccounts.
    #[command(after_help = "\
Examples:
  postrider admin account set-status demo disabled --reason 'invoice 17 is unpaid'
  postrider admin account set-status demo open")]
    SetStatus {
        /// Name or id of the account
        account: String,
        status: AccountStatus,
        /// Why, for operators
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Erase all that is personal of a closed account and of its subaccounts
    ///
    /// Settings are gone when this ends, history and what the broker holds soon
    /// after: `account show` tells. There is no way back. May be asked for again,
    /// then by the account's id, because its name is erased too.
    Erase {
        /// Name or id of the account
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
}

/// A number, or "default" for the deployment's.
#[derive(Args, Debug)]
pub(crate) struct QuotaArguments {
    /// Webhook URLs, over all event types and domains
    #[arg(long, value_name = "N|default", value_parser = limit)]
    pub(crate) max_webhooks: Option<Limit>,
    /// Alert settings
    #[arg(long, value_name = "N|default", value_parser = limit)]
    pub(crate) max_alert_settings: Option<Limit>,
    /// Domains
    #[arg(long, value_name = "N|default", value_parser = limit)]
    pub(crate) max_domains: Option<Limit>,
    /// API keys
    #[arg(long, value_name = "N|default", value_parser = limit)]
    pub(crate) max_api_keys: Option<Limit>,
    /// Subaccounts
    #[arg(long, value_name = "N|default", value_parser = limit)]
    pub(crate) max_subaccounts: Option<Limit>,
    /// Events that each ingest takes in a second, of the account and its subaccounts; 0 for no limit
    #[arg(long, value_name = "N|default", value_parser = limit)]
    pub(crate) events_per_second: Option<Limit>,
    /// Deliveries that may wait, of the account and its subaccounts; 0 for no limit
    #[arg(long, value_name = "N|default", value_parser = limit)]
    pub(crate) waiting_deliveries: Option<Limit>,
}

/// How much of something an account may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Limit {
    Own(u32),
    Default,
}

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "default" => Ok(Limit::Default),
        number => number
            .parse()
            .map(Limit::Own)
            .map_err(|_| "expected a whole number or \"default\"".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum AccountStatus {
    Open,
    Disabled,
    Closed,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Make a domain
    Create {
        /// Name of the domain, such as mail.demo.example
        domain: String,
        /// Name or id of the account that it belongs to
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
    /// Silence the domain's own webhooks; those of its account go on
    Disable {
        /// Name of the domain
        domain: String,
        /// Why, for operators
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Let the domain's own webhooks hear of events again
    Enable {
        /// Name of the domain
        domain: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Delete a domain with its webhooks
    Delete {
        /// Name of the domain
        domain: String,
        #[command(flatten)]
        to: AdminOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make one more API key; it is never shown again
    #[command(after_help = "\
Example:
  postrider admin key create --account demo --role basic --description dashboard --expires-in 30d")]
    Create {
        /// Name or id of the account
        #[arg(long)]
        account: String,
        /// The key; made up without this
        #[arg(long)]
        key: Option<String>,
        /// admin, developer, basic or sending
        #[arg(long, default_value = "admin")]
        role: String,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// When it ends, such as 12h or 30d; never without this
        #[arg(long, value_parser = lifetime)]
        expires_in: Option<Duration>,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// List the keys of an account, revoked ones too
    List {
        /// Name or id of the account
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

fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = chassis::config::duration(text)?;
    if lifetime < Duration::from_secs(1) {
        return Err("expected at least 1s".to_owned());
    }
    Ok(lifetime)
}

#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Make an account-level webhook
    #[command(after_help = "\
Example:
  postrider admin webhook create --account demo --url https://hooks.demo.example/mail \\
      --event delivered --event permanent_fail")]
    Create {
        /// Name or id of the account
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
        /// Name or id of the account
        #[arg(long)]
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
    /// Delete an account-level webhook
    Delete {
        /// Id of the webhook, as listed
        webhook_id: String,
        /// Name or id of the account
        #[arg(long)]
        account: String,
        #[command(flatten)]
        to: AdminOptions,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Publish all settings documents anew
    ///
    /// After the broker has lost them, and after PostgreSQL was put back to an older point than the broker;
    /// docs/operations.md has all steps. Does no harm at any time, and may be run again.
    Republish {
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
    #[command(flatten)]
    pub(crate) credentials: Credentials,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_lifetimes_are_read() {
        assert_eq!(limit("default"), Ok(Limit::Default));
        assert_eq!(limit("0"), Ok(Limit::Own(0)));
        assert!(limit("-1").is_err() && limit("many").is_err());
        assert_eq!(lifetime("90m"), Ok(Duration::from_secs(5400)));
        assert!(lifetime("0s").is_err() && lifetime("soon").is_err());
    }
}
