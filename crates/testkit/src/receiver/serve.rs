//! The receiver's side of the connections.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Interval, interval};

use super::reply::{Action, Body};
use super::{Received, Shared};
use crate::wait::pause;

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                // A client that gave up while it was being accepted is its own affair.
                if let Ok((stream, _)) = accepted {
                    connections.spawn(connection(stream, Arc::clone(&shared)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { answer(request, &shared).await }
    });
    let mut http = http1::Builder::new();
    http.header_read_timeout(None);
    // An error is either the script's wish to close, or the client's hanging up.
    let _ = http.serve_connection(TokioIo::new(stream), service).await;
}

/// An error makes hyper close the connection without a word.
async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<ReplyBody>> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let received = Received {
        at,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        method: head.method,
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
    };
    let waiting = Waiting { path: received.path.clone(), shared };
    let reply = shared.record(received);

    if !reply.delay.is_zero() {
        pause(reply.delay).await;
    }
    if let Some(gate) = reply.gate {
        gate.passed().await;
    }
    let (status, headers, body) = match reply.action {
        Action::Respond { status, headers, body } => (status, headers, body),
        Action::Hang => std::future::pending().await,
        Action::Close => bail!("closed by the script"),
    };
    drop(waiting);
    let mut response = Response::builder().status(status).body(match body {
        Body::Whole(bytes) => ReplyBody::Whole(Some(bytes)),
        Body::Endless => ReplyBody::Endless(Bytes::from(vec![b'x'; 16 * 1024])),
        Body::Trickle(every) => ReplyBody::Trickle(interval(every)),
    })?;
    response.headers_mut().extend(headers.into_iter().map(|(name, value)| (Some(name), value)));
    Ok(response)
}

/// Counts a request as in flight, also when the client hangs up and hyper drops
/// the answer half-way.
struct Waiting<'a> {
    path: String,
    shared: &'a Shared,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.answered(&self.path);
    }
}

enum ReplyBody {
    Whole(Option<Bytes>),
    Endless(Bytes),
    Trickle(Interval),
}

impl hyper::body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = match &mut *self {
            Self::Whole(bytes) => bytes.take().filter(|bytes| !bytes.is_empty()),
            Self::Endless(chunk) => Some(chunk.clone()),
            Self::Trickle(interval) => {
                ready!(interval.poll_tick(context));
                Some(Bytes::from_static(b"x"))
            }
        };
        Poll::Ready(chunk.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(bytes) if bytes.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(bytes) => {
                let left = bytes.as_ref().map_or(0, Bytes::len);
                hyper::body::SizeHint::with_exact(left as u64)
            }
            Self::Endless(_) | Self::Trickle(_) => hyper::body::SizeHint::default(),
        }
    }
}
