//! The operator's port: `/healthz`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Clock, Door, Tasks, config::ConfigError};

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

    /// Tells the metric `postrider_ready` of each part; of none that it is ready
    /// while the process stops.
    fn tell(&self, is_stopping: bool) {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (part, ready) in parts.iter() {
            let ready = f64::from(u8::from(*ready && !is_stopping));
            metrics::gauge!("postrider_ready", "part" => *part).set(ready);
        }
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

/// What durations are told apart by, in seconds: from a try on loopback to one that
/// waited for hours. Fixed, so that replicas can be added up.
const BUCKETS: [f64; 19] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0,
    300.0, 1800.0, 7200.0,
];
/// Nobody sends a body here.
const BODY_BYTES: usize = 64 * 1024;
/// How often what is told between scrapes is brought up to date.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Collects this process's metrics from here on.
///
/// # Panics
/// When called twice in one process.
pub fn install_metrics() -> PrometheusHandle {
    let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).expect("there are buckets");
    let metrics = builder.install_recorder().expect("metrics are installed once");
    metrics::gauge!("postrider_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    metrics
}

/// Serves the operator's port until the process ends. It outlives the stop
/// signal, so that a draining process still tells that it is not ready.
pub fn serve(
    door: Door,
    listener: TcpListener,
    metrics: PrometheusHandle,
    readiness: Readiness,
    clock: Clock,
    tasks: Tasks,
) {
    let upkeep = Ops { readiness, tasks: tasks.clone(), metrics };
    let ops = upkeep.clone();
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(ops);
    let never = CancellationToken::new();
    let answering = clock.clone();
    tasks.background(async move {
        door.serve(listener, app, BODY_BYTES, answering, never).await;
    });
    tasks.background(async move {
        loop {
            clock.sleep(UPKEEP_EVERY).await;
            upkeep.metrics.run_upkeep();
        }
    });
}

async fn render(State(ops): State<Ops>) -> String {
    ops.readiness.tell(ops.tasks.is_stopping());
    ops.metrics.render()
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
