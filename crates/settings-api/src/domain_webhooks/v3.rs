//! Version 3: the URLs of one webhook id (reference §3).

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use store::DomainWebhook;
use utoipa::ToSchema;

use super::v4::{self, NewUrl, RemovedUrls};
use super::{DomainPath, List, Result, Urls, WebhookPath, Webhooks, domain_id, refused, request};
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Form, Query};
use crate::path::Segments;
use crate::{SettingsApi, respond};

/// Lists the webhooks of a domain.
#[utoipa::path(
    get,
    path = "/v3/domains/{domain}/webhooks",
    operation_id = "list_domain_webhooks",
    tag = "domain webhooks",
    params(DomainPath),
    responses((status = 200, description = "All webhooks of the domain", body = List<'_>))
)]
pub(super) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
) -> Result {
    let webhooks = api.store.domain_webhooks(&caller.account_id, &domain_id(&domain)?).await?;
    Ok(respond::ok(&List { webhooks: Webhooks::of(&webhooks, Urls::of) }))
}

/// Shows one webhook of a domain.
#[utoipa::path(
    get,
    path = "/v3/domains/{domain}/webhooks/{webhook_name}",
    operation_id = "get_domain_webhook",
    tag = "domain webhooks",
    params(WebhookPath),
    responses((status = 200, description = "The URLs of one webhook", body = One<'_>))
)]
pub(super) async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, name)): Segments<(String, String)>,
) -> Result {
    let webhooks = api.store.domain_webhooks(&caller.account_id, &domain_id(&domain)?).await?;
    let id = api.webhooks.legacy_ids.stored(&name)?;
    let webhook = webhooks
        .iter()
        .find(|webhook| webhook.event_type == id.as_str())
        .ok_or_else(|| ApiError::not_found("Webhook not found"))?;
    Ok(respond::ok(&One { webhook: Urls::of(webhook) }))
}

/// Gives a webhook id that has none its URLs.
///
/// With `event_types` and no `id` it does what version 4 does, because some
/// clients send that here.
#[utoipa::path(
    post,
    path = "/v3/domains/{domain}/webhooks",
    operation_id = "create_domain_webhook",
    tag = "domain webhooks",
    params(DomainPath),
    request_body = NewWebhook,
    responses((status = 200, description = "Made", body = Made<'_>))
)]
pub(super) async fn create(
    state: State<SettingsApi>,
    caller: Extension<Caller>,
    domain: Segments<String>,
    form: Form,
) -> Result {
    let name = match form.first("id") {
        Some(_) if form.values("id").nth(1).is_some() => {
            return Err(ApiError::webhook("Parameter 'id' must be given once"));
        }
        Some(name) => name,
        None if form.first("event_types").is_some() => {
            return v4::add(state, caller, domain, form).await;
        }
        None => return Err(ApiError::webhook("Missing parameter 'id'")),
    };
    let (State(api), Extension(caller), Segments(domain)) = (state, caller, domain);
    let domain_id = domain_id(&domain)?;
    let id = api.webhooks.legacy_ids.written(name)?;
    let id = id.ok_or_else(|| ApiError::webhook(format!("Invalid webhook id: {name}")))?;
    let webhook = request::webhook(&api, id, &form).await?;
    api.check_broker()?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let key = api
        .store
        .create_domain_webhook(&caller.account_id, &domain_id, &webhook, quotas, now)
        .await
        .map_err(refused)?;
    api.publish(&key).await?;
    Ok(changed("Webhook has been created", &webhook))
}

