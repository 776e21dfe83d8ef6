//! The ids under which customers keep webhooks, today's and those from before 2018.

use crate::EventType;

/// The id of a webhook: one of today's eight, which are event types, or one of
/// the seven older ones, each of which stands for one of today's.
///
/// An older id is kept and shown under its own name, so that old code finds
/// what it stored; its URLs get the events of the type that it stands for
/// (reference §2.1, mode `distinct`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct WebhookId {
    name: &'static str,
    event_type: EventType,
}

impl WebhookId {
    /// All ids in the order in which lists show them: today's first.
    pub const ALL: [Self; 15] = [
        Self::of(EventType::Accepted),
        Self::of(EventType::Delivered),
        Self::of(EventType::Opened),
        Self::of(EventType::Clicked),
        Self::of(EventType::Unsubscribed),
        Self::of(EventType::Complained),
        Self::of(EventType::TemporaryFail),
        Self::of(EventType::PermanentFail),
        Self { name: "bounce", event_type: EventType::PermanentFail },
        Self { name: "deliver", event_type: EventType::Delivered },
        Self { name: "drop", event_type: EventType::PermanentFail },
        Self { name: "spam", event_type: EventType::Complained },
        Self { name: "unsubscribe", event_type: EventType::Unsubscribed },
        Self { name: "click", event_type: EventType::Clicked },
        Self { name: "open", event_type: EventType::Opened },
    ];

    const fn of(event_type: EventType) -> Self {
        Self { name: event_type.as_str(), event_type }
    }

    /// The id of this name; `None` when there is none.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|id| id.name == name)
    }

    /// The id itself.
    pub const fn as_str(self) -> &'static str {
        self.name
    }

    /// Whether it is one of the ids from before 2018.
    pub fn is_older(self) -> bool {
        self != self.todays()
    }

    /// Today's id of the same events; of today's ids, the id itself.
    pub const fn todays(self) -> Self {
        Self::of(self.event_type)
    }

    /// The type of the events that its URLs get.
    pub const fn event_type(self) -> EventType {
        self.event_type
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Family;

    #[test]
    fn todays_ids_come_first_and_stand_for_themselves() {
        let todays: Vec<_> = WebhookId::ALL.iter().take(8).map(|id| id.event_type()).collect();
        assert_eq!(todays, EventType::WEBHOOKS);
        assert!(WebhookId::ALL.iter().take(8).all(|id| id.as_str() == id.event_type().as_str()));
    }

    #[test]
    fn ids_are_found_by_their_names() {
        for id in WebhookId::ALL {
            assert_eq!(WebhookId::parse(id.as_str()), Some(id));
            assert_eq!(id.event_type().family(), Family::Message);
        }
        assert_eq!(WebhookId::parse("ip_listed"), None);
        let deliver = WebhookId::parse("deliver").expect("an older id");
        assert_eq!(deliver.event_type(), EventType::Delivered);
        assert_eq!(EventType::parse("deliver"), None);
        assert_eq!(Some(deliver.todays()), WebhookId::parse("delivered"));
        assert!(deliver.is_older() && !deliver.todays().is_older());
    }
}
