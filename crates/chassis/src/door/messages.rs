//! Messages of gRPC: those that a door holds are bounded in bytes over all calls, and each has
//! to come to its end in time. A stream may stand still between two messages.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::BoxError;
use axum::body::{Bytes, HttpBody};
use axum::http::{Request, Response};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::Door;
use super::bodies::{Bodies, Share, Trouble};

/// A message begins with a byte for its compression and four for its length.
const HEAD: usize = 5;
/// No byte in gzip stands for more of them than this.
const MOST_INFLATED: usize = 1_032;

impl Door {
    /// Counts the messages of calls that are being read or worked on: they have so many bytes
    /// together, at most. Of a compressed one as many count as it can become, and no more than
    /// the `largest` that the server reads.
    pub fn messages(&self, bytes: usize, largest: usize) -> Messages {
        let bodies = Bodies::new(self.name(), bytes, self.limits().body_within);
        Messages { bodies, largest }
    }
}

/// Counts the messages of a gRPC server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Messages {
    bodies: Arc<Bodies>,
    largest: usize,
}

impl<S> Layer<S> for Messages {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { messages: self.clone(), inner }
    }
}

/// A service whose messages are counted.
#[derive(Clone, Debug)]
pub struct Counting<S> {
    messages: Messages,
    inner: S,
}

type Answering<B> = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

impl<S, B> Service<Request<Body>> for Counting<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Answering<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answering<B> {
        let Messages { bodies, largest } = &self.messages;
        let (share, largest) = (bodies.share(), *largest);
        let until_answered = Arc::clone(&share);
        let request = request.map(|body| Body::new(Counted::new(body, share, largest)));
        let answering = self.inner.call(request);
        Box::pin(async move {
            let answer = answering.await;
            drop(until_answered);
            answer
        })
    }
}

struct Counted {
    body: Body,
    share: Arc<Share>,
    /// Of the message that is coming: what is there of its head, and what is not there of it.
    head: Vec<u8>,
    left: usize,
    /// Bytes that are taken for the message that came last, or is coming.
    held: usize,
    /// The size that a message may have, in bytes, once it is not compressed any more.
    largest: usize,
    deadline: Pin<Box<Sleep>>,
}

impl Counted {
    fn new(body: Body, share: Arc<Share>, largest: usize) -> Self {
        let deadline = Box::pin(tokio::time::sleep_until(Instant::now() + share.within()));
        Self { body, share, head: Vec::with_capacity(HEAD), left: 0, held: 0, largest, deadline }
    }

    /// Whether a message has begun that has not come to its end.
    fn is_within_a_message(&self) -> bool {
        self.left > 0 || !self.head.is_empty()
    }

