//! How many messages a subaccount may send in a month: kept for the clients
//! that set it, without effect, because nothing here sends messages.

use axum::Extension;
use axum::extract::State;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Result, SubaccountPath, known, not_found};
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::features::Done;
use crate::form::WithQuery;
use crate::path::Segments;
use crate::{SettingsApi, respond};

pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(get, set, remove))
}

/// Shows the limit of messages in a month. It has no effect.
#[utoipa::path(
    get,
    path = "/v5/accounts/subaccounts/{subaccount_id}/limit/custom/monthly",
    operation_id = "get_subaccount_monthly_limit",
    tag = "accounts",
    params(SubaccountPath),
    responses((status = 200, description = "The limit", body = MonthlyLimit))
)]
async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let limit = api.store.monthly_sending_limit(&caller.account_id, known(&id)?).await;
    let limit = limit.map_err(not_found)?.ok_or_else(|| ApiError::not_found("Not Found"))?;
    Ok(respond::ok(&MonthlyLimit { limit, current: 0, period: "1m" }))
}

/// Sets the limit of messages in a month. It has no effect.
#[utoipa::path(
    put,
    path = "/v5/accounts/subaccounts/{subaccount_id}/limit/custom/monthly",
    operation_id = "set_subaccount_monthly_limit",
    tag = "accounts",
    params(SubaccountPath, LimitQuery),
    request_body(content = Option<Limit>),
    responses((status = 200, description = "Set", body = Done))
)]
async fn set(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
    WithQuery(form): WithQuery,
) -> Result {
    let id = known(&id)?;
    let limit: u32 = form.first("limit").and_then(|text| text.parse().ok()).ok_or_else(|| {
        ApiError::bad_request(format!("limit must be a whole number from 0 to {}", u32::MAX))
    })?;
    let (parent_id, now) = (&caller.account_id, api.clock.now());
    let set = api.store.set_monthly_sending_limit(parent_id, id, Some(limit.into()), now).await;
    set.map_err(not_found)?;
    Ok(respond::ok(&Done { success: true }))
}

/// Takes the limit of messages in a month away.
#[utoipa::path(
    delete,
    path = "/v5/accounts/subaccounts/{subaccount_id}/limit/custom/monthly",
    operation_id = "delete_subaccount_monthly_limit",
    tag = "accounts",
    params(SubaccountPath),
    responses(
        (status = 200, description = "Gone, if there was one", body = Done),
        (status = 400, description = "The subaccount is closed", body = Problem),
    )
)]
async fn remove(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let (parent_id, now) = (&caller.account_id, api.clock.now());
    let removed = api.store.set_monthly_sending_limit(parent_id, known(&id)?, None, now).await;
    removed.map_err(not_found)?;
    Ok(respond::ok(&Done { success: true }))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct LimitQuery {
    /// Messages in a month; may stand in the body.
    limit: Option<u32>,
}

#[derive(ToSchema)]
#[schema(as = NewMonthlyLimit)]
#[expect(dead_code, reason = "describes the form")]
struct Limit {
    /// Messages in a month.
    limit: u32,
}

#[derive(Serialize, ToSchema)]
struct MonthlyLimit {
    /// Messages in a month.
    limit: i64,
    /// Messages of this month.
    current: i64,
    /// Always `1m`.
    period: &'static str,
}
