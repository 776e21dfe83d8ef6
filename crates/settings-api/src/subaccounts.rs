//! Subaccounts (reference §10).

mod limit;
pub(crate) mod query;

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::Serialize;
use signing::Sealed;
use store::{NewSubaccount, RateBudget, SealedKeys, StoreError, Subaccount, Thing};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::account::{self, Message};
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::features::{self, Feature, NewFeatures};
use crate::form::{Query, WithQuery};
use crate::path::Segments;
use crate::{SettingsApi, keys, respond};

/// Characters that a reason to disable a subaccount may have, note included.
const MAX_REASON_CHARS: usize = 1024;

/// The calls of this module, but for the end of a subaccount.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(disable))
        .routes(routes!(enable))
        .routes(routes!(update_features))
        .merge(limit::routes())
}

/// The call that ends a subaccount, which may be disabled already.
pub(crate) fn closing_routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(close))
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Lists the account's subaccounts by name.
///
/// Closed ones are listed only where `closed` asks for them.
#[utoipa::path(
    get,
    path = "/v5/accounts/subaccounts",
    operation_id = "list_subaccounts",
    tag = "accounts",
    params(query::ListQuery),
    responses(
        (status = 200, description = "Subaccounts", body = List<'_>),
        (status = 400, description = "A parameter is wrong", body = Problem),
    )
)]
async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(form): Query,
) -> Result {
    let query = query::read(&form)?;
    let (subaccounts, total) = api.store.subaccounts(&caller.account_id, &query).await?;
    Ok(respond::ok(&List { subaccounts: subaccounts.iter().map(Shown::of).collect(), total }))
}

/// Makes a subaccount. The account's own keys act for it, with the header
/// `X-Mailgun-On-Behalf-Of`.
#[utoipa::path(
    post,
    path = "/v5/accounts/subaccounts",
    operation_id = "create_subaccount",
    tag = "accounts",
    params(NameQuery),
    request_body(content = Option<Name>),
    responses((status = 200, description = "Made", body = One<'_>))
)]
async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    WithQuery(form): WithQuery,
) -> Result {
    // Mailgun's words (reference §10).
    let name = form.first("name").ok_or_else(|| ApiError::bad_request("Bad request"))?;
    account::check_name(name)?;
    api.check_broker()?;
    let account_id = keys::object_id();
    let new = NewSubaccount {
        label: name.to_owned(),
        keys: SealedKeys {
            http_signing_key: api
                .seal(&keys::http_signing_key(), Sealed::HttpSigningKey(&account_id)),
            alerts_signing_key: api
                .seal(&keys::alerts_signing_key(), Sealed::AlertsSigningKey(&account_id)),
        },
        account_id,
    };
    api.spend(&caller.primary_id, RateBudget::Subaccounts, 1).await?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let made = api.store.create_subaccount(&caller.account_id, &new, quotas, now).await;
    let (subaccount, key) = made.map_err(|error| match error {
        StoreError::NestedSubaccount => ApiError::forbidden(error.to_string()),
        error => error.into(),
    })?;
    api.publish(&key).await?;
    Ok(one(&subaccount))
}

/// Shows one subaccount.
#[utoipa::path(
    get,
    path = "/v5/accounts/subaccounts/{subaccount_id}",
    operation_id = "get_subaccount",
    tag = "accounts",
    params(SubaccountPath),
    responses((status = 200, description = "The subaccount", body = One<'_>))
)]
async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let found = api.store.subaccount(&caller.account_id, known(&id)?).await;
    Ok(one(&found.map_err(not_found)?))
}

/// Lets a subaccount do nothing until it is enabled again.
#[utoipa::path(
    post,
    path = "/v5/accounts/subaccounts/{subaccount_id}/disable",
    operation_id = "disable_subaccount",
    tag = "accounts",
    params(SubaccountPath, ReasonQuery),
    request_body(content = Option<Reason>),
    responses((status = 200, description = "Disabled", body = One<'_>))
)]
async fn disable(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
    WithQuery(form): WithQuery,
) -> Result {
    let id = known(&id)?;
    let reason = match (form.first("reason"), form.first("note")) {
        (Some(reason), Some(note)) => Some(format!("{reason}: {note}")),
        (reason, note) => reason.or(note).map(str::to_owned),
    };
    let wrong = |text: &str| text.contains('\0') || text.chars().count() > MAX_REASON_CHARS;
    if reason.as_deref().is_some_and(wrong) {
        return Err(ApiError::bad_request(format!(
            "reason and note must be at most {MAX_REASON_CHARS} characters together"
        )));
    }
    api.check_broker()?;
    let (parent_id, now) = (&caller.account_id, api.clock.now());
    let disabled = api.store.disable_subaccount(parent_id, id, reason.as_deref(), now).await;
    let (subaccount, key) = disabled.map_err(not_found)?;
    api.publish(&key).await?;
    Ok(one(&subaccount))
}

