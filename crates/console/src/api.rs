//! The customers' APIs, asked as the visitor: in this process, or over HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chassis::Clock;
use http_body_util::{BodyExt as _, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use signing::{CONSOLE_CALL_HEADER, SecretKey, console_call};
use tower::ServiceExt as _;
use url::Url;

use crate::query::page_of;
use crate::session::Session;

/// How long an answer may take. The longest that the APIs take themselves is a
/// test call to a receiver that hangs.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer, in bytes: a page of events with a payload each.
const MAX_ANSWER_BYTES: usize = 32 * 1_024 * 1_024;
const ON_BEHALF_OF: HeaderName = HeaderName::from_static("x-mailgun-on-behalf-of");

/// Asks the customers' APIs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Api {
    calls: Calls,
    /// Says that we are the console, whose calls have a limit of their own.
    secret_key: Arc<SecretKey>,
    clock: Clock,
}

#[derive(Clone)]
enum Calls {
    Here(Router),
    There { base: Url, client: Box<Client<HttpsConnector<HttpConnector>, Body>> },
}

/// Why a call was not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The API key is no longer one.
    #[error("the API key is not valid any more")]
    Unauthorized,
    /// The APIs say no, and why.
    #[error("{message}")]
    Refused {
        /// As the APIs gave it.
        status: StatusCode,
        /// For people.
        message: String,
    },
    /// No answer, or none that can be read.
    #[error("{0}")]
    Failed(String),
}

impl ApiError {
    /// What our own forms do not take, in the words of the APIs' refusals.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::Refused { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// A form in which no button was pressed. Nothing is what it does.
    pub(crate) fn no_button() -> Self {
        Self::bad_request("Nothing was changed: press one of the buttons.")
    }
}

/// An answer that says nothing but what was done.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) message: String,
}

/// The links behind and before a page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Paging {
    next: Option<String>,
    previous: Option<String>,
}

impl Paging {
    /// What the APIs want to be given for the next page.
    pub(crate) fn next(&self) -> Option<String> {
        page_of(self.next.as_deref()?)
    }

    /// The same for the one before.
    pub(crate) fn previous(&self) -> Option<String> {
        page_of(self.previous.as_deref()?)
    }
}

/// What a call carries.
pub(crate) enum Payload {
    Nothing,
    Form(String),
    Json(serde_json::Value),
}

impl Payload {
    /// A form; a name may come several times.
    pub(crate) fn form<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::Form(form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish())
    }
}

impl Api {
    /// The APIs of this process.
    pub(crate) fn here(calls: Router, secret_key: &SecretKey, clock: Clock) -> Self {
        Self { calls: Calls::Here(calls), secret_key: Arc::new(secret_key.clone()), clock }
    }

    /// The APIs at this address.
    pub(crate) fn there(base: Url, secret_key: &SecretKey, clock: Clock) -> Self {
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .build();
        let client = Box::new(Client::builder(TokioExecutor::new()).build(connector));
        let calls = Calls::There { base, client };
        Self { calls, secret_key: Arc::new(secret_key.clone()), clock }
    }

    /// Asks for something.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        session: &Session,
        path: &str,
    ) -> Result<T, ApiError> {
        self.call(session, Method::GET, path, Payload::Nothing).await
    }

    /// Makes a call and reads its answer.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        session: &Session,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<T, ApiError> {
        let (status, body) = self.send(session, method, path, payload).await?;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        // What is done without a word is nothing to read.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| {
            ApiError::Failed(format!("the answer to {path} cannot be read: {error}"))
        })
    }

    async fn send(
        &self,
        session: &Session,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<(StatusCode, Bytes), ApiError> {
        let answered =
            async { collect(self.exchange(session, method, path, payload).await?).await };
        tokio::time::timeout(TIMEOUT, answered)
            .await
            .unwrap_or_else(|_| Err(ApiError::Failed("no answer in time".to_owned())))
    }

    async fn exchange(
        &self,
        session: &Session,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<Response<Body>, ApiError> {
        let mut request = self.request(session, method, path, payload)?;
        match &self.calls {
            Calls::Here(calls) => match calls.clone().oneshot(request).await {
                Ok(response) => Ok(response),
                Err(never) => match never {},
            },
            Calls::There { base, client } => {
                let whole = base.join(path).map_err(|error| ApiError::Failed(error.to_string()))?;
                *request.uri_mut() = whole
                    .as_str()
                    .parse()
                    .map_err(|error| ApiError::Failed(format!("{whole}: {error}")))?;
                let answered = client.request(request).await;
                let response = answered.map_err(|error| {
                    tracing::warn!(error = %Causes(&error), "the APIs cannot be reached");
                    ApiError::Failed("the APIs cannot be reached just now".to_owned())
                })?;
                Ok(response.map(Body::new))
            }
        }
    }

    fn request(
        &self,
        session: &Session,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<Request<Body>, ApiError> {
        let key = STANDARD.encode(format!("api:{}", session.key()));
        let (nonce, now) = (chassis::entropy::bytes(), self.clock.epoch_seconds());
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Basic {key}"))
            .header(ACCEPT, "application/json")
            .header(CONSOLE_CALL_HEADER, console_call(&self.secret_key, nonce, now));
        if let Some(account) = session.acting_for() {
            let id = HeaderValue::from_str(&account.id)
                .map_err(|error| ApiError::Failed(error.to_string()))?;
            request = request.header(ON_BEHALF_OF, id);
        }
        let (content_type, body) = match payload {
            Payload::Nothing => (None, Body::empty()),
            Payload::Form(text) => (Some("application/x-www-form-urlencoded"), Body::from(text)),
            Payload::Json(value) => (Some("application/json"), Body::from(value.to_string())),
        };
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        request.body(body).map_err(|error| ApiError::Failed(error.to_string()))
    }
}

async fn collect(response: Response<Body>) -> Result<(StatusCode, Bytes), ApiError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect().await;
    let body = body.map_err(|error| ApiError::Failed(format!("the answer broke off: {error}")))?;
    Ok((status, body.to_bytes()))
}

/// What an answer that is no success says, in whichever of the APIs' forms.
fn refusal(status: StatusCode, body: &[u8]) -> ApiError {
    if status == StatusCode::UNAUTHORIZED {
        return ApiError::Unauthorized;
    }
    let message = serde_json::from_slice::<Message>(body).map(|body| body.message);
    let message = message.unwrap_or_else(|_| match status {
        StatusCode::FORBIDDEN => "your API key may not do this".to_owned(),
        _ => format!("the answer was {status}"),
    });
    ApiError::Refused { status, message }
}

/// An error with what caused it.
struct Causes<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
