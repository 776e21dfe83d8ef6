//! How the message travelled: envelope, flags, what the recipient's server said.

use std::borrow::Cow;

use protocol::v1;
use serde::Serialize;

use super::finite;
use crate::EventType;
use crate::payload::redact::Redactor;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Envelope<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    sender: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    transport: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    targets: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    sending_ip: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sending_host: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    mail_from: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// With `always`, an event without an envelope has an empty one, as
    /// Mailgun's delayed bounces do.
    pub(super) fn of(
        envelope: Option<&'a v1::Envelope>,
        always: bool,
        redactor: &Redactor,
    ) -> Option<Self> {
        let envelope = envelope.or(always.then_some(&NO_ENVELOPE))?;
        Some(Self {
            sender: redactor.text(&envelope.sender),
            transport: redactor.text(&envelope.transport),
            targets: redactor.value(&envelope.targets),
            sending_ip: redactor.text(&envelope.sending_ip),
            sending_host: redactor.text(&envelope.sending_host),
            mail_from: redactor.text(&envelope.mail_from),
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    is_authenticated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_routed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_system_test: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_test_mode: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_big: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_amp: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_delayed_bounce: Option<bool>,
}

impl Flags {
    /// All samples tell whether it is a test, but for delayed bounces, which
    /// have one flag only.
    pub(super) fn of(flags: Option<&v1::Flags>) -> Self {
        let flags = flags.copied().unwrap_or_default();
        let test_by_default = match flags.is_delayed_bounce {
            Some(true) => None,
            _ => Some(false),
        };
        Self {
            is_authenticated: flags.is_authenticated,
            is_routed: flags.is_routed,
            is_system_test: flags.is_system_test,
            is_test_mode: flags.is_test_mode.or(test_by_default),
            is_big: flags.is_big,
            is_amp: flags.is_amp,
            is_encrypted: flags.is_encrypted,
            is_delayed_bounce: flags.is_delayed_bounce,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DeliveryStatus<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    mx_host: Cow<'a, str>,
    code: i32,
    description: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    utf8: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_seconds: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    enhanced_code: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt_no: Option<i32>,
    message: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_verified: Option<bool>,
    #[serde(skip_serializing_if = "str::is_empty")]
    bounce_type: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    bounce_code: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_delivery_attempt_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_code: Option<i32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    last_message: Cow<'a, str>,
}

impl<'a> DeliveryStatus<'a> {
    /// With a code and, for what was delivered, a message, which Mailgun has always: there
    /// are receivers that read them without a look whether they are there.
    pub(super) fn of(
        status: Option<&'a v1::DeliveryStatus>,
        event_type: EventType,
        reason: &str,
        redactor: &Redactor,
    ) -> Self {
        let status = status.unwrap_or(&NO_STATUS);
        let message = match event_type {
            EventType::Delivered if status.message.is_empty() => Cow::Borrowed("OK"),
            _ => redactor.about_recipient(&status.message),
        };
        Self {
            tls: status.tls,
            mx_host: redactor.text(&status.mx_host),
            code: status.code.unwrap_or_else(|| usual_code(event_type, reason)),
            description: redactor.about_recipient(&status.description),
            session_seconds: finite(status.session_seconds),
            utf8: status.utf8,
            retry_seconds: status.retry_seconds,
            enhanced_code: redactor.text(&status.enhanced_code),
            attempt_no: status.attempt_no,
            message,
            certificate_verified: status.certificate_verified,
            bounce_type: redactor.text(&status.bounce_type),
            bounce_code: redactor.text(&status.bounce_code),
            first_delivery_attempt_seconds: finite(status.first_delivery_attempt_seconds),
            last_code: status.last_code,
            last_message: redactor.about_recipient(&status.last_message),
        }
    }
}

/// The code where the caller has said none: Mailgun's own for what it did not try, and 0 where
/// nothing is known.
fn usual_code(event_type: EventType, reason: &str) -> i32 {
    match (event_type, reason) {
        (EventType::Delivered, _) => 250,
        (_, "suppress-bounce") => 605,
        (_, "suppress-unsubscribe") => 606,
        (_, "suppress-complaint") => 607,
        (_, "old") => 602,
        _ => 0,
    }
}

// What an event without such a part borrows from. Written out, so that a new
// field in the proto does not compile before it has found its place here.

static NO_ENVELOPE: v1::Envelope = v1::Envelope {
    sender: String::new(),
    transport: String::new(),
    targets: String::new(),
    sending_ip: String::new(),
    sending_host: String::new(),
    mail_from: String::new(),
};

static NO_STATUS: v1::DeliveryStatus = v1::DeliveryStatus {
    code: None,
    message: String::new(),
    description: String::new(),
    attempt_no: None,
    session_seconds: None,
    tls: None,
    certificate_verified: None,
    utf8: None,
    mx_host: String::new(),
    enhanced_code: String::new(),
    retry_seconds: None,
    bounce_type: String::new(),
    bounce_code: String::new(),
    first_delivery_attempt_seconds: None,
    last_code: None,
    last_message: String::new(),
};
