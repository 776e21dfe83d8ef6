//! Account-level webhooks.

use model::{EventType, Family};
use protocol::v1;
use store::{AccountWebhook, AccountWebhooks, NewAccountWebhook, Removed, StoreError, Thing};
use tonic::Status;

use super::check;
use super::status::Refused;
use crate::{SettingsApi, destination, keys};

/// Longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 1024;

impl SettingsApi {
    pub(super) async fn create_webhook(
        &self,
        request: v1::CreateAccountWebhookRequest,
    ) -> Result<v1::AdminAccountWebhook, Refused> {
        let v1::CreateAccountWebhookRequest { account_name, url, event_types, description } =
            request;
        check::account(&account_name, "account_name")?;
        check_event_types(&event_types)?;
        destination::check_url(&self.egress, &url)
            .map_err(|why| Status::invalid_argument(format!("url: {why}")))?;
        if description.len() > MAX_DESCRIPTION_BYTES || description.contains('\0') {
            let message = format!("description: at most {MAX_DESCRIPTION_BYTES} bytes of text");
            return Err(Status::invalid_argument(message).into());
        }
        self.check_broker()?;
        let account = self.store.account_named(&account_name).await?;
        let (account_id, account_name) = (account.account_id, account.name);
        let webhook_id = keys::object_id();
        let new = NewAccountWebhook { webhook_id, url, event_types, description };
        let (quotas, now) = (&self.limits.quotas, self.clock.now());
        let key = self.store.create_account_webhook(&account_id, &new, quotas, now).await?;
        self.publish(&key).await?;
        let NewAccountWebhook { webhook_id, url, event_types, description } = new;
        Ok(v1::AdminAccountWebhook { webhook_id, account_name, url, event_types, description })
    }

    pub(super) async fn list_webhooks(
        &self,
        request: &v1::ListAccountWebhooksRequest,
    ) -> Result<v1::ListAccountWebhooksResponse, Refused> {
        let account_name = check::account(&request.account_name, "account_name")?;
        let account = self.store.account_named(account_name).await?;
        let webhooks = self.store.account_webhooks(&account.account_id).await?.into_iter();
        Ok(v1::ListAccountWebhooksResponse {
            webhooks: webhooks.map(|webhook| message(&account.name, webhook)).collect(),
        })
    }

    pub(super) async fn delete_webhook(
        &self,
        request: &v1::DeleteAccountWebhookRequest,
    ) -> Result<v1::DeleteAccountWebhookResponse, Refused> {
        let account_name = check::account(&request.account_name, "account_name")?;
        if !keys::is_object_id(&request.webhook_id) {
            return Err(Status::invalid_argument("webhook_id: expected 24 hex characters").into());
        }
        self.check_broker()?;
        let account_id = self.store.account_named(account_name).await?.account_id;
        let now = self.clock.now();
        let ids = [request.webhook_id.clone()];
        let which = AccountWebhooks::Listed(&ids);
        match self.store.remove_account_webhooks(&account_id, which, now).await? {
            Removed::Done(key) => self.publish(&key).await?,
            Removed::Missing { .. } | Removed::NoneThere => {
                return Err(StoreError::NotFound(Thing::Webhook).into());
            }
        }
        Ok(v1::DeleteAccountWebhookResponse {})
    }
}

/// Today's webhook ids, at least one, each once.
fn check_event_types(event_types: &[String]) -> Result<(), Status> {
    if event_types.is_empty() {
        return Err(Status::invalid_argument("event_types: at least one is needed"));
    }
    for (index, name) in event_types.iter().enumerate() {
        let known = EventType::parse(name).is_some_and(|id| id.family() == Family::Message);
        if !known {
            let all = EventType::WEBHOOKS.map(EventType::as_str).join(", ");
            let message = format!("event_types: {name:?} is none of {all}");
            return Err(Status::invalid_argument(message));
        }
        if event_types.iter().take(index).any(|earlier| earlier == name) {
            let message = format!("event_types: {name} is given twice");
            return Err(Status::invalid_argument(message));
        }
    }
    Ok(())
}

fn message(account_name: &str, webhook: AccountWebhook) -> v1::AdminAccountWebhook {
    v1::AdminAccountWebhook {
        webhook_id: webhook.webhook_id,
        account_name: account_name.to_owned(),
        url: webhook.url,
        event_types: webhook.event_types,
        description: webhook.description,
    }
}
