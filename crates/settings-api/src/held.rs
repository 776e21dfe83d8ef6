//! Answers that hold their tenant's place until they were read: a client that asks for large
//! pages and reads none of them has no more of them in memory than it has places.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use http_body::{Frame, SizeHint};

use crate::outbound::Place;

/// Handed over at once. The server takes the next piece when it has room for it again.
const PIECE_BYTES: usize = 16 * 1024;

struct Held {
    body: Body,
    rest: Bytes,
    _place: Place,
}

/// Keeps the place until the last piece of the answer is handed over. A stream, whose length
/// nobody knows, has a place of its own kind.
pub(crate) fn until_read(response: Response, place: Place) -> Response {
    if response.body().size_hint().exact().is_none() || chassis::mutant("places_end_early") {
        return response;
    }
    response.map(|body| Body::new(Held { body, rest: Bytes::new(), _place: place }))
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return Poll::Ready(other),
            }
        }
        let piece = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        self.body
            .size_hint()
            .exact()
            .map_or_else(SizeHint::default, |body| SizeHint::with_exact(body.saturating_add(rest)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::to_bytes;
    use axum::response::IntoResponse as _;
    use chassis::Clock;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::outbound::Outbound;

    #[tokio::test]
    async fn a_place_is_free_when_the_answer_was_read_and_not_before() {
        let calls = Outbound::calls(Clock::system(), 2);
        let large = vec![b'x'; 3 * PIECE_BYTES + 1];
        let place = calls.place("a").await.expect("a place");
        let response = until_read(large.clone().into_response(), place);
        let length = response.body().size_hint().exact();
        assert_eq!(length, u64::try_from(large.len()).ok(), "the length is known");
        let mut body = response.into_body();
        let first = body.frame().await.expect("a frame").expect("no error");
        assert_eq!(first.into_data().expect("data").len(), PIECE_BYTES);
        let waits = tokio::time::timeout(Duration::from_millis(50), calls.place("a")).await;
        assert!(waits.is_err(), "an answer that is not read holds its place");
        let rest = to_bytes(body, usize::MAX).await.expect("the rest");
        assert_eq!(rest.len(), large.len() - PIECE_BYTES);
        calls.place("a").await.expect("the place of an answer that was read");
    }
}
