//! The two signing keys of an account.

use axum::http::{Method, StatusCode};
use serde::Deserialize;

use crate::api::{ApiError, Payload};
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

/// The key of this name; the first one where there is none.
pub(super) fn find(name: &str) -> &'static SigningKey {
    ALL.iter().find(|key| key.name == name).unwrap_or(&ALL[0])
}

impl SigningKey {
    fn is_http(&self) -> bool {
        self.name == "http"
    }

    /// The key itself.
    pub(super) async fn show(&self, visitor: &Visitor) -> Result<String, ApiError> {
        let key = if self.is_http() {
            visitor.get::<Http>(HTTP).await?.http_signing_key
        } else {
            visitor.get::<AlertSettings>("/v1/alerts/settings").await?.webhooks.signing_key
        };
        if key.is_empty() {
            return Err(refusal(StatusCode::FORBIDDEN, "Your API key may not see signing keys."));
        }
        Ok(key)
    }

    /// Replaces it by a new one, which is returned.
    pub(super) async fn replace(
        &self,
        visitor: &Visitor,
        overlap_seconds: &str,
        is_sure: bool,
    ) -> Result<String, ApiError> {
        if !is_sure {
            let message = "Tick the box as well: receivers need the new key to check signatures.";
            return Err(refusal(StatusCode::BAD_REQUEST, message));
        }
        let form = Payload::form([("overlap_seconds", overlap_seconds)]);
        Ok(if self.is_http() {
            visitor.call::<Http>(Method::POST, HTTP, form).await?.http_signing_key
        } else {
            visitor.call::<Alerts>(Method::PUT, ALERTS, form).await?.signing_key
        })
    }
}

fn refusal(status: StatusCode, message: &str) -> ApiError {
    ApiError::Refused { status, message: message.to_owned() }
}
