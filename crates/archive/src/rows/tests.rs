use protocol::v1::decision::Verdict;
use protocol::v1::{Event, Exhausted, OutcomeBatch, event};

use super::*;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 500 })
}

const EVENT: &str = "0e00000000000000000000000000000e";
const DELIVERY: &str = "0d00000000000000000000000000000d";

/// What one message comes to, and what in it makes no row.
fn read(source: Source, payload: Vec<u8>) -> (Rows, Vec<Flaw>) {
    let mut rows = Rows::default();
    let unread = rows.read(source, 0, &payload.into());
    (rows, unread.into_iter().map(|unread| unread.flaw).collect())
}

/// A message without a flaw.
fn flawless(source: Source, payload: Vec<u8>) -> Rows {
    let (rows, flaws) = read(source, payload);
    assert!(flaws.is_empty(), "{flaws:?}");
    rows
}

fn outcomes(kinds: Vec<outcome::Kind>) -> Vec<u8> {
    let outcomes = kinds.into_iter().map(|kind| Outcome { kind: Some(kind) }).collect();
    OutcomeBatch { outcomes }.encode_to_vec()
}

fn last_try() -> Attempted {
    Attempted {
        delivery_id: DELIVERY.into(),
        event_key: EVENT.into(),
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
        event_key: EVENT.into(),
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
    let rows = flawless(Source::Events, accepted.encode_to_vec());
    let [row] = rows.events.rows() else { panic!("{rows:?}") };
    assert_eq!((row.event_type.as_str(), row.event_id.as_str()), ("ip_listed", "e1"));
    assert_eq!((row.accepted_at - row.occurred_at).num_seconds(), 1);
    assert_eq!(row.domain_id, None, "alerts have no domain");
}

#[test]
fn the_last_try_is_an_attempt_like_the_others() {
    let ended = Ended {
        delivery_id: DELIVERY.into(),
        end: End::Rejected.into(),
        at: at(1_760_000_002),
        last_attempt: Some(last_try()),
        delivery: Bytes::from_static(b"body"),
        ..Ended::default()
    };
    let rows = flawless(Source::Outcomes, outcomes(vec![outcome::Kind::Ended(ended)]));
    let ([attempt], [end]) = (rows.attempts.rows(), rows.ends.rows()) else { panic!("{rows:?}") };
    assert_eq!((attempt.hop, attempt.status), (3, Some(406)));
    assert_eq!((end.outcome.as_str(), end.last_status), ("rejected", Some(406)));
    assert_eq!(end.delivery.as_deref(), Some(b"body".as_slice()));
}

#[test]
fn what_was_delivered_keeps_no_body() {
    let ended = Ended {
        delivery_id: DELIVERY.into(),
        end: End::Delivered.into(),
        at: at(1_760_000_002),
        ..Ended::default()
    };
    let rows = flawless(Source::Outcomes, outcomes(vec![outcome::Kind::Ended(ended)]));
    assert_eq!(rows.ends.rows()[0].delivery, None);
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
        event_key: EVENT.into(),
        at: at(1_760_000_000),
        decisions: decisions.into(),
        ..Routed::default()
    };
    let rows = flawless(Source::Outcomes, outcomes(vec![outcome::Kind::Routed(record)]));
    let names: Vec<_> = rows.routed.rows()[0]
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
    let exhausted = outcome::Kind::Exhausted(Exhausted::default());
    let rows = flawless(Source::Outcomes, outcomes(vec![exhausted]));
    assert!(rows.routed.rows().is_empty() && rows.ends.rows().is_empty());
}

#[test]
fn what_is_no_message_of_ours_is_told() {
    let flaw = |source, payload| read(source, payload).1.remove(0);
    assert!(matches!(flaw(Source::Events, b"\xff\xff".to_vec()), Flaw::Encoding(_)));
    assert!(matches!(flaw(Source::Outcomes, b"\xff\xff".to_vec()), Flaw::Encoding(_)));
    assert!(matches!(flaw(Source::Events, Vec::new()), Flaw::Missing("the event")));
    let attempted = |change: fn(&mut Attempted)| {
        let mut attempted = last_try();
        change(&mut attempted);
        outcomes(vec![outcome::Kind::Attempted(attempted)])
    };
    let timeless = attempted(|attempted| attempted.started_at = None);
    assert!(matches!(flaw(Source::Outcomes, timeless), Flaw::Missing("started_at")));
    let nameless = attempted(|attempted| attempted.delivery_id.clear());
    assert!(matches!(flaw(Source::Outcomes, nameless), Flaw::Missing("delivery_id")));
    let misnamed = attempted(|attempted| attempted.delivery_id = "d1".into());
    assert!(matches!(flaw(Source::Outcomes, misnamed), Flaw::NotAnId("delivery_id")));
}

