//! The control panel: what customers see and change of their webhooks, alerts and
//! deliveries, as pages.
//!
//! What must always hold:
//! - it knows nothing that the customers' APIs do not tell, and may do nothing
//!   that the API key of its visitor may not: every page is calls of those APIs;
//! - nothing is kept here: a session is a sealed cookie, so that any replica
//!   serves any page;
//! - a change comes from a form of ours, which the visitor has sent;
//! - whatever comes from outside is shown as text.
//!
//! Deliberately absent: users and passwords, and a second truth of any kind.

mod alerts;
mod api;
mod attempts;
mod chart;
mod config;
mod domains;
mod event;
mod events;
mod failures;
mod fields;
mod frame;
mod overview;
#[doc(hidden)]
pub mod parsers;
mod path;
mod query;
mod resends;
mod security;
mod session;
mod sign_in;
mod subaccounts;
mod trouble;
mod visitor;
mod webhooks;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::STRICT_TRANSPORT_SECURITY;
use axum::http::{HeaderValue, Response};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::get;
use chassis::{Clock, Readiness, Tasks, ops};
use signing::SecretKey;

pub use config::ConsoleConfig;

use api::Api;
use attempts::Attempts;

/// The part of readiness that this role answers for.
pub const READINESS: &str = "console";
/// Of all forms that are being sent, together.
const BODY_BYTES: usize = 16 * 1_024 * 1_024;

/// What the pages work with. Cheap to clone.
#[derive(Clone)]
struct Console {
    api: Api,
    clock: Clock,
    /// Seals sessions.
    secret_key: Arc<SecretKey>,
    sign_ins: Arc<Attempts>,
    /// Proxies between visitors and us.
    proxies: usize,
    /// Whether visitors come over TLS alone.
    is_secure: bool,
}

/// Serves the pages until a stop is asked for, over the APIs at the address that
/// is configured.
///
/// # Errors
/// When the port is taken, or the listener fails.
pub async fn run(
    config: ConsoleConfig,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
) -> anyhow::Result<()> {
    readiness.expect(READINESS);
    let listener = ops::bind("POSTRIDER_CONSOLE_ADDR", config.addr).await?;
    tracing::info!(addr = %listener.local_addr()?, api = %config.api_url, "the console takes visitors");
    let api = Api::there(config.api_url.clone(), &config.secret_key, clock.clone());
    let app = router(&config, api, clock.clone());
    readiness.set(READINESS, true);
    config.door.serve(listener, app, BODY_BYTES, clock, tasks.stop_token()).await;
    readiness.set(READINESS, false);
    Ok(())
}

/// The pages beside the APIs of this process, which are asked without a network.
pub fn beside(config: ConsoleConfig, clock: Clock) -> impl FnOnce(Router) -> Router + Send {
    move |calls| {
        let api = Api::here(calls.clone(), &config.secret_key, clock.clone());
        calls.merge(router(&config, api, clock))
    }
}

/// Tells browsers that came over TLS to come over nothing else: one request in the clear would
/// show a neighbour the session.
async fn over_tls_alone(
    State(is_secure): State<bool>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let mut response = next.run(request).await;
    if is_secure {
        let two_years = HeaderValue::from_static("max-age=63072000");
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, two_years);
    }
    response
}

/// The pages, to be served with the address of each connection's other side.
fn router(config: &ConsoleConfig, api: Api, clock: Clock) -> Router {
    let state = Console {
        api,
        sign_ins: Arc::new(Attempts::new(clock.clone())),
        clock,
        secret_key: Arc::new(config.secret_key.clone()),
        proxies: config.proxies,
        is_secure: config.is_secure(),
    };
    Router::new()
        .route("/", get(async || Redirect::to(path::HOME)))
        .merge(sign_in::routes())
        .merge(overview::routes())
        .merge(events::routes())
        .merge(event::routes())
        .merge(failures::routes())
        .merge(resends::routes())
        .merge(webhooks::routes())
        .merge(alerts::routes())
        .merge(domains::routes())
        .merge(security::routes())
        .merge(subaccounts::routes())
        .merge(pages::assets())
        // Form tokens are masked anew on each page, so that the length of what is
        // compressed tells nobody anything about them.
        .layer(from_fn(pages::compressed))
        .layer(from_fn_with_state(state.is_secure, over_tls_alone))
        .with_state(state)
}
