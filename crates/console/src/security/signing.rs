//! The two signing keys of an account.

use axum::http::{Method, StatusCode};
use serde::Deserialize;

use crate::api::{ApiError, Payload};
use crate::fields::Fields;
use crate::visitor::Visitor;

const HTTP: &str = "/v5/accounts/http_signing_key";
const ALERTS: &str = "/v1/alerts/settings/webhooks/signing_key";

/// One of them.
pub(super) struct SigningKey {
    /// In forms.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) signs: &'static str,
    /// Where an older one stands while both sign.
    pub(super) older: &'static str,
}

pub(super) static ALL: [SigningKey; 2] = [
    SigningKey {
        name: "http",
        title: "HTTP signing key",
        signs: "Signs the events of messages: the fields of signature in each body.",
        older: "previous-signature",
    },
    SigningKey {
        name: "alerts",
        title: "Alerts signing key",
        signs: "Signs alerts: the header X-Sign, over the whole body.",
        older: "X-Sign-Previous",
    },
];

#[derive(Deserialize)]
struct Http {
    http_signing_key: String,
}

#[derive(Deserialize)]
struct Alerts {
    signing_key: String,
}

#[derive(Deserialize)]
struct AlertSettings {
    webhooks: Alerts,
}

/// The key that a form names. None stands in for another: one that was replaced by
/// mistake is missed by every receiver.
fn find(fields: &Fields) -> Result<&'static SigningKey, ApiError> {
    let name = fields.one("key");
    let found = ALL.iter().find(|key| key.name == name);
    found.ok_or_else(|| ApiError::bad_request("There is no such signing key."))
}

/// Shows a key, with its name.
pub(super) async fn show(
    visitor: &Visitor,
    fields: &Fields,
) -> Result<(&'static str, String), ApiError> {
    let key = find(fields)?;
    let text = if key.is_http() {
        visitor.get::<Http>(HTTP).await?.http_signing_key
    } else {
        visitor.get::<AlertSettings>("/v1/alerts/settings").await?.webhooks.signing_key
    };
    if text.is_empty() {
        let message = "Your API key may not see signing keys.".to_owned();
        return Err(ApiError::Refused { status: StatusCode::FORBIDDEN, message });
    }
    Ok((key.name, text))
}

/// Replaces a key by a new one.
pub(super) async fn replace(visitor: &Visitor, fields: &Fields) -> Result<(), ApiError> {
    let key = find(fields)?;
    fields.check_sure("receivers need the new key to check signatures")?;
    let form = Payload::form([("overlap_seconds", fields.one("overlap"))]);
    if key.is_http() {
        visitor.call::<Http>(Method::POST, HTTP, form).await.map(drop)
    } else {
        visitor.call::<Alerts>(Method::PUT, ALERTS, form).await.map(drop)
    }
}

impl SigningKey {
    fn is_http(&self) -> bool {
        self.name == "http"
    }
}
