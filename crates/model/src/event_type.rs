//! The fourteen kinds of event and the two families that they belong to.

use protocol::v1::event::Kind;

/// A kind of event, under the name that customers subscribe to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(
    missing_docs,
    reason = "the names say it; reference: Mailgun's alert event types and webhook ids"
)]
pub enum EventType {
    IpListed,
    IpDelisted,
    DomainListed,
    DomainDelisted,
    ValidationJob,
    ValidationPreview,
    Accepted,
    Delivered,
    Opened,
    Clicked,
    Unsubscribed,
    Complained,
    TemporaryFail,
    PermanentFail,
}

/// What an event is about decides how it is configured, signed and retried.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Family {
    /// Events of a message that an account sent: Mailgun Send webhooks.
    Message,
    /// Blocklist changes and validation jobs: Mailgun Optimize alerts.
    Alert,
}

impl Family {
    /// Both, each in the place of its number.
    pub const ALL: [Self; 2] = [Self::Message, Self::Alert];

    /// Its number.
    pub const fn number(self) -> usize {
        self as usize
    }
}

impl EventType {
    /// The alert event types, in Mailgun's order.
    pub const ALERTS: [Self; 6] = [
        Self::IpListed,
        Self::IpDelisted,
        Self::DomainListed,
        Self::DomainDelisted,
        Self::ValidationJob,
        Self::ValidationPreview,
    ];

    /// The webhook ids, in the order in which Mailgun lists them.
    pub const WEBHOOKS: [Self; 8] = [
        Self::Accepted,
        Self::Delivered,
        Self::Opened,
        Self::Clicked,
        Self::Unsubscribed,
        Self::Complained,
        Self::TemporaryFail,
        Self::PermanentFail,
    ];

    /// The kind of a decoded event.
    pub fn of(kind: &Kind) -> Self {
        match kind {
            Kind::IpListed(_) => Self::IpListed,
            Kind::IpDelisted(_) => Self::IpDelisted,
            Kind::DomainListed(_) => Self::DomainListed,
            Kind::DomainDelisted(_) => Self::DomainDelisted,
            Kind::ValidationJob(_) => Self::ValidationJob,
            Kind::ValidationPreview(_) => Self::ValidationPreview,
            Kind::Accepted(_) => Self::Accepted,
            Kind::Delivered(_) => Self::Delivered,
            Kind::TemporaryFail(_) => Self::TemporaryFail,
            Kind::PermanentFail(_) => Self::PermanentFail,
            Kind::Opened(_) => Self::Opened,
            Kind::Clicked(_) => Self::Clicked,
            Kind::Unsubscribed(_) => Self::Unsubscribed,
            Kind::Complained(_) => Self::Complained,
        }
    }

    /// The name that customers subscribe to: an alert event type or a webhook id.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IpListed => "ip_listed",
            Self::IpDelisted => "ip_delisted",
            Self::DomainListed => "domain_listed",
            Self::DomainDelisted => "domain_delisted",
            Self::ValidationJob => "validation_job",
            Self::ValidationPreview => "validation_preview",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Opened => "opened",
            Self::Clicked => "clicked",
            Self::Unsubscribed => "unsubscribed",
            Self::Complained => "complained",
            Self::TemporaryFail => "temporary_fail",
            Self::PermanentFail => "permanent_fail",
        }
    }

    /// The value of `event` in a payload: both failures are `failed` there.
    pub const fn payload_name(self) -> &'static str {
        match self {
            Self::TemporaryFail | Self::PermanentFail => "failed",
            other => other.as_str(),
        }
    }

    /// The kind of this name; `None` when there is none.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALERTS.into_iter().chain(Self::WEBHOOKS).find(|kind| kind.as_str() == name)
    }

    /// Which family this kind belongs to.
    pub const fn family(self) -> Family {
        match self {
            Self::IpListed
            | Self::IpDelisted
            | Self::DomainListed
            | Self::DomainDelisted
            | Self::ValidationJob
            | Self::ValidationPreview => Family::Alert,
            _ => Family::Message,
        }
    }
}

impl Family {
    /// The family's name in subjects and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Alert => "alert",
        }
    }
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_kinds() {
        for kind in EventType::ALERTS.into_iter().chain(EventType::WEBHOOKS) {
            assert_eq!(EventType::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(EventType::parse("bounce"), None);
    }

    #[test]
    fn families_stand_in_the_places_of_their_numbers() {
        assert_eq!(Family::ALL.map(Family::number), [0, 1]);
    }
}
