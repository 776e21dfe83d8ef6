//! What customers are shown of alerts (reference §9.1, §9.2).

use chrono::SecondsFormat;
use model::EventType;
use serde::Serialize;
use store::{AlertDestination, AlertSetting, NewAlert};
use utoipa::ToSchema;
use uuid::Uuid;

#[derive(Serialize, ToSchema)]
#[schema(as = AlertEventTypes)]
pub(super) struct EventTypes {
    #[schema(value_type = Vec<String>)]
    pub(super) events: [&'static str; EventType::ALERTS.len()],
}

#[derive(Serialize, ToSchema)]
pub(super) struct AlertSettings<'a> {
    pub(super) events: Vec<Record<'a>>,
    pub(super) webhooks: SigningKey,
    pub(super) slack: Slack,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AlertsSigningKey)]
pub(super) struct SigningKey {
    /// Signs alerts. Empty for API keys that may read and not know secrets.
    pub(super) signing_key: String,
}

/// The settings of a channel that is not supported, as they look when unset.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = AlertsSlack)]
pub(super) struct Slack {
    token: &'static str,
    #[schema(required)]
    team_id: Option<String>,
    #[schema(required)]
    team_name: Option<String>,
    #[schema(required)]
    scope: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AlertsMessage)]
pub(super) struct Message {
    pub(super) message: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AlertSettingUpdated)]
pub(super) struct Updated<'a> {
    pub(super) message: &'static str,
    #[serde(flatten)]
    pub(super) record: Record<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = AlertSetting)]
pub(super) struct Record<'a> {
    #[schema(format = "uuid")]
    id: String,
    event_type: &'a str,
    /// `webhook` or `email`.
    channel: &'static str,
    settings: Settings<'a>,
    /// RFC 3339. Since when nothing goes there, because a delivery has used up
    /// its schedule.
    #[schema(required)]
    disabled_at: Option<String>,
    /// How that delivery ended; only of a setting that is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<&'a str>,
}

/// By the channel.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AlertDestination)]
enum Settings<'a> {
    Webhook { url: &'a str },
    Email { emails: &'a [String] },
}

impl<'a> Record<'a> {
    pub(super) fn of(setting: &'a AlertSetting) -> Self {
        let rfc_3339 = |at: chrono::DateTime<_>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let disabled_at = setting.disabled_at.map(rfc_3339);
        let AlertSetting { setting_id, event_type, destination, .. } = setting;
        let disabled_reason = setting.disabled_reason.as_deref();
        let enabled = Self::enabled(*setting_id, event_type, destination);
        Self { disabled_at, disabled_reason, ..enabled }
    }

    /// As it is once it was saved.
    pub(super) fn new(setting_id: Uuid, new: &'a NewAlert) -> Self {
        Self::enabled(setting_id, &new.event_type, &new.destination)
    }

    fn enabled(id: Uuid, event_type: &'a str, destination: &'a AlertDestination) -> Self {
        let settings = match destination {
            AlertDestination::Webhook { url } => Settings::Webhook { url },
            AlertDestination::Email { emails } => Settings::Email { emails },
        };
        let id = id.to_string();
        let channel = destination.channel();
        Self { id, event_type, channel, settings, disabled_at: None, disabled_reason: None }
    }
}
