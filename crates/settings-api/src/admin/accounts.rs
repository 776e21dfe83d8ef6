//! Accounts, and the keys that sign for them.

use egress::mail::MailAddress;
use protocol::v1;
use signing::Sealed;
use store::{
    AccountChange, AccountDetails, AccountStatus, DocumentKey, NewAccount, PathQuota, Quota,
    SealedKeys, StoreError, Thing, Usage,
};
use tonic::Status;

use super::check;
use super::status::Refused;
use crate::{SettingsApi, keys};

impl SettingsApi {
    pub(super) async fn create_account(
        &self,
        request: &v1::CreateAccountRequest,
    ) -> Result<v1::Account, Refused> {
        check::account_name(&request.name, "name")?;
        let parent = check::optional_account(&request.parent_name, "parent_name")?;
        let api_key = check::api_key_or_new(&request.api_key)?;
        self.check_broker()?;
        let account_id = keys::object_id();
        let new = NewAccount {
            name: request.name.clone(),
            parent_name: parent.map(str::to_owned),
            keys: SealedKeys {
                http_signing_key: self
                    .seal(&keys::http_signing_key(), Sealed::HttpSigningKey(&account_id)),
                alerts_signing_key: self
                    .seal(&keys::alerts_signing_key(), Sealed::AlertsSigningKey(&account_id)),
            },
            api_key: keys::stored(&api_key),
            account_id,
        };
        match self.store.create_account(&new, self.clock.now()).await {
            Ok((_, key)) => {
                self.publish(&key).await?;
                let account = self.details(&request.name).await?;
                Ok(v1::Account { api_key, ..account })
            }
            Err(StoreError::Exists(Thing::Account)) => self.existing_account(request).await,
            Err(StoreError::Exists(Thing::ApiKey)) => {
                Err(Status::already_exists("another account has, or had, this API key").into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The account that has this name already, if it is what was asked for.
    async fn existing_account(
        &self,
        request: &v1::CreateAccountRequest,
    ) -> Result<v1::Account, Refused> {
        let name = &request.name;
        if !request.if_absent {
            return Err(Status::already_exists(format!("account {name} already exists")).into());
        }
        let account = self.details(name).await?;
        // The parent may have been named by its id.
        let asked_for = match request.parent_name.as_str() {
            "" => String::new(),
            parent => self.store.account_named(parent).await?.name,
        };
        if account.parent_name != asked_for {
            let parent_name = account.parent_name.as_str();
            let found = if parent_name.is_empty() { "no parent" } else { parent_name };
            let message = format!("account {name} already exists with another parent: {found}");
            return Err(Status::already_exists(message).into());
        }
        if !request.api_key.is_empty() {
            let hash = signing::api_key_hash(&request.api_key);
            if self.store.account_of_key(&hash).await?.as_ref() != Some(&account.account_id) {
                let message = format!("account {name} already exists without this API key");
                return Err(Status::already_exists(message).into());
            }
        }
        // Whoever made it may have died before it was published.
        self.publish(&DocumentKey::Account(account.account_id.clone())).await?;
        Ok(v1::Account { api_key: request.api_key.clone(), ..account })
    }

    pub(super) async fn list_accounts(&self) -> Result<v1::ListAccountsResponse, Refused> {
        let accounts = self.store.all_account_details().await?;
        Ok(v1::ListAccountsResponse { accounts: accounts.into_iter().map(message).collect() })
    }

    pub(super) async fn get_account(
        &self,
        request: &v1::GetAccountRequest,
    ) -> Result<v1::Account, Refused> {
        let account = check::account(&request.account_name, "account_name")?;
        self.with_quotas(account).await
    }

    pub(super) async fn update_account(
        &self,
        request: &v1::UpdateAccountRequest,
    ) -> Result<v1::Account, Refused> {
        let account = check::account(&request.account_name, "account_name")?;
        let (path, counted): (Vec<_>, Vec<_>) =
            request.quotas.iter().partition(|change| path_quota(&change.name).is_some());
        let change = AccountChange {
            contact_email: request.contact_email.as_deref().map(contact_email).transpose()?,
            quotas: quotas(&counted, Quota::parse)?,
            path_quotas: quotas(&path, path_quota)?,
        };
        self.check_broker()?;
        let found = self.store.account_named(account).await?;
        if let Some((quota, _)) = change.path_quotas.first()
            && let Some(parent) = &found.parent_name
        {
            let message = format!(
                "quotas: {} is that of the parent account, {parent}, for all of its subaccounts",
                quota.as_str()
            );
            return Err(Status::invalid_argument(message).into());
        }
        let account_id = found.account_id;
        let key = self.store.update_account(&account_id, &change, self.clock.now()).await?;
        self.publish(&key).await?;
        self.with_quotas(&account_id).await
    }

    pub(super) async fn set_account_status(
        &self,
        request: &v1::SetAccountStatusRequest,
    ) -> Result<v1::Account, Refused> {
        let account = check::account(&request.account_name, "account_name")?;
        let reason = check::reason(&request.reason)?;
        let status = match request.status.as_str() {
            "open" if reason.is_some() => {
                return Err(Status::invalid_argument("reason: an open account has none").into());
            }
            "open" => AccountStatus::Open,
            "disabled" => AccountStatus::Disabled,
            "closed" => AccountStatus::Closed,
            _ => {
                let message = "status: expected open, disabled or closed";
                return Err(Status::invalid_argument(message).into());
            }
        };
        self.check_broker()?;
        let account_id = self.store.account_named(account).await?.account_id;
        let now = self.clock.now();
        let keys = self.store.change_account_status(&account_id, status, reason, now).await?;
        for key in &keys {
            self.publish(key).await?;
        }
        self.details(&account_id).await
    }

    pub(super) async fn erase_account(
        &self,
        request: &v1::EraseAccountRequest,
    ) -> Result<v1::Account, Refused> {
        let account = check::account(&request.account_name, "account_name")?;
        self.check_broker()?;
        let account_id = self.store.account_named(account).await?.account_id;
        for key in &self.begin_erasure(&account_id).await? {
            self.publish(key).await?;
        }
        self.details(&account_id).await
    }

    pub(super) async fn get_signing_keys(
        &self,
        request: &v1::GetSigningKeysRequest,
    ) -> Result<v1::SigningKeys, Refused> {
        let name = check::account(&request.account_name, "account_name")?;
        let account_id = self.store.account_named(name).await?.account_id;
        let sealed = self.store.sealed_keys(&account_id).await?;
        let open = |sealed: &[u8], secret| {
            self.unseal(sealed, secret).map_err(|error| {
                Status::failed_precondition(format!("a signing key cannot be unsealed: {error}"))
            })
        };
        Ok(v1::SigningKeys {
            http_signing_key: open(&sealed.http_signing_key, Sealed::HttpSigningKey(&account_id))?,
            alerts_signing_key: open(
                &sealed.alerts_signing_key,
                Sealed::AlertsSigningKey(&account_id),
            )?,
        })
    }

    pub(super) async fn reseal_all(&self) -> Result<v1::ResealSecretsResponse, Refused> {
        let resealed = self.reseal_secrets().await?;
        Ok(v1::ResealSecretsResponse { accounts: resealed.accounts, secrets: resealed.secrets })
    }

    async fn details(&self, account: &str) -> Result<v1::Account, Refused> {
        Ok(message(self.store.account_details(account).await?))
    }

    async fn with_quotas(&self, account: &str) -> Result<v1::Account, Refused> {
        let account = self.details(account).await?;
        let (quotas, now) = (&self.limits.quotas, self.clock.now());
        let usages = self.store.usage(&account.account_id, quotas, now).await?;
        Ok(v1::Account { quotas: usages.into_iter().map(quota_use).collect(), ..account })
    }
}

/// An address, or nobody's.
fn contact_email(address: &str) -> Result<Option<String>, Status> {
    if !address.is_empty() && address.parse::<MailAddress>().is_err() {
        return Err(Status::invalid_argument("contact_email: this is not an email address"));
    }
    Ok(Some(address.to_owned()).filter(|address| !address.is_empty()))
}

fn path_quota(name: &str) -> Option<PathQuota> {
    PathQuota::ALL.into_iter().find(|quota| quota.as_str() == name)
}

fn quotas<Q: Copy + PartialEq>(
    changes: &[&v1::QuotaChange],
    parse: fn(&str) -> Option<Q>,
) -> Result<Vec<(Q, Option<u32>)>, Status> {
    let mut quotas: Vec<(Q, Option<u32>)> = Vec::with_capacity(changes.len());
    for change in changes {
        let quota = parse(&change.name).ok_or_else(|| {
            let counted = Quota::ALL.map(Quota::as_str);
            let all = [&counted[..], &PathQuota::ALL.map(PathQuota::as_str)].concat().join(", ");
            Status::invalid_argument(format!("quotas: {:?} is none of {all}", change.name))
        })?;
        if quotas.iter().any(|(given, _)| *given == quota) {
            let message = format!("quotas: {} is given twice", change.name);
            return Err(Status::invalid_argument(message));
        }
        if change.limit.is_some_and(|limit| i32::try_from(limit).is_err()) {
            let message = format!("quotas: {} can be at most {}", change.name, i32::MAX);
            return Err(Status::invalid_argument(message));
        }
        quotas.push((quota, change.limit));
    }
    Ok(quotas)
}

fn quota_use(usage: Usage) -> v1::QuotaUse {
    v1::QuotaUse {
        name: usage.quota.as_str().to_owned(),
        used: usage.used.try_into().unwrap_or_default(),
        limit: usage.limit.try_into().unwrap_or_default(),
        is_default: usage.is_default,
    }
}

fn message(details: AccountDetails) -> v1::Account {
    let account = details.account;
    let [(_, events_per_second), (_, waiting_deliveries)] = details.path_quotas;
    v1::Account {
        account_id: account.account_id,
        name: account.name,
        parent_name: account.parent_name.unwrap_or_default(),
        status: account.status.as_str().to_owned(),
        created_at: Some(account.created_at.into()),
        api_key: String::new(),
        label: details.label,
        contact_email: details.contact_email.unwrap_or_default(),
        status_reason: details.status_reason.unwrap_or_default(),
        updated_at: Some(details.updated_at.into()),
        erased_at: details.erased_at.map(Into::into),
        erasure_done_at: details.erasure_done_at.map(Into::into),
        quotas: Vec::new(),
        events_per_second,
        waiting_deliveries,
    }
}
