//! What an account says of the URLs of its subscriptions.

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::SecondsFormat;
use egress::MAX_URL_BYTES;
use egress::request::may_be_extra;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use signing::Sealed;
use store::{NewHeader, NewUrlOptions, UrlHeader, UrlOptions};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::policy::Policy;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Body, Query, json};
use crate::{SettingsApi, destination, respond};

/// Headers of one URL.
const MAX_HEADERS: usize = 10;
const MAX_HEADER_NAME_BYTES: usize = 64;
const MAX_HEADER_VALUE_BYTES: usize = 1_024;

pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(list, set, delete)).routes(routes!(pause))
}

/// Lists the URLs of which the account says something. Values of headers are
/// never shown.
#[utoipa::path(
    get,
    path = "/postrider/v1/urls",
    operation_id = "list_url_options",
    tag = "delivery",
    responses((status = 200, description = "All that is said", body = UrlList))
)]
async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    let options = api.store.url_options(&caller.account_id).await?;
    Ok(respond::ok(&UrlList { urls: options.into_iter().map(ShownUrl::of).collect() }))
}

/// Says how deliveries to a URL are made, for whatever webhook or alert of the
/// account has it. Replaces what was said of it.
#[utoipa::path(
    put,
    path = "/postrider/v1/urls",
    operation_id = "set_url_options",
    tag = "delivery",
    request_body = NewUrl,
    responses((status = 200, description = "As it is now", body = ShownUrl))
)]
async fn set(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let new: NewUrl = json(&body)?;
    check(&api, &new.url)?;
    let policy = new.policy.read("policy")?;
    let headers = headers(&api, &caller.account_id, &new.headers)?;
    api.check_broker()?;
    let options = NewUrlOptions {
        url: &new.url,
        is_paused: new.paused,
        policy: policy.as_ref(),
        headers,
        legacy_payload: new.legacy_payload,
    };
    let key = api.store.set_url_options(&caller.account_id, &options, api.clock.now()).await?;
    api.publish(&key).await?;
    show(&api, &caller, &new.url).await
}

/// Holds deliveries to a URL, or sends them again. What is held keeps its body
/// and can be released later.
#[utoipa::path(
    put,
    path = "/postrider/v1/urls/paused",
    operation_id = "pause_url",
    tag = "delivery",
    request_body = Pause,
    responses((status = 200, description = "As it is now", body = ShownUrl))
)]
async fn pause(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let Pause { url, paused } = json(&body)?;
    check(&api, &url)?;
    api.check_broker()?;
    let key = api.store.pause_url(&caller.account_id, &url, paused, api.clock.now()).await?;
    api.publish(&key).await?;
    show(&api, &caller, &url).await
}

/// Says nothing of a URL any more: deliveries to it are made like all others.
#[utoipa::path(
    delete,
    path = "/postrider/v1/urls",
    operation_id = "delete_url_options",
    tag = "delivery",
    params(WhichUrl),
    responses(
        (status = 200, description = "Deleted", body = Deleted),
        (status = 400, description = "It does not say of which", body = Problem),
        (status = 404, description = "Nothing was said of it", body = Problem),
    )
)]
async fn delete(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
) -> Result<Response, ApiError> {
    let url = query.first("url").ok_or_else(|| ApiError::bad_request("Missing parameter 'url'"))?;
    api.check_broker()?;
    let key = api.store.delete_url_options(&caller.account_id, url, api.clock.now()).await?;
    api.publish(&key).await?;
    Ok(respond::ok(&Deleted { message: "URL options have been deleted" }))
}

async fn show(api: &SettingsApi, caller: &Caller, url: &str) -> Result<Response, ApiError> {
    let options = api.store.url_options(&caller.account_id).await?;
    let options = options.into_iter().find(|options| options.url == url);
    // Somebody may have deleted it in the meantime.
    let gone = || ApiError::not_found("options for this URL not found");
    Ok(respond::ok(&ShownUrl::of(options.ok_or_else(gone)?)))
}

