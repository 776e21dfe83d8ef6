//! Whoever is refused before their request was read gets their answer.
//!
//! A request that is answered early (no key, a key without the right, too many
//! calls) leaves its body on the connection, which is then closed and reset
//! while the client is still writing. Many clients report that as a broken
//! network and never see the answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream as _, stream};

/// The most that is read of a body that nobody wants, in bytes.
const MAX_BYTES: usize = 256 * 1024;
/// The longest that is waited for it.
const MAX_TIME: Duration = Duration::from_secs(2);

/// A body that whoever reads it may leave behind.
#[derive(Clone)]
struct Shared(Arc<Mutex<BodyDataStream>>);

impl Shared {
    fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *stream).poll_next(context)
    }

    /// Reads what was left, within the limits.
    async fn drain(self) {
        let mut left = MAX_BYTES;
        let rest = async {
            while let Some(Ok(chunk)) = poll_fn(|context| self.poll(context)).await {
                let Some(after) = left.checked_sub(chunk.len()) else { return };
                left = after;
            }
        };
        // Too late or too much: the connection is closed, as it would have been.
        let _ = tokio::time::timeout(MAX_TIME, rest).await;
    }
}

/// Answers when the body was read, or as much of it as anybody is waited for.
pub(crate) async fn read_to_the_end(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let shared = Shared(Arc::new(Mutex::new(body.into_data_stream())));
    let theirs = shared.clone();
    let body = Body::from_stream(stream::poll_fn(move |context| theirs.poll(context)));
    let response = next.run(Request::from_parts(parts, body)).await;
    shared.drain().await;
    response
}
