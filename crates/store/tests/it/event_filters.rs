//! Filters find in the database what a naive reader finds in the events.

use model::event_filter::{EventFilter, FilterField, parse};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use prost::Message as _;
use protocol::v1::event::Kind;
use protocol::v1::{Accepted, Clicked};
use protocol::v1::{
    Attachment, Event, Labels, MailingList, MessageHeaders, MessageInfo, PermanentFail,
    TemporaryFail,
};
use store::history::{EventRow, EventScope, EventSearch, Order};
use testkit::TestEnv;

use crate::world::{at, open, row_of};

const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
const EVENTS: usize = 120;
const FILTERS: usize = 600;

/// An expression, and how it is written.
#[derive(Clone, Debug)]
enum Expression {
    Word(String),
    Quoted(String),
    Range(&'static str, i64),
    Not(Box<Self>),
    And(Vec<Self>),
    /// The same without the word `AND`.
    Beside(Vec<Self>),
    Or(Vec<Self>),
}

impl Expression {
    fn written(&self) -> String {
        let all = |parts: &[Self], between: &str| {
            let parts: Vec<String> = parts.iter().map(Self::written).collect();
            format!("({})", parts.join(between))
        };
        match self {
            Self::Word(word) => word.clone(),
            Self::Quoted(text) => format!("\"{text}\""),
            Self::Range(sign, number) => format!("{sign}{number}"),
            Self::Not(inner) => format!("NOT {}", inner.written()),
            Self::And(parts) => all(parts, " AND "),
            Self::Beside(parts) => all(parts, " "),
            Self::Or(parts) => all(parts, " OR "),
        }
    }

    fn holds(&self, field: &str, event: &Event) -> bool {
        match self {
            Self::Word(word) => word_holds(field, &word.to_lowercase(), event),
            Self::Quoted(text) => quoted_holds(field, &text.to_lowercase(), event),
            Self::Range(sign, number) => size(event).is_some_and(|size| match *sign {
                ">" => size > *number,
                ">=" => size >= *number,
                "<" => size < *number,
                "<=" => size <= *number,
                _ => size == *number,
            }),
            Self::Not(inner) => !inner.holds(field, event),
            Self::And(parts) | Self::Beside(parts) => {
                parts.iter().all(|part| part.holds(field, event))
            }
            Self::Or(parts) => parts.iter().any(|part| part.holds(field, event)),
        }
    }
}

fn message(event: &Event) -> (&str, Option<&MessageInfo>, Option<&Labels>) {
    match event.kind.as_ref().expect("a kind") {
        Kind::Accepted(e) => (&e.recipient, e.message.as_ref(), e.labels.as_ref()),
        Kind::Clicked(e) => (&e.recipient, e.message.as_ref(), e.labels.as_ref()),
        Kind::TemporaryFail(e) => (&e.recipient, e.message.as_ref(), e.labels.as_ref()),
        Kind::PermanentFail(e) => (&e.recipient, e.message.as_ref(), e.labels.as_ref()),
        other => panic!("{other:?}"),
    }
}

fn size(event: &Event) -> Option<i64> {
    message(event).1.and_then(|message| message.size)
}

/// The texts of a field, as they are in the event.
fn texts(field: &str, event: &Event) -> Vec<String> {
    let (recipient, message, labels) = message(event);
    let header = |of: fn(&MessageHeaders) -> &String| {
        message.and_then(|m| m.headers.as_ref()).map(of).cloned().into_iter().collect::<Vec<_>>()
    };
    let texts = match field {
        "recipient" => vec![recipient.to_owned()],
        "recipients" => {
            let mut all = message.map(|m| m.recipients.clone()).unwrap_or_default();
            all.push(recipient.to_owned());
            all
        }
        "from" => header(|h| &h.from),
        "to" => header(|h| &h.to),
        "subject" => header(|h| &h.subject),
        "message-id" => header(|h| &h.message_id),
        "tags" => labels.map(|l| l.tags.clone()).unwrap_or_default(),
        "list" => labels
            .and_then(|l| l.mailing_list.as_ref())
            .map(|list| list.address.clone())
            .into_iter()
            .collect(),
        "attachment" => message
            .map(|m| m.attachments.iter().map(|file| file.filename.clone()).collect())
            .unwrap_or_default(),
        other => panic!("{other}"),
    };
    texts.into_iter().map(|text| text.to_lowercase()).collect()
}

fn word_holds(field: &str, word: &str, event: &Event) -> bool {
    let kind = event.kind.as_ref().expect("a kind");
    let name = match kind {
        Kind::Accepted(_) => "accepted",
        Kind::Clicked(_) => "clicked",
        _ => "failed",
    };
    let severity = match kind {
        Kind::TemporaryFail(_) => "temporary",
        Kind::PermanentFail(_) => "permanent",
        _ => "",
    };
    let bare = word.trim_matches(['<', '>']);
    let is_address = |text: &str| text.contains("@a.example") && !text.starts_with('@');
    match field {
        "event" => word == name,
        "severity" => word == severity,
        "size" => size(event).is_some_and(|size| size.to_string() == word),
        "tags" => texts(field, event).iter().any(|tag| tag == word),
        "message-id" if is_address(bare) => texts(field, event).iter().any(|id| id == bare),
        "message-id" => texts(field, event).iter().any(|id| id.contains(bare)),
        "recipient" | "recipients" | "list" if is_address(word) => {
            texts(field, event).iter().any(|text| text == word)
        }
        _ => texts(field, event).iter().any(|text| text.contains(word)),
    }
}

fn quoted_holds(field: &str, text: &str, event: &Event) -> bool {
    match field {
        "event" | "severity" | "size" | "tags" => word_holds(field, text, event),
        _ => texts(field, event).iter().any(|found| found.contains(text)),
    }
}

/// Few words, so that they often meet.
const WORDS: [&str; 16] = [
    "Ada",
    "bob",
    "ada@a.example",
    "BOB@a.example",
    "@a.example",
    "<1.id@a.example>",
    "1.id@a.example",
    "Order",
    "Ünï",
    "50%",
    "a_b",
    "failed",
    "clicked",
    "temporary",
    "permanent",
    "report.pdf",
];

fn words() -> impl Strategy<Value = String> {
    proptest::sample::select(&WORDS[..]).prop_map(str::to_owned)
}

fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(words(), 0..3).prop_map(|words| words.join(" "))
}

