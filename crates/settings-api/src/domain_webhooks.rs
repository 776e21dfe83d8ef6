//! Domain webhooks: one store beneath two views. Version 3 goes by webhook id
//! (reference §3), version 4 by URL (reference §4).

mod names;
pub(crate) mod request;
mod sample_post;
mod v3;
mod v4;

use axum::response::Response;
use model::WebhookId;
use serde::ser::{Serialize, Serializer};
use store::{DomainWebhook, StoreError};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::{SettingsApi, domain_name, respond};

type Result<T = Response> = std::result::Result<T, ApiError>;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(v3::list, v3::create, v3::replace_url, v3::remove_urls))
        .routes(routes!(v3::get, v3::update, v3::delete))
        .routes(routes!(sample_post::test))
        .routes(routes!(v4::list, v4::add, v4::replace, v4::remove))
}

fn domain_id(name: &str) -> Result<String> {
    let name =
        domain_name::canonical(name).ok_or_else(|| ApiError::not_found("Domain not found"))?;
    Ok(model::domain_id(&name))
}

/// What the store refuses, in the form of these calls: wrong requests have the
/// key `Reason`.
fn refused(error: StoreError) -> ApiError {
    match error {
        StoreError::QuotaReached { .. } => ApiError::webhook(error.to_string()),
        StoreError::UrlExists { event_type, url } => ApiError::webhook(format!(
            "Webhook for event type '{event_type}' with URL '{url}' already exists"
        )),
        other => other.into(),
    }
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

#[derive(serde::Serialize, ToSchema)]
#[schema(as = DomainWebhooks)]
struct List<'a> {
    webhooks: Webhooks<'a>,
}

/// What an id has. Those from before 2018 have one URL, and are told in the words of then.
#[derive(serde::Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = WebhookUrls)]
enum Urls<'a> {
    Todays { urls: &'a [String] },
    Older { url: &'a str },
}

impl<'a> Urls<'a> {
    fn todays(DomainWebhook { urls, .. }: &'a DomainWebhook) -> Self {
        Self::Todays { urls }
    }

    /// As version 3 has it, which knew those of before.
    fn of(DomainWebhook { event_type, urls }: &'a DomainWebhook) -> Self {
        let is_older = WebhookId::parse(event_type).is_some_and(WebhookId::is_older);
        match urls.as_slice() {
            // Those that were made when they could have more show all of them.
            [url] if is_older => Self::Older { url },
            urls => Self::Todays { urls },
        }
    }
}

/// A map in the order in which Mailgun lists the ids. What has no URLs is left out.
#[derive(ToSchema)]
#[schema(as = WebhookUrlsById, value_type = std::collections::BTreeMap<String, Urls<'_>>)]
struct Webhooks<'a>(Vec<(&'static str, Urls<'a>)>);

impl<'a> Webhooks<'a> {
    fn of(webhooks: &'a [DomainWebhook], shown: fn(&'a DomainWebhook) -> Urls<'a>) -> Self {
        let stored = |id: WebhookId| {
            let webhook = webhooks.iter().find(|webhook| webhook.event_type == id.as_str());
            webhook.map(|webhook| (id.as_str(), shown(webhook)))
        };
        Self(WebhookId::ALL.into_iter().filter_map(stored).collect())
    }
}

impl Serialize for Webhooks<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(id, urls)| (id, urls)))
    }
}

/// All webhooks of a domain, which is the answer to every call of version 4.
fn all(webhooks: &[DomainWebhook]) -> Response {
    respond::ok(&List { webhooks: Webhooks::of(webhooks, Urls::todays) })
}
