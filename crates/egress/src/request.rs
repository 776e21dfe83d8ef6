//! One request: its body, made once and signed as it is, and its headers.
//! The same for a delivery and for a test call.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use model::{
    Destination, EventType, Family, PayloadError, Redaction, SendSignature, alert_body,
    legacy_body, send_body, send_event_data,
};
use protocol::v1::{AcceptedEvent, AccountDocument, DomainDocument, PreviousKey, SealedHeader};
use signing::{SealError, Sealed, SecretKey, SigningKey};

/// What is sent.
#[derive(Debug)]
pub struct SignedRequest {
    /// All that [`crate::Client::post_signed`] is to send, the type of the content included.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Exactly the bytes that were signed.
    pub body: Bytes,
}

/// The settings that a request is made with: those in force at the attempt.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// Unseals the keys of the documents.
    pub secret_key: &'a SecretKey,
    /// Of the event.
    pub account: &'a AccountDocument,
    /// Of that account, when it is a subaccount.
    pub parent: Option<&'a AccountDocument>,
    /// Of the event, when it is a message event.
    pub domain: Option<&'a DomainDocument>,
    /// Where it goes, with what its owner wants to be sent along.
    pub destination: Destination<'a>,
}

/// Whether a customer may have this header sent along: what the connection, the
/// content and the signatures need is ours to say.
pub fn may_be_extra(name: &HeaderName) -> bool {
    const OURS: [&str; 4] = ["webhook-", "x-postrider-", "x-sign", "proxy-"];
    let text = name.as_str();
    !crate::client::OF_THE_CONNECTION.contains(name)
        && !text.starts_with("content-")
        && !OURS.iter().any(|start| text.starts_with(start))
}

