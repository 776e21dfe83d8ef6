//! What came of a request.

use std::time::Duration;

/// One request and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Attempt {
    /// What came of it.
    pub answer: Answer,
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

/// What kept the answer away.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum FailureKind {
    /// The URL leads to an address that receivers may not have.
    Blocked,
    /// The URL cannot be sent to.
    InvalidUrl,
    /// The name does not exist or has no address.
    Dns,
    /// Our resolver did not answer, or could not find out.
    DnsOurs,
    /// No connection: refused, reset, unreachable.
    Connect,
    /// The connection could not be secured, most often for its certificate.
    Tls,
    /// Too slow: the connection or the head of the answer did not come in time.
    Timeout,
    /// It hung up, or sent something that is no HTTP answer within bounds.
    NoAnswer,
    /// We had no sockets, no ports or no network.
    Local,
}

impl FailureKind {
    /// Whether it was our fault, which is never charged to the receiver.
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::DnsOurs | Self::Local)
    }

    /// A short name for logs, metrics and failure logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::InvalidUrl => "url",
            Self::Dns => "dns",
            Self::DnsOurs => "resolver",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::NoAnswer => "no_answer",
            Self::Local => "local",
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}
