//! Version 4: the event types of one URL (reference §4). Every success shows
//! all webhooks of the domain.

use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use store::{StoreError, Thing};
use utoipa::{IntoParams, ToSchema};

use super::request::{self, UrlAndTypes};
use super::{DomainPath, List, Result, domain_id};
use crate::SettingsApi;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Form, Query};
use crate::path::Segments;

/// Lists the webhooks of a domain.
#[utoipa::path(
    get,
    path = "/v4/domains/{domain}/webhooks",
    operation_id = "list_domain_webhooks_v4",
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
    Ok(super::all(&webhooks))
}

/// Adds a URL to several event types, or to none of them.
#[utoipa::path(
    post,
    path = "/v4/domains/{domain}/webhooks",
    operation_id = "add_domain_webhook_url",
    tag = "domain webhooks",
    params(DomainPath),
    request_body = NewUrl,
    responses((status = 200, description = "All webhooks of the domain", body = List<'_>))
)]
pub(super) async fn add(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
    form: Form,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let UrlAndTypes { url, event_types } = request::url_and_types(&api, &form).await?;
    api.check_broker()?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let (webhooks, key) = api
        .store
        .add_domain_url(&caller.account_id, &domain_id, url, &event_types, quotas, now)
        .await
        .map_err(refused)?;
    api.publish(&key).await?;
    Ok(super::all(&webhooks))
}

/// Gives a URL exactly these event types; it loses all others.
#[utoipa::path(
    put,
    path = "/v4/domains/{domain}/webhooks",
    operation_id = "replace_domain_webhook_url",
    tag = "domain webhooks",
    params(DomainPath),
    request_body = NewUrl,
    responses((status = 200, description = "All webhooks of the domain", body = List<'_>))
)]
pub(super) async fn replace(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
    form: Form,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let UrlAndTypes { url, event_types } = request::url_and_types(&api, &form).await?;
    api.check_broker()?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let (webhooks, key) = api
        .store
        .replace_domain_url(&caller.account_id, &domain_id, url, &event_types, quotas, now)
        .await
        .map_err(refused)?;
    api.publish(&key).await?;
    Ok(super::all(&webhooks))
}

/// Removes URLs from all event types.
#[utoipa::path(
    delete,
    path = "/v4/domains/{domain}/webhooks",
    operation_id = "remove_domain_webhook_urls",
    tag = "domain webhooks",
    params(DomainPath, RemovedUrls),
    responses(
        (status = 200, description = "All webhooks of the domain", body = List<'_>),
        (status = 400, description = "No URL is given", body = Problem),
    )
)]
pub(super) async fn remove(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(domain): Segments<String>,
    Query(query): Query,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let given: Vec<&str> = query.values("url").collect();
    if given.is_empty() {
        return Err(ApiError::parameter("url", "is missing"));
    }
    api.check_broker()?;
    let now = api.clock.now();
    let (webhooks, key) = api
        .store
        .remove_domain_urls(&caller.account_id, &domain_id, &given, now)
        .await
        .map_err(refused)?;
    api.publish(&key).await?;
    Ok(super::all(&webhooks))
}

/// As version 3 has it, but that a missing webhook is told with `Description`.
fn refused(error: StoreError) -> ApiError {
    match error {
        StoreError::NotFound(Thing::Webhook) => {
            ApiError::described(StatusCode::NOT_FOUND, "Webhook not found")
        }
        other => super::refused(other),
    }
}

#[derive(ToSchema)]
#[schema(as = NewWebhookUrl)]
#[expect(dead_code, reason = "describes the form")]
pub(super) struct NewUrl {
    /// One URL.
    url: String,
    /// Ids of webhooks, each once.
    #[schema(min_items = 1)]
    event_types: Vec<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub(super) struct RemovedUrls {
    /// One URL, or several with commas between.
    url: String,
}
