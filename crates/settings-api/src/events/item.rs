//! Events as they are shown: byte for byte what deliveries have.

use model::Redaction;
use prost::Message as _;
use protocol::v1::{AcceptedEvent, Event};
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
    let shown = Event::decode(found.event.as_slice()).map_err(|error| error.to_string());
    let shown = shown.and_then(|event| {
        let account_id = found.account_id.clone();
        let accepted = AcceptedEvent { account_id, event: Some(event), ..AcceptedEvent::default() };
        model::send_event_data(&accepted, Redaction::None).map_err(|error| error.to_string())
    });
    shown
        .inspect_err(|error| {
            tracing::error!(
                error,
                position = found.place.position,
                "an event of the history cannot be shown"
            );
        })
        .ok()
}
