//! All webhooks of an account in one list, whichever level they stand on, and a
//! test call that shows what the receiver says. Mailgun has neither.

mod trial;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::SecondsFormat;
use http::HeaderMap;
use model::WebhookId;
use serde::{Deserialize, Serialize};
use store::{AnyWebhook, WebhookPage};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::events::{links::Origin, token};
use crate::failures::{limit, text};
use crate::form::Query;
use crate::{SettingsApi, domain_name, respond};

/// What links are bound to, beside the account.
const LIST: &str = "webhooks";

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(list)).merge(trial::routes())
}

/// A search, as links have it.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Search {
    domain: Option<String>,
    search: Option<String>,
    limit: i64,
    behind: Option<(String, String, String)>,
}

/// Lists the webhooks of the account and of all its domains: the account's own
/// first, then by domain and URL. Each page has a link to the next one.
#[utoipa::path(
    get,
    path = "/postrider/v1/webhooks",
    operation_id = "list_webhooks",
    tag = "delivery",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of webhooks", body = Page),
        (status = 400, description = "Something in the query is wrong", body = Problem),
        (status = 404, description = "No domain can have this name", body = Problem),
    )
)]
async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let search: Search = match query.first("page") {
        Some(page) => token::open(&api, &caller.account_id, LIST, page)?,
        None => read(&query)?,
    };
    let page = WebhookPage {
        limit: search.limit,
        domain: search.domain.clone(),
        search: search.search.clone(),
        behind: search.behind.clone(),
    };
    let found = api.store.webhooks(&caller.account_id, &page).await?;
    let next = match found.last() {
        Some(last) if i64::try_from(found.len()).is_ok_and(|count| count >= search.limit) => {
            let behind = (last.domain.clone(), last.url.clone(), last.webhook_id.clone());
            let search = Search { behind: Some(behind), ..search };
            let token = token::seal(&api, &caller.account_id, LIST, &search)?;
            Some(format!("{}/postrider/v1/webhooks?page={token}", Origin::of(&headers)))
        }
        _ => None,
    };
    let items = found.into_iter().map(|webhook| Listed::of(&caller.account_id, webhook)).collect();
    Ok(respond::ok(&Page { items, paging: Paging { next } }))
}

fn read(query: &crate::form::Form) -> Result<Search, ApiError> {
    let domain = match query.first("domain") {
        None => None,
        Some(name) => {
            let unknown = || ApiError::not_found("Domain not found");
            Some(domain_name::canonical(name).ok_or_else(unknown)?)
        }
    };
    let search = text(query, "search")?.map(|text| text.to_lowercase());
    Ok(Search { domain, search, limit: limit(query)?, behind: None })
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct ListQuery {
    /// Only those of this domain.
    #[param(example = "mail.demo.example")]
    domain: Option<String>,
    /// Only those that have this in their URL, description or domain.
    search: Option<String>,
    /// Webhooks on a page, 1 to 300.
    #[param(default = 100, example = "100")]
    limit: Option<String>,
    /// Where a link leads to. Nothing else has an effect then.
    page: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhooksPage)]
struct Page {
    items: Vec<Listed>,
    paging: Paging,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhooksPaging)]
struct Paging {
    /// The next page; `null` on the last one.
    next: Option<String>,
}

/// A URL and its event types on one level.
#[derive(Serialize, ToSchema)]
#[schema(as = ListedWebhook)]
struct Listed {
    /// Name of the domain; `null` for a webhook of the account.
    domain: Option<String>,
    /// Of a webhook of the account, 24 hex characters; `null` for a domain's.
    webhook_id: Option<String>,
    /// The customer's words; may be empty, and is for a domain's.
    description: String,
    url: String,
    /// What statistics call the URL.
    target_id: String,
    /// Ids of webhooks.
    event_types: Vec<String>,
    /// Since when deliveries to the URL are held.
    #[schema(format = DateTime)]
    paused_at: Option<String>,
}

impl Listed {
    fn of(account_id: &str, webhook: AnyWebhook) -> Self {
        let AnyWebhook { domain, url, webhook_id, description, mut event_types, paused_at } =
            webhook;
        // Those of a domain have no order of their own.
        if webhook_id.is_empty() {
            let place = |name: &String| WebhookId::ALL.iter().position(|id| id.as_str() == name);
            event_types.sort_by_key(place);
        }
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            domain: some(domain),
            webhook_id: some(webhook_id),
            description,
            target_id: model::message_target_id(account_id, &url),
            url,
            event_types,
            paused_at: paused_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
        }
    }
}
