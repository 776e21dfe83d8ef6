//! What a call is refused with.

use store::StoreError;
use tonic::Status;

use crate::ResealError;
use crate::publish::NotPublished;
use crate::reconcile::ReconcileError;

/// Why a call of an operator was refused.
#[derive(Debug)]
pub(super) struct Refused(Status);

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        refused.0
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        Self(match error {
            StoreError::NotFound(_) => Status::not_found(message),
            StoreError::Exists(_) | StoreError::UrlExists { .. } => Status::already_exists(message),
            StoreError::NestedSubaccount => Status::invalid_argument(message),
            StoreError::TooManyUrls { .. }
            | StoreError::QuotaReached { .. }
            | StoreError::SettingsTooLarge { .. }
            | StoreError::TooManyUrlOptions
            | StoreError::TooManyResends
            | StoreError::ResendEnded
            | StoreError::SentAgain
            | StoreError::Already(_)
            | StoreError::AccountClosed
            | StoreError::AccountNotClosed { .. }
            | StoreError::LastAdminKey
            | StoreError::DomainDisabled => Status::failed_precondition(message),
            StoreError::Unreachable { .. }
            | StoreError::Database(_)
            | StoreError::Migrate(_)
            | StoreError::NotMigrated { .. }
            | StoreError::Corrupt(_)
            | StoreError::OtherRegion { .. } => {
                let unavailable = error.is_unavailable();
                tracing::error!(%error, unavailable, "the database failed a call");
                if unavailable {
                    Status::unavailable("the database is not available; try again")
                } else {
                    Status::internal("internal error; the log says more")
                }
            }
        })
    }
}

impl From<NotPublished> for Refused {
    fn from(error: NotPublished) -> Self {
        Self(Status::unavailable(error.to_string()))
    }
}

impl From<ReconcileError> for Refused {
    fn from(error: ReconcileError) -> Self {
        let message = error.to_string();
        match error {
            ReconcileError::Store(error) => error.into(),
            ReconcileError::Bus(_) => Self(Status::unavailable(message)),
            ReconcileError::HistoryBehind { .. }
            | ReconcileError::HistoryUnknown
            | ReconcileError::ForgottenShards(_) => Self(Status::failed_precondition(message)),
            ReconcileError::NoTime => Self(Status::invalid_argument(message)),
        }
    }
}

impl From<ResealError> for Refused {
    fn from(error: ResealError) -> Self {
        let message = error.to_string();
        match error {
            ResealError::Store(error) => error.into(),
            ResealError::NotPublished { .. } => Self(Status::unavailable(message)),
            ResealError::Unreadable { .. } => Self(Status::failed_precondition(message)),
        }
    }
}
