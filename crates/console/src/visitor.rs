//! Who asks for a page, and what is to be shown around it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::de::DeserializeOwned;

use crate::api::{ApiError, Payload};
use crate::frame::{Frame, Section};
use crate::session::{Account, Role, Session};
use crate::{Console, path};

/// Somebody who is signed in.
pub(crate) struct Visitor {
    pub(crate) session: Session,
    pub(crate) console: Console,
}

impl Visitor {
    /// Asks the APIs for something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.console.api.get(&self.session, path).await
    }

    /// Makes a call to the APIs.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        payload: Payload,
    ) -> Result<T, ApiError> {
        self.console.api.call(&self.session, method, path, payload).await
    }

    /// The visitor in a subaccount, for one call.
    pub(crate) fn within(&self, subaccount: Account) -> Self {
        let session = self.session.clone().acting(Some(subaccount));
        Self { session, console: self.console.clone() }
    }

    /// The visitor in the account of the key, for one call.
    pub(crate) fn outside(&self) -> Self {
        Self { session: self.session.clone().acting(None), console: self.console.clone() }
    }

    /// What stands around a page of this section.
    pub(crate) fn frame(&self, section: Section) -> Frame {
        Frame {
            section,
            account: self.session.account().clone(),
            is_acting: self.session.acting_for().is_some(),
            role: self.session.role,
            token: self.session.form_token(),
        }
    }

    /// Leads to a page, with the session as it is now.
    pub(crate) fn go(&self, to: &str) -> Response {
        let Console { secret_key, is_secure, clock, .. } = &self.console;
        let mut response = Redirect::to(to).into_response();
        let cookie = self.session.cookie(secret_key, *is_secure, clock.now());
        response.headers_mut().insert("set-cookie", cookie);
        response
    }
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Response> {
        let Console { secret_key, is_secure, clock, .. } = console;
        match Session::read(&parts.headers, secret_key, *is_secure, clock.now()) {
            Some(session) if session.role != Role::Sending => {
                Ok(Self { session, console: console.clone() })
            }
            _ => Err(to_sign_in(parts)),
        }
    }
}

/// Leads to the sign-in, and from there back to the page that was asked for.
fn to_sign_in(parts: &Parts) -> Response {
    let asked = parts.uri.path_and_query().map(|asked| asked.as_str());
    let asked = asked.filter(|_| parts.method == Method::GET).filter(|asked| *asked != path::HOME);
    // A part of a page is asked for anew: the whole page is to give way.
    if parts.headers.contains_key("hx-request") {
        let mut response = StatusCode::NO_CONTENT.into_response();
        response.headers_mut().insert("hx-redirect", HeaderValue::from_static(path::SIGN_IN));
        return response;
    }
    let mut to = path::SIGN_IN.to_owned();
    if let Some(asked) = asked {
        to.push_str("?next=");
        to.extend(form_urlencoded::byte_serialize(asked.as_bytes()));
    }
    Redirect::to(&to).into_response()
}
