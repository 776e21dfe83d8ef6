//! An outcome without what can make it large.

use bytes::Bytes;
use prost::Message as _;
use protocol::v1::{Attempted, OutcomeBatch, outcome};

/// Characters that are left of a text for people.
const DETAIL_CHARS: usize = 200;

/// Of one outcome, as it stands in a batch, what history cannot do without: who, when and
/// how. An end loses its body, so that it cannot be sent again.
pub(super) fn of(encoded: &[u8]) -> Bytes {
    // It was encoded by this process.
    let mut batch = OutcomeBatch::decode(encoded).unwrap_or_default();
    for outcome in &mut batch.outcomes {
        match &mut outcome.kind {
            Some(outcome::Kind::Ended(ended)) => {
                ended.delivery.clear();
                ended.last_attempt.iter_mut().for_each(reduce_attempt);
            }
            Some(outcome::Kind::Attempted(attempted)) => reduce_attempt(attempted),
            Some(outcome::Kind::Routed(routed)) => {
                routed.decisions.iter_mut().for_each(|decision| decision.url.clear());
            }
            Some(outcome::Kind::Exhausted(_) | outcome::Kind::Trouble(_)) | None => {}
        }
    }
    batch.encode_to_vec().into()
}

fn reduce_attempt(attempted: &mut Attempted) {
    attempted.response_snippet.clear();
    attempted.url.clear();
    attempted.detail = attempted.detail.chars().take(DETAIL_CHARS).collect();
}
