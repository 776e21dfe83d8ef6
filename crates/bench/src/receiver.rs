//! A receiver that takes everything and tells how late it came.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// What the receiver has seen since it was last asked to forget.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Seen {
    /// Requests.
    pub(crate) requests: u64,
    /// Different deliveries among them.
    pub(crate) deliveries: u64,
    /// From the event's timestamp, which the load generator sets just before
    /// it publishes, to the arrival. Milliseconds: median, 99th percentile, largest.
    pub(crate) latency_ms: [f64; 3],
}

#[derive(Default)]
struct State {
    requests: u64,
    deliveries: HashSet<Vec<u8>>,
    latencies_us: Vec<u32>,
}

/// Serves on a free port, which it prints.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let state = Arc::new(Mutex::new(State::default()));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let state = Arc::clone(&state);
        detach(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            // A connection that breaks is the other side's business.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this process has no shutdown to wait for")]
pub(crate) fn detach(task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task);
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.method() == Method::GET {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if request.uri().path() == "/forget" {
            *state = State::default();
        }
        let seen = serde_json::to_vec(&state.seen()).unwrap_or_default();
        return Ok(Response::new(Full::from(seen)));
    }
    let delivery = request.headers().get("x-postrider-delivery").map(|id| id.as_bytes().to_vec());
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let late_us = event_micros(&body).map(|sent| micros_now().saturating_sub(sent));
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    state.requests += 1;
    state.deliveries.extend(delivery);
    state.latencies_us.extend(late_us.map(|us| u32::try_from(us).unwrap_or(u32::MAX)));
    Ok(Response::new(Full::default()))
}

impl State {
    fn seen(&mut self) -> Seen {
        self.latencies_us.sort_unstable();
        let at = |percent: usize| {
            let index = self.latencies_us.len().saturating_sub(1) * percent / 100;
            self.latencies_us.get(index).map_or(0.0, |us| f64::from(*us) / 1000.0)
        };
        Seen {
            requests: self.requests,
            deliveries: self.deliveries.len() as u64,
            latency_ms: [at(50), at(99), at(100)],
        }
    }
}

/// The event's own timestamp: the second one in a Send payload.
fn event_micros(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let data = &text[text.find("\"event-data\"")?..];
    let number = &data[data.find("\"timestamp\":")? + 12..];
    let end = number.find([',', '}'])?;
    let (seconds, fraction) = number[..end].split_once('.')?;
    let micros: u64 = format!("{fraction:0<6}").get(..6)?.parse().ok()?;
    Some(seconds.parse::<u64>().ok()? * 1_000_000 + micros)
}

/// Microseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn micros_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}
