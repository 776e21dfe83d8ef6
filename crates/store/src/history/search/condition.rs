//! From a filter to SQL. Every value is bound; what stands in the text is ours.

use model::EventType;
use model::event_filter::{Comparison, EventFilter, Match, SEPARATOR, TextField};
use sqlx::{Postgres, QueryBuilder};

use crate::history::Uuid;

/// Adds a filter as one condition, which is true or false and never NULL.
pub(super) fn push(query: &mut QueryBuilder<Postgres>, filter: &EventFilter) {
    match filter {
        EventFilter::All(filters) => joined(query, filters, " AND ", "TRUE"),
        EventFilter::Any(filters) => joined(query, filters, " OR ", "FALSE"),
        EventFilter::Not(filter) => {
            query.push("NOT ");
            push(query, filter);
        }
        EventFilter::Event(name) => {
            one_of(query, |event_type| event_type.payload_name() == name);
        }
        EventFilter::Severity(severity) => one_of(query, |event_type| match event_type {
            EventType::TemporaryFail => severity == "temporary",
            EventType::PermanentFail => severity == "permanent",
            _ => false,
        }),
        EventFilter::Domain(id) => {
            query.push("(domain_id IS NOT NULL AND domain_id = ");
            query.push_bind(Uuid::from_bytes(*id)).push(")");
        }
        EventFilter::Text(field, how) => text(query, *field, how),
        EventFilter::Size(comparison, number) => {
            let comparison = match comparison {
                Comparison::Less => "<",
                Comparison::AtMost => "<=",
                Comparison::Equal => "=",
                Comparison::AtLeast => ">=",
                Comparison::Greater => ">",
            };
            query.push(format_args!("(size_bytes IS NOT NULL AND size_bytes {comparison} "));
            query.push_bind(*number).push(")");
        }
    }
}

fn joined(
    query: &mut QueryBuilder<Postgres>,
    filters: &[EventFilter],
    operator: &str,
    of_none: &str,
) {
    query.push("(");
    for (n, filter) in filters.iter().enumerate() {
        if n > 0 {
            query.push(operator);
        }
        push(query, filter);
    }
    if filters.is_empty() {
        query.push(of_none);
    }
    query.push(")");
}

/// Those of the message events, as text of the statement: so the partial indexes
/// are found. Their names are ours.
fn one_of(query: &mut QueryBuilder<Postgres>, is_meant: impl Fn(EventType) -> bool) {
    let meant: Vec<String> = EventType::WEBHOOKS
        .into_iter()
        .filter(|event_type| is_meant(*event_type))
        .map(|event_type| format!("'{event_type}'"))
        .collect();
    match meant.as_slice() {
        [] => query.push("FALSE"),
        [one] => query.push(format_args!("event_type = {one}")),
        several => query.push(format_args!("event_type IN ({})", several.join(", "))),
    };
}

fn text(query: &mut QueryBuilder<Postgres>, field: TextField, how: &Match) {
    let column = match field {
        TextField::Recipient => "recipient",
        TextField::From => "from_header",
        TextField::To => "to_header",
        TextField::Subject => "subject",
        TextField::MessageId => "message_id",
        TextField::ListAddress => "list_address",
        TextField::Attachments => return list(query, "attachments", how),
        TextField::Tags => return list(query, "tags", how),
        TextField::Recipients => {
            query.push("(");
            text(query, TextField::Recipient, how);
            query.push(" OR ");
            list(query, "recipients", how);
            query.push(")");
            return;
        }
    };
    match how {
        Match::Contains(part) => {
            query.push(format_args!("strpos({column}, ")).push_bind(part.clone()).push(") > 0");
        }
        Match::Is(whole) => {
            query.push(format_args!("{column} = ")).push_bind(whole.clone());
        }
        Match::EndsWith(end) => {
            let characters = i32::try_from(end.chars().count()).unwrap_or(i32::MAX);
            query.push(format_args!("right({column}, ")).push_bind(characters);
            query.push(") = ").push_bind(end.clone());
        }
    }
}

fn list(query: &mut QueryBuilder<Postgres>, column: &str, how: &Match) {
    let part = match how {
        Match::Contains(part) => part.clone(),
        Match::Is(element) => format!("{SEPARATOR}{element}{SEPARATOR}"),
        Match::EndsWith(end) => format!("{end}{SEPARATOR}"),
    };
    query.push(format_args!("strpos({column}, ")).push_bind(part).push(") > 0");
}
