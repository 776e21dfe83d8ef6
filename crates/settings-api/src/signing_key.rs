//! The key that signs message events (reference §6.1).

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use signing::Sealed;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::{SettingsApi, respond};

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(get))
}

/// Shows the key that signs the account's message events.
#[utoipa::path(
    get,
    path = "/v5/accounts/http_signing_key",
    operation_id = "get_http_signing_key",
    tag = "accounts",
    responses((status = 200, description = "The key", body = HttpSigningKey))
)]
async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    caller.check_sees_secrets()?;
    let account_id = caller.account_id.as_str();
    let sealed = api.store.sealed_keys(account_id).await?.http_signing_key;
    let http_signing_key =
        api.unseal(&sealed, Sealed::HttpSigningKey(account_id)).map_err(|error| {
            tracing::error!(%error, account.id = account_id, "a signing key cannot be unsealed");
            ApiError::bad_request("could not get HSK for account")
        })?;
    Ok(respond::ok(&HttpSigningKey { http_signing_key }))
}

#[derive(Serialize, ToSchema)]
struct HttpSigningKey {
    /// Its bytes, prefix included, are the key.
    http_signing_key: String,
}
