//! The operator's side, over gRPC. Internal: whoever may come in may do everything.

mod accounts;
mod check;
mod deployment;
mod domains;
mod keys;
mod status;
mod webhooks;

use std::pin::Pin;

use chassis::door::Caller;
use futures_util::{Stream, TryStreamExt as _};
use protocol::v1;
use protocol::v1::admin_server::{Admin, AdminServer};
use tonic::{Request, Response, Status};

use self::status::Refused;
use crate::SettingsApi;

/// The service `Admin`.
pub(crate) fn service(api: SettingsApi) -> AdminServer<impl Admin> {
    AdminServer::new(Service(api))
}

struct Service(SettingsApi);

type Answer<T> = Result<Response<T>, Status>;

fn answer<T>(result: Result<T, Refused>) -> Answer<T> {
    Ok(Response::new(result?))
}

/// Leaves a trail of what operators change and whose secrets they see: the caller's name is that
/// of its token or its certificate, where the door asks for one.
fn told<T>(request: &Request<T>, call: &'static str, of: &str) {
    let caller = request.extensions().get::<Caller>();
    let by = caller.and_then(|caller| caller.0.as_deref()).unwrap_or("anybody");
    tracing::info!(call, of, by, "an operator calls");
}

#[tonic::async_trait]
impl Admin for Service {
    async fn create_account(
        &self,
        request: Request<v1::CreateAccountRequest>,
    ) -> Answer<v1::Account> {
        told(&request, "create_account", &request.get_ref().name);
        answer(self.0.create_account(request.get_ref()).await)
    }

    async fn list_accounts(
        &self,
        _request: Request<v1::ListAccountsRequest>,
    ) -> Answer<v1::ListAccountsResponse> {
        answer(self.0.list_accounts().await)
    }

    async fn get_account(&self, request: Request<v1::GetAccountRequest>) -> Answer<v1::Account> {
        answer(self.0.get_account(request.get_ref()).await)
    }

    async fn update_account(
        &self,
        request: Request<v1::UpdateAccountRequest>,
    ) -> Answer<v1::Account> {
        told(&request, "update_account", &request.get_ref().account_name);
        answer(self.0.update_account(request.get_ref()).await)
    }

    async fn set_account_status(
        &self,
        request: Request<v1::SetAccountStatusRequest>,
    ) -> Answer<v1::Account> {
        told(&request, "set_account_status", &request.get_ref().account_name);
        answer(self.0.set_account_status(request.get_ref()).await)
    }

    async fn erase_account(
        &self,
        request: Request<v1::EraseAccountRequest>,
    ) -> Answer<v1::Account> {
        told(&request, "erase_account", &request.get_ref().account_name);
        answer(self.0.erase_account(request.get_ref()).await)
    }

    async fn create_domain(&self, request: Request<v1::CreateDomainRequest>) -> Answer<v1::Domain> {
        told(&request, "create_domain", &request.get_ref().name);
        answer(self.0.create_domain(request.get_ref()).await)
    }

    async fn list_domains(
        &self,
        request: Request<v1::ListDomainsRequest>,
    ) -> Answer<v1::ListDomainsResponse> {
        answer(self.0.list_domains(request.get_ref()).await)
    }

    async fn delete_domain(
        &self,
        request: Request<v1::DeleteDomainRequest>,
    ) -> Answer<v1::DeleteDomainResponse> {
        told(&request, "delete_domain", &request.get_ref().name);
        answer(self.0.delete_domain(request.get_ref()).await)
    }

    async fn set_domain_disabled(
        &self,
        request: Request<v1::SetDomainDisabledRequest>,
    ) -> Answer<v1::Domain> {
        told(&request, "set_domain_disabled", &request.get_ref().name);
        answer(self.0.set_domain_disabled(request.get_ref()).await)
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Answer<v1::CreateKeyResponse> {
        told(&request, "create_key", &request.get_ref().account_name);
        answer(self.0.create_key(request.into_inner()).await)
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Answer<v1::ListKeysResponse> {
        answer(self.0.list_keys(request.get_ref()).await)
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Answer<v1::RevokeKeyResponse> {
        told(&request, "revoke_key", &request.get_ref().key_id);
        answer(self.0.revoke_key(request.get_ref()).await)
    }

    async fn create_account_webhook(
        &self,
        request: Request<v1::CreateAccountWebhookRequest>,
    ) -> Answer<v1::AdminAccountWebhook> {
        told(&request, "create_webhook", &request.get_ref().account_name);
        answer(self.0.create_webhook(request.into_inner()).await)
    }

    async fn list_account_webhooks(
        &self,
        request: Request<v1::ListAccountWebhooksRequest>,
    ) -> Answer<v1::ListAccountWebhooksResponse> {
        answer(self.0.list_webhooks(request.get_ref()).await)
    }

    async fn delete_account_webhook(
        &self,
        request: Request<v1::DeleteAccountWebhookRequest>,
    ) -> Answer<v1::DeleteAccountWebhookResponse> {
        told(&request, "delete_webhook", &request.get_ref().account_name);
        answer(self.0.delete_webhook(request.get_ref()).await)
    }

    async fn get_signing_keys(
        &self,
        request: Request<v1::GetSigningKeysRequest>,
    ) -> Answer<v1::SigningKeys> {
        told(&request, "get_signing_keys", &request.get_ref().account_name);
        answer(self.0.get_signing_keys(request.get_ref()).await)
    }

    async fn reseal_secrets(
        &self,
        request: Request<v1::ResealSecretsRequest>,
    ) -> Answer<v1::ResealSecretsResponse> {
        told(&request, "reseal_secrets", "");
        answer(self.0.reseal_all().await)
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Answer<v1::DeploymentStatus> {
        Ok(Response::new(self.0.deployment_status().await))
    }

    type RepublishSettingsStream =
        Pin<Box<dyn Stream<Item = Result<v1::RepublishProgress, Status>> + Send>>;

    async fn republish_settings(
        &self,
        _request: Request<v1::RepublishSettingsRequest>,
    ) -> Answer<Self::RepublishSettingsStream> {
        self.0.check_broker().map_err(Refused::from)?;
        let progress = self.0.republish().map_err(|error| Refused::from(error).into());
        Ok(Response::new(Box::pin(progress)))
    }

    type ReconcileStream =
        Pin<Box<dyn Stream<Item = Result<v1::ReconcileProgress, Status>> + Send>>;

    async fn reconcile(
        &self,
        request: Request<v1::ReconcileRequest>,
    ) -> Answer<Self::ReconcileStream> {
        self.0.check_broker().map_err(Refused::from)?;
        let progress = self.0.reconcile(request.get_ref()).map_err(Refused::from)?;
        let progress = progress.map_err(|error| Refused::from(error).into());
        Ok(Response::new(Box::pin(progress)))
    }
}
