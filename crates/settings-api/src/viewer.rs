//! A subaccount's sight of its parent's webhooks: that there is one, and its host.
//!
//! Deliveries to a parent's webhooks stand in the history of the subaccount whose event they
//! carry. With many services the path of a URL is a secret, and an answer may hold
//! anything. Everything that shows a URL or an answer to a customer asks here first.

use protocol::v1::Level;

use crate::auth::Caller;

/// The one that looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer {
    sees_parent: bool,
}

impl Viewer {
    pub(crate) fn of(caller: &Caller) -> Self {
        // The key of a primary account: its own history, or that of a subaccount of its.
        Self { sees_parent: caller.key_account_id == caller.primary_id }
    }

    /// Whether nothing of an account's parent is hidden, if it has one.
    pub(crate) fn sees_parent(self) -> bool {
        self.sees_parent
    }

    /// Whether what stands at this level is the viewer's own. Where no level is known, or
    /// one that this version does not know, it may be the parent's.
    pub(crate) fn sees_level(self, level: Option<&str>) -> bool {
        self.sees_parent || matches!(level, Some("account" | "domain" | "alert"))
    }

    /// A webhook's URL, as far as it is the viewer's to see. Empty stays empty.
    pub(crate) fn url(self, level: Option<&str>, url: &str) -> String {
        // Only alerts are mailed, and those of a parent are its own alone.
        let is_no_webhook = url.is_empty() || url.starts_with("mailto:");
        if is_no_webhook || self.sees_level(level) { url.to_owned() } else { egress::host_of(url) }
    }

    /// The answer of a receiver, as far as it is the viewer's to see.
    pub(crate) fn response(self, level: Option<&str>, response: &str) -> String {
        if self.sees_level(level) { response.to_owned() } else { String::new() }
    }
}

/// The name that history has for the level of a delivery.
pub(crate) fn level_name(level: Level) -> Option<&'static str> {
    match level {
        Level::ParentAccount => Some("parent_account"),
        Level::Account => Some("account"),
        Level::Domain => Some("domain"),
        Level::Alert => Some("alert"),
        Level::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://hooks.example.net:8443/services/TOKEN?token=1";

    #[test]
    fn a_subaccount_sees_of_a_level_that_may_be_its_parents_the_host_alone() {
        let viewer = Viewer { sees_parent: false };
        for level in [None, Some("parent_account"), Some("unspecified"), Some("of tomorrow")] {
            assert_eq!(viewer.url(level, URL), "https://hooks.example.net/…", "{level:?}");
            assert_eq!(viewer.response(level, "busy"), "", "{level:?}");
            assert_eq!(viewer.url(level, ""), "", "{level:?}");
        }
        for level in [Level::Account, Level::Domain, Level::Alert].map(level_name) {
            assert_eq!(viewer.url(level, URL), URL, "{level:?}");
            assert_eq!(viewer.response(level, "busy"), "busy", "{level:?}");
        }
        assert_eq!(viewer.url(None, "mailto:o…@a.example"), "mailto:o…@a.example");
    }

    #[test]
    fn a_primary_account_sees_everything() {
        let viewer = Viewer { sees_parent: true };
        for level in [None, Some("parent_account"), Some("account")] {
            assert_eq!(viewer.url(level, URL), URL);
            assert_eq!(viewer.response(level, "busy"), "busy");
        }
    }
}
