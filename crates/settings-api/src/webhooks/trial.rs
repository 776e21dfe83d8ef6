//! A test call that shows all that the receiver says, for webhooks of any level and
//! for alerts. Nothing is stored, and nothing is tried again.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use egress::Answer;
use egress::MAX_URL_BYTES;
use model::{EventType, Family};
use serde::{Deserialize, Serialize};
use store::{DomainOrder, DomainPage};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Body, json};
use crate::{SettingsApi, destination, domain_name, respond};

pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(test))
}

/// Sends a sample event to a URL, signed as a delivery is, and shows what the
/// receiver answers.
#[utoipa::path(
    post,
    path = "/postrider/v1/webhooks/test",
    operation_id = "test_webhook",
    tag = "delivery",
    request_body = Trial,
    responses(
        (status = 200, description = "The receiver was asked, whatever it answered", body = Tried),
        (status = 404, description = "There is no such domain", body = Problem),
    )
)]
async fn test(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result<Response, ApiError> {
    let Trial { url, event_type, domain } = json(&body)?;
    let event_type = EventType::parse(&event_type)
        .ok_or_else(|| ApiError::bad_request("event_type is none that there is"))?;
    if url.len() > MAX_URL_BYTES {
        return Err(ApiError::bad_request(format!("url: at most {MAX_URL_BYTES} bytes")));
    }
    destination::check_url(&api.egress, &url)
        .map_err(|why| ApiError::bad_request(format!("{url} is not a valid url: {why}")))?;
    let domain_id = match event_type.family() {
        Family::Alert => None,
        Family::Message => Some(domain_id(&api, &caller, domain.as_deref()).await?),
    };
    let documents = api.store.documents_for(&caller.account_id, domain_id.as_deref()).await?;
    let attempt = api.post_sample(&documents, event_type, &url).await?;
    let (status, answer, reason) = match attempt.answer {
        Answer::Response { status, snippet, .. } => (Some(status), snippet, None),
        Answer::Failed(failure) => (None, String::new(), Some(failure.to_string())),
    };
    let duration_ms = u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX);
    Ok(respond::ok(&Tried { status, answer, reason, duration_ms }))
}

/// The domain that the event is to be of: the one that is named, or else the first.
async fn domain_id(
    api: &SettingsApi,
    caller: &Caller,
    name: Option<&str>,
) -> Result<String, ApiError> {
    if let Some(name) = name {
        let name = domain_name::canonical(name);
        let name = name.ok_or_else(|| ApiError::not_found("Domain not found"))?;
        return Ok(model::domain_id(&name));
    }
    let page = DomainPage {
        limit: 1,
        skip: 0,
        is_disabled: None,
        search: None,
        include_subaccounts: false,
        order: DomainOrder::Name,
    };
    let (domains, _) = api.store.account_domains(&caller.account_id, &page).await?;
    let domain = domains.into_iter().next().ok_or_else(|| {
        ApiError::bad_request("the sample would be an event of a domain, and there is none yet")
    })?;
    Ok(domain.domain_id)
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WebhookTrial)]
struct Trial {
    /// Need not be that of a webhook.
    #[schema(example = "https://hooks.example.net/mail")]
    url: String,
    /// Of message events or alerts.
    #[schema(example = "clicked")]
    event_type: String,
    /// Whose event it is, where it is a message's; the account's first domain
    /// without it.
    #[schema(example = "mail.demo.example")]
    domain: Option<String>,
}

/// What came of it.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookTried)]
struct Tried {
    /// The status of the answer; `null` without one.
    #[schema(required)]
    status: Option<u16>,
    /// The beginning of the answer's body, as text.
    answer: String,
    /// Why there was no answer.
    #[schema(required)]
    reason: Option<String>,
    /// From the call until the end of what was read.
    duration_ms: u64,
}
