//! The account's retry policies.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use model::Family;
use serde::{Deserialize, Serialize};
use store::AccountPolicies;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::policy::Policy;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::form::{Body, json};
use crate::{SettingsApi, respond};

pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(get, set))
}

/// Shows how the account's deliveries are tried: what it wants otherwise, and
/// what follows from that.
#[utoipa::path(
    get,
    path = "/postrider/v1/policies",
    operation_id = "get_policies",
    tag = "delivery",
    responses((status = 200, description = "Both policies", body = ShownPolicies))
)]
async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let policies = api.store.account_policies(&caller.account_id).await?;
    Ok(respond::ok(&shown(&api, &policies)))
}

/// Sets how the account's deliveries are tried. What is left out is as the
/// deployment does it. In force from the next try of every delivery on.
#[utoipa::path(
    put,
    path = "/postrider/v1/policies",
    operation_id = "set_policies",
    tag = "delivery",
    request_body = NewPolicies,
    responses((status = 200, description = "Both policies as they are now", body = ShownPolicies))
)]
async fn set(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let policies = read(&body)?;
    api.check_broker()?;
    let now = api.clock.now();
    let key = api.store.set_account_policies(&caller.account_id, &policies, now).await?;
    api.publish(&key).await?;
    Ok(respond::ok(&shown(&api, &policies)))
}

/// Reads what is to be set.
pub(crate) fn read(body: &[u8]) -> Result<AccountPolicies, ApiError> {
    let NewPolicies { message, alert } = json(body)?;
    Ok(AccountPolicies { message: message.read("message")?, alert: alert.read("alert")? })
}

/// What the account wants otherwise.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct NewPolicies {
    /// Of message events.
    message: Policy,
    /// Of alerts.
    alert: Policy,
}

#[derive(Serialize, ToSchema)]
struct ShownPolicies {
    /// Of message events.
    message: ShownPolicy,
    /// Of alerts.
    alert: ShownPolicy,
}

#[derive(Serialize, ToSchema)]
struct ShownPolicy {
    /// What the account wants otherwise.
    otherwise: Policy,
    /// All that is in force.
    in_force: Policy,
}

fn shown(api: &SettingsApi, policies: &AccountPolicies) -> ShownPolicies {
    let shown = |family, by: &Option<_>| ShownPolicy {
        otherwise: Policy::otherwise(by.as_ref()),
        in_force: Policy::whole(family, &api.policies.in_force(family, by.as_ref(), None)),
    };
    ShownPolicies {
        message: shown(Family::Message, &policies.message),
        alert: shown(Family::Alert, &policies.alert),
    }
}
