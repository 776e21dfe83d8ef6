//! API keys: listed, made, shown once, revoked.

use axum::http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::api::{ApiError, Payload};
use crate::fields::Fields;
use crate::path;
use crate::visitor::Visitor;

pub(super) const CALLS: &str = "/v1/keys";

#[derive(Deserialize)]
pub(super) struct Keys {
    pub(super) items: Vec<Key>,
}

#[derive(Deserialize)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) description: String,
    pub(super) role: String,
    pub(super) created_at: String,
    pub(super) expires_at: Option<String>,
    pub(super) is_disabled: bool,
    pub(super) domain_name: Option<String>,
    pub(super) last_used_at: Option<String>,
}

impl Key {
    /// A moment as the APIs have it, for people.
    pub(super) fn moment(text: &str) -> String {
        format!("{} UTC", text.replacen('T', " ", 1))
    }
}

/// A key that was made just now, with what is never shown again.
#[derive(Deserialize)]
pub(super) struct Made {
    pub(super) id: String,
    pub(super) secret: String,
}

pub(super) async fn create(visitor: &Visitor, fields: &Fields) -> Result<Made, ApiError> {
    #[derive(Deserialize)]
    struct Answer {
        key: Made,
    }
    let form = Payload::form([
        ("role", fields.one("role")),
        ("description", fields.one("description")),
        ("expiration", fields.one("expiration")),
    ]);
    let Answer { key } = visitor.call(Method::POST, CALLS, form).await?;
    Ok(key)
}

pub(super) async fn revoke(visitor: &Visitor, fields: &Fields) -> Result<(), ApiError> {
    fields.check_sure("whoever uses the key is refused at once")?;
    let path = format!("{CALLS}/{}", path::segment(fields.one("id")));
    visitor.call::<IgnoredAny>(Method::DELETE, &path, Payload::Nothing).await.map(drop)
}
