//! What a receiver answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tokio::sync::watch;

/// One answer of a [`Receiver`](super::Receiver).
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) delay: Duration,
    pub(super) gate: Option<Gate>,
    pub(super) action: Action,
}

#[derive(Clone, Debug)]
pub(super) enum Action {
    Respond {
        status: u16,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Body,
    },
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    Close,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Whole(Bytes),
    /// As fast as the other side reads, for ever.
    Endless,
    /// A byte each time, for ever.
    Trickle(Duration),
}

impl Reply {
    /// This status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::with(status, Body::Whole(Bytes::new()))
    }

    /// A redirect to this URL.
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).header("location", to)
    }

    /// This status with a body that never ends, sent as fast as it is read.
    pub fn endless(status: u16) -> Self {
        Self::with(status, Body::Endless)
    }

    /// This status with a body that never ends, a byte each `interval`.
    pub fn trickle(status: u16, interval: Duration) -> Self {
        Self::with(status, Body::Trickle(interval))
    }

    /// No answer at all, ever.
    pub fn hang() -> Self {
        Self::act(Action::Hang)
    }

    /// Closes the connection instead of answering.
    pub fn close() -> Self {
        Self::act(Action::Close)
    }

    /// With this body. Does nothing to a reply that has none.
    pub fn body(mut self, bytes: impl Into<Bytes>) -> Self {
        if let Action::Respond { body, .. } = &mut self.action {
            *body = Body::Whole(bytes.into());
        }
        self
    }

    /// With this header as well.
    ///
    /// # Panics
    ///
    /// When name or value are not allowed in a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header's name");
        let value: HeaderValue = value.parse().expect("a header's value");
        if let Action::Respond { headers, .. } = &mut self.action {
            headers.push((name, value));
        }
        self
    }

    /// After this time.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Not before the gate is open.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    fn with(status: u16, body: Body) -> Self {
        Self::act(Action::Respond { status, headers: Vec::new(), body })
    }

    fn act(action: Action) -> Self {
        Self { delay: Duration::ZERO, gate: None, action }
    }
}

/// Holds answers back until a test has seen what it wanted to see.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// A closed one.
    #[expect(
        clippy::new_without_default,
        reason = "a gate that is closed by default is worth saying"
    )]
    pub fn new() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)) }
    }

    /// Lets everything through, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    pub(super) async fn passed(&self) {
        // The sender is ours, so the wait ends only with the gate's opening.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