/// Replaces the URLs of a webhook id.
#[utoipa::path(
    put,
    path = "/v3/domains/{domain}/webhooks/{webhook_name}",
    operation_id = "update_domain_webhook",
    tag = "domain webhooks",
    params(WebhookPath),
    request_body = NewUrls,
    responses((status = 200, description = "Replaced", body = Changed<'_>))
)]
pub(super) async fn update(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, name)): Segments<(String, String)>,
    form: Form,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let id = api.webhooks.legacy_ids.written(&name)?;
    let id = id.ok_or_else(|| ApiError::not_found("Webhook not found"))?;
    let webhook = request::webhook(&api, id, &form).await?;
    api.check_broker()?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let key = api
        .store
        .replace_domain_webhook(&caller.account_id, &domain_id, &webhook, quotas, now)
        .await
        .map_err(refused)?;
    api.publish(&key).await?;
    Ok(changed("Webhook has been updated", &webhook))
}

/// Takes a webhook id its URLs.
#[utoipa::path(
    delete,
    path = "/v3/domains/{domain}/webhooks/{webhook_name}",
    operation_id = "delete_domain_webhook",
    tag = "domain webhooks",
    params(WebhookPath),
    responses((status = 200, description = "Removed, with the URLs that it had", body = Changed<'_>))
)]
pub(super) async fn delete(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, name)): Segments<(String, String)>,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let id = api.webhooks.legacy_ids.stored(&name)?;
    api.check_broker()?;
    let now = api.clock.now();
    let event_type = id.as_str().to_owned();
    let (urls, key) =
        api.store.delete_domain_webhook(&caller.account_id, &domain_id, &event_type, now).await?;
    api.publish(&key).await?;
    Ok(changed("Webhook has been deleted", &DomainWebhook { event_type, urls }))
}

/// The same as in version 4, for clients that send it here.
#[utoipa::path(
    put,
    path = "/v3/domains/{domain}/webhooks",
    operation_id = "replace_domain_webhook_url_v3",
    tag = "domain webhooks",
    params(DomainPath),
    request_body = NewUrl,
    responses((status = 200, description = "All webhooks of the domain", body = List<'_>))
)]
pub(super) async fn replace_url(
    state: State<SettingsApi>,
    caller: Extension<Caller>,
    domain: Segments<String>,
    form: Form,
) -> Result {
    v4::replace(state, caller, domain, form).await
}

/// The same as in version 4, for clients that send it here.
#[utoipa::path(
    delete,
    path = "/v3/domains/{domain}/webhooks",
    operation_id = "remove_domain_webhook_urls_v3",
    tag = "domain webhooks",
    params(DomainPath, RemovedUrls),
    responses(
        (status = 200, description = "All webhooks of the domain", body = List<'_>),
        (status = 400, description = "No URL is given", body = Problem),
    )
)]
pub(super) async fn remove_urls(
    state: State<SettingsApi>,
    caller: Extension<Caller>,
    domain: Segments<String>,
    query: Query,
) -> Result {
    v4::remove(state, caller, domain, query).await
}

fn changed(message: &'static str, webhook: &DomainWebhook) -> Response {
    respond::ok(&Changed { message, webhook: Urls::of(webhook) })
}

#[derive(ToSchema)]
#[schema(as = NewDomainWebhook)]
#[expect(dead_code, reason = "describes the form")]
struct NewWebhook {
    /// Id of the webhook.
    id: String,
    /// One to three URLs.
    url: Vec<String>,
}

#[derive(ToSchema)]
#[schema(as = NewWebhookUrls)]
#[expect(dead_code, reason = "describes the form")]
struct NewUrls {
    /// One to three URLs.
    url: Vec<String>,
}

/// One id, or all of the domain in the way of version 4.
#[derive(serde::Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = MadeDomainWebhook)]
#[expect(dead_code, reason = "describes the answer")]
enum Made<'a> {
    One(Changed<'a>),
    All(List<'a>),
}

#[derive(serde::Serialize, ToSchema)]
#[schema(as = ChangedDomainWebhook)]
struct Changed<'a> {
    message: &'static str,
    webhook: Urls<'a>,
}

#[derive(serde::Serialize, ToSchema)]
#[schema(as = DomainWebhook)]
struct One<'a> {
    webhook: Urls<'a>,
}
