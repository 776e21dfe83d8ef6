//! What a customer sends about alerts: JSON alone (reference §9.3).

use egress::mail::MailAddress;
use model::{EventType, Family};
use serde::Deserialize;
use store::{AlertDestination, NewAlert};
use utoipa::ToSchema;

use super::slack;
use crate::error::ApiError;
use crate::form::json;

/// Mailboxes that one alert setting can have.
const MAX_ADDRESSES: usize = 50;

/// An alert setting, to be made or to replace one.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body")]
pub(super) struct AlertForm {
    /// One of those that `GET /v1/alerts/events` lists.
    #[schema(example = "ip_listed")]
    event_type: String,
    /// `webhook` or `email`; `slack` is not supported.
    #[schema(example = "webhook")]
    channel: String,
    settings: DestinationForm,
}

/// Where the alert goes: one of the two, by the channel.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the body")]
#[schema(as = AlertDestinationForm)]
struct DestinationForm {
    /// With channel `webhook`.
    #[schema(example = "https://hooks.example.net/alerts")]
    url: Option<String>,
    /// With channel `email`.
    #[schema(min_items = 1, max_items = 50)]
    emails: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Alert {
    event_type: Option<String>,
    channel: Option<String>,
    settings: Option<Destination>,
}

#[derive(Deserialize)]
struct Destination {
    url: Option<String>,
    emails: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Trial {
    event_type: Option<String>,
    url: Option<String>,
    emails: Option<Vec<String>>,
}

/// Reads an alert setting, all of whose fields are required.
pub(crate) fn read(body: &[u8]) -> Result<NewAlert, ApiError> {
    let Alert { event_type, channel, settings } = json(body)?;
    let event_type = alert_type(event_type)?.as_str().to_owned();
    let channel = present(channel, "channel")?;
    let destination = match channel.as_str() {
        "webhook" => {
            let url = settings.ok_or_else(|| missing("settings"))?.url;
            AlertDestination::Webhook { url: present(url, "settings.url")? }
        }
        "email" => {
            let emails = settings.ok_or_else(|| missing("settings"))?.emails;
            let emails = mailboxes(emails, "settings.emails")?;
            AlertDestination::Email { emails: emails.into_iter().map(|(given, _)| given).collect() }
        }
        "slack" => return Err(slack::not_supported()),
        other => return Err(ApiError::bad_request(format!("Invalid channel: {other}"))),
    };
    Ok(NewAlert { event_type, destination })
}

/// Reads what is to be tried, and on which URL.
pub(crate) fn webhook_trial(body: &[u8]) -> Result<(EventType, String), ApiError> {
    let Trial { event_type, url, .. } = json(body)?;
    Ok((alert_type(event_type)?, present(url, "url")?))
}

/// Reads what is to be tried, and on which mailboxes.
pub(crate) fn email_trial(body: &[u8]) -> Result<(EventType, Vec<MailAddress>), ApiError> {
    let Trial { event_type, emails, .. } = json(body)?;
    let event_type = alert_type(event_type)?;
    let emails = mailboxes(emails, "emails")?;
    Ok((event_type, emails.into_iter().map(|(_, address)| address).collect()))
}

fn alert_type(name: Option<String>) -> Result<EventType, ApiError> {
    let name = present(name, "event_type")?;
    EventType::parse(&name)
        .filter(|known| known.family() == Family::Alert)
        .ok_or_else(|| ApiError::bad_request(format!("Invalid event_type: {name}")))
}

/// Mailboxes as they were given, each once, and the addresses that they stand for.
fn mailboxes(
    given: Option<Vec<String>>,
    name: &str,
) -> Result<Vec<(String, MailAddress)>, ApiError> {
    let mut mailboxes: Vec<(String, MailAddress)> = Vec::new();
    for text in given.unwrap_or_default() {
        let text = text.trim();
        let address: MailAddress = text.parse().map_err(|why| {
            ApiError::bad_request(format!("Invalid email address: {text}: {why}"))
        })?;
        if !mailboxes.iter().any(|(_, known)| *known == address) {
            mailboxes.push((text.to_owned(), address));
        }
        // At once, because each is compared with all before it.
        if mailboxes.len() > MAX_ADDRESSES {
            return Err(ApiError::bad_request(format!(
                "{name}: at most {MAX_ADDRESSES} addresses"
            )));
        }
    }
    if mailboxes.is_empty() {
        return Err(missing(name));
    }
    Ok(mailboxes)
}

fn present(value: Option<String>, name: &str) -> Result<String, ApiError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ApiError {
    ApiError::bad_request(format!("Missing parameter '{name}'"))
}
