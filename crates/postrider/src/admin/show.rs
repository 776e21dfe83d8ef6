//! The answers of the Admin service, for people.

mod deployment;

use protocol::Timestamp;
use protocol::v1::{
    Account, AdminAccountWebhook, CreateKeyResponse, DeleteAccountWebhookResponse,
    DeleteDomainResponse, Domain, Key, ListAccountWebhooksResponse, ListAccountsResponse,
    ListDomainsResponse, ListKeysResponse, QuotaUse, ReconcileProgress, RepublishProgress,
    ResealSecretsResponse, RevokeKeyResponse, SigningKeys,
};
use serde::Serialize;

use crate::output::table;

/// An answer that can be shown, or printed as JSON.
pub(super) trait Show: Serialize {
    fn show(&self) -> String;
}

impl Show for Account {
    fn show(&self) -> String {
        let mut text = accounts(std::slice::from_ref(self));
        text.push_str(&details(self));
        if !self.quotas.is_empty() {
            text.push_str(&format!("\n{}", quotas(&self.quotas)));
        }
        if !self.api_key.is_empty() {
            text.push_str(&shown_once(&self.api_key));
        }
        text
    }
}

impl Show for ListAccountsResponse {
    fn show(&self) -> String {
        accounts(&self.accounts)
    }
}

impl Show for Domain {
    fn show(&self) -> String {
        domains(std::slice::from_ref(self))
    }
}

impl Show for ListDomainsResponse {
    fn show(&self) -> String {
        domains(&self.domains)
    }
}

impl Show for DeleteDomainResponse {
    fn show(&self) -> String {
        "The domain is deleted.\n".into()
    }
}

impl Show for ResealSecretsResponse {
    fn show(&self) -> String {
        match (self.accounts, self.secrets) {
            (_, 0) => "Every secret is sealed under the first key already.\n".into(),
            (accounts, secrets) => {
                format!("{secrets} secrets of {accounts} accounts are sealed anew.\n")
            }
        }
    }
}

impl Show for RepublishProgress {
    fn show(&self) -> String {
        let mut text = format!("{} documents are published anew.\n", self.published);
        if self.left_to_relay > 0 {
            let left = self.left_to_relay;
            text.push_str(&format!(
                "The broker has not confirmed {left}; they follow without being asked for again.\n"
            ));
        }
        text
    }
}

impl Show for ReconcileProgress {
    fn show(&self) -> String {
        let Self { open, on_broker, missing, made, unreadable } = self;
        let mut text = format!(
            "{open} deliveries have no end yet. {on_broker} are on the broker and go on by \
             themselves. {missing} are not, and {made} of these were made anew.\n"
        );
        if *unreadable > 0 {
            text.push_str(&format!("{unreadable} cannot be: their events are kept no longer.\n"));
        }
        text
    }
}

impl Show for CreateKeyResponse {
    fn show(&self) -> String {
        let mut text = keys(self.key.as_slice());
        text.push_str(&shown_once(&self.api_key));
        text
    }
}

impl Show for ListKeysResponse {
    fn show(&self) -> String {
        keys(&self.keys)
    }
}

impl Show for RevokeKeyResponse {
    fn show(&self) -> String {
        "The key is revoked.\n".into()
    }
}

impl Show for AdminAccountWebhook {
    fn show(&self) -> String {
        webhooks(std::slice::from_ref(self))
    }
}

impl Show for ListAccountWebhooksResponse {
    fn show(&self) -> String {
        webhooks(&self.webhooks)
    }
}

impl Show for DeleteAccountWebhookResponse {
    fn show(&self) -> String {
        "The webhook is deleted.\n".into()
    }
}

impl Show for SigningKeys {
    fn show(&self) -> String {
        table(
            ["FAMILY", "SIGNING KEY"],
            &[
                ["message events".into(), self.http_signing_key.clone()],
                ["alerts".into(), self.alerts_signing_key.clone()],
            ],
        )
    }
}

