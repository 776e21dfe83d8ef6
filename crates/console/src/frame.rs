//! What stands around each page: where its visitor is, and where else to go.

use crate::session::{Account, Role};

/// A part of the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Section {
    Overview,
    Subaccounts,
}

impl Section {
    /// As the navigation has them.
    pub(crate) const ALL: [Self; 2] = [Self::Overview, Self::Subaccounts];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Subaccounts => "Subaccounts",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Overview => crate::path::HOME,
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
    /// Whether API keys and subaccounts may be changed.
    pub(crate) fn may_change_account(&self) -> bool {
        self.role == Role::Admin
    }
}
