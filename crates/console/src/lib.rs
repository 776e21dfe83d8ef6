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

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::response::Redirect;
use axum::routing::get;
use chassis::{Clock, Readiness, Tasks, ops};
use signing::SecretKey;
use tower_http::compression::CompressionLayer;

pub use config::ConsoleConfig;

use api::Api;
use attempts::Attempts;

/// The part of readiness that this role answers for.
pub const READINESS: &str = "console";

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
    let app = router(&config, api, clock).into_make_service_with_connect_info::<SocketAddr>();
    readiness.set(READINESS, true);
    axum::serve(listener, app).with_graceful_shutdown(tasks.stop_token().cancelled_owned()).await?;
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
        .layer(CompressionLayer::new())
        .with_state(state)
}
