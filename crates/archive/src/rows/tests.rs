use bytes::Bytes;
use protocol::v1::decision::Verdict;
use protocol::v1::{Event, Exhausted, Outcome, event};

use super::*;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 500 })
}

fn outcomes(kinds: Vec<outcome::Kind>) -> Vec<u8> {
    let outcomes = kinds.into_iter().map(|kind| Outcome { kind: Some(kind) }).collect();
    OutcomeBatch { outcomes }.encode_to_vec()
}

fn last_try() -> Attempted {
    Attempted {
        delivery_id: "d1".into(),
        hop: 3,
        attempt: 2,
        charged: true,
        started_at: at(1_760_000_000),
        url: "https://hooks.demo.example/".into(),
        status: 406,
        ..Attempted::default()
    }
}

#[test]
fn an_event_keeps_its_kind_and_both_of_its_times() {
    let accepted = AcceptedEvent {
        event_key: "k1".into(),
        account_id: "a1".into(),
        accepted_at: at(1_760_000_001),
        event: Some(Event {
            id: "e1".into(),
            timestamp: at(1_760_000_000),
            kind: Some(event::Kind::IpListed(Default::default())),
            ..Event::default()
        }),
        ..AcceptedEvent::default()
    };
    let rows = decode(Source::Events, &accepted.encode_to_vec()).expect("complete");
    let [row] = rows.events.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.event_type.as_str(), row.event_id.as_str()), ("ip_listed", "e1"));
    assert_eq!((row.accepted_at - row.occurred_at).num_seconds(), 1);
    assert_eq!(row.domain_id, None, "alerts have no domain");
}

#[test]
fn the_last_try_is_an_attempt_like_the_others() {
    let ended = Ended {
        delivery_id: "d1".into(),
        end: End::Rejected.into(),
        at: at(1_760_000_002),
        last_attempt: Some(last_try()),
        delivery: Bytes::from_static(b"body"),
        ..Ended::default()
    };
    let rows = decode(Source::Outcomes, &outcomes(vec![outcome::Kind::Ended(ended)]));
    let rows = rows.expect("complete");
    let ([attempt], [end]) = (rows.attempts.as_slice(), rows.ends.as_slice()) else {
        panic!("{rows:?}")
    };
    assert_eq!((attempt.hop, attempt.status), (3, Some(406)));
    assert_eq!((end.outcome.as_str(), end.last_status), ("rejected", Some(406)));
    assert_eq!(end.delivery.as_deref(), Some(b"body".as_slice()));
}

#[test]
fn what_was_delivered_keeps_no_body() {
    let ended = Ended {
        delivery_id: "d1".into(),
        end: End::Delivered.into(),
        at: at(1_760_000_002),
        ..Ended::default()
    };
    let rows = decode(Source::Outcomes, &outcomes(vec![outcome::Kind::Ended(ended)]));
    assert_eq!(rows.expect("complete").ends[0].delivery, None);
}

#[test]
fn decisions_have_the_names_of_the_schema() {
    let decisions = [
        (Verdict::Chosen, Level::ParentAccount),
        (Verdict::Duplicate, Level::Domain),
        (Verdict::AccountNotOpen, Level::Alert),
    ]
    .map(|(verdict, level)| Decision {
        verdict: verdict.into(),
        level: level.into(),
        ..Decision::default()
    });
    let record = Routed {
        event_key: "k1".into(),
        at: at(1_760_000_000),
        decisions: decisions.into(),
        ..Routed::default()
    };
    let rows = decode(Source::Outcomes, &outcomes(vec![outcome::Kind::Routed(record)]));
    let rows = rows.expect("complete");
    let names: Vec<_> = rows.routed[0]
        .decisions
        .iter()
        .map(|decision| (decision.verdict.as_str(), decision.level.as_str()))
        .collect();
    assert_eq!(
        names,
        [("chosen", "parent_account"), ("duplicate", "domain"), ("account_not_open", "alert")]
    );
}

#[test]
fn a_setting_that_is_to_be_disabled_is_no_history() {
    let rows =
        decode(Source::Outcomes, &outcomes(vec![outcome::Kind::Exhausted(Exhausted::default())]));
    assert_eq!(rows.expect("readable"), Rows::default());
}

#[test]
fn what_is_no_message_of_ours_is_told() {
    assert!(matches!(decode(Source::Events, b"\xff\xff"), Err(Malformed::Encoding(_))));
    assert!(matches!(decode(Source::Events, b""), Err(Malformed::Missing("the event"))));
    let without_time = Attempted { started_at: None, ..last_try() };
    let batch = outcomes(vec![outcome::Kind::Attempted(without_time)]);
    assert!(matches!(decode(Source::Outcomes, &batch), Err(Malformed::Missing("started_at"))));
}