/// Lets a disabled subaccount go on.
#[utoipa::path(
    post,
    path = "/v5/accounts/subaccounts/{subaccount_id}/enable",
    operation_id = "enable_subaccount",
    tag = "accounts",
    params(SubaccountPath),
    responses(
        (status = 200, description = "Enabled", body = One<'_>),
        (status = 400, description = "It is enabled already, or closed", body = Problem),
    )
)]
async fn enable(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let id = known(&id)?;
    api.check_broker()?;
    let enabled = api.store.enable_subaccount(&caller.account_id, id, api.clock.now()).await;
    let (subaccount, key) = enabled.map_err(not_found)?;
    api.publish(&key).await?;
    Ok(one(&subaccount))
}

/// Sets switches of a subaccount; those that are not given stay.
#[utoipa::path(
    put,
    path = "/v5/accounts/subaccounts/{subaccount_id}/features",
    operation_id = "update_subaccount_features",
    tag = "accounts",
    params(SubaccountPath),
    request_body = NewFeatures,
    responses((status = 200, description = "Its switches as they are now", body = FeaturesOf<'_>))
)]
async fn update_features(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
    WithQuery(form): WithQuery,
) -> Result {
    let id = known(&id)?;
    let changes = features::changes(&form)?;
    api.check_broker()?;
    let (parent_id, now) = (&caller.account_id, api.clock.now());
    let changed = api.store.set_subaccount_features(parent_id, id, &changes, now).await;
    let (subaccount, key) = changed.map_err(not_found)?;
    api.publish(&key).await?;
    Ok(respond::ok(&FeaturesOf { features: features::shown(&subaccount.features, true) }))
}

/// Ends the subaccount that the call is on behalf of, for good. Its API keys
/// are revoked.
#[utoipa::path(
    delete,
    path = "/v5/accounts/subaccounts",
    operation_id = "delete_subaccount",
    tag = "accounts",
    params((
        "X-Mailgun-On-Behalf-Of" = String, Header,
        description = "Id of the subaccount"
    )),
    responses(
        (status = 200, description = "Closed", body = Message),
        (status = 400, description = "No subaccount is named, or it is closed", body = Problem),
    )
)]
async fn close(State(api): State<SettingsApi>, Extension(caller): Extension<Caller>) -> Result {
    let (parent_id, account_id) = (&caller.key_account_id, &caller.account_id);
    if parent_id == account_id {
        return Err(ApiError::bad_request(
            "the header X-Mailgun-On-Behalf-Of must name the subaccount that is to be deleted",
        ));
    }
    api.check_broker()?;
    let key = api.store.close_subaccount(parent_id, account_id, api.clock.now()).await;
    api.publish(&key.map_err(not_found)?).await?;
    Ok(respond::ok(&Message { message: "Subaccount successfully deleted" }))
}

/// An id of the right form; what has another names nothing.
fn known(id: &str) -> Result<&str> {
    if keys::is_object_id(id) { Ok(id) } else { Err(ApiError::not_found("Not Found")) }
}

fn not_found(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound(Thing::Account) => ApiError::not_found("Not Found"),
        error => error.into(),
    }
}

fn one(subaccount: &Subaccount) -> Response {
    respond::ok(&One { subaccount: Shown::of(subaccount) })
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct SubaccountPath {
    /// Id of the subaccount, 24 hex characters.
    #[param(example = "66f0c1de9a7b4e0012ab34cd")]
    subaccount_id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct NameQuery {
    /// What the subaccount is called, 1 to 128 characters; may stand in the body.
    name: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = NewSubaccount)]
#[expect(dead_code, reason = "describes the form")]
struct Name {
    /// What the subaccount is called.
    #[schema(min_length = 1, max_length = 128)]
    name: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct ReasonQuery {
    /// Why it is disabled; may stand in the body.
    reason: Option<String>,
    /// What else is to be remembered; may stand in the body.
    note: Option<String>,
}

/// At most 1024 characters together.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct Reason {
    /// Why it is disabled.
    reason: Option<String>,
    /// What else is to be remembered.
    note: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Subaccounts)]
struct List<'a> {
    subaccounts: Vec<Shown<'a>>,
    /// Without `skip` and `limit`.
    total: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneSubaccount)]
struct One<'a> {
    subaccount: Shown<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FeaturesOfSubaccount)]
struct FeaturesOf<'a> {
    features: BTreeMap<&'a str, Feature>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Subaccount)]
struct Shown<'a> {
    /// 24 hex characters.
    id: &'a str,
    name: &'a str,
    /// `open`, `disabled` or `closed`.
    status: &'static str,
    /// RFC 1123.
    created_at: String,
    /// RFC 1123.
    updated_at: String,
    /// Switches by name.
    features: BTreeMap<&'a str, Feature>,
}

impl<'a> Shown<'a> {
    fn of(subaccount: &'a Subaccount) -> Self {
        Self {
            id: &subaccount.account_id,
            name: &subaccount.label,
            status: subaccount.status.as_str(),
            created_at: rfc1123(subaccount.created_at),
            updated_at: rfc1123(subaccount.updated_at),
            features: features::shown(&subaccount.features, true),
        }
    }
}

fn rfc1123(at: DateTime<Utc>) -> String {
    at.format("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
