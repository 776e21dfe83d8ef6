//! URLs that customers give: what is checked before one is stored.

use egress::{Answer, Client, Failure, FailureKind};

use crate::SettingsApi;
use crate::error::ApiError;
use crate::webhook_options::DnsCheck;

/// Checks what can be told without calling anyone: the form, the scheme, and
/// that a literal address is one which receivers may have. Names are resolved
/// and vetted each time somebody connects.
///
/// A user name or a password in a URL would stand in listings, in documents
/// and in the receiver's logs; who the sender is, signatures tell.
pub(crate) fn check_url(egress: &Client, url: &str) -> Result<(), String> {
    let web = |scheme: &str| ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    if !url.split_once("://").is_some_and(|(scheme, _)| web(scheme)) {
        // Mailgun's words (reference §3.3).
        return Err("invalid URL scheme".into());
    }
    let url = egress.vet_url(url).map_err(|why| why.to_string())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user names and passwords are not allowed in a URL".into());
    }
    Ok(())
}

/// Why a URL is not stored although its form is right.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HostRefused {
    /// Nothing can be sent to its host.
    NotFound,
    /// We could not find out.
    Unknown,
}

impl SettingsApi {
    /// Looks the host of a webhook's URL up, if the operator wants that.
    pub(crate) async fn check_host(&self, url: &str) -> Result<(), HostRefused> {
        match self.webhooks.dns_check {
            DnsCheck::Off => Ok(()),
            DnsCheck::Reject => self.egress.look_up(url).await.map_err(HostRefused::of),
        }
    }
}

impl HostRefused {
    /// A name that leads to an address which receivers may not have looks like
    /// one that does not exist, so that nobody learns which internal names
    /// there are.
    fn of(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::Dns | FailureKind::Blocked | FailureKind::InvalidUrl => Self::NotFound,
            _ => Self::Unknown,
        }
    }

    /// The answer for a URL; `refuse` makes one of what is wrong with it.
    pub(crate) fn answer(self, url: &str, refuse: impl FnOnce(String) -> ApiError) -> ApiError {
        match self {
            // Mailgun's words (reference §3.3).
            Self::NotFound => refuse(format!("{url} is not a valid url: host not found")),
            Self::Unknown => ApiError::new(
                http::StatusCode::SERVICE_UNAVAILABLE,
                "The URL's host could not be looked up; nothing was changed. Try again",
            ),
        }
    }
}

/// Calls an alert's URL, which has to answer 200 and nothing else (reference §9.3).
pub(crate) async fn check_answers(egress: &Client, url: &str) -> Result<(), ApiError> {
    check_url(egress, url)
        .map_err(|why| ApiError::bad_request(format!("{url} is not a valid url: {why}")))?;
    let why = match egress.get(url).await.answer {
        Answer::Response { status: 200, .. } => return Ok(()),
        Answer::Response { status, .. } => format!("it returned {status}"),
        Answer::Failed(failure) if failure.kind.is_ours() => {
            let message = format!("the webhook url could not be checked: {failure}; try again");
            return Err(ApiError::new(http::StatusCode::SERVICE_UNAVAILABLE, message));
        }
        Answer::Failed(failure) => failure.to_string(),
    };
    Err(ApiError::bad_request(format!("webhook url did not return a 200 response: {why}")))
}

#[cfg(test)]
mod tests {
    use egress::EgressConfig;

    use super::*;

    #[test]
    fn an_internal_name_looks_like_none() {
        let refused = |kind| HostRefused::of(Failure { kind, detail: String::new() });
        for kind in [FailureKind::Dns, FailureKind::Blocked, FailureKind::InvalidUrl] {
            assert_eq!(refused(kind), HostRefused::NotFound, "{kind:?}");
        }
        assert_eq!(refused(FailureKind::DnsOurs), HostRefused::Unknown);
        let answer = |why: HostRefused| why.answer("https://a.example/", ApiError::webhook);
        let told = "https://a.example/ is not a valid url: host not found";
        assert_eq!(answer(HostRefused::NotFound), ApiError::webhook(told));
        let later = format!("{:?}", answer(HostRefused::Unknown));
        assert!(later.contains("503") && later.contains("nothing was changed"), "{later}");
    }

    #[test]
    fn only_plain_web_urls_pass() {
        let egress = Client::new(EgressConfig::default()).expect("a client");
        for right in ["https://hooks.example.net/a?x=1,2#y", "HTTP://hooks.example.net:8080"] {
            assert_eq!(check_url(&egress, right), Ok(()), "{right}");
        }
        for (wrong, why) in [
            ("ftp://hooks.example.net/", "invalid URL scheme"),
            ("hooks.example.net", "invalid URL scheme"),
            ("https://user:pw@hooks.example.net/", "user names and passwords"),
            ("https://user@hooks.example.net/", "user names and passwords"),
            ("https://:pw@hooks.example.net/", "user names and passwords"),
            ("http://10.1.2.3/", "addresses in 10.0.0.0/8 (private use)"),
            ("http://user:pw@10.1.2.3/", "addresses in 10.0.0.0/8 (private use)"),
            ("http://localhost/", "addresses in 127.0.0.0/8 (loopback)"),
            ("https://hooks.example.net/ x", "spaces or control characters"),
            ("https://hooks.example.net/\0", "spaces or control characters"),
        ] {
            let found = check_url(&egress, wrong).expect_err(wrong);
            assert!(found.contains(why), "{wrong}: {found}");
        }
    }
}
