//! From the conditions of a search to one.

use model::event_filter::{
    Comparison, EventFilter, FilterField, Match, TextField, check_event, searchable,
};
use store::history::id;

use super::request::LogsCondition;
use crate::domain_name;
use crate::error::ApiError;

/// Values of all conditions together; each is a comparison for every event that
/// is looked at.
const MAX_VALUES: usize = 100;

/// The account ids that are meant: those of the conditions on `subaccount`, as
/// far as they are among these.
pub(super) fn accounts(
    tests: &[LogsCondition],
    mut among: Vec<String>,
) -> Result<Vec<String>, ApiError> {
    for test in tests.iter().filter(|test| test.attribute == "subaccount") {
        let is_meant = |account: &String| test.values.iter().any(|value| value.value == *account);
        match test.comparator.as_str() {
            "=" => among.retain(is_meant),
            "!=" => among.retain(|account| !is_meant(account)),
            _ => return Err(not_that_way(test)),
        }
    }
    Ok(among)
}

/// Everything else as one condition.
pub(crate) fn condition(
    events: &[String],
    tests: &[LogsCondition],
) -> Result<EventFilter, ApiError> {
    let values: usize = tests.iter().map(|test| test.values.len()).sum();
    if values + events.len() > MAX_VALUES {
        let message = format!("a filter can have at most {MAX_VALUES} values");
        return Err(ApiError::bad_request(message));
    }
    let mut all = Vec::new();
    if !events.is_empty() {
        let any = events.iter().map(|event| {
            let event = event.to_lowercase();
            let known = check_event(&event).map(|()| EventFilter::Event(event));
            known.map_err(|error| ApiError::bad_request(format!("events: {error}")))
        });
        all.push(EventFilter::Any(any.collect::<Result<_, _>>()?));
    }
    for test in tests.iter().filter(|test| test.attribute != "subaccount") {
        let (negated, comparator) = match test.comparator.as_str() {
            "!=" => (true, "="),
            "not contains" => (true, "contains"),
            other => (false, other),
        };
        let any = test.values.iter().map(|value| one(test, comparator, &value.value));
        let any = EventFilter::Any(any.collect::<Result<_, _>>()?);
        all.push(if negated { EventFilter::Not(Box::new(any)) } else { any });
    }
    Ok(EventFilter::All(all))
}

fn one(test: &LogsCondition, comparator: &str, value: &str) -> Result<EventFilter, ApiError> {
    let field = match test.attribute.as_str() {
        "event" => FilterField::Event,
        "severity" => FilterField::Severity,
        "size" => return size(test, comparator, value),
        "recipient_domain" | "domain" if comparator != "=" => return Err(not_that_way(test)),
        "recipient_domain" => {
            let end = Match::EndsWith(searchable(&format!("@{value}")));
            return Ok(EventFilter::Text(TextField::Recipient, end));
        }
        "domain" => {
            let domain = domain_name::canonical(value).map(|name| model::domain_id(&name));
            // What is no domain has no events.
            let domain = domain.and_then(|domain| id(&domain));
            return Ok(domain
                .map_or(EventFilter::Any(Vec::new()), |id| EventFilter::Domain(*id.as_bytes())));
        }
        "recipient" => FilterField::Text(TextField::Recipient),
        "recipients" => FilterField::Text(TextField::Recipients),
        "from" => FilterField::Text(TextField::From),
        "to" => FilterField::Text(TextField::To),
        "subject" => FilterField::Text(TextField::Subject),
        "message_id" => FilterField::Text(TextField::MessageId),
        "mailing_list_address" => FilterField::Text(TextField::ListAddress),
        "attachment_filename" => FilterField::Text(TextField::Attachments),
        "tag" => FilterField::Text(TextField::Tags),
        other => {
            let message = format!("'{other}' is not a valid filter predicate attribute");
            return Err(ApiError::bad_request(message));
        }
    };
    let texts = |how: fn(String) -> Match, text| match field {
        FilterField::Text(field) => Some(EventFilter::Text(field, how(searchable(text)))),
        _ => None,
    };
    let bare = value.trim_start_matches('<').trim_end_matches('>');
    let value = if test.attribute == "message_id" { bare } else { value };
    let filter = match comparator {
        "=" => match texts(Match::Is, value) {
            Some(filter) => Some(filter),
            None => Some(field.term(value).map_err(|error| {
                ApiError::bad_request(format!("the filter '{}': {error}", test.attribute))
            })?),
        },
        "contains" if !value.is_empty() => texts(Match::Contains, value),
        _ => None,
    };
    filter.ok_or_else(|| not_that_way(test))
}

fn size(test: &LogsCondition, comparator: &str, value: &str) -> Result<EventFilter, ApiError> {
    let comparison = match comparator {
        "=" => Comparison::Equal,
        "<" => Comparison::Less,
        "<=" => Comparison::AtMost,
        ">" => Comparison::Greater,
        ">=" => Comparison::AtLeast,
        _ => return Err(not_that_way(test)),
    };
    let number = value
        .parse()
        .map_err(|_| ApiError::bad_request(format!("the size '{value}' is not a whole number")))?;
    Ok(EventFilter::Size(comparison, number))
}

fn not_that_way(test: &LogsCondition) -> ApiError {
    let LogsCondition { attribute, comparator, .. } = test;
    ApiError::bad_request(format!(
        "the attribute '{attribute}' cannot be compared by '{comparator}'"
    ))
}
