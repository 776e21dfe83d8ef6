//! The requests of `Ingest` as its door reads them: each event is bytes at first. A request is
//! bounded in events before any is decoded, and one that cannot be decoded is refused alone.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{self, DecodeContext, WireType};

/// The server of `Ingest`, for requests of this module.
#[expect(unreachable_pub, clippy::allow_attributes, reason = "generated")]
mod server {
    include!(concat!(env!("OUT_DIR"), "/door/postrider.v1.rs"));
}

pub use server::ingest_server::{Ingest, IngestServer};

/// Events of one request, at most, as `proto` says. An event of two bytes takes some hundred in
/// memory.
pub const MOST_EVENTS: usize = 1_000;

const EVENT: u32 = 1;

/// `PublishRequest`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PublishRequest {
    /// The first [`MOST_EVENTS`] of them.
    pub events: Vec<Bytes>,
    /// How many events there are.
    pub count: usize,
}

impl prost::Message for PublishRequest {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        encoding::bytes::encode_repeated(EVENT, &self.events, buf);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != EVENT {
            return encoding::skip_field(wire_type, tag, buf, ctx);
        }
        self.count += 1;
        if self.events.len() == MOST_EVENTS {
            return encoding::skip_field(wire_type, tag, buf, ctx);
        }
        encoding::bytes::merge_repeated(wire_type, &mut self.events, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        encoding::bytes::encoded_len_repeated(EVENT, &self.events)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// `PublishStreamRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishStreamRequest {
    /// The event.
    #[prost(bytes = "bytes", tag = "1")]
    pub event: Bytes,
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::v1;

    #[test]
    fn no_more_events_are_kept_than_a_request_may_have() {
        let sent = |count| v1::PublishRequest { events: vec![v1::Event::default(); count] };
        for (count, kept) in [(0, 0), (1, 1), (MOST_EVENTS, MOST_EVENTS), (5_000, MOST_EVENTS)] {
            let read =
                PublishRequest::decode(sent(count).encode_to_vec().as_slice()).expect("read");
            assert_eq!((read.count, read.events.len()), (count, kept));
        }
    }

    #[test]
    fn events_are_the_bytes_that_were_sent() {
        let event = v1::Event { id: "one".into(), ..v1::Event::default() };
        let sent = v1::PublishRequest { events: vec![v1::Event::default(), event.clone()] };
        let read = PublishRequest::decode(sent.encode_to_vec().as_slice()).expect("read");
        assert_eq!(read.events, [Bytes::new(), event.encode_to_vec().into()]);
        assert_eq!(read.encode_to_vec(), sent.encode_to_vec());
        let sent = v1::PublishStreamRequest { event: Some(event.clone()) };
        let read = PublishStreamRequest::decode(sent.encode_to_vec().as_slice()).expect("read");
        assert_eq!(read.event, event.encode_to_vec());
    }
}
