//! One request: its body, made once and signed as it is, and its headers.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use model::{
    EventType, Family, PayloadError, Redaction, SendSignature, alert_body, send_body,
    send_event_data,
};
use protocol::v1::{AcceptedEvent, AccountDocument, Delivery, DomainDocument};
use signing::{SealError, Sealed, SecretKey, SigningKey};

/// What is sent.
#[derive(Debug)]
pub(crate) struct SignedRequest {
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) body: Bytes,
}

/// The settings that a request is made with: those in force at the attempt.
pub(crate) struct Signer<'a> {
    pub(crate) secret_key: &'a SecretKey,
    pub(crate) account: &'a AccountDocument,
    pub(crate) parent: Option<&'a AccountDocument>,
    pub(crate) domain: Option<&'a DomainDocument>,
}

/// Why a request cannot be made. None of it is the receiver's fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("the account's signing key cannot be used: {0}")]
    Key(#[from] SealError),
    #[error("the payload cannot be made: {0}")]
    Payload(#[from] PayloadError),
    #[error("a header cannot be made: {0}")]
    Header(#[from] http::header::InvalidHeaderValue),
}

impl Signer<'_> {
    /// Makes the request of this attempt. `timestamp` and `token` are fresh for
    /// each attempt (API reference 7.3.1): receivers refuse old timestamps and
    /// tokens that they have seen.
    pub(crate) fn request(
        &self,
        delivery: &Delivery,
        event: &AcceptedEvent,
        event_type: EventType,
        attempt: u32,
        timestamp: u64,
        token: &str,
    ) -> Result<SignedRequest, RequestError> {
        let mut headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let (key, body) = match event_type.family() {
            Family::Message => self.send_body(event, timestamp, token)?,
            Family::Alert => {
                let key = self.unseal(
                    &self.account.sealed_alerts_signing_key,
                    Sealed::AlertsSigningKey(&self.account.account_id),
                )?;
                let body = alert_body(event, timestamp, token)?;
                let x_sign = signing::x_sign(&key, &body);
                headers.push((HeaderName::from_static("x-sign"), x_sign.try_into()?));
                (key, body)
            }
        };
        let id = delivery.delivery_id.as_str();
        let standard = signing::standard_webhooks(&key, id, timestamp, &body);
        let ours: [(&'static str, String); 6] = [
            ("webhook-id", id.to_owned()),
            ("webhook-timestamp", timestamp.to_string()),
            ("webhook-signature", standard),
            ("x-postrider-event", event_type.as_str().to_owned()),
            ("x-postrider-delivery", id.to_owned()),
            ("x-postrider-attempt", attempt.to_string()),
        ];
        for (name, value) in ours {
            headers.push((HeaderName::from_static(name), value.try_into()?));
        }
        Ok(SignedRequest { headers, body: body.into() })
    }

    fn send_body(
        &self,
        event: &AcceptedEvent,
        timestamp: u64,
        token: &str,
    ) -> Result<(SigningKey, Vec<u8>), RequestError> {
        let key_of = |account: &AccountDocument| {
            self.unseal(
                &account.sealed_http_signing_key,
                Sealed::HttpSigningKey(&account.account_id),
            )
        };
        let key = key_of(self.account)?;
        let parent_key = self.parent.map(key_of).transpose()?;
        let redact = self.account.redact_pii
            || self.parent.is_some_and(|parent| parent.redact_pii)
            || self.domain.is_some_and(|domain| domain.redact_pii);
        let redaction = if redact { Redaction::Pii } else { Redaction::None };
        let event_data = send_event_data(event, redaction)?;
        let signature = signing::send_signature(&key, timestamp, token);
        let parent_signature =
            parent_key.map(|key| signing::send_signature(&key, timestamp, token));
        let block = SendSignature {
            timestamp,
            token,
            signature: &signature,
            parent_signature: parent_signature.as_deref(),
        };
        Ok((key, send_body(&event_data, &block)))
    }

    fn unseal(&self, sealed: &[u8], secret: Sealed<'_>) -> Result<SigningKey, SealError> {
        Ok(SigningKey::new(self.secret_key.unseal(sealed, &secret.context())?))
    }
}
