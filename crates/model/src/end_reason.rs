//! Why a delivery ended, and why one waits.

/// Why a delivery ended, where not the last try says it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum EndReason {
    /// It was taken.
    Ok,
    /// Some of its recipients took it, the others never will.
    InPart,
    /// The recipients that were left are not recipients any more.
    RecipientsRemoved,
    /// All attempts of its schedule have failed.
    Schedule,
    /// The time of its schedule was up.
    GiveUpAt,
    /// Too many deliveries of its account waited.
    AccountBacklog,
    /// Too many deliveries waited for its target.
    TargetBacklog,
    /// Its attempts have failed, and one of them may have arrived.
    MayHaveArrived,
    /// Its webhook or alert setting was deleted or changed.
    Deleted,
    /// The account that wanted it, or its parent, is disabled or closed.
    AccountNotOpen,
    /// The domain whose webhook wanted it is disabled.
    DomainDisabled,
    /// The personal data of its account was erased.
    Erased,
    /// Its URL is paused.
    Paused,
    /// Its alert setting is disabled.
    Disabled,
    /// There is no mail relay.
    EmailNotConfigured,
    /// Its event is no event.
    UnreadableEvent,
    /// It is no delivery.
    UnreadableDelivery,
    /// The processes that worked on it have died.
    KillsItsProcess,
    /// Its event is of a kind that this version does not know.
    NewerEvent,
    /// Its channel is one that this version does not know.
    NewerChannel,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Ok,
        Self::InPart,
        Self::RecipientsRemoved,
        Self::Schedule,
        Self::GiveUpAt,
        Self::AccountBacklog,
        Self::TargetBacklog,
        Self::MayHaveArrived,
        Self::Deleted,
        Self::AccountNotOpen,
        Self::DomainDisabled,
        Self::Erased,
        Self::Paused,
        Self::Disabled,
        Self::EmailNotConfigured,
        Self::UnreadableEvent,
        Self::UnreadableDelivery,
        Self::KillsItsProcess,
        Self::NewerEvent,
        Self::NewerChannel,
    ];

    /// Its name, on the wire and in history.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::InPart => "in_part",
            Self::RecipientsRemoved => "recipients_removed",
            Self::Schedule => "schedule",
            Self::GiveUpAt => "give_up_at",
            Self::AccountBacklog => "account_backlog",
            Self::TargetBacklog => "target_backlog",
            Self::MayHaveArrived => "may_have_arrived",
            Self::Deleted => "deleted",
            Self::AccountNotOpen => "account_not_open",
            Self::DomainDisabled => "domain_disabled",
            Self::Erased => "erased",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::EmailNotConfigured => "email_not_configured",
            Self::UnreadableEvent => "unreadable_event",
            Self::UnreadableDelivery => "unreadable_delivery",
            Self::KillsItsProcess => "kills_its_process",
            Self::NewerEvent => "newer_event",
            Self::NewerChannel => "newer_channel",
        }
    }

    /// The reason of this name; `None` for that of an attempt, and for what is not known here.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// A sentence for customers.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Ok => "It was delivered.",
            Self::InPart => "Some of its recipients have it; the others were refused for good.",
            Self::RecipientsRemoved => {
                "The recipients that were left were taken out of the alert setting."
            }
            Self::Schedule => "All attempts of its schedule failed.",
            Self::GiveUpAt => "Its schedule's time was up before all of its tries were made.",
            Self::AccountBacklog => {
                "As many deliveries of the account and its subaccounts waited as may."
            }
            Self::TargetBacklog => "As many deliveries waited for its target as may wait for one.",
            Self::MayHaveArrived => {
                "Its tries failed, but it may have arrived: what came of one of them is not \
                 known, and a receiver that has it may refuse repeats."
            }
            Self::Deleted => {
                "Nobody wanted it any more: its webhook or alert setting was deleted or changed."
            }
            Self::AccountNotOpen => {
                "The account that wanted it, or its parent, was disabled or closed."
            }
            Self::DomainDisabled => "The domain whose webhook wanted it was disabled.",
            Self::Erased => "The personal data of its account was erased.",
            Self::Paused => "Deliveries to this URL were paused.",
            Self::Disabled => "The alert setting was disabled.",
            Self::EmailNotConfigured => "There was no mail relay.",
            Self::UnreadableEvent | Self::UnreadableDelivery => {
                "It could not be read, and was set aside."
            }
            Self::KillsItsProcess => {
                "The processes that worked on it died, again and again; it was set aside unread."
            }
            Self::NewerEvent | Self::NewerChannel => {
                "It was made by a newer version and could not be delivered by this one."
            }
        }
    }

    /// Whether an alert that is exhausted for it disables its setting: not where too many wait,
    /// nor where it may have arrived.
    pub const fn disables(self) -> bool {
        match self {
            Self::Schedule | Self::GiveUpAt => true,
            Self::Ok
            | Self::InPart
            | Self::RecipientsRemoved
            | Self::AccountBacklog
            | Self::TargetBacklog
            | Self::MayHaveArrived
            | Self::Deleted
            | Self::AccountNotOpen
            | Self::DomainDisabled
            | Self::Erased
            | Self::Paused
            | Self::Disabled
            | Self::EmailNotConfigured
            | Self::UnreadableEvent
            | Self::UnreadableDelivery
            | Self::KillsItsProcess
            | Self::NewerEvent
            | Self::NewerChannel => false,
        }
    }
}

/// Why a delivery cannot go now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Its target has as many tries under way as it may have.
    Concurrency,
    /// Its target has had as many tries in this second as it may have.
    Rate,
    /// Its target is left alone.
    Breaker,
    /// Targets without a recent success have all the slots that they may have.
    UnprovenShare,
    /// The mail relay is left alone, or has as many mails under way as it may
    /// have. No fault of those whom the mail is for.
    Relay,
}

impl Wait {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Concurrency, Self::Rate, Self::Breaker, Self::UnprovenShare, Self::Relay];

    /// Its name, on the wire, in history and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Concurrency => "target_concurrency",
            Self::Rate => "target_rate",
            Self::Breaker => "breaker_open",
            Self::UnprovenShare => "unproven_share",
            Self::Relay => "mail_relay",
        }
    }

    /// The wait of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wait| wait.as_str() == name)
    }

    /// A clause for customers: what it waits for.
    pub const fn explain(self) -> &'static str {
        match self {
            Self::Breaker => {
                "its target was left alone, because it did not answer, or said that it was busy"
            }
            Self::Concurrency => "its target had as many tries under way as it may have",
            Self::Rate => "its target had had as many tries in a second as it may have",
            Self::UnprovenShare => "targets that had taken nothing lately had used up their share",
            Self::Relay => "the mail relay was in trouble",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::parse(reason.as_str()), Some(reason));
            assert_eq!(Wait::parse(reason.as_str()), None);
        }
        for wait in Wait::ALL {
            assert_eq!(Wait::parse(wait.as_str()), Some(wait));
        }
        assert_eq!(EndReason::parse("status"), None);
    }
}
