//! What a customer sends to make or to replace an alert setting: JSON alone.

use model::{EventType, Family};
use serde::Deserialize;
use store::{AlertDestination, NewAlert};

use super::{email, slack_not_supported};
use crate::error::ApiError;

#[derive(Deserialize)]
struct Request {
    event_type: Option<String>,
    channel: Option<String>,
    settings: Option<Settings>,
}

#[derive(Deserialize)]
struct Settings {
    url: Option<String>,
    emails: Option<Vec<String>>,
}

/// Reads a request, all of whose fields are required.
pub(super) fn read(body: &[u8]) -> Result<NewAlert, ApiError> {
    let request: Request = serde_json::from_slice(body).map_err(|error| {
        let problem = if error.is_data() { "has wrong fields" } else { "is not valid JSON" };
        ApiError::bad_request(format!("the body {problem}: {error}"))
    })?;
    let event_type = present(request.event_type, "event_type")?;
    let is_alert =
        EventType::parse(&event_type).is_some_and(|known| known.family() == Family::Alert);
    if !is_alert {
        return Err(ApiError::bad_request(format!("Invalid event_type: {event_type}")));
    }
    let channel = present(request.channel, "channel")?;
    let destination = match channel.as_str() {
        "webhook" => webhook(request.settings)?,
        "email" => mailboxes(request.settings)?,
        "slack" => return Err(slack_not_supported()),
        other => return Err(ApiError::bad_request(format!("Invalid channel: {other}"))),
    };
    Ok(NewAlert { event_type, destination })
}

fn webhook(settings: Option<Settings>) -> Result<AlertDestination, ApiError> {
    let url = settings.ok_or_else(|| missing("settings"))?.url;
    Ok(AlertDestination::Webhook { url: present(url, "settings.url")? })
}

fn mailboxes(settings: Option<Settings>) -> Result<AlertDestination, ApiError> {
    let given = settings.ok_or_else(|| missing("settings"))?.emails.unwrap_or_default();
    let mut emails: Vec<String> = Vec::new();
    for address in given {
        let address = address.trim();
        if !email::is_address(address) {
            return Err(ApiError::bad_request(format!("Invalid email address: {address}")));
        }
        if !emails.iter().any(|known| known == address) {
            emails.push(address.to_owned());
        }
    }
    if emails.is_empty() {
        return Err(missing("settings.emails"));
    }
    if emails.len() > email::MAX_ADDRESSES {
        let message = format!("settings.emails: at most {} addresses", email::MAX_ADDRESSES);
        return Err(ApiError::bad_request(message));
    }
    Ok(AlertDestination::Email { emails })
}

fn present(value: Option<String>, name: &str) -> Result<String, ApiError> {
    value.filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> ApiError {
    ApiError::bad_request(format!("Missing parameter '{name}'"))
}
