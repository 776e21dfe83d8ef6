//! The account itself (reference §6.2), and what is known of it.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
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

/// Shows the account that the call is for.
#[utoipa::path(
    get,
    path = "/postrider/v1/account",
    operation_id = "get_account",
    tag = "accounts",
    responses((status = 200, description = "The account", body = AccountAnswer))
)]
async fn get(
    State(_api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    Ok(respond::ok(&AccountAnswer { id: caller.account_id }))
}

#[derive(Serialize, ToSchema)]
struct AccountAnswer {
    /// 24 hex characters.
    id: String,
}