fn check(api: &SettingsApi, url: &str) -> Result<(), ApiError> {
    let wrong = |why| ApiError::bad_request(format!("{url} is not a valid url: {why}"));
    if url.len() > MAX_URL_BYTES {
        return Err(ApiError::bad_request(format!("url: at most {MAX_URL_BYTES} bytes")));
    }
    destination::check_url(&api.egress, url).map_err(wrong)
}

/// Checks the headers and seals their values.
fn headers(
    api: &SettingsApi,
    account_id: &str,
    given: &BTreeMap<String, Option<String>>,
) -> Result<Vec<NewHeader>, ApiError> {
    let wrong = |why: String| ApiError::bad_request(format!("headers: {why}"));
    if given.len() > MAX_HEADERS {
        return Err(wrong(format!("at most {MAX_HEADERS}, found {}", given.len())));
    }
    let mut headers = BTreeMap::new();
    for (name, value) in given {
        let known = HeaderName::from_bytes(name.as_bytes())
            .ok()
            .filter(|known| known.as_str().len() <= MAX_HEADER_NAME_BYTES);
        let Some(known) = known else {
            return Err(wrong(format!("{name:?} is not the name of a header")));
        };
        if !may_be_extra(&known) {
            return Err(wrong(format!("{known} is said by Postrider itself")));
        }
        let name = known.as_str().to_owned();
        let header = match value {
            None => NewHeader::Keep(name.clone()),
            Some(value) => {
                let fits = !value.is_empty()
                    && value.len() <= MAX_HEADER_VALUE_BYTES
                    && value.trim() == value
                    && HeaderValue::from_str(value).is_ok()
                    && value.is_ascii();
                if !fits {
                    let what = format!("1 to {MAX_HEADER_VALUE_BYTES} printable ASCII characters");
                    return Err(wrong(format!("the value of {known} must be {what}")));
                }
                let sealed = api.seal(value, Sealed::Header(account_id));
                NewHeader::Set(UrlHeader { name: name.clone(), sealed })
            }
        };
        if headers.insert(name, header).is_some() {
            return Err(wrong(format!("{known} is given twice")));
        }
    }
    Ok(headers.into_values().collect())
}

/// How deliveries to a URL are to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUrl {
    /// As it stands in webhooks and alert settings.
    #[schema(example = "https://hooks.example.net/mail")]
    url: String,
    /// Whether deliveries are held until it is unpaused.
    #[serde(default)]
    paused: bool,
    /// What of the account's policy is different.
    #[serde(default)]
    policy: Policy,
    /// Sent along with every delivery, at most ten. A value is stored encrypted
    /// and never shown; `null` keeps the one that is stored.
    #[serde(default)]
    #[schema(example = json!({"authorization": "Bearer secret"}))]
    headers: BTreeMap<String, Option<String>>,
    /// Whether message events are sent as the forms of before 2018.
    #[serde(default)]
    legacy_payload: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Pause {
    /// As it stands in webhooks and alert settings.
    #[schema(example = "https://hooks.example.net/mail")]
    url: String,
    /// Whether deliveries are held.
    paused: bool,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct WhichUrl {
    /// The URL.
    url: String,
}

#[derive(Serialize, ToSchema)]
struct UrlList {
    /// In their order.
    urls: Vec<ShownUrl>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = UrlOptions)]
struct ShownUrl {
    url: String,
    /// Since when deliveries are held.
    #[schema(value_type = Option<String>, format = DateTime)]
    paused_at: Option<String>,
    /// What of the account's policy is different.
    policy: Policy,
    /// Names of the headers that are sent along.
    headers: Vec<String>,
    /// Whether message events are sent as the forms of before 2018.
    legacy_payload: bool,
}

impl ShownUrl {
    fn of(options: UrlOptions) -> Self {
        let paused_at = options.paused_at;
        Self {
            paused_at: paused_at.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            policy: Policy::otherwise(options.policy.as_ref()),
            headers: options.headers.into_iter().map(|header| header.name).collect(),
            url: options.url,
            legacy_payload: options.legacy_payload,
        }
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = UrlOptionsDeleted)]
struct Deleted {
    message: &'static str,
}