/// Why a request cannot be made. None of it is the receiver's fault.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The key was altered, or sealed under a key that this process does not have.
    #[error("the account's signing key cannot be used: {0}")]
    Key(#[from] SealError),
    /// The event is not whole, or of another family than its type says.
    #[error("the payload cannot be made: {0}")]
    Payload(#[from] PayloadError),
    /// The delivery's id has characters that no header can have, or an extra
    /// header was stored unchecked.
    #[error("a header cannot be made: {0}")]
    Header(#[from] http::header::InvalidHeaderValue),
    /// An extra header was stored unchecked.
    #[error("a header cannot be made: {0}")]
    HeaderName(#[from] http::header::InvalidHeaderName),
}

/// Values of headers in one piece of memory: whoever copies such a header copies none of it.
#[derive(Default)]
struct Values {
    text: String,
    /// How long each of them is, in the order of the text.
    lengths: Vec<(HeaderName, usize)>,
}

impl Values {
    fn add(&mut self, name: &'static str, value: &str) {
        self.text.push_str(value);
        self.lengths.push((HeaderName::from_static(name), value.len()));
    }

    fn write(
        self,
        headers: &mut Vec<(HeaderName, HeaderValue)>,
    ) -> Result<(), http::header::InvalidHeaderValue> {
        let mut text = Bytes::from(self.text);
        for (name, length) in self.lengths {
            headers.push((name, HeaderValue::from_maybe_shared(text.split_to(length))?));
        }
        Ok(())
    }
}

/// A key, and the one before it while that also signs.
struct Keys {
    present: SigningKey,
    previous: Option<SigningKey>,
}

impl Signer<'_> {
    /// Makes the request of one attempt, which counts from 1.
    ///
    /// `timestamp`, in seconds since the epoch, and `token` are fresh for each
    /// attempt (API reference 7.3.1): receivers refuse old timestamps and
    /// tokens that they have seen. The timestamp also says whether a key that
    /// was replaced still signs.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn request(
        &self,
        event: &AcceptedEvent,
        event_type: EventType,
        delivery_id: &str,
        attempt: u32,
        timestamp: u64,
        token: &str,
    ) -> Result<SignedRequest, RequestError> {
        let mut values = Values::default();
        let mut content_type = "application/json";
        let (keys, body) = match event_type.family() {
            Family::Message => {
                let (keys, body, is_form) = self.send_body(event, event_type, timestamp, token)?;
                if is_form {
                    content_type = "application/x-www-form-urlencoded";
                }
                (keys, body)
            }
            Family::Alert => {
                let keys = self.alerts_keys(timestamp)?;
                let body = alert_body(event, timestamp, token)?;
                values.add("x-sign", &signing::x_sign(&keys.present, &body));
                if let Some(previous) = &keys.previous {
                    values.add("x-sign-previous", &signing::x_sign(previous, &body));
                }
                (keys, body)
            }
        };
        let mut standard = signing::standard_webhooks(&keys.present, delivery_id, timestamp, &body);
        if let Some(previous) = &keys.previous {
            // The standard's own way to replace a key: one of the signatures has to fit.
            standard.push(' ');
            standard += &signing::standard_webhooks(previous, delivery_id, timestamp, &body);
        }
        values.add("webhook-id", delivery_id);
        values.add("webhook-timestamp", &timestamp.to_string());
        values.add("webhook-signature", &standard);
        values.add("x-postrider-event", event_type.as_str());
        values.add("x-postrider-delivery", delivery_id);
        values.add("x-postrider-attempt", &attempt.to_string());

        let theirs = self.destination.options.map_or(&[][..], |options| &options.headers);
        let mut headers = Vec::with_capacity(theirs.len() + 1 + values.lengths.len());
        for header in theirs {
            headers.push(self.extra_header(header)?);
        }
        headers.push((CONTENT_TYPE, HeaderValue::from_static(content_type)));
        values.write(&mut headers)?;
        Ok(SignedRequest { headers, body: body.into() })
    }

    /// A header that the owner of the URL wants to be sent along. It was checked
    /// when it was saved; none of them has a name that is ours.
    fn extra_header(
        &self,
        header: &SealedHeader,
    ) -> Result<(HeaderName, HeaderValue), RequestError> {
        let secret = Sealed::Header(&self.destination.owner.account_id);
        let value = self.secret_key.unseal(&header.sealed, &secret.context())?;
        let mut value = HeaderValue::try_from(value)?;
        value.set_sensitive(true);
        let name = HeaderName::from_bytes(header.name.as_bytes())?;
        Ok((name, value))
    }

    /// The keys, the body, and whether it is a form.
    fn send_body(
        &self,
        event: &AcceptedEvent,
        event_type: EventType,
        timestamp: u64,
        token: &str,
    ) -> Result<(Keys, Vec<u8>, bool), RequestError> {
        let keys = self.http_keys(self.account, timestamp)?;
        let parent_keys =
            self.parent.map(|parent| self.http_keys(parent, timestamp)).transpose()?;
        let redact = self.account.redact_pii
            || self.parent.is_some_and(|parent| parent.redact_pii)
            || self.domain.is_some_and(|domain| domain.redact_pii);
        let redaction = if redact { Redaction::Pii } else { Redaction::None };
        let event_data = send_event_data(event, redaction)?;
        let sign = |key: &SigningKey| signing::send_signature(key, timestamp, token);
        let signature = sign(&keys.present);
        let parent_signature = parent_keys.as_ref().map(|keys| sign(&keys.present));
        let previous_signature = keys.previous.as_ref().map(sign);
        let previous_parent_signature =
            parent_keys.as_ref().and_then(|keys| keys.previous.as_ref()).map(sign);
        let block = SendSignature {
            timestamp,
            token,
            signature: &signature,
            parent_signature: parent_signature.as_deref(),
            previous_signature: previous_signature.as_deref(),
            previous_parent_signature: previous_parent_signature.as_deref(),
        };
        let wants_form = self.destination.options.is_some_and(|options| options.legacy_payload);
        if wants_form && let Some(form) = legacy_body(event_type, &event_data, &block)? {
            return Ok((keys, form, true));
        }
        Ok((keys, send_body(&event_data, &block), false))
    }

    fn http_keys(&self, account: &AccountDocument, timestamp: u64) -> Result<Keys, SealError> {
        self.keys(
            &account.sealed_http_signing_key,
            account.previous_http_signing_key.as_ref(),
            Sealed::HttpSigningKey(&account.account_id),
            timestamp,
        )
    }

    fn alerts_keys(&self, timestamp: u64) -> Result<Keys, SealError> {
        self.keys(
            &self.account.sealed_alerts_signing_key,
            self.account.previous_alerts_signing_key.as_ref(),
            Sealed::AlertsSigningKey(&self.account.account_id),
            timestamp,
        )
    }

    fn keys(
        &self,
        present: &[u8],
        previous: Option<&PreviousKey>,
        secret: Sealed<'_>,
        timestamp: u64,
    ) -> Result<Keys, SealError> {
        let unseal =
            |sealed: &[u8]| Ok(SigningKey::new(self.secret_key.unseal(sealed, &secret.context())?));
        // One that signs no more stays in the document until its next change.
        let previous = previous.filter(|previous| signs_at(previous, timestamp));
        Ok(Keys {
            present: unseal(present)?,
            previous: previous.map(|previous| unseal(&previous.sealed)).transpose()?,
        })
    }
}

/// Whether a key that was replaced also signs in this second since the epoch.
fn signs_at(previous: &PreviousKey, timestamp: u64) -> bool {
    let until = previous.until.as_ref().map_or(0, |until| until.seconds);
    u64::try_from(until).is_ok_and(|until| timestamp < until)
}

#[cfg(test)]
mod tests;
