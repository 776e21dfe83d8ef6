//! Fields that stand in the query, alone or beside a body.

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use serde_json::Value;

use super::{Form, content_type, json_object, media_type, read_body};
use crate::error::ApiError;

/// The fields of the body, then those of the query: Mailgun documents the calls
/// of accounts with either (reference §6.2, §10). An object in a JSON body is
/// the same as its text, which is how forms give it.
pub(crate) struct WithQuery(pub(crate) Form);

impl<S: Send + Sync> FromRequest<S> for WithQuery {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = content_type(&request);
        let query = Form::urlencoded(request.uri().query().unwrap_or_default().as_bytes())?;
        let body = read_body(request, state).await?;
        let Form(mut fields) = if body.is_empty() {
            Form::default()
        } else if media_type(&content_type) == "application/json" {
            let mut object = json_object(&body)?;
            for value in object.values_mut().filter(|value| value.is_object()) {
                *value = Value::String(value.to_string());
            }
            Form::from_object(object)?
        } else {
            Form::from_body(&content_type, body).await?
        };
        fields.extend(query.0);
        Ok(Self(Form(fields)))
    }
}

/// The fields of the query of a call that has no body.
pub(crate) struct Query(pub(crate) Form);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        Form::urlencoded(parts.uri.query().unwrap_or_default().as_bytes()).map(Self)
    }
}
