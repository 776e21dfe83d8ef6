//! Signing in with an API key, and out.

use std::net::SocketAddr;

use askama::Template;
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;

use crate::api::ApiError;
use crate::attempts::origin;
use crate::fields::{Fields, Sent, Unsigned};
use crate::session::{Account, Role, Session};
use crate::trouble::signed_out;
use crate::visitor::Visitor;
use crate::{Console, path};

/// Longest key that is asked about, in characters; ours are far shorter.
const MAX_KEY_CHARS: usize = 256;

pub(crate) fn routes() -> Router<Console> {
    Router::new()
        .route(path::SIGN_IN, get(show).post(sign_in))
        .route(path::SIGN_OUT, post(sign_out))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    /// Where to go afterwards; empty for the first page.
    next: &'a str,
    /// What was wrong with the last try.
    problem: &'a str,
}

/// Whose key it is.
#[derive(Deserialize)]
struct Whose {
    id: String,
    name: String,
    key_role: Role,
}

async fn show(query: Fields) -> Response {
    let problem = if query.has("expired") { "Your session has ended. Sign in again." } else { "" };
    pages::page(StatusCode::OK, &SignIn { next: query.one("next"), problem })
}

async fn sign_in(
    State(console): State<Console>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Unsigned(fields): Unsigned,
) -> Response {
    let next = Some(fields.one("next")).filter(|next| path::is_ours(next)).unwrap_or_default();
    let refuse = |status, problem: &str| pages::page(status, &SignIn { next, problem });
    let from = origin(peer.ip(), &headers, console.proxies);
    if !console.sign_ins.may_try(from) {
        let problem = "Too many sign-ins have failed. Wait a minute, then try again.";
        return refuse(StatusCode::TOO_MANY_REQUESTS, problem);
    }
    let key = fields.one("api_key");
    if key.is_empty() {
        return refuse(StatusCode::BAD_REQUEST, "Enter an API key of your account.");
    }
    let session = Session::begin(key, console.clock.now());
    let whose = if key.len() > MAX_KEY_CHARS || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Err(ApiError::Unauthorized)
    } else {
        console.api.get::<Whose>(&session, "/postrider/v1/account").await
    };
    match whose {
        Ok(Whose { id, name, key_role }) => {
            let session = session.of(Account { id, name }, key_role);
            let visitor = Visitor { session, console };
            visitor.go(if next.is_empty() { path::HOME } else { next })
        }
        Err(ApiError::Unauthorized) => {
            console.sign_ins.has_failed(from);
            metrics::counter!("postrider_console_sign_ins_failed_total").increment(1);
            refuse(StatusCode::UNAUTHORIZED, "This is not a valid API key.")
        }
        Err(ApiError::Refused { message, .. }) => {
            let problem = format!("This API key cannot be used here: {message}.");
            refuse(StatusCode::FORBIDDEN, &problem)
        }
        Err(ApiError::Failed(message)) => {
            tracing::warn!(message, "nobody can sign in");
            let problem = "Postrider’s APIs did not answer. Try again in a moment.";
            refuse(StatusCode::BAD_GATEWAY, problem)
        }
    }
}

async fn sign_out(_: Sent) -> Response {
    signed_out(path::SIGN_IN)
}
