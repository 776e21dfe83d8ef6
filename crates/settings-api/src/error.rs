//! What a call is refused with, in Mailgun's bodies (reference §1.6).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use store::{StoreError, Thing};
use utoipa::ToSchema;

use crate::publish::NotPublished;
use crate::respond;

/// Why a call was not answered with success.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ApiError {
    /// No key, or not a valid one. The one answer that is not JSON.
    Unauthorized,
    /// More calls than an account may make, in a minute or at one time (reference §1.7).
    TooManyRequests {
        /// When to ask again, in seconds.
        retry_seconds: i64,
        /// For people.
        message: &'static str,
    },
    /// Everything else.
    Message(Problem),
}

/// A status and a body. Clients read `message`; Mailgun's schemas name some errors by
/// `Reason`, `Field` and `Value`, or `Description`, which are sent along.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = Error)]
pub(crate) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    /// What was wrong, and what would be right.
    message: String,
    /// The same, where domain webhooks are concerned.
    #[serde(rename = "Reason", skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    reason: Option<String>,
    /// The parameter that is wrong.
    #[serde(rename = "Field", skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    field: Option<&'static str>,
    /// What is wrong with that parameter.
    #[serde(rename = "Value", skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    value: Option<String>,
    /// The same as the message, where something is missing or in the way.
    #[serde(rename = "Description", skip_serializing_if = "Option::is_none")]
    #[schema(ignore)]
    description: Option<String>,
}

/// The body of 429.
#[derive(Serialize, ToSchema)]
pub(crate) struct TooManyRequests {
    /// When to ask again, in seconds.
    #[serde(rename = "retry-seconds")]
    retry_seconds: i64,
    message: &'static str,
}

impl ApiError {
    /// Just a message.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self::Message(Problem { status, message: message.into(), ..Problem::default() })
    }

    /// A wrong parameter.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A wrong parameter of a domain's webhook: with the key `Reason`.
    pub(crate) fn webhook(message: impl Into<String>) -> Self {
        let message = message.into();
        let (status, reason) = (StatusCode::BAD_REQUEST, Some(message.clone()));
        Self::Message(Problem { status, message, reason, ..Problem::default() })
    }

    /// A wrong parameter by name: with the keys `Field` and `Value`.
    pub(crate) fn parameter(field: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        Self::Message(Problem {
            status: StatusCode::BAD_REQUEST,
            message: format!("Invalid parameter: {field} {value}"),
            field: Some(field),
            value: Some(value),
            ..Problem::default()
        })
    }

    /// With the reason in the message too, where the documented texts do not give it.
    pub(crate) fn because(mut self, why: &str) -> Self {
        if let Self::Message(problem) = &mut self {
            problem.message.push_str(": ");
            problem.message.push_str(why);
        }
        self
    }

    /// Something that is missing, or in the way: with the key `Description`.
    pub(crate) fn described(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        let description = Some(message.clone());
        Self::Message(Problem { status, message, description, ..Problem::default() })
    }

    /// Nothing there.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// Not with this key.
    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// Ours to mend.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized => {
                let realm = HeaderValue::from_static("Basic realm=\"MG API\"");
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                let headers = [(header::WWW_AUTHENTICATE, realm), (header::CONTENT_TYPE, text)];
                (StatusCode::UNAUTHORIZED, headers, "Forbidden").into_response()
            }
            Self::TooManyRequests { retry_seconds, message } => {
                let body = TooManyRequests { retry_seconds, message };
                let mut response = respond::json(StatusCode::TOO_MANY_REQUESTS, &body);
                response.headers_mut().insert(header::RETRY_AFTER, retry_seconds.into());
                response
            }
            Self::Message(problem) => respond::json(problem.status, &problem),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        match error {
            StoreError::NotFound(Thing::Domain) => Self::not_found("Domain not found"),
            StoreError::NotFound(Thing::Webhook) => Self::not_found("Webhook not found"),
            StoreError::NotFound(_) => Self::not_found(message),
            StoreError::Exists(Thing::Webhook) => Self::webhook("Webhook already exists"),
            StoreError::Exists(_)
            | StoreError::UrlExists { .. }
            | StoreError::ResendEnded
            | StoreError::SentAgain => Self::new(StatusCode::CONFLICT, message),
            StoreError::TooManyUrls { .. } => Self::webhook(message),
            StoreError::NestedSubaccount
            | StoreError::Already(_)
            | StoreError::QuotaReached { .. }
            | StoreError::SettingsTooLarge { .. }
            | StoreError::TooManyUrlOptions
            | StoreError::TooManyResends
            | StoreError::LastAdminKey => Self::bad_request(message),
            StoreError::DomainDisabled => Self::forbidden("Domain is disabled"),
            // It was open a moment ago, when the caller was let in.
            StoreError::AccountClosed => Self::forbidden("Account is closed"),
            StoreError::Unreachable { .. }
            | StoreError::Database(_)
            | StoreError::Migrate(_)
            | StoreError::NotMigrated { .. }
            | StoreError::Corrupt(_)
            | StoreError::AccountNotClosed { .. }
            | StoreError::OtherRegion { .. } => {
                let unavailable = error.is_unavailable();
                tracing::error!(%error, unavailable, "the database failed a call");
                if unavailable {
                    let message = "The database is not available. Try again";
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
                } else {
                    Self::internal()
                }
            }
        }
    }
}

impl From<NotPublished> for ApiError {
    fn from(error: NotPublished) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    }
}
