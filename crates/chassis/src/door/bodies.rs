//! Bodies of requests: bounded in time, and in bytes over all requests of a door.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::http::StatusCode;
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Bytes of the bodies that a door holds.
#[derive(Debug)]
pub(super) struct Bodies {
    door: &'static str,
    most_bytes: usize,
    within: Duration,
    held: AtomicUsize,
}

impl Bodies {
    pub(super) fn new(door: &'static str, most_bytes: usize, within: Duration) -> Arc<Self> {
        Arc::new(Self { door, most_bytes, within, held: AtomicUsize::new(0) })
    }

    /// For one request.
    pub(super) fn share(self: &Arc<Self>) -> Arc<Share> {
        let (held, trouble) = (AtomicUsize::new(0), AtomicU8::new(0));
        Arc::new(Share { bodies: Arc::clone(self), held, trouble })
    }
}

/// Why a body was not read to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the body of the request did not come in time")]
    Late,
    #[error("too many requests are being sent at once; try again in a second")]
    Full,
}

impl Trouble {
    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Late => StatusCode::REQUEST_TIMEOUT,
            Self::Full => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "body_timeout",
            Self::Full => "bodies_full",
        }
    }
}

/// The bytes of one request, until it is answered.
#[derive(Debug)]
pub(super) struct Share {
    bodies: Arc<Bodies>,
    held: AtomicUsize,
    trouble: AtomicU8,
}

impl Share {
    /// A body of this request, whose bytes are taken from what there is as they come.
    pub(super) fn body<B>(self: &Arc<Self>, body: B) -> Counted<B> {
        let deadline = Instant::now() + self.bodies.within;
        let deadline = Box::pin(tokio::time::sleep_until(deadline));
        Counted { body, share: Arc::clone(self), deadline }
    }

    /// Why the body was not read to its end, if it was not.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        [Trouble::Late, Trouble::Full]
            .into_iter()
            .nth(usize::from(self.trouble.load(Ordering::Relaxed).checked_sub(1)?))
    }

    /// How long a body may take to come.
    pub(super) fn within(&self) -> Duration {
        self.bodies.within
    }

    /// The most bytes of all bodies of the door together.
    pub(super) fn most_bytes(&self) -> usize {
        self.bodies.most_bytes
    }

    pub(super) fn take(&self, bytes: usize) -> Result<(), Trouble> {
        let Bodies { most_bytes, held, .. } = &*self.bodies;
        if held.fetch_add(bytes, Ordering::Relaxed) + bytes > *most_bytes {
            held.fetch_sub(bytes, Ordering::Relaxed);
            return Err(self.fails(Trouble::Full));
        }
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Gives back a part of what was taken.
    pub(super) fn give_back(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.bodies.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn fails(&self, trouble: Trouble) -> Trouble {
        let number = match trouble {
            Trouble::Late => 1,
            Trouble::Full => 2,
        };
        self.trouble.store(number, Ordering::Relaxed);
        let (door, why) = (self.bodies.door, trouble.as_str());
        metrics::counter!("postrider_callers_refused_total", "door" => door, "why" => why)
            .increment(1);
        trouble
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bodies.held.fetch_sub(*self.held.get_mut(), Ordering::Relaxed);
    }
}

/// A body that is counted, and that has to come in time.
pub(super) struct Counted<B> {
    body: B,
    share: Arc<Share>,
    deadline: Pin<Box<Sleep>>,
}

impl<B> HttpBody for Counted<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let taken = self.share.take(frame.data_ref().map_or(0, Bytes::len));
                Poll::Ready(Some(taken.map(|()| frame).map_err(Into::into)))
            }
            Poll::Ready(ended) => Poll::Ready(ended.map(|ended| ended.map_err(Into::into))),
            Poll::Pending => {
                let late = self.deadline.as_mut().poll(cx);
                late.map(|()| Some(Err(self.share.fails(Trouble::Late).into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer, with what is given back when it is sent.
pub(super) struct Answered<B, G> {
    pub(super) body: B,
    pub(super) _until_sent: G,
}

impl<B: HttpBody + Unpin, G: Unpin> HttpBody for Answered<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
