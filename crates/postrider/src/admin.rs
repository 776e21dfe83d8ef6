//! `postrider admin`: a client of the internal Admin service.

mod show;

use std::process::ExitCode;

use anyhow::anyhow;
use protocol::v1::admin_client::AdminClient;
use protocol::v1::{
    CreateAccountRequest, CreateAccountWebhookRequest, CreateDomainRequest, CreateKeyRequest,
    DeleteAccountWebhookRequest, GetSigningKeysRequest, ListAccountWebhooksRequest,
    ListAccountsRequest, ListDomainsRequest, ListKeysRequest, RevokeKeyRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use self::show::Show;
use crate::address::connect;
use crate::cli::{AccountCommand, Admin, AdminOptions, DomainCommand, KeyCommand, WebhookCommand};
use crate::output;

/// Runs one command.
pub(crate) async fn run(command: Admin) -> anyhow::Result<ExitCode> {
    match command {
        Admin::Account(command) => account(command).await,
        Admin::Domain(command) => domain(command).await,
        Admin::Key(command) => key(command).await,
        Admin::Webhook(command) => webhook(command).await,
        Admin::SigningKeys { account, to } => {
            let request = GetSigningKeysRequest { account_name: account };
            answer(&to, client(&to).await?.get_signing_keys(request).await)
        }
    }
}

async fn account(command: AccountCommand) -> anyhow::Result<ExitCode> {
    match command {
        AccountCommand::Create { name, key, parent, if_absent, to } => {
            let request = CreateAccountRequest {
                name,
                parent_name: parent.unwrap_or_default(),
                api_key: key.unwrap_or_default(),
                if_absent,
            };
            answer(&to, client(&to).await?.create_account(request).await)
        }
        AccountCommand::List { to } => {
            answer(&to, client(&to).await?.list_accounts(ListAccountsRequest {}).await)
        }
    }
}

async fn domain(command: DomainCommand) -> anyhow::Result<ExitCode> {
    match command {
        DomainCommand::Create { domain, account, if_absent, to } => {
            let request = CreateDomainRequest { name: domain, account_name: account, if_absent };
            answer(&to, client(&to).await?.create_domain(request).await)
        }
        DomainCommand::List { account, to } => {
            let request = ListDomainsRequest { account_name: account.unwrap_or_default() };
            answer(&to, client(&to).await?.list_domains(request).await)
        }
    }
}

async fn key(command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create { account, key, to } => {
            let request =
                CreateKeyRequest { account_name: account, api_key: key.unwrap_or_default() };
            answer(&to, client(&to).await?.create_key(request).await)
        }
        KeyCommand::List { account, to } => {
            let request = ListKeysRequest { account_name: account };
            answer(&to, client(&to).await?.list_keys(request).await)
        }
        KeyCommand::Revoke { key_id, to } => {
            let request = RevokeKeyRequest { key_id };
            answer(&to, client(&to).await?.revoke_key(request).await)
        }
    }
}

async fn webhook(command: WebhookCommand) -> anyhow::Result<ExitCode> {
    match command {
        WebhookCommand::Create { account, url, events, description, to } => {
            let request = CreateAccountWebhookRequest {
                account_name: account,
                url,
                event_types: events,
                description,
            };
            answer(&to, client(&to).await?.create_account_webhook(request).await)
        }
        WebhookCommand::List { account, to } => {
            let request = ListAccountWebhooksRequest { account_name: account };
            answer(&to, client(&to).await?.list_account_webhooks(request).await)
        }
        WebhookCommand::Delete { webhook_id, account, to } => {
            let request = DeleteAccountWebhookRequest { account_name: account, webhook_id };
            answer(&to, client(&to).await?.delete_account_webhook(request).await)
        }
    }
}

async fn client(to: &AdminOptions) -> anyhow::Result<AdminClient<Channel>> {
    let channel = connect(to.addr.as_deref(), "POSTRIDER_ADMIN_ADDR", "127.0.0.1:9092").await?;
    Ok(AdminClient::new(channel))
}

fn answer<T: Show>(
    to: &AdminOptions,
    answer: Result<Response<T>, Status>,
) -> anyhow::Result<ExitCode> {
    let answer = answer.map_err(refused)?.into_inner();
    if to.json {
        let mut json = serde_json::to_string_pretty(&answer)?;
        json.push('\n');
        return output::print(&json);
    }
    output::print(&answer.show())
}

/// The service's own words; its gRPC code only where they may need it.
fn refused(status: Status) -> anyhow::Error {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::ResourceExhausted => anyhow!("{}", status.message()),
        code => anyhow!("the Admin service answered {code:?}: {}", status.message()),
    }
}
