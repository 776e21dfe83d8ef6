//! API keys.

use chrono::{DateTime, TimeDelta, Utc};
use protocol::v1;
use store::{ApiKey, NewKey, Role};
use tonic::Status;

use super::check;
use super::status::Refused;
use crate::{SettingsApi, keys};

/// Longest description, in characters.
const MAX_DESCRIPTION: usize = 256;

impl SettingsApi {
    pub(super) async fn create_key(
        &self,
        request: v1::CreateKeyRequest,
    ) -> Result<v1::CreateKeyResponse, Refused> {
        let account_name = check::account(&request.account_name, "account_name")?;
        let api_key = check::api_key_or_new(&request.api_key)?;
        let role = match request.role.as_str() {
            "" => Role::Admin,
            role => Role::parse(role).ok_or_else(|| {
                let all = Role::ALL.map(Role::as_str).join(", ");
                Status::invalid_argument(format!("role: {role:?} is none of {all}"))
            })?,
        };
        check::text(&request.description, "description", MAX_DESCRIPTION)?;
        let now = self.clock.now();
        let lifetime = TimeDelta::seconds(request.expires_in_seconds.into());
        let new = NewKey {
            role,
            expires_at: (!lifetime.is_zero()).then(|| now + lifetime),
            description: request.description,
            ..keys::stored(&api_key)
        };
        let key = self.store.create_key(account_name, &new, now).await?;
        Ok(v1::CreateKeyResponse { key: Some(message(key, now)), api_key })
    }

    pub(super) async fn list_keys(
        &self,
        request: &v1::ListKeysRequest,
    ) -> Result<v1::ListKeysResponse, Refused> {
        let account_name = check::account(&request.account_name, "account_name")?;
        let (keys, now) = (self.store.keys(account_name).await?, self.clock.now());
        let keys = keys.into_iter().map(|key| message(key, now)).collect();
        Ok(v1::ListKeysResponse { keys })
    }

    pub(super) async fn revoke_key(
        &self,
        request: &v1::RevokeKeyRequest,
    ) -> Result<v1::RevokeKeyResponse, Refused> {
        if !keys::is_key_id(&request.key_id) {
            return Err(Status::invalid_argument("key_id: expected xxxxxxxx-yyyyyyyy").into());
        }
        self.store.revoke_key(&request.key_id, self.clock.now()).await?;
        Ok(v1::RevokeKeyResponse {})
    }
}

fn message(key: ApiKey, now: DateTime<Utc>) -> v1::Key {
    let has_expired = key.expires_at.is_some_and(|at| at <= now);
    let status = match key.revoked_at {
        Some(_) => "revoked",
        None if has_expired => "expired",
        None => "active",
    };
    v1::Key {
        key_id: key.key_id,
        account_name: key.account_name,
        created_at: Some(key.created_at.into()),
        revoked_at: key.revoked_at.map(Into::into),
        role: key.role.as_str().to_owned(),
        description: key.description,
        last_used_at: key.last_used_at.map(Into::into),
        expires_at: key.expires_at.map(Into::into),
        status: status.to_owned(),
    }
}
