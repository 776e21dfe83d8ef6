//! What came of a request.

use std::time::Duration;

/// One request and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// What came of it.
    pub answer: Answer,
    /// Where it went, as it may be shown: see [`crate::loggable_url`].
    pub shown_url: String,
    /// From the call until the end of what was read.
    pub duration: Duration,
}

/// Whether the receiver answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// It answered. Its status counts even when its body broke off or dripped
    /// on beyond the time limit.
    Response {
        /// The HTTP status.
        status: u16,
        /// The first bytes of the body, as text for people: what is no UTF-8
        /// and what controls terminals has been replaced.
        snippet: String,
        /// The wait that its `Retry-After` asks for. Not capped.
        retry_after: Option<Duration>,
    },
    /// It did not.
    Failed(Failure),
}

/// Why there was no answer.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What kind of failure it was.
    pub kind: FailureKind,
    /// For people, the customer among them. Holds neither the URL's
    /// credentials nor addresses that its name led to.
    pub detail: String,
}

/// What kept the answer away. `docs/receivers.md` tells customers of each.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FailureKind {
    /// The address in the URL is one that receivers may not have.
    Blocked,
    /// The URL cannot be sent to.
    InvalidUrl,
    /// The name does not exist, has no address, or one that receivers may not have: which of
    /// these is told to nobody.
    Dns,
    /// Our resolver did not answer, or could not find out.
    DnsOurs,
    /// No connection: refused, reset, unreachable.
    Connect,
    /// No connection in time.
    ConnectTimeout,
    /// The connection could not be secured, most often for its certificate.
    Tls,
    /// The connection could not be secured in time.
    TlsTimeout,
    /// Connected, and the head of the answer did not come in time.
    Timeout,
    /// It hung up before it answered.
    NoAnswer,
    /// It sent something that is no HTTP/1 answer within bounds.
    BadAnswer,
    /// We had no sockets, no ports or no network.
    Local,
    /// The operator's proxy on the way out did not let us through.
    Proxy,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Blocked,
        Self::InvalidUrl,
        Self::Dns,
        Self::DnsOurs,
        Self::Connect,
        Self::ConnectTimeout,
        Self::Tls,
        Self::TlsTimeout,
        Self::Timeout,
        Self::NoAnswer,
        Self::BadAnswer,
        Self::Local,
        Self::Proxy,
    ];

    /// Whether it was our fault, which is never charged to the receiver.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::DnsOurs | Self::Local | Self::Proxy)
    }

    /// A short name for logs, metrics and failure logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::InvalidUrl => "url",
            Self::Dns => "dns",
            Self::DnsOurs => "resolver",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::TlsTimeout => "tls_timeout",
            Self::Timeout => "timeout",
            Self::NoAnswer => "no_answer",
            Self::BadAnswer => "bad_answer",
            Self::Local => "local",
            Self::Proxy => "egress_proxy",
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_customers_has_every_reason_and_whose_fault_it_is() {
        let page = include_str!("../../../docs/receivers.md");
        for kind in FailureKind::ALL {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| `{}` |", kind.as_str())))
                .unwrap_or_else(|| panic!("{} has no row", kind.as_str()));
            let charged = if kind.is_ours() { "| no |" } else { "| yes |" };
            assert!(row.ends_with(charged), "{row}");
        }
    }
}