#[test]
fn each_outcome_is_read_on_its_own() {
    let good = Outcome { kind: Some(outcome::Kind::Attempted(last_try())) }.encode_to_vec();
    // Field 15 of an outcome is none that there is; the third is no protobuf;
    // the fourth has a text that is no UTF-8; the fifth is nothing at all.
    let encoded: [&[u8]; 6] = [&good, b"\x7a\x00", b"\xff", b"\x12\x03\x0a\x01\xff", b"", &good];
    let payload = Encoded { outcomes: encoded.map(Bytes::copy_from_slice).into() };
    let (rows, flaws) = read(Source::Outcomes, payload.encode_to_vec());
    assert_eq!(rows.attempts.rows().len(), 2);
    let [Flaw::Newer(_), Flaw::Encoding(_), Flaw::Encoding(_), Flaw::Missing(_)] = flaws.as_slice()
    else {
        panic!("{flaws:?}")
    };
}

#[test]
fn what_a_newer_version_wrote_is_told_from_what_is_broken() {
    let ended = Ended { delivery_id: DELIVERY.into(), at: at(1), end: 99, ..Ended::default() };
    let routed = |decision| Routed {
        event_key: EVENT.into(),
        at: at(1),
        decisions: vec![decision],
        ..Routed::default()
    };
    let batch = outcomes(vec![
        outcome::Kind::Ended(ended),
        outcome::Kind::Routed(routed(Decision { verdict: 99, ..Decision::default() })),
        outcome::Kind::Routed(routed(Decision { level: 99, ..Decision::default() })),
        outcome::Kind::Attempted(Attempted { level: 99, ..last_try() }),
    ]);
    let (rows, flaws) = read(Source::Outcomes, batch);
    assert!(rows.ends.rows().is_empty() && rows.routed.rows().is_empty());
    assert!(rows.attempts.rows().is_empty());
    assert!(flaws.len() == 4 && flaws.iter().all(Flaw::is_newer), "{flaws:?}");
    let accepted = AcceptedEvent { event: Some(Event::default()), ..AcceptedEvent::default() };
    assert!(read(Source::Events, accepted.encode_to_vec()).1[0].is_newer());
}

#[test]
fn what_is_not_read_is_kept_alone_as_a_message_of_its_own() {
    let newer = Outcome { kind: Some(outcome::Kind::Ended(Ended { end: 99, ..Ended::default() })) };
    let good = Outcome { kind: Some(outcome::Kind::Attempted(last_try())) };
    let batch = OutcomeBatch { outcomes: vec![good, newer.clone()] }.encode_to_vec();
    let mut rows = Rows::default();
    let unread = rows.read(Source::Outcomes, 3, &batch.into());
    let [unread] = unread.as_slice() else { panic!("{unread:?}") };
    assert_eq!(unread.message, 3);
    let alone = OutcomeBatch { outcomes: vec![newer] }.encode_to_vec();
    assert_eq!(unread.payload, alone);
}

#[test]
fn a_try_says_at_which_level_its_webhook_stands_where_that_is_known() {
    let levels = [Level::ParentAccount, Level::Account, Level::Domain, Level::Alert];
    // An earlier version does not say it.
    let tries = levels
        .into_iter()
        .chain([Level::Unspecified])
        .map(|level| outcome::Kind::Attempted(Attempted { level: level.into(), ..last_try() }));
    let rows = flawless(Source::Outcomes, outcomes(tries.collect()));
    let found: Vec<_> = rows.attempts.rows().iter().map(|row| row.level.as_deref()).collect();
    let names = ["parent_account", "account", "domain", "alert"].map(Some);
    assert_eq!(found, [&names[..], &[None]].concat());
}

#[test]
fn an_end_that_says_nothing_is_none() {
    let ended = Ended { delivery_id: DELIVERY.into(), at: at(1), ..Ended::default() };
    let (rows, flaws) = read(Source::Outcomes, outcomes(vec![outcome::Kind::Ended(ended)]));
    assert!(rows.ends.rows().is_empty());
    assert!(matches!(flaws.as_slice(), [Flaw::Missing(_)]), "{flaws:?}");
}

#[test]
fn an_end_and_its_last_try_do_not_take_each_other_with_them() {
    let ended = |last: Attempted| Ended {
        delivery_id: DELIVERY.into(),
        end: End::Poisoned.into(),
        at: at(1_760_000_002),
        last_attempt: Some(last),
        ..Ended::default()
    };
    let timeless_try = ended(Attempted { started_at: None, ..last_try() });
    let timeless_end = Ended { at: None, ..ended(last_try()) };
    let batch = [timeless_try, timeless_end].map(outcome::Kind::Ended);
    let (rows, flaws) = read(Source::Outcomes, outcomes(batch.into()));
    assert_eq!((rows.ends.rows().len(), rows.attempts.rows().len(), flaws.len()), (1, 1, 2));
}

#[test]
fn what_a_poisoned_message_left_out_is_not_there() {
    let ended = Ended {
        delivery_id: DELIVERY.into(),
        account_id: "unknown".into(),
        target_id: "due".into(),
        end: End::Poisoned.into(),
        at: at(1_760_000_002),
        delivery: Bytes::from_static(b"\xff"),
        ..Ended::default()
    };
    let rows = flawless(Source::Outcomes, outcomes(vec![outcome::Kind::Ended(ended)]));
    let [end] = rows.ends.rows() else { panic!("{rows:?}") };
    assert_eq!((end.event_key, end.target_id), (None, None));
    assert_eq!(end.delivery.as_deref(), Some(b"\xff".as_slice()));
}
