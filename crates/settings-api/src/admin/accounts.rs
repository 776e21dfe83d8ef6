//! Accounts and their keys.

use protocol::v1;
use signing::Sealed;
use store::{Account, ApiKey, DocumentKey, NewAccount, SealedKeys, StoreError, Thing};
use tonic::Status;

use super::check;
use super::status::Refused;
use crate::{SettingsApi, keys};

impl SettingsApi {
    pub(super) async fn admin_create_account(
        &self,
        request: v1::CreateAccountRequest,
    ) -> Result<v1::Account, Status> {
        Ok(self.create_account(&request).await?)
    }

    async fn create_account(
        &self,
        request: &v1::CreateAccountRequest,
    ) -> Result<v1::Account, Refused> {
        check::account_name(&request.name, "name")?;
        let parent_name = check::optional_account_name(&request.parent_name, "parent_name")?;
        let api_key = check::api_key_or_new(&request.api_key)?;
        self.check_broker()?;
        let account_id = keys::object_id();
        let new = NewAccount {
            name: request.name.clone(),
            parent_name: parent_name.map(str::to_owned),
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
            Ok((account, key)) => {
                self.publish(&key).await?;
                Ok(v1::Account { api_key, ..message(account) })
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
        let account = self.store.account_named(name).await?;
        let parent_name = account.parent_name.as_deref().unwrap_or_default();
        if parent_name != request.parent_name {
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
        Ok(v1::Account { api_key: request.api_key.clone(), ..message(account) })
    }

    pub(super) async fn admin_list_accounts(&self) -> Result<v1::ListAccountsResponse, Status> {
        let accounts = self.store.accounts().await.map_err(Refused::from)?;
        Ok(v1::ListAccountsResponse { accounts: accounts.into_iter().map(message).collect() })
    }

    pub(super) async fn admin_create_key(
        &self,
        request: v1::CreateKeyRequest,
    ) -> Result<v1::CreateKeyResponse, Status> {
        let account_name = check::account_name(&request.account_name, "account_name")?;
        let api_key = check::api_key_or_new(&request.api_key)?;
        let stored = keys::stored(&api_key);
        let key = self.store.create_key(account_name, &stored, self.clock.now()).await;
        let key = key.map_err(Refused::from)?;
        Ok(v1::CreateKeyResponse { key: Some(key_message(key)), api_key })
    }

    pub(super) async fn admin_list_keys(
        &self,
        request: v1::ListKeysRequest,
    ) -> Result<v1::ListKeysResponse, Status> {
        let account_name = check::account_name(&request.account_name, "account_name")?;
        let keys = self.store.keys(account_name).await.map_err(Refused::from)?;
        Ok(v1::ListKeysResponse { keys: keys.into_iter().map(key_message).collect() })
    }

    pub(super) async fn admin_revoke_key(
        &self,
        request: v1::RevokeKeyRequest,
    ) -> Result<v1::RevokeKeyResponse, Status> {
        if !keys::is_key_id(&request.key_id) {
            return Err(Status::invalid_argument("key_id: expected xxxxxxxx-yyyyyyyy"));
        }
        let revoked = self.store.revoke_key(&request.key_id, self.clock.now()).await;
        revoked.map_err(Refused::from)?;
        Ok(v1::RevokeKeyResponse {})
    }

    pub(super) async fn admin_signing_keys(
        &self,
        request: v1::GetSigningKeysRequest,
    ) -> Result<v1::SigningKeys, Status> {
        let name = check::account_name(&request.account_name, "account_name")?;
        let account_id = self.store.account_named(name).await.map_err(Refused::from)?.account_id;
        let sealed = self.store.sealed_keys(&account_id).await.map_err(Refused::from)?;
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
}

fn message(account: Account) -> v1::Account {
    v1::Account {
        account_id: account.account_id,
        name: account.name,
        parent_name: account.parent_name.unwrap_or_default(),
        status: account.status.as_str().to_owned(),
        created_at: Some(account.created_at.into()),
        api_key: String::new(),
    }
}

fn key_message(key: ApiKey) -> v1::Key {
    v1::Key {
        key_id: key.key_id,
        account_name: key.account_name,
        created_at: Some(key.created_at.into()),
        revoked_at: key.revoked_at.map(Into::into),
    }
}
