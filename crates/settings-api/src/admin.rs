//! The operator's side, over gRPC. Internal: whoever reaches the port may do everything.

mod accounts;
mod check;
mod domains;
mod status;
mod webhooks;

use protocol::v1;
use protocol::v1::admin_server::{Admin, AdminServer};
use tonic::{Request, Response, Status};

use crate::SettingsApi;

/// The service `Admin`.
pub(crate) fn service(api: SettingsApi) -> AdminServer<impl Admin> {
    AdminServer::new(Service(api))
}

struct Service(SettingsApi);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Admin for Service {
    async fn create_account(
        &self,
        request: Request<v1::CreateAccountRequest>,
    ) -> Answer<v1::Account> {
        self.0.admin_create_account(request.into_inner()).await.map(Response::new)
    }

    async fn list_accounts(
        &self,
        _request: Request<v1::ListAccountsRequest>,
    ) -> Answer<v1::ListAccountsResponse> {
        self.0.admin_list_accounts().await.map(Response::new)
    }

    async fn create_domain(&self, request: Request<v1::CreateDomainRequest>) -> Answer<v1::Domain> {
        self.0.admin_create_domain(request.into_inner()).await.map(Response::new)
    }

    async fn list_domains(
        &self,
        request: Request<v1::ListDomainsRequest>,
    ) -> Answer<v1::ListDomainsResponse> {
        self.0.admin_list_domains(request.into_inner()).await.map(Response::new)
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Answer<v1::CreateKeyResponse> {
        self.0.admin_create_key(request.into_inner()).await.map(Response::new)
    }

    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Answer<v1::ListKeysResponse> {
        self.0.admin_list_keys(request.into_inner()).await.map(Response::new)
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Answer<v1::RevokeKeyResponse> {
        self.0.admin_revoke_key(request.into_inner()).await.map(Response::new)
    }

    async fn create_account_webhook(
        &self,
        request: Request<v1::CreateAccountWebhookRequest>,
    ) -> Answer<v1::AdminAccountWebhook> {
        self.0.admin_create_webhook(request.into_inner()).await.map(Response::new)
    }

    async fn list_account_webhooks(
        &self,
        request: Request<v1::ListAccountWebhooksRequest>,
    ) -> Answer<v1::ListAccountWebhooksResponse> {
        self.0.admin_list_webhooks(request.into_inner()).await.map(Response::new)
    }

    async fn delete_account_webhook(
        &self,
        request: Request<v1::DeleteAccountWebhookRequest>,
    ) -> Answer<v1::DeleteAccountWebhookResponse> {
        self.0.admin_delete_webhook(request.into_inner()).await.map(Response::new)
    }

    async fn get_signing_keys(
        &self,
        request: Request<v1::GetSigningKeysRequest>,
    ) -> Answer<v1::SigningKeys> {
        self.0.admin_signing_keys(request.into_inner()).await.map(Response::new)
    }
}
