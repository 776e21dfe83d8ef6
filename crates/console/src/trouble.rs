//! What a visitor is told when a page cannot be shown.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use crate::api::ApiError;
use crate::{path, session};

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The APIs did not give what it is made of.
    Api(ApiError),
    /// A form that is not taken.
    Form(StatusCode, &'static str),
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Page<'a> {
    title: &'a str,
    text: &'a str,
}

impl Trouble {
    pub(crate) const fn form(status: StatusCode, text: &'static str) -> Self {
        Self::Form(status, text)
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let page = |status, title, text: &str| pages::page(status, &Page { title, text });
        match self {
            Self::Api(ApiError::Unauthorized) => signed_out(path::SIGN_IN_EXPIRED),
            Self::Api(ApiError::Refused { status: StatusCode::NOT_FOUND, message }) => {
                page(StatusCode::NOT_FOUND, "Not found", &message)
            }
            Self::Api(ApiError::Refused { status, message }) => {
                page(status, "That did not work", &message)
            }
            Self::Api(ApiError::Failed(message)) => {
                tracing::warn!(message, "a page cannot be shown");
                let text = "Postrider’s APIs did not answer. Nothing was changed by this page; try again in a moment.";
                page(StatusCode::BAD_GATEWAY, "Not just now", text)
            }
            Self::Form(status, text) => page(status, "That did not work", text),
        }
    }
}

/// Ends the session in the browser, and leads to a page.
pub(crate) fn signed_out(to: &'static str) -> Response {
    let mut response = Redirect::to(to).into_response();
    for is_secure in [false, true] {
        response.headers_mut().append("set-cookie", session::no_cookie(is_secure));
    }
    response
}