fn accounts(accounts: &[Account]) -> String {
    let rows: Vec<_> = accounts
        .iter()
        .map(|account| {
            [
                account.name.clone(),
                account.account_id.clone(),
                or_dash(&account.parent_name),
                account.status.clone(),
                moment(account.created_at.as_ref()),
                or_dash(&account.label),
            ]
        })
        .collect();
    table(["NAME", "ID", "PARENT", "STATUS", "CREATED", "LABEL"], &rows)
}

/// What has no column, as far as there is something to say.
fn details(account: &Account) -> String {
    let erasure = match (&account.erased_at, &account.erasure_done_at) {
        (None, _) => String::new(),
        (Some(at), None) => format!("since {}, under way", moment(Some(at))),
        (Some(at), Some(done)) => {
            format!("since {}, done {}", moment(Some(at)), moment(Some(done)))
        }
    };
    let own = |limit: Option<u32>| match limit {
        Some(0) => "no limit".to_owned(),
        limit => limit.map(|limit| limit.to_string()).unwrap_or_default(),
    };
    let (events, waiting) = (own(account.events_per_second), own(account.waiting_deliveries));
    let details = [
        ("events per second", events.as_str()),
        ("waiting deliveries", waiting.as_str()),
        ("contact", account.contact_email.as_str()),
        ("reason", account.status_reason.as_str()),
        ("erased", erasure.as_str()),
    ];
    let given = details.iter().filter(|(_, text)| !text.is_empty());
    let lines: Vec<_> = given.map(|(name, text)| format!("{name}: {text}\n")).collect();
    if lines.is_empty() { String::new() } else { format!("\n{}", lines.concat()) }
}

fn quotas(quotas: &[QuotaUse]) -> String {
    let rows: Vec<_> = quotas
        .iter()
        .map(|quota| {
            let whose = if quota.is_default { "the deployment" } else { "this account" };
            [quota.name.clone(), quota.used.to_string(), quota.limit.to_string(), whose.into()]
        })
        .collect();
    table(["QUOTA", "USED", "LIMIT", "LIMIT OF"], &rows)
}

fn domains(domains: &[Domain]) -> String {
    let rows: Vec<_> = domains
        .iter()
        .map(|domain| {
            let created = moment(domain.created_at.as_ref());
            [
                domain.name.clone(),
                domain.account_name.clone(),
                domain.domain_id.clone(),
                created,
                moment(domain.disabled_at.as_ref()),
                or_dash(&domain.disabled_reason),
            ]
        })
        .collect();
    table(["NAME", "ACCOUNT", "ID", "CREATED", "DISABLED", "REASON"], &rows)
}

fn keys(keys: &[Key]) -> String {
    let rows: Vec<_> = keys
        .iter()
        .map(|key| {
            [
                key.key_id.clone(),
                key.account_name.clone(),
                key.role.clone(),
                key.status.clone(),
                moment(key.created_at.as_ref()),
                moment(key.last_used_at.as_ref()),
                moment(key.expires_at.as_ref()),
                or_dash(&key.description),
            ]
        })
        .collect();
    let headings =
        ["ID", "ACCOUNT", "ROLE", "STATUS", "CREATED", "LAST USED", "EXPIRES", "DESCRIPTION"];
    table(headings, &rows)
}

fn webhooks(webhooks: &[AdminAccountWebhook]) -> String {
    let rows: Vec<_> = webhooks
        .iter()
        .map(|webhook| {
            [
                webhook.webhook_id.clone(),
                webhook.account_name.clone(),
                webhook.url.clone(),
                webhook.event_types.join(","),
                or_dash(&webhook.description),
            ]
        })
        .collect();
    table(["ID", "ACCOUNT", "URL", "EVENTS", "DESCRIPTION"], &rows)
}

fn shown_once(key: &str) -> String {
    format!("\nAPI key, never shown again: {key}\n")
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".into() } else { text.into() }
}

/// To the second, in UTC.
fn moment(at: Option<&Timestamp>) -> String {
    let at = at.and_then(|at| chrono::DateTime::from_timestamp(at.seconds, 0));
    at.map_or_else(|| "-".into(), |at| at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
