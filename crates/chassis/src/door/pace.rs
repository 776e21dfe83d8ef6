//! A connection that ends when its other side keeps it waiting for too long.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::gate::Place;
use super::{Limits, Speaks};

/// A reader that takes this much of an answer in its time is not slow.
const PROGRESS_BYTES: usize = 16 * 1_024;

/// The requests of a connection, as its stream sees them, and its place at the door.
#[derive(Debug)]
pub(super) struct Activity {
    place: Place,
    begun: AtomicUsize,
    ended: AtomicUsize,
    /// The task that reads: hyper does not ask again when a request is answered, and the next
    /// request has a deadline from then on.
    reader: AtomicWaker,
}

impl Activity {
    /// A request's head is read. It is answered when the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.place.is_busy();
        Busy(Arc::clone(self))
    }
}

/// A request that is being worked on or answered.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
        self.0.place.waits(true);
        self.0.reader.wake();
    }
}

/// The next thing that the other side is to send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Awaits {
    /// The first byte of all, or the rest of a head.
    Head,
    /// The next request.
    Request,
    /// Anything, at any time: a body has its own deadline, and HTTP/2 has its own way to find
    /// out that a client is gone.
    Anything,
}

/// A stream with deadlines for what is read and what is taken.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    speaks: Speaks,
    head_within: Duration,
    idle_for: Duration,
    taken_within: Duration,
    activity: Arc<Activity>,
    awaits: Awaits,
    /// Requests that had begun when it was looked last.
    seen: usize,
    reading: Option<Pin<Box<Sleep>>>,
    writing: Option<Pin<Box<Sleep>>>,
    /// Another connection has got the place.
    leave: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Bytes taken since the reader was found to be slow.
    taken: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, speaks: Speaks, limits: &Limits, place: Place) -> Self {
        let Limits { head_within, idle_for, taken_within, .. } = *limits;
        let leave = Box::pin(place.leave().cancelled_owned());
        place.waits(false);
        let (begun, ended, reader) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicWaker::new());
        Self {
            stream,
            speaks,
            head_within,
            idle_for,
            taken_within,
            activity: Arc::new(Activity { place, begun, ended, reader }),
            awaits: Awaits::Head,
            seen: 0,
            reading: None,
            writing: None,
            leave,
            taken: 0,
        }
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// Follows the requests: what comes between them is awaited for longer than a head.
    fn look(&mut self) {
        let begun = self.activity.begun.load(Ordering::Relaxed);
        let is_busy = begun != self.activity.ended.load(Ordering::Acquire);
        let awaits = match () {
            () if self.speaks == Speaks::Grpc => return,
            () if is_busy => Awaits::Anything,
            () if begun != self.seen || self.awaits == Awaits::Anything => Awaits::Request,
            () => return,
        };
        self.seen = begun;
        self.await_next(awaits);
    }

    fn await_next(&mut self, awaits: Awaits) {
        if self.awaits != awaits {
            (self.awaits, self.reading) = (awaits, None);
        }
    }

    /// Something came, outside of a request.
    fn came(&mut self) {
        match (self.speaks, self.awaits) {
            (Speaks::Grpc, Awaits::Anything) => {}
            (Speaks::Grpc, _) => {
                self.activity.place.is_busy();
                self.await_next(Awaits::Anything);
            }
            (Speaks::Http, Awaits::Request) => self.await_next(Awaits::Head),
            // The deadline of a head stands from its first byte on.
            (Speaks::Http, Awaits::Head | Awaits::Anything) => {}
        }
    }

    /// Nothing is taken now: whether that has lasted too long.
    fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let taken_within = self.taken_within;
        let writing = self.writing.get_or_insert_with(|| sleep(taken_within));
        writing.as_mut().poll(cx).map(|()| late("an answer was taken too slowly"))
    }

    fn poll_written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        offered: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.poll_slow(cx).map(Err),
            Poll::Ready(Ok(bytes)) => {
                self.taken += bytes;
                if bytes == offered || self.taken >= PROGRESS_BYTES {
                    (self.taken, self.writing) = (0, None);
                }
                written
            }
            Poll::Ready(Err(_)) => written,
        }
    }

    fn poll_done(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        if done.is_pending() {
            return self.poll_slow(cx).map(Err);
        }
        (self.taken, self.writing) = (0, None);
        done
    }
}

fn sleep(duration: Duration) -> Pin<Box<Sleep>> {
    Box::pin(tokio::time::sleep_until(Instant::now() + duration))
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.look();
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            if buffer.filled().len() > before {
                self.came();
            }
            return read;
        }
        if self.awaits == Awaits::Anything && self.speaks == Speaks::Http {
            self.activity.reader.register(cx.waker());
            // It may have been answered in this moment.
            self.look();
        }
        let within = match self.awaits {
            Awaits::Head => self.head_within,
            Awaits::Request => self.idle_for,
            Awaits::Anything => return Poll::Pending,
        };
        if self.leave.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(late("another connection has got the place")));
        }
        let reading = self.reading.get_or_insert_with(|| sleep(within));
        reading.as_mut().poll(cx).map(|()| Err(late("a request did not come in time")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_written(cx, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        let offered = slices.iter().map(|slice| slice.len()).sum();
        self.poll_written(cx, written, offered)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.poll_done(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_done(cx, done)
    }
}