fn event() -> impl Strategy<Value = Event> {
    let list = || proptest::collection::vec(words(), 0..3);
    let headers = (text(), text(), text(), words());
    let headers = headers.prop_map(|(from, to, subject, message_id)| MessageHeaders {
        from,
        to,
        subject,
        message_id: message_id.trim_matches(['<', '>']).to_owned(),
    });
    let info = (proptest::option::of(headers), list(), list(), proptest::option::of(0..4_i64));
    let info = info.prop_map(|(headers, recipients, files, size)| MessageInfo {
        headers,
        recipients,
        attachments: files
            .into_iter()
            .map(|filename| Attachment { filename, ..Attachment::default() })
            .collect(),
        size,
        ..MessageInfo::default()
    });
    let labels = (list(), proptest::option::of(words())).prop_map(|(tags, list)| Labels {
        tags,
        mailing_list: list.map(|address| MailingList { address, ..MailingList::default() }),
        ..Labels::default()
    });
    let parts = (words(), proptest::option::of(info), proptest::option::of(labels), 0..4);
    parts.prop_map(|(recipient, message, labels, kind)| Event {
        domain: "mail.demo.example".to_owned(),
        kind: Some(match kind {
            0 => Kind::Accepted(Accepted { recipient, message, labels, ..Default::default() }),
            1 => Kind::Clicked(Clicked { recipient, message, labels, ..Default::default() }),
            2 => Kind::TemporaryFail(TemporaryFail {
                recipient,
                message,
                labels,
                ..Default::default()
            }),
            _ => Kind::PermanentFail(PermanentFail {
                recipient,
                message,
                labels,
                ..Default::default()
            }),
        }),
        ..Event::default()
    })
}

fn expression(field: &'static str) -> BoxedStrategy<Expression> {
    let of_a_list = |names: &'static [&'static str]| {
        let name = proptest::sample::select(names).prop_map(str::to_owned);
        prop_oneof![
            3 => name.clone().prop_map(Expression::Word),
            1 => name.prop_map(Expression::Quoted),
        ]
        .boxed()
    };
    let leaf = if field == "event" {
        of_a_list(&["failed", "clicked", "Delivered", "opened", "accepted", "stored"])
    } else if field == "severity" {
        of_a_list(&["temporary", "Permanent"])
    } else if field == "size" {
        let sign = proptest::sample::select(&["", ">", ">=", "<", "<=", "> "][..]);
        (sign, -1..5_i64)
            .prop_map(|(sign, number)| Expression::Range(sign.trim_end(), number))
            .boxed()
    } else {
        prop_oneof![
            3 => words().prop_map(Expression::Word),
            1 => words().prop_map(Expression::Quoted),
        ]
        .boxed()
    };
    leaf.prop_recursive(4, 24, 4, |inner| {
        let some = || proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            inner.clone().prop_map(|one| Expression::Not(Box::new(one))),
            some().prop_map(Expression::And),
            some().prop_map(Expression::Beside),
            some().prop_map(Expression::Or),
        ]
    })
    .boxed()
}

#[tokio::test]
async fn what_filters_find_is_what_a_naive_reader_finds() {
    let env = TestEnv::new();
    let store = open(&env).await;
    let mut runner = TestRunner::deterministic();
    let events: Vec<Event> = (0..EVENTS)
        .map(|n| {
            let event = event().new_tree(&mut runner).expect("an event").current();
            Event { id: format!("e{n:03}"), ..event }
        })
        .collect();
    let rows: Vec<EventRow> =
        events.iter().map(|event| row_of(event.clone(), ACCOUNT, at(0), at(1))).collect();
    store.insert_events(&rows).await.expect("inserted");

    let mut found_some = 0;
    for n in 0..FILTERS {
        let (field_name, field) = FilterField::ALL[n % FilterField::ALL.len()];
        let expression = expression(field_name).new_tree(&mut runner).expect("one").current();
        let written = expression.written();
        let filter = parse(field, &written).unwrap_or_else(|error| panic!("{written}: {error}"));
        let search = EventSearch {
            scope: EventScope::Domain {
                account_id: ACCOUNT.to_owned(),
                domain_id: rows[0].domain_id.expect("a domain"),
            },
            from: None,
            to: None,
            filter: EventFilter::All(vec![filter]),
        };
        let found = store.events_by_time(&search, Order::Ascending, None, None, 1_000).await;
        let mut found: Vec<String> = found
            .expect("found")
            .into_iter()
            .map(|found| Event::decode(found.event.as_slice()).expect("an event").id)
            .collect();
        found.sort();
        let wanted: Vec<String> = events
            .iter()
            .filter(|event| expression.holds(field_name, event))
            .map(|event| event.id.clone())
            .collect();
        assert_eq!(found, wanted, "{field_name}={written}");
        found_some += usize::from(!found.is_empty() && found.len() < EVENTS);
    }
    assert!(found_some > FILTERS / 4, "only {found_some} filters were of any use");
}
