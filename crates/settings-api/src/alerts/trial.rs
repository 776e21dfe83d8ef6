//! Test calls (reference §9.1): an alert that is made up, sent once and at
//! once. It looks like a real one, and is in no history and in no count.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use egress::Answer;
use egress::mail::{Accepted, Mail, MailAddress, Mailer, Refusal};
use http::StatusCode;
use model::{MailFrame, MailReason};
use protocol::v1::AcceptedEvent;
use store::RateBudget;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Message;
use super::request;
use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::Body;
use crate::{SettingsApi, destination, respond};

/// The calls of this module.
pub(super) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(webhook)).routes(routes!(email))
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Sends a made-up alert to a URL, signed as a real one.
#[utoipa::path(
    post,
    path = "/v1/alerts/webhooks/test",
    operation_id = "test_alert_webhook",
    tag = "alerts",
    request_body = WebhookTrial,
    responses(
        (status = 200, description = "The URL answered 2xx", body = Message),
        (status = 400, description = "The URL answered something else, or nothing; or the request is wrong", body = Problem),
    )
)]
async fn webhook(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result {
    let (event_type, url) = request::webhook_trial(&body)?;
    destination::check_url(&api.egress, &url)
        .map_err(|why| ApiError::bad_request(format!("{url} is not a valid url: {why}")))?;
    let documents = api.store.documents_for(&caller.account_id, None).await?;
    let attempt = api.post_sample(&documents, event_type, &url).await?;
    let why = match attempt.answer {
        Answer::Response { status: status @ 200..=299, .. } => {
            let message = format!("test alert sent: the webhook url returned {status}");
            return Ok(respond::ok(&Message { message }));
        }
        Answer::Response { status, .. } => format!("it returned {status}"),
        Answer::Failed(failure) if failure.kind.is_ours() => {
            let message = format!("the test alert could not be sent: {failure}");
            return Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message));
        }
        Answer::Failed(failure) => failure.to_string(),
    };
    Err(ApiError::bad_request(format!("webhook url did not return a 2xx response: {why}")))
}

/// Sends the mail of a made-up alert, marked as a test.
#[utoipa::path(
    post,
    path = "/v1/alerts/email/test",
    operation_id = "test_alert_email",
    tag = "alerts",
    request_body = EmailTrial,
    responses(
        (status = 200, description = "The mail is on its way to everybody", body = Message),
        (status = 400, description = "Somebody does not get it, this server sends no mail, or the request is wrong", body = Problem),
    )
)]
async fn email(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Body(body): Body,
) -> Result {
    let (event_type, to) = request::email_trial(&body)?;
    let mailer = api.mailer.as_ref().ok_or_else(|| {
        ApiError::bad_request("email cannot be tested: this server has no mail relay configured")
    })?;
    let mails = u32::try_from(to.len()).unwrap_or(u32::MAX);
    api.spend(&caller.primary_id, RateBudget::TestMails, mails).await?;
    let _place = api.outbound.place(&caller.primary_id).await?;
    let documents = api.store.documents_for(&caller.account_id, None).await?;
    let event = api.sample_event(&documents, event_type);
    let mail = mail(&event, to, api.console_url.as_deref())?;
    deliver(mailer, &mail).await
}

/// The mail of an alert that has not happened.
fn mail(event: &AcceptedEvent, to: Vec<MailAddress>, console_url: Option<&str>) -> Result<Mail> {
    let frame = MailFrame { reason: MailReason::Test, console_url };
    let model::AlertMail { subject, text, html } =
        model::alert_mail(event, &frame).map_err(|error| {
            tracing::error!(%error, "the mail of a test call cannot be made");
            ApiError::internal()
        })?;
    // In the form of a delivery's id, and of no delivery.
    let id = hex::encode(chassis::entropy::bytes::<16>());
    Ok(Mail {
        id: id.clone(),
        to,
        subject,
        text,
        html: Some(html),
        delivery: Some(id),
        // It belongs to no setting.
        list: None,
    })
}

async fn deliver(mailer: &Mailer, mail: &Mail) -> Result {
    let (message, is_ours) = match mailer.send(mail).await {
        Ok(Accepted { taken, refused, .. }) if refused.is_empty() => {
            let addresses = if taken.len() == 1 { "address" } else { "addresses" };
            let message = format!("test alert sent to {} {addresses}", taken.len());
            return Ok(respond::ok(&Message { message }));
        }
        Ok(Accepted { refused, .. }) => {
            let refusal = |Refusal { address, reply, .. }: &Refusal| format!("{address}: {reply}");
            let refusals: Vec<String> = refused.iter().map(refusal).collect();
            let refusals = refusals.join("; ");
            (
                format!("test alert not sent to everybody: the mail relay refused {refusals}"),
                refused.iter().all(|refusal| refusal.kind.is_ours()),
            )
        }
        Err(failure) => {
            // Without the details, which may hold an address.
            tracing::info!(reason = failure.kind.as_str(), "the mail of a test call was not sent");
            (format!("test alert not sent: {failure}"), failure.kind.is_ours())
        }
    };
    let status = if is_ours { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::BAD_REQUEST };
    Err(ApiError::new(status, message))
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body")]
#[schema(as = AlertWebhookTrial)]
struct WebhookTrial {
    /// One of those that `GET /v1/alerts/events` lists.
    #[schema(example = "ip_listed")]
    event_type: String,
    /// Need not be that of a setting.
    #[schema(example = "https://hooks.example.net/alerts")]
    url: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body")]
#[schema(as = AlertEmailTrial)]
struct EmailTrial {
    /// One of those that `GET /v1/alerts/events` lists.
    #[schema(example = "ip_listed")]
    event_type: String,
    /// Need not be those of a setting.
    #[schema(min_items = 1, max_items = 50)]
    emails: Vec<String>,
}
