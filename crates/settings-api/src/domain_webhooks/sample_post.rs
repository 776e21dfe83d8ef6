//! The test call: one sample event to a URL, now (reference §3.6).

use axum::Extension;
use axum::extract::State;
use egress::{Answer, Failure};
use model::WebhookId;
use serde::Serialize;
use utoipa::ToSchema;

use super::{Result, WebhookPath, domain_id, request};
use crate::auth::Caller;
use crate::error::ApiError;
use crate::form::Form;
use crate::path::Segments;
use crate::{SettingsApi, respond};

/// Sends a sample event to a URL and shows what the endpoint answers.
///
/// The event is signed as a delivery is and says that it is a test. Nothing is
/// stored, nothing is tried again, and the webhook need not be configured.
#[utoipa::path(
    put,
    path = "/v3/domains/{domain}/webhooks/{webhook_name}/test",
    operation_id = "test_domain_webhook",
    tag = "domain webhooks",
    params(WebhookPath),
    request_body = Tested,
    responses((status = 200, description = "The endpoint was asked, whatever it answered", body = Outcome))
)]
pub(super) async fn test(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments((domain, name)): Segments<(String, String)>,
    form: Form,
) -> Result {
    let domain_id = domain_id(&domain)?;
    let documents = api.store.documents_for(&caller.account_id, Some(&domain_id)).await?;
    let id = WebhookId::parse(&name).ok_or_else(|| ApiError::not_found("Webhook not found"))?;
    let url = request::url_to_test(&api, &form)?;
    let attempt = api.post_sample(&documents, id.event_type(), url).await?;
    Ok(respond::ok(&Outcome::of(attempt.answer)))
}

#[derive(ToSchema)]
#[schema(as = TestedWebhook)]
#[expect(dead_code, reason = "describes the form")]
struct Tested {
    /// One URL.
    url: String,
}

/// What came of a test call.
#[derive(Debug, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = WebhookTestOutcome)]
struct Outcome {
    /// The status that the endpoint answered: null for 200, 0 without an answer.
    code: Option<u16>,
    /// The beginning of the endpoint's answer, or why there was none.
    message: String,
}

impl Outcome {
    fn of(answer: Answer) -> Self {
        match answer {
            Answer::Response { status: 200, snippet, .. } => Self { code: None, message: snippet },
            Answer::Response { status, snippet, .. } => {
                Self { code: Some(status), message: snippet }
            }
            Answer::Failed(Failure { detail, .. }) => Self { code: Some(0), message: detail },
        }
    }
}
