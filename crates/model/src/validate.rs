//! Everything that can be wrong with one event, apart from whether its account
//! and domain exist.
//!
//! The limits serve what comes later: an event that passes can be turned into
//! a payload, routed and stored. Text that third parties have written (SMTP
//! answers, user agents, subjects) is limited in length only, because an event
//! must not be lost over what a stranger put into it.

mod alert;
mod message;
mod path;
mod rules;
mod sender;

use protocol::v1::Event;

pub use self::sender::normalise;

use self::path::{Found, Path};
use crate::payload::MessageFields;
use crate::{EventType, Family};

/// What is wrong with an event, for the caller that sent it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// Path of the field, such as `ip_listed.ip`; empty when the whole event is meant.
    pub field: String,
    /// What was wrong, and what would be right. Does not repeat the value,
    /// which may be a person's address.
    pub message: String,
}

/// All that is wrong with an event, of each field the first, and so many at most.
const MOST_VIOLATIONS: usize = 20;

/// Checks one event and tells its kind.
///
/// An empty id and an absent timestamp pass: ingest fills them in.
///
/// # Errors
/// All that is wrong, of each field the first thing; never none. The same event is refused again.
pub fn event(event: &Event) -> Result<EventType, Vec<Invalid>> {
    let found = Found::default();
    let event_type = check(&Path::root(&found), event);
    match (event_type, found.into_vec()) {
        (Some(event_type), found) if found.is_empty() => Ok(event_type),
        (_, found) => Err(found),
    }
}

fn check(root: &Path<'_>, event: &Event) -> Option<EventType> {
    let Some(kind) = &event.kind else {
        root.fail(
            "the event has no kind; set exactly one of ip_listed, ip_delisted, domain_listed, \
             domain_delisted, validation_job, validation_preview, accepted, delivered, \
             temporary_fail, permanent_fail, opened, clicked, unsubscribed, complained",
        );
        return None;
    };
    let event_type = EventType::of(kind);
    id(root.field("id"), &event.id);
    rules::name(root.field("account"), &event.account);
    rules::name(root.field("domain"), &event.domain);
    if let Some(timestamp) = &event.timestamp {
        rules::timestamp(root.field("timestamp"), timestamp);
    }
    match event_type.family() {
        Family::Alert => alert_address(root, event),
        Family::Message => rules::required(
            root.field("domain"),
            &event.domain,
            "the name of the sending domain, such as mail.shop.example",
        ),
    }

    let path = root.field(event_type.as_str());
    match MessageFields::of(kind) {
        Some(fields) => message::check(&path, event_type, &fields),
        None => alert::check(&path, kind),
    }
    Some(event_type)
}

/// Alerts belong to an account; nothing else tells which.
fn alert_address(root: &Path<'_>, event: &Event) {
    if !event.domain.is_empty() {
        root.field("domain").fail(
            "alerts belong to an account, not to a sending domain; leave it empty and name the \
             account",
        );
    }
    rules::required(
        root.field("account"),
        &event.account,
        "the name or id of the account that is alerted",
    );
}

fn id(path: Path<'_>, id: &str) {
    if id.len() > 128 || !id.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        path.fail("an id is 1 to 128 printable ASCII characters; leave it empty to get one made");
    }
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
