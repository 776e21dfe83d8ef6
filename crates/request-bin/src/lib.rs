//! Throw-away receivers: a bin takes whatever is sent to its URL, answers as it
//! was told to, and shows what came, with its signature checked.
//!
//! What must always hold:
//! - nobody needs it: it has no broker and no database, everything is in memory,
//!   and a restart forgets all bins;
//! - whoever knows a bin's URL can fill it and not read it; reading takes a name
//!   of its own, from which the URL follows and not the other way round;
//! - bins end, and whatever is sent is bounded: what is too much pushes out what
//!   is older, of the bin that has the most;
//! - what senders put in is shown as text.
//!
//! Deliberately absent: accounts, and everything else that would make it worth
//! keeping.

mod answer;
mod api;
mod bins;
mod capture;
mod config;
mod signatures;
mod view;

use std::sync::Arc;

use axum::Router;
use chassis::{Clock, Readiness, Tasks, ops};
use tokio::sync::Semaphore;

pub use config::RequestBinConfig;

use bins::Bins;

const READINESS: &str = "request-bin";
/// Of all requests that are being read, together.
const BODY_BYTES: usize = 64 * 1_024 * 1_024;
/// Requests whose answer is delayed, at the same time.
const MOST_DELAYED: usize = 1_000;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
struct RequestBin {
    bins: Arc<Bins>,
    clock: Clock,
    /// What bins' URLs begin with.
    url: Arc<str>,
    delayed: Arc<Semaphore>,
}

/// Serves until a stop is asked for.
///
/// # Errors
/// When the port is taken, or the listener fails.
pub async fn run(
    config: RequestBinConfig,
    clock: Clock,
    readiness: Readiness,
    tasks: Tasks,
) -> anyhow::Result<()> {
    let listener = ops::bind("POSTRIDER_REQUEST_BIN_ADDR", config.addr).await?;
    tracing::info!(addr = %listener.local_addr()?, "bins take requests");
    readiness.set(READINESS, true);
    let app = router(&config, clock.clone());
    config.door.serve(listener, app, BODY_BYTES, clock, tasks.stop_token()).await;
    readiness.set(READINESS, false);
    Ok(())
}

/// All that is served: pages, the JSON API, and the bins themselves.
pub fn router(config: &RequestBinConfig, clock: Clock) -> Router {
    let state = RequestBin {
        bins: Arc::new(Bins::new(config.limits.clone(), clock.clone())),
        clock,
        url: config.url().into(),
        delayed: Arc::new(Semaphore::new(MOST_DELAYED)),
    };
    Router::new()
        .merge(view::routes())
        .merge(api::routes())
        .merge(capture::routes())
        .merge(pages::assets())
        .with_state(state)
}
