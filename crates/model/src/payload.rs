//! The JSON that customers receive, exactly as Mailgun documents it.
//!
//! Bodies are written straight from the stored event in one pass, compact, with
//! keys in the order of the documented samples, so that a receiver which parses
//! and prints an alert again gets the bytes that were signed (reference §9.4).
//! What is absent is left out, and what the samples always show is given with
//! the samples' default. `null` is never written.

mod alert;
mod fields;
mod legacy;
mod mail;
mod redact;
mod send;
mod time;

use protocol::v1::{AcceptedEvent, Event, event::Kind};
use serde::Serialize;

pub(crate) use self::fields::MessageFields;
pub use self::legacy::legacy_body;
pub use self::mail::{AlertMail, MailFrame, MailReason, alert_mail};
pub use self::redact::Redaction;
use self::redact::Redactor;
use crate::EventType;

/// Room for an event that has what events usually have.
const USUAL_BYTES: usize = 2_048;

/// Why an event has no such payload. What ingest has accepted never comes here.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It names no kind.
    #[error("the stored event has no kind")]
    NoKind,
    /// It belongs to the other family.
    #[error("{0} events belong to the other family of payloads")]
    OtherFamily(EventType),
    /// It has no timestamp, or one outside the years that payloads can show.
    #[error("the stored event has no usable timestamp")]
    Timestamp,
    /// The JSON could not be written.
    #[error("the payload could not be written")]
    Json(#[from] serde_json::Error),
}

/// The `signature` block of Mailgun Send (reference §7.1).
#[derive(Clone, Copy, Debug)]
pub struct SendSignature<'a> {
    /// Seconds since the epoch; a string in the JSON.
    pub timestamp: u64,
    /// 50 characters, random.
    pub token: &'a str,
    /// Hex, made with the key of the event's account.
    pub signature: &'a str,
    /// Hex, made with the key of the parent account; for subaccounts only.
    pub parent_signature: Option<&'a str>,
    /// Hex, made with the account's key before this one, while that also signs
    /// (reference §12.3).
    pub previous_signature: Option<&'a str>,
    /// The same of the parent account.
    pub previous_parent_signature: Option<&'a str>,
}

/// The object `event-data` of a message event (reference §7.4).
///
/// # Errors
/// When the event is not a whole message event.
pub fn send_event_data(
    accepted: &AcceptedEvent,
    redaction: Redaction,
) -> Result<Vec<u8>, PayloadError> {
    let (event, kind) = whole(accepted)?;
    let event_type = EventType::of(kind);
    let fields = MessageFields::of(kind).ok_or(PayloadError::OtherFamily(event_type))?;
    let redactor = Redactor::new(redaction, &fields);
    let data = send::EventData::of(accepted, event, event_type, &fields, &redactor)?;
    let mut out = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut out, &data)?;
    Ok(out)
}

/// The whole body of a Send webhook: the signature block and what
/// [`send_event_data`] made, byte for byte.
pub fn send_body(event_data: &[u8], signature: &SendSignature<'_>) -> Vec<u8> {
    // The names of what is sent while a key is being replaced are longer, and rare.
    const NAMES: &str = r#"{"signature":{"timestamp":"","token":"","signature":"","parent-signature":""},"event-data":}"#;
    const TIMESTAMP_DIGITS: usize = 20;

    let texts = signature.token.len()
        + signature.signature.len()
        + signature.parent_signature.map_or(0, str::len);
    let mut body = Vec::with_capacity(NAMES.len() + TIMESTAMP_DIGITS + texts + event_data.len());
    body.extend_from_slice(br#"{"signature":"#);
    let block = send::SignatureBlock::of(signature);
    serde_json::to_writer(&mut body, &block).expect("strings can be written to memory");
    body.extend_from_slice(br#","event-data":"#);
    body.extend_from_slice(event_data);
    body.push(b'}');
    body
}

/// The object `event_data` of an alert (reference §9.4).
///
/// # Errors
/// When the event is not a whole alert.
pub fn alert_event_data(accepted: &AcceptedEvent) -> Result<Vec<u8>, PayloadError> {
    let (event, kind) = whole(accepted)?;
    Ok(serde_json::to_vec(&alert::EventData::of(event, kind)?)?)
}

/// The whole body of an alert (reference §9.4), which `X-Sign` then covers.
///
/// `timestamp` is in seconds since the epoch, `token` is random.
///
/// # Errors
/// When the event is not a whole alert.
pub fn alert_body(
    accepted: &AcceptedEvent,
    timestamp: u64,
    token: &str,
) -> Result<Vec<u8>, PayloadError> {
    #[derive(Serialize)]
    struct Body<'a> {
        signature: Signature<'a>,
        event_data: alert::EventData<'a>,
    }
    #[derive(Serialize)]
    struct Signature<'a> {
        timestamp: u64,
        token: &'a str,
    }

    let (event, kind) = whole(accepted)?;
    let body = Body {
        signature: Signature { timestamp, token },
        event_data: alert::EventData::of(event, kind)?,
    };
    let mut out = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut out, &body)?;
    Ok(out)
}

fn whole(accepted: &AcceptedEvent) -> Result<(&Event, &Kind), PayloadError> {
    let event = accepted.event.as_ref().ok_or(PayloadError::NoKind)?;
    let kind = event.kind.as_ref().ok_or(PayloadError::NoKind)?;
    Ok((event, kind))
}

#[cfg(test)]
mod tests;
