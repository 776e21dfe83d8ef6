//! Events as they are shown: byte for byte what deliveries have.

use model::Redaction;
use prost::Message as _;
use protocol::v1::{AcceptedEvent, Event};
use serde_json::Value;
use store::history::FoundEvent;

/// Appends a JSON list of events.
///
/// One that cannot be shown is left out, loudly: what is stored was checked when
/// it was accepted, and one bad row is not to hide all others.
pub(crate) fn write_list(body: &mut Vec<u8>, events: &[FoundEvent]) {
    body.push(b'[');
    let mut is_first = true;
    for item in events.iter().filter_map(json) {
        if !is_first {
            body.push(b',');
        }
        is_first = false;
        body.extend_from_slice(&item);
    }
    body.push(b']');
}

/// One event.
pub(crate) fn json(found: &FoundEvent) -> Option<Vec<u8>> {
    written(&found.account_id, &found.event)
}

/// The same of a message event or of an alert, as a value.
pub(crate) fn payload(account_id: &str, event: &[u8]) -> Option<Value> {
    serde_json::from_slice(&written(account_id, event)?).ok()
}

/// What payloads have of a stored event.
fn written(account_id: &str, event: &[u8]) -> Option<Vec<u8>> {
    let event = Event::decode(event).map_err(|error| (String::new(), error.to_string()));
    let written = event.and_then(|event| {
        let is_alert = event.domain.is_empty();
        let id = event.id.clone();
        let account_id = account_id.to_owned();
        let accepted = AcceptedEvent { account_id, event: Some(event), ..AcceptedEvent::default() };
        let written = match is_alert {
            true => model::alert_event_data(&accepted),
            false => model::send_event_data(&accepted, Redaction::None),
        };
        written.map_err(|error| (id, error.to_string()))
    });
    written
        .inspect_err(|(id, error)| {
            tracing::error!(error, event.id = id, "an event of the history cannot be shown");
        })
        .ok()
}
