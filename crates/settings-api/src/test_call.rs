//! Test calls: one made-up event, sent now, exactly as a delivery would be.
//!
//! Nothing is stored and nothing is tried again. Keys and redaction are those
//! of the database, which may be newer by a moment than what the delivery path
//! works with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use egress::Attempt;
use egress::request::{RequestError, SignedRequest, Signer};
use model::{Destination, EventType, Family};
use protocol::Timestamp;
use protocol::v1::AcceptedEvent;
use store::{Documents, RateBudget};

use crate::SettingsApi;
use crate::error::ApiError;

impl SettingsApi {
    /// Posts a sample event of this type to a URL, once. The time that this
    /// takes is bounded by the client of egress, and by the wait for a place.
    pub(crate) async fn post_sample(
        &self,
        documents: &Documents,
        event_type: EventType,
        url: &str,
    ) -> Result<Attempt, ApiError> {
        // The timestamp is that of the request, not of the wait.
        let Documents { account, parent, .. } = documents;
        let primary = parent.as_ref().unwrap_or(account);
        self.spend(&primary.account_id, RateBudget::Tests, 1).await?;
        let _place = self.outbound.place(&primary.account_id).await?;
        let sample = || self.sample_request(documents, event_type, url);
        self.egress.post_signed(url, sample).await.map_err(|error| {
            tracing::error!(%error, "a test call cannot be signed");
            ApiError::internal()
        })
    }

    fn sample_request(
        &self,
        documents: &Documents,
        event_type: EventType,
        url: &str,
    ) -> Result<SignedRequest, RequestError> {
        let event = self.sample_event(documents, event_type);
        let delivery_id = hex::encode(chassis::entropy::bytes::<16>());
        let token = hex::encode(chassis::entropy::bytes::<25>());
        let timestamp = self.clock.epoch_seconds();
        let Documents { account, parent, domain } = documents;
        let signer = Signer {
            secret_key: self.secret_key(),
            account,
            parent: parent.as_ref(),
            domain: domain.as_ref(),
            destination: Destination::of(account, url),
        };
        signer.request(&event, event_type, &delivery_id, 1, timestamp, &token)
    }

    /// An event that has not happened.
    pub(crate) fn sample_event(
        &self,
        documents: &Documents,
        event_type: EventType,
    ) -> AcceptedEvent {
        let Documents { account, domain, .. } = documents;
        let now = self.clock.now();
        let timestamp = Timestamp {
            seconds: now.timestamp(),
            nanos: now.timestamp_subsec_nanos().cast_signed(),
        };
        let id = event_id(event_type.family());
        let domain_name = domain.as_ref().map_or("", |domain| domain.name.as_str());
        let event = model::sample(event_type, &id, timestamp, &account.name, domain_name);
        AcceptedEvent {
            event_key: model::event_key(&account.account_id, event_type, &id),
            account_id: account.account_id.clone(),
            domain_id: domain.as_ref().map(|domain| domain.domain_id.clone()).unwrap_or_default(),
            accepted_at: Some(timestamp),
            event: Some(event),
            caller: "test call".to_owned(),
            traceparent: String::new(),
            acceptance: String::new(),
        }
    }
}

/// An id of the shape that customers know (reference §7.4, §9.4).
fn event_id(family: Family) -> String {
    let bytes = chassis::entropy::bytes::<16>();
    match family {
        Family::Message => URL_SAFE_NO_PAD.encode(bytes),
        Family::Alert => uuid::Builder::from_random_bytes(bytes).into_uuid().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_shape_of_their_family() {
        assert_eq!(event_id(Family::Message).len(), 22);
        assert_eq!(event_id(Family::Alert).len(), 36);
    }
}
