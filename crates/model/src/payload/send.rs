//! The object `event-data` and the signature block of Send webhooks
//! (reference §7.1 and §7.4).

mod client;
mod labels;
mod message;
mod transport;

use std::borrow::Cow;
use std::collections::BTreeMap;

use protocol::v1::{AcceptedEvent, Event, Labels};
use serde::{Serialize, Serializer};

use self::client::{ClientInfo, Geolocation};
use self::labels::{Batch, MailingList, Route, Template};
use self::message::{Message, Storage};
use self::transport::{DeliveryStatus, Envelope, Flags};
use super::redact::{Redactor, Texts};
use super::{MessageFields, PayloadError, SendSignature, time};
use crate::EventType;

/// One event. Fields that a kind does not have are left out.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct EventData<'a> {
    event: &'static str,
    id: &'a str,
    timestamp: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: Cow<'a, str>,
    log_level: &'static str,
    account: Account<'a>,
    domain: Domain<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    api_key_id: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    originating_ip: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    envelope: Option<Envelope<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<Flags>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_status: Option<DeliveryStatus<'a>>,
    message: Message<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    storage: Option<Storage<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    primary_dkim: Cow<'a, str>,
    recipient: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    recipient_domain: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    recipient_provider: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered_at: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    ip: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    geolocation: Option<Geolocation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_info: Option<ClientInfo<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    url: Cow<'a, str>,
    tags: Texts<'a>,
    /// Mailgun has no campaigns any more and still sends the list.
    campaigns: [(); 0],
    user_variables: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mailing_list: Option<MailingList<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    template: Option<Template<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<Batch<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route<'a>>,
}

#[derive(Serialize)]
struct Account<'a> {
    id: &'a str,
}

#[derive(Serialize)]
struct Domain<'a> {
    name: &'a str,
}

/// Which of the documented shapes an event has.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(super) enum Shape {
    /// accepted: the message as it was queued.
    Queued,
    /// delivered and failed: the message and what became of it.
    Tried,
    /// opened, clicked, unsubscribed: what the recipient did, and by what means.
    Engaged,
    /// complained: the message.
    Complained,
}

impl<'a> EventData<'a> {
    pub(super) fn of(
        accepted: &'a AcceptedEvent,
        event: &'a Event,
        event_type: EventType,
        fields: &MessageFields<'a>,
        redactor: &'a Redactor,
    ) -> Result<Self, PayloadError> {
        let shape = Shape::of(event_type);
        let labels = fields.labels.unwrap_or(&NO_LABELS);
        let sent = matches!(shape, Shape::Queued | Shape::Tried);
        Ok(Self {
            event: event_type.payload_name(),
            // By this receivers recognise what they have seen: never redacted.
            id: &event.id,
            timestamp: time::epoch_seconds(event.timestamp.as_ref())?,
            severity: severity(event_type),
            reason: redactor.text(fields.reason),
            log_level: log_level(event_type),
            account: Account { id: &accepted.account_id },
            domain: Domain { name: &event.domain },
            api_key_id: redactor.text(fields.api_key_id),
            method: redactor.text(fields.method),
            originating_ip: redactor.text(fields.originating_ip),
            envelope: Envelope::of(fields.envelope, sent, redactor),
            flags: (shape != Shape::Engaged || fields.flags.is_some())
                .then(|| Flags::of(fields.flags)),
            delivery_status: (shape == Shape::Tried).then(|| {
                DeliveryStatus::of(fields.delivery_status, event_type, fields.reason, redactor)
            }),
            message: Message::of(fields.message, shape, redactor),
            storage: fields.storage.map(|storage| Storage::of(storage, redactor)),
            primary_dkim: redactor.text(fields.primary_dkim),
            recipient: redactor.value(fields.recipient),
            recipient_domain: domain_of(fields.recipient),
            recipient_provider: redactor.text(fields.recipient_provider),
            delivered_at: finite(fields.delivered_at),
            ip: redactor.value(fields.ip),
            geolocation: (shape == Shape::Engaged)
                .then(|| Geolocation::of(fields.geolocation, redactor)),
            client_info: (shape == Shape::Engaged)
                .then(|| ClientInfo::of(fields.client_info, event_type, redactor)),
            url: redactor.text(fields.url),
            tags: redactor.texts(&labels.tags),
            campaigns: [],
            user_variables: &labels.user_variables,
            mailing_list: labels.mailing_list.as_ref().map(|list| MailingList::of(list, redactor)),
            template: labels.template.as_ref().map(|template| Template::of(template, redactor)),
            batch: Batch::of(&labels.batch_id, redactor),
            routes: Route::all(fields.routes, redactor),
        })
    }
}

impl Shape {
    fn of(event_type: EventType) -> Self {
        match event_type {
            EventType::Opened | EventType::Clicked | EventType::Unsubscribed => Self::Engaged,
            EventType::Complained => Self::Complained,
            EventType::Delivered | EventType::TemporaryFail | EventType::PermanentFail => {
                Self::Tried
            }
            _ => Self::Queued,
        }
    }
}

fn severity(event_type: EventType) -> Option<&'static str> {
    match event_type {
        EventType::TemporaryFail => Some("temporary"),
        EventType::PermanentFail => Some("permanent"),
        _ => None,
    }
}

fn log_level(event_type: EventType) -> &'static str {
    match event_type {
        EventType::TemporaryFail | EventType::Complained => "warn",
        EventType::PermanentFail => "error",
        _ => "info",
    }
}

fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// JSON has no word for the others, and serde would write `null`.
fn finite(number: Option<f64>) -> Option<f64> {
    number.filter(|number| number.is_finite())
}

/// The block beside `event-data`, with its timestamp as a string.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct SignatureBlock<'a> {
    #[serde(serialize_with = "as_string")]
    timestamp: u64,
    token: &'a str,
    signature: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_signature: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_parent_signature: Option<&'a str>,
}

impl<'a> SignatureBlock<'a> {
    pub(super) fn of(signature: &SendSignature<'a>) -> Self {
        Self {
            timestamp: signature.timestamp,
            token: signature.token,
            signature: signature.signature,
            parent_signature: signature.parent_signature,
            previous_signature: signature.previous_signature,
            previous_parent_signature: signature.previous_parent_signature,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn as_string<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

static NO_LABELS: Labels = Labels {
    tags: Vec::new(),
    user_variables: BTreeMap::new(),
    mailing_list: None,
    template: None,
    batch_id: String::new(),
};
