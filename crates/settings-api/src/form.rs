//! The fields of a request, in whichever of the encodings that Mailgun's
//! clients use they come (reference §1.4).

mod with_query;

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value};

pub(crate) use self::with_query::{Query, WithQuery};
use crate::error::ApiError;

/// Fields in the order in which they came; names may repeat. The values of one list share
/// their name: a copy for each would make gigabytes of one long name and many short values.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Form(Vec<(Arc<str>, String)>);

impl Form {
    pub(crate) fn of(fields: impl Iterator<Item = (String, String)>) -> Self {
        Self(fields.map(|(name, value)| (name.into(), value)).collect())
    }

    /// Names and values, in their order.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// The first value of a field that is not empty.
    pub(crate) fn first(&self, name: &'static str) -> Option<&str> {
        self.values(name).next()
    }

    /// The first value of a field, an empty one too.
    pub(crate) fn given(&self, name: &'static str) -> Option<&str> {
        self.pairs().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// All values of a field that are not empty, also under `name[]` and `name[0]`, as PHP names
    /// lists.
    pub(crate) fn values(&self, name: &'static str) -> impl Iterator<Item = &str> {
        self.pairs()
            .filter(move |(field, value)| !value.is_empty() && without_index(field) == name)
            .map(|(_, value)| value)
    }

    /// Refuses a character that PostgreSQL has no place for.
    fn checked(fields: Vec<(Arc<str>, String)>) -> Result<Self, ApiError> {
        match fields.iter().find(|(_, value)| value.contains('\0')) {
            Some((name, _)) => {
                Err(ApiError::bad_request(format!("field '{name}' has a NUL in it")))
            }
            None => Ok(Self(fields)),
        }
    }

    /// What is no UTF-8 is refused: with characters replaced it would be stored
    /// as something that nobody has given.
    fn urlencoded(text: &[u8]) -> Result<Self, ApiError> {
        if percent_encoding::percent_decode(text).decode_utf8().is_err() {
            return Err(ApiError::bad_request("the form is not valid UTF-8"));
        }
        let fields = form_urlencoded::parse(text);
        Self::checked(fields.map(|(name, value)| (name.into(), value.into_owned())).collect())
    }

    fn json(body: &[u8]) -> Result<Self, ApiError> {
        Self::from_object(json_object(body)?)
    }

    fn from_object(object: Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Vec::new();
        for (name, value) in object {
            let values = match value {
                Value::Array(values) => values,
                value => vec![value],
            };
            let name: Arc<str> = name.into();
            for value in values {
                let value = match value {
                    Value::String(text) => text,
                    Value::Number(number) => number.to_string(),
                    Value::Bool(flag) => flag.to_string(),
                    Value::Null => continue,
                    Value::Array(_) | Value::Object(_) => {
                        let message = format!("field '{name}' must be a string or a list of them");
                        return Err(ApiError::bad_request(message));
                    }
                };
                fields.push((Arc::clone(&name), value));
            }
        }
        Self::checked(fields)
    }

    async fn from_body(content_type: &str, body: Bytes) -> Result<Self, ApiError> {
        match media_type(content_type).as_str() {
            "multipart/form-data" if is_mislabelled(content_type, &body) => Self::urlencoded(&body),
            "multipart/form-data" => Self::multipart(content_type, body).await,
            "application/json" => Self::json(&body),
            "application/x-www-form-urlencoded" | "" => Self::urlencoded(&body),
            other => {
                let message = format!("Content-Type '{other}' is not supported here");
                Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message))
            }
        }
    }

    async fn multipart(content_type: &str, body: Bytes) -> Result<Self, ApiError> {
        let malformed = |error: multer::Error| {
            ApiError::bad_request(format!("the multipart body cannot be read: {error}"))
        };
        let boundary = multer::parse_boundary(content_type).map_err(malformed)?;
        let stream = tokio_stream::once(Ok::<_, std::convert::Infallible>(body));
        let mut parts = multer::Multipart::new(stream, boundary);
        let mut fields = Vec::new();
        while let Some(part) = parts.next_field().await.map_err(malformed)? {
            let name = part.name().map(Arc::from);
            let value = String::from_utf8(part.bytes().await.map_err(malformed)?.into())
                .map_err(|_| ApiError::bad_request("the multipart body is not valid UTF-8"))?;
            // A part without a name is nobody's field.
            fields.extend(name.map(|name| (name, value)));
        }
        Self::checked(fields)
    }
}

/// The name of a list, whose values may have a number each.
pub(crate) fn without_index(field: &str) -> &str {
    let list = field.strip_suffix(']').and_then(|field| field.rsplit_once('['));
    match list {
        Some((name, index)) if index.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => field,
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let content_type = content_type(&request);
        let query = request.uri().query().map(str::to_owned);
        let body = read_body(request, state).await?;
        if body.is_empty() {
            return Self::urlencoded(query.unwrap_or_default().as_bytes());
        }
        Self::from_body(&content_type, body).await
    }
}

/// The body as it is, for calls that take JSON alone, whatever its type is said to be.
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        read_body(request, state).await.map(Self)
    }
}

fn json_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(ApiError::bad_request("the body must be a JSON object")),
        Err(error) => Err(ApiError::bad_request(format!("the body is not valid JSON: {error}"))),
    }
}

async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large")
            }
            _ => ApiError::bad_request("the body cannot be read"),
        }
    })
}

fn content_type(request: &Request) -> String {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The manual of mailgun-python makes a key with the name of this encoding, without
/// a boundary, over a body in the other one.
fn is_mislabelled(content_type: &str, body: &[u8]) -> bool {
    !content_type.contains(';') && body.contains(&b'=') && !body.starts_with(b"--")
}

fn media_type(content_type: &str) -> String {
    let (media_type, _) = content_type.split_once(';').unwrap_or((content_type, ""));
    media_type.trim().to_ascii_lowercase()
}

/// Reads a body that is to be JSON, of this shape.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    if !body.trim_ascii_start().starts_with(b"{") {
        // A list would be taken for the fields in their order.
        let message = if serde_json::from_slice::<IgnoredAny>(body).is_ok() {
            "the body has wrong fields: it must be a JSON object"
        } else {
            "the body is not valid JSON: expected an object such as {\"name\": \"value\"}; \
             this call takes application/json, and no form"
        };
        return Err(ApiError::bad_request(message));
    }
    check_no_nul(body)?;
    serde_json::from_slice(body).map_err(|error| {
        let problem = if error.is_data() { "has wrong fields" } else { "is not valid JSON" };
        ApiError::bad_request(format!("the body {problem}: {error}"))
    })
}

/// As [`Form::checked`], of JSON: text has it as an escape.
pub(crate) fn check_no_nul(json: &[u8]) -> Result<(), ApiError> {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        rest = &rest[at + 1..];
        if rest.starts_with(b"u0000") {
            return Err(ApiError::bad_request("a text in the body has a NUL in it"));
        }
        // What is escaped may be a backslash itself.
        rest = rest.get(1..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
