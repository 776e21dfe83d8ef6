//! Why an event was not stored, and how each door says so.

use crate::quota::TooMany;
use axum::http::StatusCode;
use model::validate::Invalid;
use protocol::v1::PublishError;
use protocol::v1::publish_error::{Code as ErrorCode, Violation};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Why an event was not stored.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The event itself is wrong, in these fields; it will be refused again.
    #[error("{}", first(.0).message)]
    Invalid(Vec<Invalid>),
    /// There is no such account.
    #[error(
        "there is no account of this name or id; accounts are made with `postrider admin account create`"
    )]
    UnknownAccount,
    /// There is no such domain.
    #[error(
        "there is no domain of this name; domains are made with `postrider admin domain create`"
    )]
    UnknownDomain,
    /// The account, or its parent, is disabled or closed.
    #[error("the account or its parent account is disabled or closed")]
    AccountNotOpen,
    /// Larger than the limit.
    #[error("the event is {size_bytes} bytes; at most {limit_bytes} are taken")]
    TooLarge {
        /// Size of the event, as it would be stored, or in JSON, as it came.
        size_bytes: usize,
        /// `POSTRIDER_MAX_EVENT_BYTES`, or in JSON, some times as much.
        limit_bytes: usize,
    },
    /// Its account has sent more than it may.
    #[error(
        "the account and its subaccounts may send {} events a second; wait, then send again \
         with the same id",
        .0.per_second
    )]
    OverQuota(TooMany),
    /// The broker did not confirm. It may have been stored all the same.
    #[error("the broker did not confirm the event; send it again with the same id ({0})")]
    Unavailable(String),
    /// The broker takes nothing now: consumers have to catch up first.
    #[error(
        "the broker takes no events at the moment; wait, then send again with the same id ({0})"
    )]
    Full(String),
}

impl Refusal {
    /// The event itself is wrong, in this field.
    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Invalid { field: field.into(), message: message.into() }])
    }

    /// Whether sending the same event again may help.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_brokers() || self.is_over_quota()
    }

    /// Whether the broker has not confirmed it: then the rest of its request is in
    /// the same danger.
    pub(crate) fn is_brokers(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Full(_))
    }

    /// Whether it came too soon. The rest of its request is stored.
    pub(crate) fn is_over_quota(&self) -> bool {
        matches!(self, Self::OverQuota(_))
    }

    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::UnknownAccount => ErrorCode::UnknownAccount,
            Self::UnknownDomain => ErrorCode::UnknownDomain,
            Self::AccountNotOpen => ErrorCode::AccountNotOpen,
            Self::TooLarge { .. } => ErrorCode::TooLarge,
            Self::OverQuota(_) => ErrorCode::QuotaExceeded,
            Self::Unavailable(_) | Self::Full(_) => ErrorCode::BrokerUnavailable,
        }
    }

    pub(crate) fn field(&self) -> &str {
        match self {
            Self::Invalid(found) => &first(found).field,
            Self::UnknownAccount | Self::OverQuota(_) => "account",
            Self::UnknownDomain => "domain",
            _ => "",
        }
    }

    /// All that is wrong with the event itself.
    pub(crate) fn violations(&self) -> &[Invalid] {
        match self {
            Self::Invalid(found) => found,
            _ => &[],
        }
    }

    /// The HTTP status of a request whose only event met this.
    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::UnknownAccount | Self::UnknownDomain => StatusCode::NOT_FOUND,
            Self::AccountNotOpen => StatusCode::FORBIDDEN,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::OverQuota(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable(_) | Self::Full(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Seconds after which it is worth another try.
    pub(crate) fn retry_after_seconds(&self) -> Option<u32> {
        match self {
            Self::Unavailable(_) => Some(1),
            Self::Full(_) => Some(5),
            // Rounded up: whoever comes too early has come in vain.
            Self::OverQuota(TooMany { retry_after, .. }) => {
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                Some(u32::try_from(seconds).unwrap_or(u32::MAX))
            }
            _ => None,
        }
    }

    /// The gRPC code of a request whose only event met this.
    ///
    /// Clients that repeat on their own do so on `UNAVAILABLE`. A full stream
    /// is `RESOURCE_EXHAUSTED`, so that they wait rather than add to the load;
    /// an event that is too large is `INVALID_ARGUMENT`, because waiting does
    /// not help it.
    fn grpc_code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::TooLarge { .. } => Code::InvalidArgument,
            Self::UnknownAccount | Self::UnknownDomain => Code::NotFound,
            Self::AccountNotOpen => Code::FailedPrecondition,
            Self::Unavailable(_) => Code::Unavailable,
            Self::Full(_) | Self::OverQuota(_) => Code::ResourceExhausted,
        }
    }

    /// As the status of a whole request. The machine-readable part is in the
    /// standard details: the code as the reason, the field, and the event's id.
    pub(crate) fn status(&self, event_id: &str) -> Status {
        let metadata = [("id".to_owned(), event_id.to_owned())];
        let mut details =
            ErrorDetails::with_error_info(self.code().as_str_name(), "postrider", metadata);
        if let Self::OverQuota(TooMany { retry_after, .. }) = self {
            details.set_retry_info(Some(*retry_after));
        }
        let mut message = self.to_string();
        if !self.field().is_empty() {
            message = format!("{}: {message}", self.field());
        }
        match self {
            Self::Invalid(found) => {
                for Invalid { field, message } in found.iter().filter(|one| !one.field.is_empty()) {
                    details.add_bad_request_violation(field, message);
                }
            }
            _ if self.field().is_empty() => {}
            _ => {
                details.add_bad_request_violation(self.field(), self.to_string());
            }
        }
        Status::with_error_details(self.grpc_code(), message, details)
    }
}

/// The one that is told where there is room for one.
fn first(found: &[Invalid]) -> &Invalid {
    static NOTHING: Invalid = Invalid { field: String::new(), message: String::new() };
    found.first().unwrap_or(&NOTHING)
}

impl From<&Refusal> for PublishError {
    fn from(refusal: &Refusal) -> Self {
        Self {
            code: refusal.code().into(),
            field: refusal.field().to_owned(),
            message: refusal.to_string(),
            violations: refusal
                .violations()
                .iter()
                .map(|Invalid { field, message }| Violation {
                    field: field.clone(),
                    message: message.clone(),
                })
                .collect(),
        }
    }
}
