//! The account itself (reference §6.2), and what is known of it.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, SecondsFormat, Utc};
use egress::mail::MailAddress;
use serde::Serialize;
use store::Quota;
use url::Url;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::features::Feature;
use crate::form::WithQuery;
use crate::{SettingsApi, features, respond};

/// Characters that the name of an account may have.
const MAX_NAME_CHARS: usize = 128;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(update)).routes(routes!(get, set_contact))
}

/// Changes what the account is called.
///
/// The settings of Mailgun's control panel are checked and have no effect.
#[utoipa::path(
    put,
    path = "/v5/accounts",
    operation_id = "update_account",
    tag = "accounts",
    params(NewInfoQuery),
    request_body(content = Option<NewInfo>),
    responses((status = 200, description = "Changed", body = Message))
)]
async fn update(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    WithQuery(form): WithQuery,
) -> Result<Response, ApiError> {
    let timeouts = ["inactive_session_timeout", "absolute_session_timeout"];
    let name = form.first("name");
    let logout_redirect_url = form.first("logout_redirect_url");
    if name.is_none()
        && logout_redirect_url.is_none()
        && timeouts.iter().all(|timeout| form.first(timeout).is_none())
    {
        return Err(ApiError::bad_request(
            "at least one of name, inactive_session_timeout, absolute_session_timeout \
             and logout_redirect_url must be given",
        ));
    }
    for timeout in timeouts {
        if form.first(timeout).is_some_and(|text| text.parse::<u32>().is_err()) {
            let message = format!("{timeout} must be a whole number of seconds");
            return Err(ApiError::bad_request(message));
        }
    }
    if let Some(text) = logout_redirect_url {
        let web = |url: Url| matches!(url.scheme(), "http" | "https");
        if !Url::parse(text).is_ok_and(web) {
            return Err(ApiError::bad_request("logout_redirect_url must be an http or https URL"));
        }
    }
    if let Some(name) = name {
        check_name(name)?;
        api.store.set_account_label(&caller.account_id, name, api.clock.now()).await?;
    }
    Ok(respond::ok(&Message { message: "Account info has been updated" }))
}

/// Shows the account that the call is for.
#[utoipa::path(
    get,
    path = "/postrider/v1/account",
    operation_id = "get_account",
    tag = "accounts",
    responses((status = 200, description = "The account", body = Info<'_>))
)]
async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    info(&api, &caller).await
}

/// Says whom to write to about the account's deliveries.
///
/// An empty address means that nobody is written to.
#[utoipa::path(
    put,
    path = "/postrider/v1/account",
    operation_id = "set_account_contact",
    tag = "accounts",
    request_body = Contact,
    responses((status = 200, description = "The account as it is now", body = Info<'_>))
)]
async fn set_contact(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    WithQuery(form): WithQuery,
) -> Result<Response, ApiError> {
    let address = form
        .given("contact_email")
        .ok_or_else(|| ApiError::bad_request("Missing parameter 'contact_email'"))?;
    let address = match address.trim() {
        "" => None,
        text => Some(text.parse::<MailAddress>().map_err(|why| {
            ApiError::bad_request(format!("contact_email is not a valid email address: {why}"))
        })?),
    };
    let address = address.as_ref().map(MailAddress::as_str);
    api.store.set_contact_email(&caller.account_id, address, api.clock.now()).await?;
    info(&api, &caller).await
}

async fn info(api: &SettingsApi, caller: &Caller) -> Result<Response, ApiError> {
    let account_id = &caller.account_id;
    let now = api.clock.now();
    let info = api.store.account_info(account_id).await?;
    let usages = api.store.usage(account_id, &api.limits.quotas, now).await?;
    let still = |until: Option<DateTime<Utc>>| {
        let until = until.filter(|until| *until > now)?;
        Some(until.to_rfc3339_opts(SecondsFormat::Secs, true))
    };
    let used = |quota| {
        let usage = usages.iter().find(|usage| usage.quota == quota);
        usage.map_or(Used { used: 0, limit: 0 }, |usage| Used {
            used: usage.used,
            limit: usage.limit,
        })
    };
    Ok(respond::ok(&Info {
        id: &info.account_id,
        name: &info.label,
        status: info.status.as_str(),
        parent_id: info.parent_id.as_deref(),
        contact_email: info.contact_email.as_deref(),
        key_role: caller.role.as_str(),
        features: features::shown(&info.features, !caller.is_subaccount_itself()),
        signing_key_overlap_until: still(info.previous_http_signing_key_until),
        alerts_signing_key_overlap_until: still(info.previous_alerts_signing_key_until),
        quotas: QuotasUsed {
            webhooks: used(Quota::Webhooks),
            alert_settings: used(Quota::AlertSettings),
            domains: used(Quota::Domains),
            api_keys: used(Quota::ApiKeys),
            subaccounts: used(Quota::Subaccounts),
        },
    }))
}

/// Refuses what is no name of an account or a subaccount: free text on one line.
pub(crate) fn check_name(name: &str) -> Result<(), ApiError> {
    if name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(ApiError::bad_request(format!(
            "name must be 1 to {MAX_NAME_CHARS} characters without control characters"
        )));
    }
    Ok(())
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct NewInfoQuery {
    /// What the account is called, 1 to 128 characters.
    name: Option<String>,
    /// Seconds; no effect.
    inactive_session_timeout: Option<u32>,
    /// Seconds; no effect.
    absolute_session_timeout: Option<u32>,
    /// No effect.
    logout_redirect_url: Option<String>,
}

/// At least one of them, here or in the query.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct NewInfo {
    /// What the account is called.
    #[schema(min_length = 1, max_length = 128)]
    name: Option<String>,
    /// Seconds; no effect.
    inactive_session_timeout: Option<u32>,
    /// Seconds; no effect.
    absolute_session_timeout: Option<u32>,
    /// No effect.
    logout_redirect_url: Option<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct Contact {
    /// An address, or nothing.
    #[schema(max_length = 254)]
    contact_email: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Message {
    pub(crate) message: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
struct Info<'a> {
    /// 24 hex characters.
    id: &'a str,
    /// What its owner calls it.
    name: &'a str,
    /// `open`, `disabled` or `closed`.
    status: &'static str,
    /// Of a subaccount.
    #[schema(required)]
    parent_id: Option<&'a str>,
    /// Whom to write to about its deliveries.
    #[schema(required)]
    contact_email: Option<&'a str>,
    /// What the key may do that the call was made with: `admin`, `developer` or `basic`.
    key_role: &'static str,
    /// Switches by name.
    features: BTreeMap<&'a str, Feature>,
    /// Until when the HTTP signing key before the present one also signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    signing_key_overlap_until: Option<String>,
    /// Until when the alerts signing key before the present one also signs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    alerts_signing_key_overlap_until: Option<String>,
    quotas: QuotasUsed,
}

/// What the account has, and how much of it it may have.
#[derive(Serialize, ToSchema)]
#[schema(as = Quotas)]
struct QuotasUsed {
    /// URLs, over all event types and domains.
    webhooks: Used,
    alert_settings: Used,
    domains: Used,
    /// Without revoked and expired ones.
    api_keys: Used,
    /// Without closed ones.
    subaccounts: Used,
}

#[derive(Clone, Copy, Serialize, ToSchema)]
#[schema(as = Quota)]
struct Used {
    used: i64,
    limit: i64,
}
