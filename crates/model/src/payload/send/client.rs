//! By what means, and from where, the recipient opened, clicked or unsubscribed.

use std::borrow::Cow;

use protocol::v1;
use serde::Serialize;

use crate::EventType;
use crate::payload::redact::Redactor;

#[derive(Serialize)]
pub(super) struct Geolocation<'a> {
    country: Cow<'a, str>,
    region: Cow<'a, str>,
    city: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    timezone: Cow<'a, str>,
}

impl<'a> Geolocation<'a> {
    pub(super) fn of(geolocation: Option<&'a v1::Geolocation>, redactor: &Redactor) -> Self {
        const UNKNOWN: &str = "Unknown";
        let geolocation = geolocation.unwrap_or(&NO_GEOLOCATION);
        Self {
            country: redactor.text(or(&geolocation.country, UNKNOWN)),
            region: redactor.text(or(&geolocation.region, UNKNOWN)),
            city: redactor.text(or(&geolocation.city, UNKNOWN)),
            timezone: redactor.text(&geolocation.timezone),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ClientInfo<'a> {
    client_type: Cow<'a, str>,
    client_os: Cow<'a, str>,
    device_type: Cow<'a, str>,
    client_name: Cow<'a, str>,
    user_agent: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bot: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    accept_language: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ip: &'a str,
}

impl<'a> ClientInfo<'a> {
    pub(super) fn of(
        client: Option<&'a v1::ClientInfo>,
        event_type: EventType,
        redactor: &Redactor,
    ) -> Self {
        const UNKNOWN: &str = "unknown";
        let client = client.unwrap_or(&NO_CLIENT);
        // Opens and clicks always tell whether it was a program.
        let person = (event_type != EventType::Unsubscribed).then_some("");
        Self {
            client_type: redactor.text(or(&client.client_type, UNKNOWN)),
            client_os: redactor.text(or(&client.client_os, UNKNOWN)),
            device_type: redactor.text(or(&client.device_type, UNKNOWN)),
            client_name: redactor.text(or(&client.client_name, UNKNOWN)),
            user_agent: redactor.text(&client.user_agent),
            bot: client.bot.as_deref().or(person).map(|bot| redactor.text(bot)),
            accept_language: redactor.text(&client.accept_language),
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