    fn take(&mut self, mut data: &[u8]) -> Result<(), Trouble> {
        while !data.is_empty() {
            if self.left == 0 {
                if self.head.is_empty() {
                    // The reader of the next message is done with the one before.
                    self.share.give_back(std::mem::take(&mut self.held));
                    self.deadline.as_mut().reset(Instant::now() + self.share.within());
                }
                let (head, rest) = data.split_at(data.len().min(HEAD - self.head.len()));
                self.head.extend_from_slice(head);
                data = rest;
                if let [compression, length @ ..] = self.head.as_slice()
                    && let Ok(length) = <[u8; 4]>::try_from(length)
                {
                    self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                    let becomes = match compression {
                        0 => self.left,
                        _ => self.left.saturating_mul(MOST_INFLATED).min(self.largest),
                    };
                    self.head.clear();
                    // The library makes room for all of it now. What is larger than anything
                    // can be is refused there.
                    if self.left <= self.share.most_bytes()
                        && !crate::mutant("messages_do_not_count")
                    {
                        let bytes = self.left.max(becomes);
                        self.share.take(bytes)?;
                        self.held = bytes;
                    }
                }
                continue;
            }
            let came = data.len().min(self.left);
            self.left -= came;
            data = &data[came..];
        }
        Ok(())
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let taken = frame.data_ref().map_or(Ok(()), |data| self.take(data));
                Poll::Ready(Some(taken.map(|()| frame).map_err(|trouble| status(trouble).into())))
            }
            Poll::Ready(ended) => Poll::Ready(ended.map(|ended| ended.map_err(Into::into))),
            Poll::Pending if self.is_within_a_message() => {
                let late = self.deadline.as_mut().poll(cx);
                late.map(|()| Some(Err(status(self.share.fails(Trouble::Late)).into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn status(trouble: Trouble) -> Status {
    match trouble {
        Trouble::Late => Status::deadline_exceeded(trouble.to_string()),
        Trouble::Full => Status::unavailable(trouble.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    /// A call whose bytes come as they are sent.
    fn call(bodies: &Arc<Bodies>) -> (mpsc::Sender<Vec<u8>>, Counted) {
        let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(16);
        let chunks = futures_util::stream::poll_fn(move |cx| {
            receiver.poll_recv(cx).map(|chunk| chunk.map(Ok::<_, Infallible>))
        });
        let body = Body::new(axum::body::Body::from_stream(chunks));
        (sender, Counted::new(body, bodies.share(), 900))
    }

    fn message(bytes: usize) -> Vec<u8> {
        let mut message = vec![0];
        message.extend(u32::try_from(bytes).unwrap().to_be_bytes());
        message.resize(HEAD + bytes, 7);
        message
    }

    async fn next(body: &mut Counted) -> Result<usize, Status> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await.expect("a frame");
        let frame = frame.map_err(Status::from_error)?;
        Ok(frame.data_ref().map_or(0, Bytes::len))
    }

    #[tokio::test]
    async fn messages_of_all_calls_share_their_bytes_and_give_them_back() {
        let bodies = Bodies::new("test", 1_000, LIMIT);
        let ((one, mut first), (two, mut second)) = (call(&bodies), call(&bodies));
        one.send(message(600)).await.unwrap();
        assert_eq!(next(&mut first).await.unwrap(), 605);
        // In parts, the head among them: room for all of it is made at once.
        for part in message(100).chunks(2).map(<[u8]>::to_vec).take(10) {
            two.send(part).await.unwrap();
            next(&mut second).await.unwrap();
        }
        // A stream whose next message begins is done with the one before.
        one.send(message(800)).await.unwrap();
        assert_eq!(next(&mut first).await.unwrap(), 805);
        let (three, mut third) = call(&bodies);
        three.send(message(200)[..HEAD].to_vec()).await.unwrap();
        let refusal = next(&mut third).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::Unavailable, "{refusal}");
        drop(first);
        let (four, mut fourth) = call(&bodies);
        four.send(message(800)).await.unwrap();
        next(&mut fourth).await.expect("room that was given back");
    }

    #[tokio::test]
    async fn a_compressed_message_counts_as_what_it_can_become() {
        let bodies = Bodies::new("test", 1_000, LIMIT);
        let compressed = || [vec![1], message(20).split_off(1)].concat();
        let ((one, mut first), (two, mut second)) = (call(&bodies), call(&bodies));
        one.send(compressed()).await.unwrap();
        next(&mut first).await.expect("it may become 900 bytes");
        two.send(compressed()).await.unwrap();
        let refusal = next(&mut second).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::Unavailable, "{refusal}");
    }

    #[tokio::test]
    async fn a_message_comes_to_its_end_in_time_and_a_stream_may_stand_still() {
        let bodies = Bodies::new("test", 1_000, LIMIT);
        let (sender, mut body) = call(&bodies);
        sender.send(message(10)).await.unwrap();
        next(&mut body).await.unwrap();
        let silence = tokio::time::timeout(3 * LIMIT, next(&mut body)).await;
        assert!(silence.is_err(), "it may stand still: {silence:?}");
        sender.send(message(10)[..9].to_vec()).await.unwrap();
        next(&mut body).await.unwrap();
        let late = tokio::time::timeout(3 * LIMIT, next(&mut body)).await.expect("an end");
        assert_eq!(late.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    }
}
