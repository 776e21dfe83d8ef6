use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;
use crate::names::NotFound;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn config() -> EgressConfig {
    EgressConfig {
        allow: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(5),
        ..EgressConfig::default()
    }
}

fn client() -> Client {
    Client::new(config()).unwrap()
}

/// A client whose whole time is short.
fn hasty() -> Client {
    Client::new(EgressConfig { total_timeout: Duration::from_secs(1), ..config() }).unwrap()
}

/// A receiver on loopback that treats each connection in the same way. It ends
/// when it is dropped.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Receiver {
    async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::SeqCst);
                let served = serve(stream);
                open.spawn(async move {
                    // Clients that hang up are what these tests are about.
                    drop(served.await);
                });
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    /// Answers every request on a connection with the same bytes.
    async fn answering(answer: impl Into<String>) -> Self {
        let answer: Arc<str> = answer.into().into();
        Self::start(move |mut stream| {
            let answer = Arc::clone(&answer);
            async move {
                while request(&mut stream).await?.is_some() {
                    stream.write_all(answer.as_bytes()).await?;
                }
                Ok(())
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/hook?a=b", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One request without a body or with a short one; `None` at the end.
async fn request(stream: &mut TcpStream) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            return Ok(Some(text));
        }
    }
}

#[track_caller]
fn response(attempt: &Attempt) -> (u16, &str) {
    match &attempt.answer {
        Answer::Response { status, snippet, .. } => (*status, snippet),
        Answer::Failed(failure) => panic!("{failure:?}"),
    }
}

#[track_caller]
fn failure(attempt: &Attempt) -> &Failure {
    match &attempt.answer {
        Answer::Failed(failure) => failure,
        answered @ Answer::Response { .. } => panic!("{answered:?}"),
    }
}

#[tokio::test]
async fn bytes_and_headers_arrive_as_they_were_given() {
    let (seen, mut requests) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let seen = seen.clone();
        async move {
            let request = request(&mut stream).await?.unwrap_or_default();
            seen.send(request).await.map_err(io::Error::other)?;
            stream.write_all(OK.as_bytes()).await
        }
    })
    .await;
    let headers = [
        (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("x-sign"), HeaderValue::from_static("7f59")),
    ];
    let url = receiver.url().replace("http://", "http://ada:pass%20word@");
    let attempt = client().post(&url, &headers, Bytes::from_static(b"{\"a\": 1}")).await;
    assert_eq!(response(&attempt), (200, "ok"));

    let request = requests.recv().await.unwrap();
    assert!(request.starts_with("POST /hook?a=b HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\n{\"a\": 1}"), "{request}");
    for line in [
        "Content-Type: application/json",
        "X-Sign: 7f59",
        "Content-Length: 8",
        concat!("User-Agent: postrider/", env!("CARGO_PKG_VERSION")),
        "Authorization: Basic YWRhOnBhc3Mgd29yZA==",
    ] {
        assert!(request.contains(&format!("\r\n{line}\r\n")), "{line} in {request}");
    }
    assert!(!request.to_lowercase().contains("accept-encoding"), "{request}");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = Receiver::answering(OK).await;
    let location = elsewhere.url();
    for status in [301, 302, 303, 307, 308] {
        let receiver = Receiver::answering(format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
        let attempt = client().post(&receiver.url(), &[], Bytes::new()).await;
        assert_eq!(response(&attempt), (status, ""));
        assert_eq!(response(&client().get(&receiver.url()).await), (status, ""));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_never_connected_to() {
    let receiver = Receiver::answering(OK).await;
    let port = receiver.address.port();
    let strict = Client::new(EgressConfig::default()).unwrap();
    for host in ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]"] {
        let attempt = strict.get(&format!("http://{host}:{port}/")).await;
        assert_eq!(failure(&attempt).kind, FailureKind::Blocked, "{host}");
    }
    assert_eq!(receiver.connections(), 0);
    assert_eq!(response(&client().get(&receiver.url()).await), (200, "ok"));
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn names_are_vetted_by_the_addresses_that_they_lead_to() {
    let receiver = Receiver::answering(OK).await;
    let look_up = |name: &str| {
        let addresses: &[&str] = match name {
            "good.example" => &["127.0.0.1"],
            "mixed.example" => &["127.0.0.1", "10.20.30.40"],
            "none.example" => return Err(NotFound::NoSuchName),
            _ => return Err(NotFound::Resolver("connection refused".into())),
        };
        Ok(addresses.iter().map(|text| text.parse().unwrap()).collect())
    };
    let client = Client::with_look_up(config(), look_up).unwrap();
    let get = async |name: &str| {
        client.get(&format!("http://secret:token@{name}:{}/", receiver.address.port())).await
    };
    assert_eq!(response(&get("good.example").await), (200, "ok"));
    for (name, kind) in [
        ("mixed.example", FailureKind::Dns),
        ("none.example", FailureKind::Dns),
        ("lost.example", FailureKind::DnsOurs),
    ] {
        let attempt = get(name).await;
        let Failure { kind: found, detail } = failure(&attempt);
        assert_eq!(*found, kind, "{name}: {detail}");
        assert!(!detail.contains("secret") && !detail.contains("token"), "{detail}");
        assert!(!detail.contains("10.20.30.40"), "{detail}");
    }
    assert_eq!(receiver.connections(), 1);
    // Looking up alone finds the same and calls nobody.
    for (name, expected) in [
        ("good.example", None),
        ("127.0.0.1", None),
        ("mixed.example", Some(FailureKind::Dns)),
        ("10.20.30.40", Some(FailureKind::Blocked)),
        ("none.example", Some(FailureKind::Dns)),
        ("lost.example", Some(FailureKind::DnsOurs)),
        ("a..example", Some(FailureKind::InvalidUrl)),
    ] {
        let found = client.look_up(&format!("https://{name}/")).await;
        assert_eq!(found.err().map(|failure| failure.kind), expected, "{name}");
    }
    assert_eq!(receiver.connections(), 1);
}

#[tokio::test]
async fn a_slow_resolver_is_not_charged_to_the_receiver() {
    let resolver = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let name_servers = vec![resolver.local_addr().unwrap()];
    for config in [
        EgressConfig { dns_timeout: Duration::from_millis(100), ..config() },
        EgressConfig { total_timeout: Duration::from_secs(1), ..config() },
    ] {
        let config = EgressConfig { name_servers: name_servers.clone(), ..config };
        let client = Client::new(config).unwrap();
        let attempt = client.get("http://slow.example/").await;
        assert_eq!(failure(&attempt).kind, FailureKind::DnsOurs);
        assert!(failure(&attempt).kind.is_ours());
    }
}

#[tokio::test]
async fn a_silent_zone_is_its_receivers_fault_while_names_of_others_are_found() {
    let server = testkit::NameServer::start([127, 0, 0, 1].into()).await;
    let receiver = Receiver::answering(OK).await;
    let config = EgressConfig {
        name_servers: vec![server.address()],
        dns_timeout: Duration::from_millis(600),
        ..config()
    };
    let client = Client::new(config).unwrap();
    let get = async |name: &str| {
        let url = format!("http://{name}:{}/", receiver.address.port());
        let attempt = client.get(&url).await;
        match &attempt.answer {
            Answer::Response { .. } => None,
            Answer::Failed(Failure { kind, .. }) => Some(*kind),
        }
    };
    assert_eq!(get("a.hole.test").await, Some(FailureKind::DnsOurs), "nothing is known yet");
    assert_eq!(get("good.example").await, None);
    for theirs in ["b.hole.test", "a.broken.test", "a.refused.test", "a.no.test"] {
        assert_eq!(get(theirs).await, Some(FailureKind::Dns), "{theirs}");
    }
    // Now it is the resolver, as soon as no answer is new enough to speak for it.
    server.be_silent(true);
    for ours in ["c.hole.test", "other.example"] {
        testkit::eventually(Duration::from_secs(15), "it to be our fault", || async {
            (get(ours).await == Some(FailureKind::DnsOurs)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_endless_body_is_cut_and_its_connection_closed() {
    let (closed, mut writer_failed) = tokio::sync::mpsc::channel(1);
    let receiver = Receiver::start(move |mut stream| {
        let closed = closed.clone();
        async move {
            request(&mut stream).await?;
            stream.write_all(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
            while stream.write_all(chunk.as_bytes()).await.is_ok() {}
            closed.send(()).await.map_err(io::Error::other)
        }
    })
    .await;
    let client = client();
    let attempt = client.get(&receiver.url()).await;
    assert_eq!(response(&attempt), (500, "x".repeat(4_096).as_str()));
    assert!(attempt.duration < Duration::from_secs(4), "{:?}", attempt.duration);
    let hung_up = tokio::time::timeout(Duration::from_secs(5), writer_failed.recv()).await;
    assert_eq!(hung_up, Ok(Some(())));
}

#[tokio::test]
async fn a_body_that_drips_costs_its_time_and_not_its_status() {
    let receiver = Receiver::start(|mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await?;
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            stream.write_all(b".").await?;
        }
    })
    .await;
    let attempt = hasty().get(&receiver.url()).await;
    let (status, snippet) = response(&attempt);
    assert_eq!(status, 200);
    assert!(snippet.starts_with('.') && snippet.len() < 1_000, "{snippet}");
    assert!(attempt.duration >= Duration::from_secs(1), "{:?}", attempt.duration);
    assert!(attempt.duration < Duration::from_secs(4), "{:?}", attempt.duration);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_the_status() {
    let receiver = Receiver::start(|mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(b"HTTP/1.1 406 No\r\nContent-Length: 1000\r\n\r\nhalf").await
    })
    .await;
    assert_eq!(response(&client().get(&receiver.url()).await), (406, "half"));
}

#[tokio::test]
async fn too_much_of_a_head_is_no_answer() {
    let many: String = (0..=MAX_ANSWER_HEADERS).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x: {}\r\n", "x".repeat(1_000_000));
    for headers in [many, long] {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 0\r\n\r\n");
        let receiver = Receiver::answering(head).await;
        let attempt = client().get(&receiver.url()).await;
        assert_eq!(failure(&attempt).kind, FailureKind::BadAnswer, "{attempt:?}");
    }
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    for answer in ["SSH-2.0-OpenSSH_9.9\r\n", "HTTP/1.1 99999 Eh\r\n\r\n", "\0\0\0\0\r\n\r\n"] {
        let receiver = Receiver::answering(answer).await;
        let attempt = client().get(&receiver.url()).await;
        assert_eq!(failure(&attempt).kind, FailureKind::BadAnswer, "{answer}: {attempt:?}");
    }
    let hangs_up = Receiver::start(|mut stream| async move {
        request(&mut stream).await?;
        Ok(())
    })
    .await;
    let attempt = client().get(&hangs_up.url()).await;
    assert_eq!(failure(&attempt).kind, FailureKind::NoAnswer, "{attempt:?}");
    assert!(!failure(&attempt).kind.is_ours());
}

#[tokio::test]
async fn a_refused_connection_is_the_receivers_fault() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let attempt = client().get(&format!("http://ada:pw@{address}/?token=1")).await;
    let Failure { kind, detail } = failure(&attempt);
    assert_eq!(*kind, FailureKind::Connect);
    assert!(detail.contains("refused"), "{detail}");
    assert!(!detail.contains("pw") && !detail.contains("token"), "{detail}");
}

#[tokio::test]
async fn silence_ends_at_the_total_timeout() {
    let receiver = Receiver::start(|mut stream| async move {
        request(&mut stream).await?;
        std::future::pending().await
    })
    .await;
    let attempt = hasty().post(&receiver.url(), &[], Bytes::from_static(b"{}")).await;
    assert_eq!(failure(&attempt).kind, FailureKind::Timeout);
    assert!(attempt.duration >= Duration::from_secs(1), "{:?}", attempt.duration);
    assert!(attempt.duration < Duration::from_secs(4), "{:?}", attempt.duration);
}

#[tokio::test]
async fn connections_are_used_again_after_answers_that_were_read_whole() {
    let short = Receiver::answering(OK).await;
    let long = Receiver::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}",
        "x".repeat(100_000)
    ))
    .await;
    let client = client();
    for _ in 0..3 {
        let attempt = client.clone().post(&short.url(), &[], Bytes::from_static(b"{}")).await;
        assert_eq!(response(&attempt), (200, "ok"));
        assert_eq!(response(&client.get(&long.url()).await).0, 200);
    }
    assert_eq!(short.connections(), 1);
    assert_eq!(long.connections(), 3);
}

#[tokio::test]
async fn an_answer_says_when_to_come_back() {
    let receiver = Receiver::answering(
        "HTTP/1.1 503 Busy\r\nRetry-After: 90\r\nContent-Length: 5\r\n\r\n\u{1b}[0m\0",
    )
    .await;
    let attempt = client().get(&receiver.url()).await;
    assert_eq!(
        attempt.answer,
        Answer::Response {
            status: 503,
            snippet: "\u{fffd}[0m\u{fffd}".to_owned(),
            retry_after: Some(Duration::from_secs(90)),
        }
    );
}

#[tokio::test]
async fn urls_that_cannot_be_sent_to_fail_at_once() {
    for url in ["", "hooks.example", "ftp://hooks.example/", "http://a b/"] {
        let attempt = client().get(url).await;
        assert_eq!(failure(&attempt).kind, FailureKind::InvalidUrl, "{url}");
    }
    assert!(client().vet_url("http://127.0.0.1:8090/x").is_ok());
    assert!(client().vet_url("http://10.0.0.1/").is_err());
}

#[tokio::test]
async fn certificates_are_checked_against_the_roots() {
    let certified = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let receiver = Receiver::start(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await?;
            let mut head = Vec::new();
            stream.read_buf(&mut head).await?;
            stream.write_all(OK.as_bytes()).await?;
            stream.shutdown().await
        }
    })
    .await;
    let url = receiver.url().replace("http://", "https://");

    let attempt = client().get(&url).await;
    assert_eq!(failure(&attempt).kind, FailureKind::Tls, "{attempt:?}");

    let extra_ca_pem = certified.cert.pem().into_bytes();
    let trusting = Client::new(EgressConfig { extra_ca_pem, ..config() }).unwrap();
    assert_eq!(response(&trusting.get(&url).await), (200, "ok"));

    let plain = Receiver::start(|mut stream| async move {
        stream.write_all(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n").await?;
        std::future::pending().await
    })
    .await;
    let attempt = client().get(&plain.url().replace("http://", "https://")).await;
    assert_eq!(failure(&attempt).kind, FailureKind::Tls, "{attempt:?}");
}
