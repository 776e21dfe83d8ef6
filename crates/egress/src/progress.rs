//! How far a request has got, so that a failure can say what it waited for.
//!
//! The HTTP library resolves, connects and secures in one go and tells little of
//! it. What of it is ours (the resolver, the layer around its connector, the
//! store of TLS sessions) notes it here.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

tokio::task_local! {
    /// Of the request, or of the connection, that this task is working on.
    static PROGRESS: Progress;
}

/// What a request is waiting for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// For an answer, over a connection that was there before.
    Kept,
    /// For the resolver.
    Resolving,
    /// For the connection, since then.
    Connecting(Instant),
    /// For TLS on the connection that it waited for since then.
    Securing(Instant),
    /// For an answer, over a connection of its own.
    Connected,
}

/// Clones speak of the same request.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<Stage>>);

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Stage::Kept)))
    }

    /// That of the request which this task is working on; one of its own when
    /// a connection outlives the request that it was begun for.
    pub(crate) fn of_task() -> Self {
        PROGRESS.try_with(Self::clone).unwrap_or_else(|_| Self::new())
    }

    /// Has `future` note its progress here.
    pub(crate) async fn of<F: Future>(self, future: F) -> F::Output {
        PROGRESS.scope(self, future).await
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn reach(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

/// Notes that the TLS handshake begins.
pub(crate) fn securing() {
    let progress = Progress::of_task();
    if let Stage::Connecting(since) = progress.stage() {
        progress.reach(Stage::Securing(since));
    }
}
