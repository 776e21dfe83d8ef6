//! The operator's port: `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use crate::{Clock, Tasks, config::ConfigError};

/// What the parts of a process say of their readiness. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, bool>>>);

impl Readiness {
    /// Enters a part, not ready yet. Do this before the port opens.
    pub fn expect(&self, part: &'static str) {
        self.set(part, false);
    }

    /// Says whether this part can do its work now.
    pub fn set(&self, part: &'static str, ready: bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(part, ready);
    }

    /// The parts that are not ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.iter().filter(|(_, ready)| !**ready).map(|(part, _)| *part).collect()
    }
}

/// Binds a listener, with an error that names the setting to change.
pub async fn bind(setting: &'static str, addr: SocketAddr) -> Result<TcpListener, ConfigError> {
    TcpListener::bind(addr).await.map_err(|source| ConfigError::Bind { setting, addr, source })
}

#[derive(Clone)]
struct Ops {
    readiness: Readiness,
    tasks: Tasks,
    metrics: PrometheusHandle,
}

/// Collects this process's metrics from here on.
///
/// # Panics
/// When called twice in one process.
pub fn install_metrics() -> PrometheusHandle {
    PrometheusBuilder::new().install_recorder().expect("metrics are installed once")
}

/// Serves the operator's port until the process ends. It outlives the stop
/// signal, so that a draining process still tells that it is not ready.
pub fn serve(
    listener: TcpListener,
    metrics: PrometheusHandle,
    readiness: Readiness,
    clock: Clock,
    tasks: Tasks,
) {
    let upkeep = metrics.clone();
    let ops = Ops { readiness, tasks: tasks.clone(), metrics };
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(async |State(ops): State<Ops>| ops.metrics.render()))
        .with_state(ops);
    tasks.background(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the operator's port failed");
        }
    });
    tasks.background(async move {
        loop {
            clock.sleep(std::time::Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
}

async fn readyz(State(ops): State<Ops>) -> (StatusCode, String) {
    if ops.tasks.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".into());
    }
    match ops.readiness.missing().as_slice() {
        [] => (StatusCode::OK, "ready\n".into()),
        parts => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", parts.join(", "))),
    }
}
