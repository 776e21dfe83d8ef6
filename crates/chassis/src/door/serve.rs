//! HTTP/1.1 behind a door.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming as Received;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service as _;

use super::bodies::{Answered, Bodies, Share, Trouble};
use super::{Connection, Door, Peer, Speaks};
use crate::Clock;

/// A head, with its first line.
const HEAD_BYTES: usize = 32 * 1_024;
/// The buffers of a connection, for reading and for writing.
const BUFFER_BYTES: usize = 64 * 1_024;

impl Door {
    /// Answers the requests that come to this listener, until a stop is asked for and what
    /// was begun is answered. Handlers find the [`Peer`] and its address as
    /// [`ConnectInfo`]. Bodies of requests that are being read or worked on have so many bytes
    /// together, at most.
    ///
    /// HTTP/1.1 alone: over HTTP/2 one connection has hundreds of answers that nobody reads.
    pub async fn serve(
        &self,
        listener: TcpListener,
        app: Router,
        body_bytes: usize,
        clock: Clock,
        stop: CancellationToken,
    ) {
        let mut incoming = self.incoming(listener, Speaks::Http, clock);
        let bodies = Bodies::new(self.name(), body_bytes, self.limits().body_within);
        let connections = TaskTracker::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                connection = incoming.next() => {
                    let (app, bodies, stop) = (app.clone(), Arc::clone(&bodies), stop.clone());
                    connections.spawn(converse(connection, app, bodies, stop));
                }
            }
        }
        drop(incoming);
        connections.close();
        connections.wait().await;
    }
}

async fn converse(
    connection: Connection,
    app: Router,
    bodies: Arc<Bodies>,
    stop: CancellationToken,
) {
    let (peer, activity) = (connection.peer().clone(), connection.activity());
    let address = peer.address;
    let service = service_fn(move |request| {
        let until_sent = (bodies.share(), activity.begin());
        answer(app.clone(), request, peer.clone(), until_sent)
    });
    // How long a head may take is the stream's to say: this builder knows no difference
    // between a head that does not end and a connection that is kept.
    let mut http = http1::Builder::new();
    http.header_read_timeout(None).max_header_size(HEAD_BYTES).max_buf_size(BUFFER_BYTES);
    let mut conversation = pin!(http.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = stop.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, error = error_text(&error), "a connection ended early");
    }
}

async fn answer<B>(
    mut app: Router,
    request: Request<Received>,
    peer: Peer,
    until_sent: (Arc<Share>, B),
) -> Result<Response<Answered<Body, (Arc<Share>, B)>>, Infallible> {
    let share = &until_sent.0;
    let mut request = request.map(|body| Body::new(share.body(body)));
    request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.address));
    request.extensions_mut().insert(ConnectInfo(peer));
    let answered = app.call(request).await?;
    // Handlers know only that the body broke off.
    let answered = share.trouble().map_or(answered, refusal);
    Ok(answered.map(|body| Answered { body, _until_sent: until_sent }))
}

fn refusal(trouble: Trouble) -> Response<Body> {
    let text = format!("{{\"message\":\"{trouble}\"}}\n");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = trouble.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if trouble == Trouble::Full {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// With what lies below: hyper's own text does not say what the stream did.
fn error_text(error: &hyper::Error) -> String {
    let below = std::error::Error::source(error);
    below.map_or_else(|| error.to_string(), |below| format!("{error}: {below}"))
}
