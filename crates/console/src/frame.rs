//! What stands around each page: where its visitor is, and where else to go.

use crate::session::{Account, Role};

/// A part of the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Section {
    Overview,
    Events,
    Failures,
    Subaccounts,
}

impl Section {
    /// As the navigation has them.
    pub(crate) const ALL: [Self; 4] =
        [Self::Overview, Self::Events, Self::Failures, Self::Subaccounts];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Events => "Events",
            Self::Failures => "Failures",
            Self::Subaccounts => "Subaccounts",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Overview => crate::path::HOME,
            Self::Events => crate::path::EVENTS,
            Self::Failures => crate::path::FAILURES,
            Self::Subaccounts => crate::path::SUBACCOUNTS,
        }
    }
}

/// What the template `frame.html` shows.
pub(crate) struct Frame {
    pub(crate) section: Section,
    /// The account that the page is about.
    pub(crate) account: Account,
    /// Whether that is a subaccount of the key's.
    pub(crate) is_acting: bool,
    pub(crate) role: Role,
    /// Stands in every form, under the name `form_token`.
    pub(crate) token: String,
}

impl Frame {
    /// Whether settings may be changed, and things be sent again.
    pub(crate) fn may_change_settings(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Developer)
    }

    /// Whether API keys and subaccounts may be changed.
    pub(crate) fn may_change_account(&self) -> bool {
        self.role == Role::Admin
    }
}
