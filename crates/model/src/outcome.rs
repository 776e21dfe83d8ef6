//! How a delivery ends.

use protocol::v1::ended;

/// The end of a delivery. The names stand in history, in answers and in metrics.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum End {
    /// The receiver has taken it.
    Delivered,
    /// The receiver wants it never again.
    Rejected,
    /// All its tries have failed, or its time was up.
    Exhausted,
    /// It waited for too long before its first try.
    Expired,
    /// Nobody wants it any more.
    Suppressed,
    /// Its URL is paused or its setting disabled.
    Held,
    /// It was set aside, for a fault of ours.
    Poisoned,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Rejected,
        Self::Exhausted,
        Self::Expired,
        Self::Suppressed,
        Self::Held,
        Self::Poisoned,
    ];

    /// Those that keep their body and can be sent again by a job, the likeliest first.
    /// The API, its description and the console take them from here.
    pub const RESENDABLE: [Self; 6] = [
        Self::Held,
        Self::Exhausted,
        Self::Rejected,
        Self::Expired,
        Self::Suppressed,
        Self::Poisoned,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Suppressed => "suppressed",
            Self::Held => "held",
            Self::Poisoned => "poisoned",
        }
    }

    /// The end of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.as_str() == name)
    }

    /// The end that a record names; `None` where it names none that is known here.
    pub const fn of(end: ended::End) -> Option<Self> {
        Some(match end {
            ended::End::Unspecified => return None,
            ended::End::Delivered => Self::Delivered,
            ended::End::Rejected => Self::Rejected,
            ended::End::Exhausted => Self::Exhausted,
            ended::End::Expired => Self::Expired,
            ended::End::Suppressed => Self::Suppressed,
            ended::End::Held => Self::Held,
            ended::End::Poisoned => Self::Poisoned,
        })
    }

    /// Whether its body is kept, so that it can be sent again.
    pub const fn keeps_body(self) -> bool {
        match self {
            Self::Delivered => false,
            Self::Rejected
            | Self::Exhausted
            | Self::Expired
            | Self::Suppressed
            | Self::Held
            | Self::Poisoned => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_a_name_and_what_keeps_its_body_can_be_sent_again() {
        for end in End::ALL {
            assert_eq!(End::parse(end.as_str()), Some(end));
            assert_eq!(End::RESENDABLE.contains(&end), end.keeps_body(), "{end:?}");
        }
        assert_eq!(End::parse("gone"), None);
    }

    #[test]
    fn every_end_of_a_record_is_an_end_here() {
        let known: Vec<End> =
            (0..).map_while(|n| ended::End::try_from(n).ok()).filter_map(End::of).collect();
        assert_eq!(known, End::ALL);
        for end in (1..).map_while(|n| ended::End::try_from(n).ok()) {
            let name = End::of(end).map(End::as_str);
            assert_eq!(name, Some(end.as_str_name().to_ascii_lowercase().as_str()));
        }
    }
}
