//! Settings of a domain for sending and receiving mail. They have no effect here, and are kept,
//! so that a client that compares what is there with what it has asked for finds no difference.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Result, flag, number};
use crate::error::ApiError;
use crate::form::Form;

/// The longest time for which Mailgun can be told to keep messages, in seconds.
const MAX_MESSAGE_TTL_SECONDS: i64 = 30 * 24 * 60 * 60;

/// Mail settings that a domain was given, by Mailgun's names.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub(super) struct MailSettings {
    /// Kept and shown, without effect, like all of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encrypt_incoming_message: Option<bool>,
    /// In seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 2_592_000)]
    pub(super) message_ttl: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) require_tls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skip_verification: Option<bool>,
    /// `disabled`, `tag`, `block` or `delete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) spam_action: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) use_automatic_sender_security: Option<bool>,
    /// One label of a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) web_prefix: Option<String>,
    /// `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) web_scheme: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) wildcard: Option<bool>,
}

impl MailSettings {
    pub(super) fn of(form: &Form) -> Result<Self> {
        Ok(Self {
            encrypt_incoming_message: flag(form, "encrypt_incoming_message")?,
            message_ttl: number(form, "message_ttl", 1..=MAX_MESSAGE_TTL_SECONDS)?,
            require_tls: flag(form, "require_tls")?,
            skip_verification: flag(form, "skip_verification")?,
            spam_action: one_of(form, "spam_action", &["disabled", "tag", "block", "delete"])?,
            use_automatic_sender_security: flag(form, "use_automatic_sender_security")?,
            web_prefix: label(form, "web_prefix")?,
            web_scheme: one_of(form, "web_scheme", &["http", "https"])?,
            wildcard: flag(form, "wildcard")?,
        })
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Those that a newer version has stored, and this one cannot read, count as not given.
    pub(super) fn from_json(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }
}

fn one_of(form: &Form, name: &'static str, words: &[&str]) -> Result<Option<String>> {
    match form.first(name) {
        Some(word) if !words.contains(&word) => {
            let message = format!("{name} must be one of {}", words.join(", "));
            Err(ApiError::bad_request(message))
        }
        word => Ok(word.map(str::to_owned)),
    }
}

fn label(form: &Form, name: &'static str) -> Result<Option<String>> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    match form.first(name) {
        Some(text) if !(1..=63).contains(&text.len()) || !text.bytes().all(is_part) => {
            let message = format!("{name} must be one label of a name, such as email");
            Err(ApiError::bad_request(message))
        }
        text => Ok(text.map(str::to_owned)),
    }
}
