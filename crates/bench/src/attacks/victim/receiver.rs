//! The victim's receiver: it is well, and knows its events by their ids.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Shared, Stream, lock};
use crate::receiver::{detach, micros_now};

/// Requests by path.
type Paths = Arc<Mutex<HashMap<String, u64>>>;

#[derive(Debug)]
pub(super) struct Receiver {
    port: u16,
    paths: Paths,
}

impl Receiver {
    /// Listens from now on. One that closes keeps no connection for the next delivery.
    pub(super) async fn start(record: Shared, closes: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let paths = Paths::default();
        let counted = Arc::clone(&paths);
        detach(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (record, paths) = (Arc::clone(&record), Arc::clone(&counted));
                detach(async move {
                    let service = service_fn(move |request| {
                        take(request, Arc::clone(&record), Arc::clone(&paths), closes)
                    });
                    // A connection that breaks is the other side's business.
                    let _ =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { port, paths })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// How many came to this path.
    pub(super) fn requests(&self, path: &str) -> u64 {
        let paths = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        paths.get(path).copied().unwrap_or_default()
    }
}

async fn take(
    request: Request<Incoming>,
    record: Shared,
    paths: Paths,
    closes: bool,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let arrived_us = micros_now();
    if let Some((stream, number)) = event(&body)
        && let Some(sent) = lock(&record).sent[stream as usize].get_mut(number)
    {
        sent.arrived_us.get_or_insert(arrived_us);
    }
    *paths.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default() += 1;
    let mut response = Response::new(Full::default());
    if closes {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Which event of the victim's it is.
fn event(body: &[u8]) -> Option<(Stream, usize)> {
    let text = std::str::from_utf8(body).ok()?;
    let id = text.split("\"v-").nth(1)?.split('"').next()?;
    let (letter, number) = id.split_once('-')?;
    let stream = Stream::ALL.into_iter().find(|stream| letter == stream.letter().to_string())?;
    Some((stream, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_known_by_its_id() {
        let body = br#"{"event-data":{"id":"v-n-17","timestamp":1.0}}"#;
        assert_eq!(event(body), Some((Stream::Newcomers, 17)));
        assert_eq!(event(br#"{"event-data":{"id":"held-0-17"}}"#), None);
    }
}
