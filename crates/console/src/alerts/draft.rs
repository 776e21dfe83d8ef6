//! An alert setting as somebody types it, and the calls that make it one.

use axum::http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::{Alert, CALLS};
use crate::api::{ApiError, Payload};
use crate::fields::Fields;
use crate::path;
use crate::visitor::Visitor;

/// What a form has, right or wrong.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) event_type: String,
    pub(super) is_email: bool,
    pub(super) url: String,
    /// One a line, or with commas between.
    pub(super) emails: String,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

impl Draft {
    pub(super) fn read(fields: &Fields) -> Self {
        Self {
            event_type: fields.one("event_type").to_owned(),
            is_email: fields.one("channel") == "email",
            url: fields.one("url").to_owned(),
            emails: fields.one("emails").to_owned(),
        }
    }

    /// What there is, to be changed.
    pub(super) fn of(alert: &Alert) -> Self {
        Self {
            event_type: alert.event_type.clone(),
            is_email: alert.channel == "email",
            url: alert.settings.url.clone().unwrap_or_default(),
            emails: alert.settings.emails.join("\n"),
        }
    }

    pub(super) fn addresses(&self) -> Vec<&str> {
        let parts = self.emails.split([',', ';', '\n', ' ', '\r', '\t']);
        parts.filter(|address| !address.is_empty()).collect()
    }

    /// Makes it. Returns where its page is.
    pub(super) async fn create(&self, visitor: &Visitor) -> Result<String, ApiError> {
        let payload = self.payload()?;
        let made: Made = visitor.call(Method::POST, &format!("{CALLS}/events"), payload).await?;
        Ok(path::with_query(path::ALERT, &[("id", &made.id)]) + "&made")
    }

    /// Makes the setting that is there be like this, and enables it.
    pub(super) async fn save(&self, visitor: &Visitor, id: &str) -> Result<(), ApiError> {
        let path = format!("{CALLS}/events/{}", path::segment(id));
        visitor.call::<IgnoredAny>(Method::PUT, &path, self.payload()?).await.map(drop)
    }

    /// Missing texts are told in words for people.
    fn payload(&self) -> Result<Payload, ApiError> {
        let refuse = |message: &str| {
            let message = message.to_owned();
            Err(ApiError::Refused { status: StatusCode::BAD_REQUEST, message })
        };
        let Self { event_type, .. } = self;
        Ok(Payload::Json(if self.is_email {
            let emails = self.addresses();
            if emails.is_empty() {
                return refuse("Enter at least one address.");
            }
            json!({"event_type": event_type, "channel": "email", "settings": {"emails": emails}})
        } else {
            if self.url.is_empty() {
                return refuse("Enter the URL to which alerts are sent.");
            }
            json!({"event_type": event_type, "channel": "webhook", "settings": {"url": self.url}})
        }))
    }
}
