//! `postrider admin`: a client of the internal Admin service.

mod show;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use protocol::v1::admin_client::AdminClient;
use protocol::v1::{
    CreateAccountRequest, CreateAccountWebhookRequest, CreateDomainRequest, CreateKeyRequest,
    DeleteAccountWebhookRequest, DeleteDomainRequest, EraseAccountRequest, GetAccountRequest,
    GetSigningKeysRequest, GetStatusRequest, ListAccountWebhooksRequest, ListAccountsRequest,
    ListDomainsRequest, ListKeysRequest, QuotaChange, ReconcileProgress, ReconcileRequest,
    RepublishProgress, RepublishSettingsRequest, ResealSecretsRequest, RevokeKeyRequest,
    SetAccountStatusRequest, SetDomainDisabledRequest, UpdateAccountRequest,
};
use tonic::{Code, Response, Status, Streaming};

use self::show::Show;
use crate::address::{ADMIN, Connection, with_causes};
use crate::cli::{
    AccountCommand, AccountStatus, Admin, AdminOptions, DomainCommand, KeyCommand, Limit,
    QuotaArguments, SettingsCommand, WebhookCommand,
};
use crate::output;

/// How often to tell how far something is that takes long.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Runs one command.
pub(crate) async fn run(command: Admin) -> anyhow::Result<ExitCode> {
    match command {
        Admin::Status { to } => {
            answer(&to, client(&to).await?.get_status(GetStatusRequest {}).await)
        }
        Admin::Account(command) => account(command).await,
        Admin::Domain(command) => domain(command).await,
        Admin::Key(command) => key(command).await,
        Admin::Webhook(command) => webhook(command).await,
        Admin::Settings(SettingsCommand::Republish { to }) => republish(&to).await,
        Admin::Reconcile { older_than, since, dry_run, to } => {
            let request =
                ReconcileRequest { older_than_seconds: older_than, since_seconds: since, dry_run };
            reconcile(&to, request).await
        }
        Admin::SigningKeys { account, to } => {
            let request = GetSigningKeysRequest { account_name: account };
            answer(&to, client(&to).await?.get_signing_keys(request).await)
        }
        Admin::ResealSecrets { to } => {
            answer(&to, client(&to).await?.reseal_secrets(ResealSecretsRequest {}).await)
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
        AccountCommand::Show { account, to } => {
            let request = GetAccountRequest { account_name: account };
            answer(&to, client(&to).await?.get_account(request).await)
        }
        AccountCommand::Update { account, contact_email, quotas, to } => {
            let request = UpdateAccountRequest {
                account_name: account,
                contact_email,
                quotas: changes(&quotas),
            };
            answer(&to, client(&to).await?.update_account(request).await)
        }
        AccountCommand::SetStatus { account, status, reason, to } => {
            let status = match status {
                AccountStatus::Open => "open",
                AccountStatus::Disabled => "disabled",
                AccountStatus::Closed => "closed",
            };
            let status = status.to_owned();
            let request = SetAccountStatusRequest { account_name: account, status, reason };
            answer(&to, client(&to).await?.set_account_status(request).await)
        }
        AccountCommand::Erase { account, to } => {
            let request = EraseAccountRequest { account_name: account };
            answer(&to, client(&to).await?.erase_account(request).await)
        }
    }
}

/// The quotas that were given, by the names that the service has for them.
fn changes(quotas: &QuotaArguments) -> Vec<QuotaChange> {
    let given = [
        ("webhooks", quotas.max_webhooks),
        ("alert_settings", quotas.max_alert_settings),
        ("domains", quotas.max_domains),
        ("api_keys", quotas.max_api_keys),
        ("subaccounts", quotas.max_subaccounts),
        ("events_per_second", quotas.events_per_second),
        ("waiting_deliveries", quotas.waiting_deliveries),
    ];
    let changes = given.into_iter().filter_map(|(name, limit)| {
        let limit = match limit? {
            Limit::Own(limit) => Some(limit),
            Limit::Default => None,
        };
        Some(QuotaChange { name: name.to_owned(), limit })
    });
    changes.collect()
}

async fn domain(command: DomainCommand) -> anyhow::Result<ExitCode> {
    let disabled = |name, disabled, reason| SetDomainDisabledRequest { name, disabled, reason };
    match command {
        DomainCommand::Create { domain, account, if_absent, to } => {
            let request = CreateDomainRequest { name: domain, account_name: account, if_absent };
            answer(&to, client(&to).await?.create_domain(request).await)
        }
        DomainCommand::List { account, to } => {
            let request = ListDomainsRequest { account_name: account.unwrap_or_default() };
            answer(&to, client(&to).await?.list_domains(request).await)
        }
        DomainCommand::Disable { domain, reason, to } => {
            let request = disabled(domain, true, reason);
            answer(&to, client(&to).await?.set_domain_disabled(request).await)
        }
        DomainCommand::Enable { domain, to } => {
            let request = disabled(domain, false, String::new());
            answer(&to, client(&to).await?.set_domain_disabled(request).await)
        }
        DomainCommand::Delete { domain, to } => {
            let request = DeleteDomainRequest { name: domain };
            answer(&to, client(&to).await?.delete_domain(request).await)
        }
    }
}

async fn key(command: KeyCommand) -> anyhow::Result<ExitCode> {
    match command {
        KeyCommand::Create { account, key, role, description, expires_in, to } => {
            let seconds = expires_in.map_or(0, |lifetime| lifetime.as_secs());
            let request = CreateKeyRequest {
                account_name: account,
                api_key: key.unwrap_or_default(),
                role,
                description,
                expires_in_seconds: seconds.try_into().context("--expires-in is too long")?,
            };
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

async fn republish(to: &AdminOptions) -> anyhow::Result<ExitCode> {
    let begun = client(to).await?.republish_settings(RepublishSettingsRequest {}).await;
    follow(to, begun, |RepublishProgress { published, documents, .. }| {
        format!("{published} of {documents} documents are published")
    })
    .await
}

async fn reconcile(to: &AdminOptions, request: ReconcileRequest) -> anyhow::Result<ExitCode> {
    let begun = client(to).await?.reconcile(request).await;
    follow(to, begun, |ReconcileProgress { open, made, .. }| {
        format!("{open} without an end so far, {made} made anew")
    })
    .await
}

/// Tells on standard error how far it is, and on standard output how it ended.
async fn follow<T: Show + Default>(
    to: &AdminOptions,
    begun: Result<Response<Streaming<T>>, Status>,
    so_far: impl Fn(&T) -> String,
) -> anyhow::Result<ExitCode> {
    let mut progress = begun.map_err(|status| refused(to, &status))?.into_inner();
    let mut last = T::default();
    let mut told = Instant::now();
    while let Some(now) = progress.message().await.map_err(|status| refused(to, &status))? {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("{}", so_far(&now));
        }
        last = now;
    }
    answer(to, Ok(Response::new(last)))
}

async fn client(to: &AdminOptions) -> anyhow::Result<AdminClient<Connection>> {
    Ok(AdminClient::new(ADMIN.connect(to.addr.as_deref(), &to.credentials).await?))
}

fn answer<T: Show>(
    to: &AdminOptions,
    answer: Result<Response<T>, Status>,
) -> anyhow::Result<ExitCode> {
    let answer = answer.map_err(|status| refused(to, &status))?.into_inner();
    if to.json {
        let mut json = serde_json::to_string_pretty(&answer)?;
        json.push('\n');
        return output::print(&json);
    }
    output::print(&answer.show())
}

/// The service's own words; its gRPC code only where they may need it.
fn refused(to: &AdminOptions, status: &Status) -> anyhow::Error {
    if let Some(error) = ADMIN.is_elsewhere(to.addr.as_deref(), status) {
        return error;
    }
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::FailedPrecondition
        | Code::ResourceExhausted => anyhow!("{}", status.message()),
        code => anyhow!("the Admin service answered {code:?}: {}", with_causes(status)),
    }
}
