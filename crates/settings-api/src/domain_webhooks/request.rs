//! What a customer sends about domain webhooks, checked before it is used.

use model::WebhookId;
use store::{DomainWebhook, MAX_URLS, StoreError};

use super::Result;
use crate::error::ApiError;
use crate::form::Form;
use crate::{SettingsApi, destination};

/// The URLs that a request gives to an id, each once, in their order.
pub(crate) fn urls(id: WebhookId, form: &Form) -> Result<Vec<String>> {
    let mut urls: Vec<String> = Vec::new();
    for url in form.values("url") {
        if !urls.iter().any(|given| given == url) {
            urls.push(url.to_owned());
        }
        // At once, because each is compared with all before it.
        if urls.len() > MAX_URLS {
            let event_type = id.as_str().to_owned();
            return Err(StoreError::TooManyUrls { event_type, most: MAX_URLS }.into());
        }
    }
    if urls.is_empty() { Err(missing("url")) } else { Ok(urls) }
}

/// The webhook that a request makes of an id.
pub(super) async fn webhook(
    api: &SettingsApi,
    id: WebhookId,
    form: &Form,
) -> Result<DomainWebhook> {
    let urls = urls(id, form)?;
    for url in &urls {
        check_form(api, url, ApiError::webhook)?;
    }
    // Only what has passed otherwise is worth asking a resolver.
    for url in &urls {
        check_host(api, url, ApiError::webhook).await?;
    }
    Ok(DomainWebhook { event_type: id.as_str().to_owned(), urls })
}

/// A URL and its event types, as version 4 has them.
pub(super) struct UrlAndTypes<'a> {
    pub(super) url: &'a str,
    /// Names of webhook ids, each once, at least one.
    pub(super) event_types: Vec<&'static str>,
}

/// Reads a request of version 4.
pub(super) async fn url_and_types<'a>(
    api: &SettingsApi,
    form: &'a Form,
) -> Result<UrlAndTypes<'a>> {
    let url = one_url(form)?;
    let mut event_types: Vec<&'static str> = Vec::new();
    // No type has a comma, and mailgun-python's manual writes several with commas between.
    for name in form.values("event_types").flat_map(|names| names.split(',')).map(str::trim) {
        let id = api.webhooks.legacy_ids.written(name)?;
        let id = id.ok_or_else(|| ApiError::webhook(format!("Invalid event type: {name}")))?;
        if event_types.contains(&id.as_str()) {
            let message = format!("duplicate event types: '{}'", id.as_str());
            return Err(ApiError::webhook(message));
        }
        event_types.push(id.as_str());
    }
    if event_types.is_empty() {
        return Err(missing("event_types"));
    }
    let refuse = |why: String| ApiError::webhook(format!("invalid parameters: {why}"));
    check_form(api, url, refuse)?;
    check_host(api, url, refuse).await?;
    Ok(UrlAndTypes { url, event_types })
}

/// The URL of a test call. Its host is looked up by the call itself.
pub(super) fn url_to_test<'a>(api: &SettingsApi, form: &'a Form) -> Result<&'a str> {
    let url = one_url(form)?;
    check_form(api, url, ApiError::webhook)?;
    Ok(url)
}

fn one_url(form: &Form) -> Result<&str> {
    let mut urls = form.values("url");
    let url = urls.next().ok_or_else(|| missing("url"))?;
    match urls.next() {
        None => Ok(url),
        Some(_) => Err(ApiError::webhook("Parameter 'url' must be given once")),
    }
}

fn missing(name: &str) -> ApiError {
    ApiError::webhook(format!("Missing parameter '{name}'"))
}

/// What is not a valid URL is answered with what `refuse` makes of the reason.
fn check_form(api: &SettingsApi, url: &str, refuse: impl FnOnce(String) -> ApiError) -> Result<()> {
    destination::check_url(&api.egress, url)
        .map_err(|why| refuse(format!("{url} is not a valid url: {why}")))
}

async fn check_host(
    api: &SettingsApi,
    url: &str,
    refuse: impl FnOnce(String) -> ApiError,
) -> Result<()> {
    api.check_host(url).await.map_err(|refused| refused.answer(url, refuse))
}
