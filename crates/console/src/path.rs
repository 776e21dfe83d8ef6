//! Where the pages are.

use crate::query::Query;

/// The first page.
pub(crate) const HOME: &str = "/console";
/// Where visitors sign in.
pub(crate) const SIGN_IN: &str = "/console/sign-in";
/// The same, with the word that the session has ended.
pub(crate) const SIGN_IN_EXPIRED: &str = "/console/sign-in?expired";
/// Where visitors sign out.
pub(crate) const SIGN_OUT: &str = "/console/sign-out";

/// The part of the first page that keeps itself up to date.
pub(crate) const LIVE: &str = "/console/live";
/// Events, and below it each of them.
pub(crate) const EVENTS: &str = "/console/events";
/// Tries that failed.
pub(crate) const FAILURES: &str = "/console/failures";
/// What was not delivered, and sending it again.
pub(crate) const RESENDS: &str = "/console/resends";
/// All webhooks.
pub(crate) const WEBHOOKS: &str = "/console/webhooks";
/// A form for a new webhook.
pub(crate) const NEW_WEBHOOK: &str = "/console/webhooks/new";
/// One webhook.
pub(crate) const WEBHOOK: &str = "/console/webhook";
/// All alert settings, and whom to write to.
pub(crate) const ALERTS: &str = "/console/alerts";
/// A form for a new alert setting.
pub(crate) const NEW_ALERT: &str = "/console/alerts/new";
/// One alert setting.
pub(crate) const ALERT: &str = "/console/alert";
/// Takes the address to write to.
pub(crate) const CONTACT: &str = "/console/alerts/contact";
/// All domains.
pub(crate) const DOMAINS: &str = "/console/domains";
/// Signing keys, API keys, personal data.
pub(crate) const SECURITY: &str = "/console/security";
/// What is below the account.
pub(crate) const SUBACCOUNTS: &str = "/console/subaccounts";
/// Takes the account that pages are to be about.
pub(crate) const ACT: &str = "/console/act";

/// What came from outside, as one segment of a path of the APIs.
pub(crate) fn segment(text: &str) -> impl std::fmt::Display {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// A path with these fields as its query; those that are empty are left out.
pub(crate) fn with_query(path: &str, fields: &[(&str, &str)]) -> String {
    let given = fields.iter().filter(|(_, value)| !value.is_empty());
    let query = given.fold(Query::default(), |query, (name, value)| query.with(name, *value));
    format!("{path}{query}")
}

/// Whether this is a page of the console, so that a visitor may be led there. Never
/// another origin: a browser takes `//`, and `/\`, for the beginning of one.
pub(crate) fn is_ours(path: &str) -> bool {
    let rest =
        path.strip_prefix(HOME).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_elsewhere() {
        for ours in ["/console", "/console/webhooks", "/console/events?page=a%20b", "/console?a"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in [
            "",
            "/",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example/console",
            "/console.evil.example",
            "/consolation",
            "/console/\r\nSet-Cookie: a",
            "/console/ä",
            "/v3/domains",
        ] {
            assert!(!is_ours(other), "{other:?}");
        }
    }
}
