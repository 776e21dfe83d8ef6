//! By what means, and from where, the recipient opened, clicked or unsubscribed.

use protocol::v1;
use serde::Serialize;

use crate::EventType;
use crate::payload::redact::Redactor;

#[derive(Serialize)]
pub(super) struct Geolocation<'a> {
    country: &'a str,
    region: &'a str,
    city: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    timezone: &'a str,
}

impl<'a> Geolocation<'a> {
    pub(super) fn of(geolocation: Option<&'a v1::Geolocation>) -> Self {
        const UNKNOWN: &str = "Unknown";
        let geolocation = geolocation.unwrap_or(&NO_GEOLOCATION);
        Self {
            country: or(&geolocation.country, UNKNOWN),
            region: or(&geolocation.region, UNKNOWN),
            city: or(&geolocation.city, UNKNOWN),
            timezone: &geolocation.timezone,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ClientInfo<'a> {
    client_type: &'a str,
    client_os: &'a str,
    device_type: &'a str,
    client_name: &'a str,
    user_agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bot: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    accept_language: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    ip: &'a str,
}

impl<'a> ClientInfo<'a> {
    pub(super) fn of(
        client: Option<&'a v1::ClientInfo>,
        event_type: EventType,
        redactor: Redactor<'a>,
    ) -> Self {
        const UNKNOWN: &str = "unknown";
        let client = client.unwrap_or(&NO_CLIENT);
        // Opens and clicks always tell whether it was a program.
        let person = (event_type != EventType::Unsubscribed).then_some("");
        Self {
            client_type: or(&client.client_type, UNKNOWN),
            client_os: or(&client.client_os, UNKNOWN),
            device_type: or(&client.device_type, UNKNOWN),
            client_name: or(&client.client_name, UNKNOWN),
            user_agent: &client.user_agent,
            bot: client.bot.as_deref().or(person),
            accept_language: &client.accept_language,
            ip: redactor.value(&client.ip),
        }
    }
}

fn or<'a>(value: &'a str, default: &'a str) -> &'a str {
    if value.is_empty() { default } else { value }
}

// What an event without such a part borrows from. Written out, so that a new
// field in the proto does not compile before it has found its place here.

static NO_GEOLOCATION: v1::Geolocation = v1::Geolocation {
    country: String::new(),
    region: String::new(),
    city: String::new(),
    timezone: String::new(),
};

static NO_CLIENT: v1::ClientInfo = v1::ClientInfo {
    client_type: String::new(),
    client_os: String::new(),
    client_name: String::new(),
    device_type: String::new(),
    user_agent: String::new(),
    bot: None,
    accept_language: String::new(),
    ip: String::new(),
};
