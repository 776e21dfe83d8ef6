//! Domain webhooks, version 3 (reference §3).

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use model::WebhookId;
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use store::{DomainWebhook, MAX_URLS};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::form::Form;
use crate::path::Segments;
use crate::{SettingsApi, destination, domain_name, respond};

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Lists the webhooks of a domain.
#[utoipa::path(
    get,
    path = "/v3/domains/{domain}/webhooks",
    operation_id = "list_domain_webhooks",
    tag = "domain webhooks",
    params(DomainPath),
    responses((status = 200, description = "All webhooks of the domain", body = List<'_>))
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
) -> Result {
    let webhooks = api.store.domain_webhooks(&caller.account_id, &domain_id(&domain)?).await?;
    Ok(respond::ok(&List { webhooks: Webhooks(&webhooks) }))
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
pub(crate) async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, name)): Segments<(String, String)>,
) -> Result {
    let webhooks = api.store.domain_webhooks(&caller.account_id, &domain_id(&domain)?).await?;
    let webhook = webhooks
        .iter()
        .find(|webhook| webhook.event_type == name)
        .ok_or_else(|| ApiError::not_found("Webhook not found"))?;
    Ok(respond::ok(&One { webhook: Urls { urls: &webhook.urls } }))
}

/// Gives a webhook id that has none its URLs.
#[utoipa::path(
    post,
    path = "/v3/domains/{domain}/webhooks",
    operation_id = "create_domain_webhook",
    tag = "domain webhooks",
    params(DomainPath),
    request_body = NewWebhook,
    responses((status = 200, description = "Made", body = Changed<'_>))
)]
pub(crate) async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
    form: Form,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let name = form.first("id").ok_or_else(|| ApiError::webhook("Missing parameter 'id'"))?;
    let id = WebhookId::parse(name)
        .ok_or_else(|| ApiError::webhook(format!("Invalid webhook id: {name}")))?;
    let webhook = webhook(&api, id, &form)?;
    api.check_broker()?;
    let now = api.clock.now();
    let key =
        api.store.create_domain_webhook(&caller.account_id, &domain_id, &webhook, now).await?;
    api.publish(&key).await?;
    Ok(changed("Webhook has been created", &webhook.urls))
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
pub(crate) async fn update(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, name)): Segments<(String, String)>,
    form: Form,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let webhook = webhook(&api, known(&name)?, &form)?;
    api.check_broker()?;
    let now = api.clock.now();
    let key =
        api.store.replace_domain_webhook(&caller.account_id, &domain_id, &webhook, now).await?;
    api.publish(&key).await?;
    Ok(changed("Webhook has been updated", &webhook.urls))
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
pub(crate) async fn delete(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, name)): Segments<(String, String)>,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let id = known(&name)?;
    api.check_broker()?;
    let now = api.clock.now();
    let (removed, key) =
        api.store.delete_domain_webhook(&caller.account_id, &domain_id, id.as_str(), now).await?;
    api.publish(&key).await?;
    Ok(changed("Webhook has been deleted", &removed))
}

fn domain_id(name: &str) -> Result<String> {
    let name =
        domain_name::canonical(name).ok_or_else(|| ApiError::not_found("Domain not found"))?;
    Ok(model::domain_id(&name))
}

fn known(name: &str) -> Result<WebhookId> {
    WebhookId::parse(name).ok_or_else(|| ApiError::not_found("Webhook not found"))
}

/// The URLs that a request gives, each once, in their order.
fn webhook(api: &SettingsApi, id: WebhookId, form: &Form) -> Result<DomainWebhook> {
    let mut urls: Vec<String> = Vec::new();
    for url in form.values("url") {
        if !urls.iter().any(|given| given == url) {
            urls.push(url.to_owned());
        }
    }
    let event_type = id.as_str().to_owned();
    if urls.is_empty() {
        return Err(ApiError::webhook("Missing parameter 'url'"));
    }
    if urls.len() > MAX_URLS {
        return Err(store::StoreError::TooManyUrls { event_type }.into());
    }
    for url in &urls {
        destination::check_url(&api.egress, url)
            .map_err(|why| ApiError::webhook(format!("{url} is not a valid url: {why}")))?;
    }
    Ok(DomainWebhook { event_type, urls })
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct DomainPath {
    /// Name of the domain.
    #[param(example = "mail.demo.example")]
    domain: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct WebhookPath {
    /// Name of the domain.
    #[param(example = "mail.demo.example")]
    domain: String,
    /// Id of the webhook.
    #[param(example = "clicked")]
    webhook_name: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct NewWebhook {
    /// Id of the webhook.
    id: String,
    /// One to three URLs.
    url: Vec<String>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct NewUrls {
    /// One to three URLs.
    url: Vec<String>,
}

fn changed(message: &'static str, urls: &[String]) -> Response {
    respond::ok(&Changed { message, webhook: Urls { urls } })
}

#[derive(serde::Serialize, ToSchema)]
struct Changed<'a> {
    message: &'static str,
    webhook: Urls<'a>,
}

#[derive(serde::Serialize, ToSchema)]
struct One<'a> {
    webhook: Urls<'a>,
}

#[derive(serde::Serialize, ToSchema)]
struct List<'a> {
    webhooks: Webhooks<'a>,
}

#[derive(serde::Serialize, ToSchema)]
struct Urls<'a> {
    urls: &'a [String],
}

/// A map in the order in which Mailgun lists the ids. What has no URLs is left out.
#[derive(ToSchema)]
#[schema(value_type = std::collections::BTreeMap<String, Urls<'_>>)]
struct Webhooks<'a>(&'a [DomainWebhook]);

impl Serialize for Webhooks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for id in WebhookId::ALL {
            for webhook in self.0.iter().filter(|webhook| webhook.event_type == id.as_str()) {
                map.serialize_entry(id.as_str(), &Urls { urls: &webhook.urls })?;
            }
        }
        map.end()
    }
}
