//! A door and a stranger: all that he can hold, and for how long.

#![expect(clippy::unwrap_used, reason = "a test's helpers may panic as its tests do")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use chassis::door::Limits;
use chassis::{Clock, Door, Tasks};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(2);
/// What a machine with something else to do may add.
const MORE: Duration = Duration::from_secs(3);
const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

fn limits() -> Limits {
    Limits {
        connections: 100,
        per_address: 100,
        head_within: SHORT,
        idle_for: LONG,
        body_within: SHORT,
        taken_within: SHORT,
    }
}

/// A door with something behind it, for as long as this is kept.
struct Open {
    address: SocketAddr,
    tasks: Tasks,
    /// Whether somebody still holds the answer of `/endless`.
    endless: Arc<()>,
}

impl Open {
    async fn with(limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tasks, endless) = (Tasks::new(), Arc::new(()));
        let held = Arc::clone(&endless);
        let app = Router::new()
            .route("/", get(async || "well\n"))
            .route("/body", post(async |body: Bytes| body.len().to_string()))
            .route(
                "/endless",
                get(async move || {
                    let chunks = futures_util::stream::repeat_with(move || {
                        let _held = &held;
                        Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 16_384]))
                    });
                    Body::from_stream(chunks)
                }),
            );
        let (door, stop) = (Door::with_limits("test", limits), tasks.stop_token());
        tasks.background(async move {
            door.serve(listener, app, 1_000, Clock::system(), stop).await;
        });
        Self { address, tasks, endless }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends this over a connection of its own, and returns all that comes.
    async fn say(&self, text: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(text).await.unwrap();
        heard(&mut stream).await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// All that comes until the other side closes.
async fn heard(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A connection that is reset is closed, too.
    let _ = timeout(LONG + MORE, stream.read_to_end(&mut bytes)).await.expect("never closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What comes next.
async fn next(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4_096];
    let read = timeout(MORE, stream.read(&mut bytes)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

fn has_ended(began: Instant, after: Duration) {
    let took = began.elapsed();
    assert!(took >= after && took < after + MORE, "{took:?}");
}

#[tokio::test]
async fn silence_and_a_head_that_drips_are_closed() {
    let open = Open::with(limits()).await;
    let began = Instant::now();
    assert_eq!(open.say(b"").await, "");
    has_ended(began, SHORT);

    let (mut stream, began) = (open.connect().await, Instant::now());
    stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let dripping = async {
        while writing.write_all(b"a").await.is_ok() {
            tokio::time::sleep_until((Instant::now() + SHORT / 4).into()).await;
        }
    };
    let mut rest = Vec::new();
    tokio::select! {
        _ = reading.read_to_end(&mut rest) => {}
        () = dripping => {}
    }
    has_ended(began, SHORT);
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_for_longer_than_a_head_may_take() {
    let open = Open::with(limits()).await;
    let mut stream = open.connect().await;
    for _ in 0..2 {
        stream.write_all(GET.as_bytes()).await.unwrap();
        assert!(next(&mut stream).await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep_until((Instant::now() + 2 * SHORT).into()).await;
    }
    // The next head begins, and does not end.
    stream.write_all(b"GET / HTT").await.unwrap();
    let began = Instant::now();
    assert_eq!(heard(&mut stream).await, "");
    has_ended(began, SHORT);

    let mut stream = open.connect().await;
    stream.write_all(GET.as_bytes()).await.unwrap();
    assert!(next(&mut stream).await.starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    assert_eq!(heard(&mut stream).await, "");
    has_ended(began, LONG);
}

#[tokio::test]
async fn a_body_that_does_not_end_is_answered_408() {
    let open = Open::with(limits()).await;
    let began = Instant::now();
    let answer = open.say(b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n123").await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("did not come in time"), "{answer}");
    has_ended(began, SHORT);
}

#[tokio::test]
async fn bodies_share_their_bytes_and_give_them_back() {
    let open = Open::with(Limits { body_within: LONG, ..limits() }).await;
    let post = |bytes: usize| {
        let body = "b".repeat(bytes);
        format!(
            "POST /body HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n{body}"
        )
    };
    let mut half = open.connect().await;
    let whole = post(900);
    half.write_all(&whole.as_bytes()[..whole.len() - 1]).await.unwrap();
    // Until it is read.
    let answer = loop {
        let answer = open.say(post(200).as_bytes()).await;
        if !answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
    };
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1"), "{answer}");
    half.write_all(b"b").await.unwrap();
    let answer = heard(&mut half).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("900"), "{answer}");
    let answer = open.say(post(900).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let open = Open::with(limits()).await;
    let mut stream = open.connect().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 1_024];
    stream.read_exact(&mut first).await.unwrap();
    let (began, at_rest) = (Instant::now(), 2);
    assert!(Arc::strong_count(&open.endless) > at_rest);
    while Arc::strong_count(&open.endless) > at_rest {
        assert!(began.elapsed() < SHORT + MORE, "its answer is still held");
        tokio::time::sleep_until((Instant::now() + SHORT / 8).into()).await;
    }
}

/// As many strangers as there are places would otherwise keep everybody else out.
#[tokio::test]
async fn a_connection_that_waits_makes_room_and_one_that_is_answered_does_not() {
    let long = Duration::from_secs(60);
    let limits = Limits { connections: 3, head_within: long, idle_for: long, ..limits() };
    let open = Open::with(Limits { taken_within: long, ..limits }).await;
    let mut busy = open.connect().await;
    busy.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(next(&mut busy).await.starts_with("HTTP/1.1 200"));
    let mut idle = open.connect().await;
    idle.write_all(GET.as_bytes()).await.unwrap();
    assert!(next(&mut idle).await.starts_with("HTTP/1.1 200"));
    let mut silent = open.connect().await;
    silent.write_all(b"GET / HT").await.unwrap();
    // Each comes when all places are taken, and is busy from then on.
    let mut others = Vec::new();
    for waiting in [&mut silent, &mut idle] {
        let mut other = open.connect().await;
        other.write_all(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(next(&mut other).await.starts_with("HTTP/1.1 200"));
        others.push(other);
        assert_eq!(heard(waiting).await, "", "it has made room");
    }
    let mut last = open.connect().await;
    assert_eq!(heard(&mut last).await, "", "nobody waits any more");
    assert!(!next(&mut busy).await.is_empty(), "it goes on being answered");
}

#[tokio::test]
async fn connections_are_counted_and_refused_at_once_where_there_are_too_many() {
    let open = Open::with(Limits { per_address: 2, ..limits() }).await;
    let (mut one, _two) = (open.connect().await, open.connect().await);
    one.write_all(GET.as_bytes()).await.unwrap();
    assert!(next(&mut one).await.starts_with("HTTP/1.1 200"));
    let began = Instant::now();
    let mut three = open.connect().await;
    let mut rest = Vec::new();
    let _ = three.read_to_end(&mut rest).await;
    assert!(rest.is_empty() && began.elapsed() < SHORT, "{:?}", began.elapsed());
    drop(one);
    let mut four = open.connect().await;
    four.write_all(GET.as_bytes()).await.unwrap();
    assert!(next(&mut four).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn nobody_speaks_http_2_here_and_a_large_head_is_refused() {
    let open = Open::with(limits()).await;
    let answer = open.say(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "a".repeat(40_000));
    let answer = open.say(head.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}
