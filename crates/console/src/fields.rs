//! What a form of ours has sent.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use chassis::door::is_from_same_origin;
use http_body_util::{BodyExt as _, Limited};

use crate::Console;
use crate::api::ApiError;
use crate::trouble::Trouble;
use crate::visitor::Visitor;

/// Largest form, in bytes.
const MAX_FORM_BYTES: usize = 256 * 1_024;
/// The field that says that a form is ours.
const TOKEN: &str = "form_token";

/// The fields of a form, in order. A name may come several times.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value of this name without blanks around it, or nothing.
    pub(crate) fn one(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    /// All values of this name that are not blank.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(found, _)| found == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// Whether a box of this name was ticked, or a button of it pressed.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found == name)
    }

    /// Refuses what is not to be taken back, unless its box was ticked.
    pub(crate) fn check_sure(&self, what: &str) -> Result<(), ApiError> {
        if self.has("sure") {
            return Ok(());
        }
        Err(ApiError::bad_request(format!("Tick the box as well: {what}.")))
    }

    async fn read(request: Request) -> Result<Self, Trouble> {
        let body = Limited::new(request.into_body(), MAX_FORM_BYTES).collect().await;
        let body = body
            .map_err(|_| Trouble::form(StatusCode::PAYLOAD_TOO_LARGE, "The form is too large."))?;
        Ok(Self::parse(&body.to_bytes()))
    }
}

/// The query of a page.
impl FromRequestParts<Console> for Fields {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Console) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query().unwrap_or_default().as_bytes()))
    }
}

/// A form of a page of ours, which its visitor has sent.
pub(crate) struct Sent {
    pub(crate) visitor: Visitor,
    pub(crate) fields: Fields,
}

impl FromRequest<Console> for Sent {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let is_ours = is_from_same_origin(&parts.headers);
        let visitor = Visitor::from_request_parts(&mut parts, console).await?;
        let fields = Fields::read(Request::from_parts(parts, body)).await;
        let fields = fields.map_err(|trouble| trouble.into_response())?;
        if !is_ours || !visitor.session.has_sent(fields.one(TOKEN)) {
            let text = "This form was made for another session. Go back, load the page again, and repeat it.";
            return Err(Trouble::form(StatusCode::FORBIDDEN, text).into_response());
        }
        Ok(Self { visitor, fields })
    }
}

/// A form of somebody who is not signed in: it has no token.
pub(crate) struct Unsigned(pub(crate) Fields);

impl FromRequest<Console> for Unsigned {
    type Rejection = Response;

    async fn from_request(request: Request, _: &Console) -> Result<Self, Response> {
        if !is_from_same_origin(request.headers()) {
            let text = "This form came from another site.";
            return Err(Trouble::form(StatusCode::FORBIDDEN, text).into_response());
        }
        Fields::read(request).await.map(Self).map_err(|trouble| trouble.into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_trimmed_and_may_come_twice() {
        let fields = Fields::parse(b"a=+1+&a=&a=2&b=&c=%F0%9F%90%8E%00");
        assert_eq!(fields.one("a"), "1");
        assert_eq!(fields.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert!(fields.has("b") && fields.one("b").is_empty() && !fields.has("d"));
        assert_eq!(fields.one("c"), "🐎\0");
    }
}
