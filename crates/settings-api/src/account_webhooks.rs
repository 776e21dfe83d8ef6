//! Account webhooks, version 1 (reference §5).

pub(crate) mod request;

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use chrono::SecondsFormat;
use http::StatusCode;
use serde::Serialize;
use store::{AccountWebhook, AccountWebhooks, Removed, StoreError, Thing};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::Form;
use crate::path::Segments;
use crate::{SettingsApi, keys, respond};

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(list, create, delete_many))
        .routes(routes!(get, update, delete))
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Lists the account's webhooks, oldest first.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "list_account_webhooks",
    tag = "account webhooks",
    params(Filter),
    responses(
        (status = 200, description = "The webhooks; of those asked for, the ones that there are", body = List<'_>),
        (status = 400, description = "An id is malformed", body = Problem),
    )
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result {
    let wanted = request::filter(query.as_deref())?;
    let webhooks = api.store.account_webhooks(&caller.account_id).await?;
    let is_wanted = |webhook: &&AccountWebhook| {
        wanted.as_ref().is_none_or(|ids| ids.contains(&webhook.webhook_id))
    };
    let webhooks = webhooks.iter().filter(is_wanted).map(Record::of).collect();
    Ok(respond::ok(&List { webhooks }))
}

/// Shows one webhook of the account.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{webhook_id}",
    operation_id = "get_account_webhook",
    tag = "account webhooks",
    params(WebhookPath),
    responses(
        (status = 200, description = "The webhook", body = Record<'_>),
        (status = 400, description = "The id is malformed", body = Problem),
    )
)]
pub(crate) async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let webhook_id = request::webhook_id(id)?;
    match api.store.account_webhook(&caller.account_id, &webhook_id).await {
        Ok(webhook) => Ok(respond::ok(&Record::of(&webhook))),
        Err(StoreError::NotFound(Thing::Webhook)) => {
            Err(ApiError::described(StatusCode::NOT_FOUND, "webhook not found"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes a webhook: one URL that hears of these events on all domains of the
/// account and of its subaccounts.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    operation_id = "create_account_webhook",
    tag = "account webhooks",
    request_body = WebhookForm,
    responses(
        (status = 200, description = "Made", body = Created),
        (status = 404, description = "There is no such event type", body = Problem),
        (status = 409, description = "The URL is there for an event type, or three others are", body = Problem),
    )
)]
pub(crate) async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    form: Form,
) -> Result {
    let new = request::read(&api.egress, keys::object_id(), &form)?;
    check_host(&api, &new.url).await?;
    api.check_broker()?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let made = api.store.create_account_webhook(&caller.account_id, &new, quotas, now).await;
    let key = made.map_err(|error| refused(error, &new.webhook_id))?;
    api.publish(&key).await?;
    Ok(respond::ok(&Created { webhook_id: new.webhook_id }))
}

/// Gives a webhook another URL, other event types and another description.
/// What is left out is not kept.
#[utoipa::path(
    put,
    path = "/v1/webhooks/{webhook_id}",
    operation_id = "update_account_webhook",
    tag = "account webhooks",
    params(WebhookPath),
    request_body = WebhookForm,
    responses(
        (status = 204, description = "Replaced"),
        (status = 404, description = "There is no such webhook, or no such event type", body = Problem),
        (status = 409, description = "Another webhook has the URL for an event type, or three others are there", body = Problem),
    )
)]
pub(crate) async fn update(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
    form: Form,
) -> Result {
    let new = request::read(&api.egress, request::webhook_id(id)?, &form)?;
    check_host(&api, &new.url).await?;
    api.check_broker()?;
    let (quotas, now) = (&api.limits.quotas, api.clock.now());
    let replaced = api.store.replace_account_webhook(&caller.account_id, &new, quotas, now).await;
    let key = replaced.map_err(|error| refused(error, &new.webhook_id))?;
    api.publish(&key).await?;
    Ok(respond::no_content())
}

/// Removes one webhook of the account.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{webhook_id}",
    operation_id = "delete_account_webhook",
    tag = "account webhooks",
    params(WebhookPath),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, description = "The id is malformed", body = Problem),
    )
)]
pub(crate) async fn delete(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(id): Segments<String>,
) -> Result {
    let ids = [request::webhook_id(id)?];
    remove(&api, &caller, AccountWebhooks::Listed(&ids)).await
}

