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

use protocol::v1::Event;

use self::path::Path;
use self::rules::Checked;
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

/// Checks one event and tells its kind.
///
/// An empty id and an absent timestamp pass: ingest fills them in.
///
/// # Errors
/// The first thing that is wrong. The same event is refused again.
pub fn event(event: &Event) -> Result<EventType, Invalid> {
    let root = Path::root();
    let Some(kind) = &event.kind else {
        return root.fail(
            "the event has no kind; set exactly one of ip_listed, ip_delisted, domain_listed, \
             domain_delisted, validation_job, validation_preview, accepted, delivered, \
             temporary_fail, permanent_fail, opened, clicked, unsubscribed, complained",
        );
    };
    let event_type = EventType::of(kind);
    id(root.field("id"), &event.id)?;
    rules::name(root.field("account"), &event.account)?;
    rules::name(root.field("domain"), &event.domain)?;
    if let Some(timestamp) = &event.timestamp {
        rules::timestamp(root.field("timestamp"), timestamp)?;
    }
    match event_type.family() {
        Family::Alert => alert_address(&root, event)?,
        Family::Message => rules::required(
            root.field("domain"),
            &event.domain,
            "the name of the sending domain, such as mail.shop.example",
        )?,
    }

    let path = root.field(event_type.as_str());
    match MessageFields::of(kind) {
        Some(fields) => message::check(&path, event_type, &fields)?,
        None => alert::check(&path, kind)?,
    }
    Ok(event_type)
}

/// Alerts belong to an account; nothing else tells which.
fn alert_address(root: &Path<'_>, event: &Event) -> Checked {
    if !event.domain.is_empty() {
        return root.field("domain").fail(
            "alerts belong to an account, not to a sending domain; leave it empty and name the \
             account",
        );
    }
    rules::required(
        root.field("account"),
        &event.account,
        "the name or id of the account that is alerted",
    )
}

fn id(path: Path<'_>, id: &str) -> Checked {
    if id.len() > 128 || !id.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return path
            .fail("an id is 1 to 128 printable ASCII characters; leave it empty to get one made");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod arbitrary;
#[cfg(test)]
mod tests;
