//! What stands around each page: where its visitor is, and where else to go.

use crate::session::{Account, Role};

/// A part of the console.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Section {
    Overview,
    Events,
    Failures,
    Webhooks,
    Alerts,
    Domains,
    Security,
    Subaccounts,
}

impl Section {
    /// As the navigation has them.
    pub(crate) const ALL: [Self; 8] = [
        Self::Overview,
        Self::Webhooks,
        Self::Alerts,
        Self::Events,
        Self::Failures,
        Self::Domains,
        Self::Security,
        Self::Subaccounts,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Events => "Events",
            Self::Failures => "Failures",
            Self::Webhooks => "Webhooks",
            Self::Alerts => "Alerts",
            Self::Domains => "Domains",
            Self::Security => "Security",
            Self::Subaccounts => "Subaccounts",
        }
    }

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Overview => crate::path::HOME,
            Self::Events => crate::path::EVENTS,
            Self::Failures => crate::path::FAILURES,
            Self::Webhooks => crate::path::WEBHOOKS,
            Self::Alerts => crate::path::ALERTS,
            Self::Domains => crate::path::DOMAINS,
            Self::Security => crate::path::SECURITY,
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
    /// Whether webhooks, alerts, domains and signing keys may be changed, signing
    /// keys seen, and things sent again.
    pub(crate) fn may_change_settings(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Developer)
    }

    /// Whether API keys and subaccounts may be changed.
    pub(crate) fn may_change_account(&self) -> bool {
        self.role == Role::Admin
    }
}
