//! The message itself: headers, attachments, where it is stored.

use std::borrow::Cow;

use protocol::v1;
use serde::{Serialize, Serializer};

use super::{Shape, finite};
use crate::payload::redact::{Addresses, Redactor};

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Message<'a> {
    headers: Headers<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachments: Option<Attachments<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<i64>,
    #[serde(skip_serializing_if = "Addresses::is_empty")]
    recipients: Addresses<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_for: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Headers<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<Cow<'a, str>>,
    message_id: &'a str,
}

impl<'a> Message<'a> {
    pub(super) fn of(
        message: Option<&'a v1::MessageInfo>,
        shape: Shape,
        redactor: &'a Redactor,
    ) -> Self {
        let message = message.unwrap_or(&NO_MESSAGE);
        let headers = message.headers.as_ref().unwrap_or(&NO_HEADERS);
        // What the recipient did comes with the message's id; the rest of the
        // message is there for the other kinds, empty or not.
        let whole = shape != Shape::Engaged;
        let shown = |value: &'a str| (whole || !value.is_empty()).then_some(value);
        Self {
            headers: Headers {
                from: shown(&headers.from).map(|from| redactor.text(from)),
                to: shown(redactor.value(&headers.to)),
                subject: shown(&headers.subject).map(|subject| redactor.text(subject)),
                // By this customers find the message again: never redacted.
                message_id: &headers.message_id,
            },
            attachments: (whole || !message.attachments.is_empty())
                .then_some(Attachments { list: &message.attachments, redactor }),
            size: message.size,
            recipients: redactor.list(&message.recipients),
            scheduled_for: finite(message.scheduled_for),
        }
    }
}

/// Written element by element, so that the list needs no copy.
struct Attachments<'a> {
    list: &'a [v1::Attachment],
    redactor: &'a Redactor,
}

impl Serialize for Attachments<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "kebab-case")]
        struct Attachment<'a> {
            filename: Cow<'a, str>,
            content_type: Cow<'a, str>,
            size: i64,
        }
        serializer.collect_seq(self.list.iter().map(|attachment| Attachment {
            filename: self.redactor.text(&attachment.filename),
            content_type: self.redactor.text(&attachment.content_type),
            size: attachment.size,
        }))
    }
}

#[derive(Serialize)]
pub(super) struct Storage<'a> {
    url: Cow<'a, str>,
    key: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    region: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    env: Cow<'a, str>,
}

impl<'a> Storage<'a> {
    pub(super) fn of(storage: &'a v1::Storage, redactor: &Redactor) -> Self {
        Self {
            url: redactor.text(&storage.url),
            key: redactor.text(&storage.key),
            region: redactor.text(&storage.region),
            env: redactor.text(&storage.env),
        }
    }
}

// What an event without such a part borrows from. Written out, so that a new
// field in the proto does not compile before it has found its place here.

static NO_MESSAGE: v1::MessageInfo = v1::MessageInfo {
    headers: None,
    attachments: Vec::new(),
    size: None,
    recipients: Vec::new(),
    scheduled_for: None,
};

static NO_HEADERS: v1::MessageHeaders = v1::MessageHeaders {
    message_id: String::new(),
    from: String::new(),
    to: String::new(),
    subject: String::new(),
};