/// Removes several webhooks of the account, all of those listed or none.
/// Without a list, `all=true` removes every one there is.
#[utoipa::path(
    delete,
    path = "/v1/webhooks",
    operation_id = "delete_account_webhooks",
    tag = "account webhooks",
    params(Meant),
    responses(
        (status = 204, description = "Removed"),
        (status = 400, description = "An id is malformed, or it is not said which are meant", body = Problem),
        (status = 404, description = "One of those listed is not there, or none at all", body = Problem),
    )
)]
pub(crate) async fn delete_many(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result {
    let meant = request::meant(query.as_deref())?;
    let which = meant.as_deref().map_or(AccountWebhooks::All, AccountWebhooks::Listed);
    remove(&api, &caller, which).await
}

async fn remove(api: &SettingsApi, caller: &Caller, which: AccountWebhooks<'_>) -> Result {
    api.check_broker()?;
    let now = api.clock.now();
    match api.store.remove_account_webhooks(&caller.account_id, which, now).await? {
        Removed::Done(key) => api.publish(&key).await?,
        Removed::Missing { webhook_id } => return Err(id_not_found(&webhook_id)),
        Removed::NoneThere => {
            let message = "no webhooks found for account";
            return Err(ApiError::described(StatusCode::NOT_FOUND, message));
        }
    }
    Ok(respond::no_content())
}

async fn check_host(api: &SettingsApi, url: &str) -> Result<()> {
    let checked = api.check_host(url).await;
    checked.map_err(|refused| refused.answer(url, |why| request::wrong_url(&why)))
}

/// What is in the way of a webhook, in the words of this version.
fn refused(error: StoreError, webhook_id: &str) -> ApiError {
    match error {
        StoreError::NotFound(Thing::Webhook) => id_not_found(webhook_id),
        StoreError::TooManyUrls { .. } | StoreError::UrlExists { .. } => {
            ApiError::described(StatusCode::CONFLICT, error.to_string())
        }
        other => other.into(),
    }
}

fn id_not_found(webhook_id: &str) -> ApiError {
    let message = format!("webhook_id not found: {webhook_id}");
    ApiError::described(StatusCode::NOT_FOUND, message)
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct WebhookPath {
    /// Id of the webhook.
    #[param(example = "66f0c1de9a7b4e0012ab34cd", pattern = "^[0-9a-f]{24}$")]
    webhook_id: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct Filter {
    /// Ids with commas between; without it, all webhooks are listed.
    #[param(pattern = "^[0-9a-f]{24}(,[0-9a-f]{24})*$")]
    webhook_ids: Option<String>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct Meant {
    /// Ids with commas between.
    #[param(pattern = "^[0-9a-f]{24}(,[0-9a-f]{24})*$")]
    webhook_ids: Option<String>,
    /// Whether every webhook is meant. A list goes before.
    all: Option<bool>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
#[schema(as = AccountWebhookForm)]
struct WebhookForm {
    /// Where the events go.
    url: String,
    /// Ids of webhooks, each once.
    #[schema(min_items = 1)]
    event_types: Vec<String>,
    /// At most 1024 bytes.
    description: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AccountWebhookCreated)]
struct Created {
    /// 24 hex characters.
    webhook_id: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AccountWebhookList)]
struct List<'a> {
    webhooks: Vec<Record<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AccountWebhook)]
struct Record<'a> {
    /// 24 hex characters.
    webhook_id: &'a str,
    /// The customer's words; may be empty.
    description: &'a str,
    url: &'a str,
    /// In the order in which they were given.
    event_types: &'a [String],
    /// RFC 3339, in UTC, in seconds.
    created_at: String,
}

impl<'a> Record<'a> {
    fn of(webhook: &'a AccountWebhook) -> Self {
        let AccountWebhook { webhook_id, url, event_types, description, created_at } = webhook;
        let created_at = created_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        Self { webhook_id, description, url, event_types, created_at }
    }
}
