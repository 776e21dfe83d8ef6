//! The examples of events: every kind has one, and each would be accepted.

use std::path::PathBuf;

use model::{EventType, Family};
use protocol::v1::Event;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/events")
}

fn read(name: &str) -> Vec<Event> {
    let text = std::fs::read(folder().join(name)).expect(name);
    match ingest::json::parse(&text) {
        Ok(events) => events,
        Err(error) => panic!("{name}: {error}"),
    }
}

fn check(name: &str, event: &Event) -> EventType {
    let event_type =
        model::validate::event(event).unwrap_or_else(|error| panic!("{name}: {error:?}"));
    match event_type.family() {
        Family::Alert => assert_eq!(event.account, "demo", "{name}"),
        Family::Message => assert_eq!(event.domain, "mail.demo.example", "{name}"),
    }
    // So that each sending is a new event, of this moment.
    assert!(event.id.is_empty() && event.timestamp.is_none(), "{name} can be sent only once");
    event_type
}

#[test]
fn every_kind_has_an_example_under_its_name() {
    for event_type in EventType::ALERTS.into_iter().chain(EventType::WEBHOOKS) {
        let name = format!("{event_type}.json");
        let events = read(&name);
        let [event] = events.as_slice() else { panic!("{name}: expected one event") };
        assert_eq!(check(&name, event), event_type, "{name}");
    }
}

#[test]
fn there_are_no_other_files_but_the_batch() {
    let mut others: Vec<String> = std::fs::read_dir(folder())
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .filter(|name| name.strip_suffix(".json").and_then(EventType::parse).is_none())
        .collect();
    others.sort();
    assert_eq!(others, ["batch.ndjson"]);
}

#[test]
fn the_batch_holds_one_event_a_line() {
    let lines = std::fs::read_to_string(folder().join("batch.ndjson")).expect("the batch");
    let events = read("batch.ndjson");
    assert_eq!(lines.lines().count(), events.len());
    let kinds: Vec<EventType> = events.iter().map(|event| check("batch.ndjson", event)).collect();
    assert!(kinds.contains(&EventType::IpListed) && kinds.contains(&EventType::Clicked));
}
