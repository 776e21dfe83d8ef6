//! The client among receivers that misbehave: each ends within its limit, with a
//! kind and a reason of its own, and costs little memory.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use egress::request::SignedRequest;
use egress::{Answer, Attempt, Client, EgressConfig, Failure, FailureKind};
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue};
use testkit::zoo::{Animal, Certificate, Habit, NAME, Zoo};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

mod curl;

const CONNECT: Duration = Duration::from_millis(800);
const TOTAL: Duration = Duration::from_secs(2);
/// What a busy machine may take on top.
const SLACK: Duration = Duration::from_secs(6);

fn config(zoo: &Zoo) -> EgressConfig {
    EgressConfig {
        allow: vec!["127.0.0.0/8".parse().expect("a range")],
        connect_timeout: CONNECT,
        total_timeout: TOTAL,
        extra_ca_pem: zoo.authority_pem().into_bytes(),
        ..EgressConfig::default()
    }
}

/// A client that finds the animals under [`NAME`], with and without a dot.
fn client(zoo: &Zoo) -> Client {
    let look_up = |name: &str| {
        let is_here = name.trim_end_matches('.') == NAME;
        Ok(if is_here { vec![[127, 0, 0, 1].into()] } else { vec![] })
    };
    Client::with_look_up(config(zoo), look_up).expect("a client")
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    /// A failure of this kind, whose reason has these words.
    Fails(FailureKind, &'static str),
    /// No answer; it is chance whether the connection counts as made before.
    IsGone,
    /// This status.
    Answers(u16),
}

use Expected::{Answers, Fails, IsGone};

fn inhabitants() -> Vec<(Habit, Expected)> {
    use FailureKind as K;
    let slowly = Duration::from_secs(1);
    let huge_field = format!("HTTP/1.1 200 OK\r\nX-Huge: {}\r\n\r\n", "x".repeat(1_000_000));
    let many: String = (0..=250).map(|n| format!("x-{n}: 1\r\n")).collect();
    let many_fields = format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n");
    let too_large = Fails(K::BadAnswer, "head of the answer is too large");
    let not_http = |why| Fails(K::BadAnswer, why);
    let (version, status) = ("another version than HTTP/1.1", "no status of three digits");
    let (length, field) = ("Content-Length is no number", "character that none may have");
    let mut all = vec![
        (Habit::Refuses, Fails(K::Connect, "the connection was refused")),
        (Habit::NeverAccepts, Fails(K::ConnectTimeout, "no connection within 800 ms")),
        (Habit::Stalls, Fails(K::Timeout, "no answer within 2000 ms")),
        (Habit::StallsInHead, Fails(K::Timeout, "no answer within 2000 ms")),
        (Habit::StallsInBody, Answers(200)),
        (Habit::DripsHead(slowly), Fails(K::Timeout, "no answer within 2000 ms")),
        (Habit::DripsHead(Duration::from_millis(5)), Fails(K::Timeout, "no answer within")),
        (Habit::DripsBody(slowly), Answers(200)),
        (Habit::DripsBody(Duration::from_millis(5)), Answers(200)),
        (Habit::EndlessField, too_large),
        (Habit::EndlessHead, too_large),
        (Habit::EndlessBody, Answers(200)),
        (Habit::EndlessProvisional, Fails(K::Timeout, "no answer within 2000 ms")),
        (Habit::Provisional(1), Answers(200)),
        (Habit::Provisional(1_000), Answers(200)),
        (Habit::GzipBomb, Answers(200)),
        (Habit::ResetsAtOnce, IsGone),
        (Habit::Resets, Fails(K::NoAnswer, "before there was an answer")),
        (Habit::ResetsInHead, Fails(K::NoAnswer, "before there was an answer")),
        (Habit::ResetsInBody, Answers(200)),
        (Habit::HangsUp, Fails(K::NoAnswer, "closed before there was an answer")),
        (Habit::Http2Only, Fails(K::BadAnswer, "HTTP/1.1")),
        (Habit::SpeaksFirst("SSH-2.0-OpenSSH_9.9\r\n"), Fails(K::BadAnswer, "HTTP/1.1")),
        (Habit::SpeaksFirst("220 mail.example ESMTP\r\n"), Fails(K::BadAnswer, "HTTP/1.1")),
        (Habit::Tls(Certificate::Good), Answers(200)),
        (Habit::Tls(Certificate::OtherName), Fails(K::Tls, "for another name")),
        (Habit::Tls(Certificate::Expired), Fails(K::Tls, "has expired")),
        (Habit::Tls(Certificate::NotYetValid), Fails(K::Tls, "not valid yet")),
        (Habit::Tls(Certificate::SelfSigned), Fails(K::Tls, "not from an authority")),
        (Habit::Tls(Certificate::SelfSignedAuthority), Fails(K::Tls, "signed itself")),
        (Habit::Tls(Certificate::UnknownAuthority), Fails(K::Tls, "not from an authority")),
        (Habit::TlsStalls, Fails(K::TlsTimeout, "no TLS connection within 800 ms")),
        (Habit::TlsHangsUp, Fails(K::Tls, "in the TLS handshake")),
        (Habit::TlsHttp2Only, Fails(K::Tls, "NoApplicationProtocol")),
        (Habit::PlainForTls, Fails(K::Tls, "not TLS")),
        (Habit::AnswersTwice, Answers(200)),
        (Habit::says("HTTP/1.0 200 OK\r\n\r\nold"), Answers(200)),
        (
            Habit::says(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
            ),
            Answers(101),
        ),
        (Habit::says("HTTP/1.1 204 No Content\r\n\r\n"), Answers(204)),
        (Habit::says("HTTP/1.1 299 Eh\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), Answers(299)),
        (Habit::says(huge_field), too_large),
        (Habit::says(many_fields), too_large),
    ];
    all.extend(
        [
            ("HTTP/0.9 200 OK\r\n\r\n", version),
            // Of these curl takes none but `HTTP/2`, Go's client all.
            ("HTTP/1.2 200 OK\r\n\r\n", version),
            ("HTTP/2 200 OK\r\n\r\n", version),
            ("HTTP/2.0 200 OK\r\n\r\n", version),
            ("HTTP/3.0 200 OK\r\n\r\n", version),
            ("HTTP/1.1 9999 Eh\r\n\r\n", status),
            ("HTTP/1.1 20 Eh\r\n\r\n", status),
            ("HTTP/1.1 -20 Eh\r\n\r\n", status),
            ("HTTP/1.1 OK\r\n\r\n", status),
            ("HTTP/1.1  200 OK\r\n\r\n", status),
            ("HTTP/1.1\r\n\r\n", version),
            ("200 OK\r\n\r\n", version),
            ("<html>ok</html>\r\n\r\n", version),
            ("SSH-2.0-OpenSSH_9.9\r\n", version),
            ("220 mail.example ESMTP\r\n", version),
            ("\0\0\0\0\r\n\r\n", version),
            ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx", length),
            ("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nx", length),
            ("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nx", length),
            ("HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nx", length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1x\r\n\r\nx", length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx", length),
            ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", length),
            ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", field),
            ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", field),
        ]
        .map(|(answer, why)| (Habit::says(answer), not_http(why))),
    );
    // Heads that are odd, of servers that mean what their status says. Go's client, which Mailgun
    // sends with, curl and Python's requests take them, but for a line without a colon, which
    // Go refuses.
    all.extend(
        [
            "X: a\u{7f}b",
            "X: a\u{1b}b",
            "<br /><b>Warning</b> Undefined variable in hook.php on line 3<br />",
            "<b>Warning</b>: Undefined variable in /srv/hook.php:3",
            "X : space",
            "X\t: tab",
            "X: folded\r\n more",
            "X: folded\r\n\tmore\r\n and more",
            ": no name",
            "X Y: a space in the name",
            "Größe: 3",
            "\"X\": quotes",
            "X: gr\u{fc}n",
            "X:",
            "Content-Length: 0\r\nContent-Length: 0",
            "Content-Length: 0, 0",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Content-Encoding: gzip\r\nContent-Length: 2",
            "Upgrade: h2c",
            "Connection: close, keep-alive",
            "Set-Cookie: a=1\r\nset-cookie: a=1",
        ]
        .map(|field| Habit::says(format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\nok")))
        .into_iter()
        .chain([
            Habit::says("HTTP/1.1 200\r\n\r\n"),
            Habit::says("HTTP/1.1 200 \r\n\r\n"),
            Habit::says("HTTP/1.1 200 gr\u{fc}n\r\n\r\n"),
            Habit::says("HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
            Habit::says("\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            Habit::says("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
            Habit::says("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"),
            Habit::says(format!(
                "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
                (0..200).map(|n| format!("X-{n}: 1\r\n")).collect::<String>()
            )),
            Habit::says(format!("HTTP/1.1 200 OK\r\nSet-Cookie: a={}\r\n\r\n", "x".repeat(65_536))),
        ])
        .map(|habit| (habit, Answers(200))),
    );
    all.extend(
        [
            "http://127.0.0.1:1/",
            "http://169.254.169.254/latest/meta-data/",
            "file:///etc/passwd",
            "//127.0.0.1/",
            "javascript:alert(1)",
            "",
        ]
        .map(|to| (Habit::Redirects(307, to.to_owned()), Answers(307))),
    );
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_in_the_zoo_ends_in_time_with_a_reason_of_their_own() {
    let zoo = Zoo::default();
    let client = client(&zoo);
    let before_kib = peak_memory_kib();
    let visits = inhabitants().into_iter().map(|(habit, expected)| {
        let (client, zoo) = (client.clone(), &zoo);
        async move {
            let name = format!("{habit:.80?}");
            let animal = zoo.admit(habit).await;
            for attempt in [
                client.post(&animal.url(), &[], Bytes::from_static(b"{\"a\": 1}")).await,
                client.get(&animal.url()).await,
            ] {
                check(&name, expected, &attempt)?;
            }
            // Buffers of the system hold some megabytes of what nobody reads.
            let sent_mib = animal.sent_bytes() >> 20;
            let is_storm = name.starts_with("EndlessProvisional");
            if is_storm || sent_mib < 32 { Ok(()) } else { Err(format!("{name}: {sent_mib} MiB")) }
        }
    });
    let wrong: Vec<String> = join_all(visits).await.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    if let (Some(before), Some(after)) = (before_kib, peak_memory_kib()) {
        // With all the animals, who live in the same process.
        assert!(after - before < 96 * 1_024, "from {before} to {after} KiB");
    }
}

/// Whether that is what was expected; otherwise what is wrong.
fn check(name: &str, expected: Expected, attempt: &Attempt) -> Result<(), String> {
    let is_right = attempt.duration < TOTAL + SLACK
        && match (&attempt.answer, expected) {
            (Answer::Response { status, snippet, .. }, Answers(right)) => {
                *status == right && snippet.len() <= 4_096
            }
            (Answer::Failed(Failure { kind, detail }), Fails(right, words)) => {
                let is_short = detail.len() <= 300 && !detail.contains("127.0.0.1");
                *kind == right && detail.contains(words) && is_short && !kind.is_ours()
            }
            (Answer::Failed(Failure { kind, .. }), IsGone) => {
                matches!(kind, FailureKind::Connect | FailureKind::NoAnswer)
            }
            _ => false,
        };
    is_right
        .then_some(())
        .ok_or_else(|| format!("{name}: expected {expected:?}, not {attempt:.400?}"))
}

/// The most memory that this process has had; `None` where Linux does not tell.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[tokio::test]
async fn limits_are_those_of_what_was_waited_for() {
    let zoo = Zoo::default();
    let client = client(&zoo);
    let took = async |habit| {
        let animal = zoo.admit(habit).await;
        client.get(&animal.url()).await.duration
    };
    let (never_accepts, stalls, drips, tls_stalls) = tokio::join!(
        took(Habit::NeverAccepts),
        took(Habit::Stalls),
        took(Habit::DripsBody(Duration::from_millis(100))),
        took(Habit::TlsStalls),
    );
    for (took, limit) in
        [(never_accepts, CONNECT), (tls_stalls, CONNECT), (stalls, TOTAL), (drips, TOTAL)]
    {
        assert!(took >= limit && took < limit + SLACK, "{took:?} of {limit:?}");
    }
}

#[tokio::test]
async fn an_answer_of_who_reads_nothing_more_counts() {
    let zoo = Zoo::default();
    let client = client(&zoo);
    let animal = zoo.admit(Habit::AnswersEarly).await;
    let body = Bytes::from(vec![b'x'; 4 << 20]);
    let attempt = client.post(&animal.url(), &[], body).await;
    // The answer and the reset that follows it race each other.
    match &attempt.answer {
        Answer::Response { status, .. } => assert_eq!(*status, 413),
        Answer::Failed(failure) => assert_eq!(failure.kind, FailureKind::NoAnswer, "{failure}"),
    }
}

#[tokio::test]
async fn a_kept_connection_that_is_closed_costs_no_attempt() {
    let zoo = Zoo::default();
    for habit in [Habit::HangsUpOnTheSecond, Habit::ResetsOnTheSecond] {
        let client = client(&zoo);
        let animal = zoo.admit(habit).await;
        for count in 1..=4 {
            let attempt = client.post(&animal.url(), &[], Bytes::from_static(b"{}")).await;
            let Answer::Response { status: 200, .. } = attempt.answer else {
                panic!("request {count}: {attempt:?}")
            };
        }
        // One more connection for each time that one was gone, and not one more.
        assert!(animal.connections() <= 4, "{}", animal.connections());
    }
}

/// A receiver that keeps the tokens that it has seen refuses one that comes twice.
#[tokio::test]
async fn what_is_asked_for_again_is_signed_anew() {
    let zoo = Zoo::default();
    for habit in [Habit::HangsUpOnTheSecond, Habit::ResetsOnTheSecond] {
        let client = client(&zoo);
        let animal = zoo.admit(habit).await;
        let (url, signed) = (animal.url(), AtomicUsize::new(0));
        for _ in 1..=4 {
            let attempt = client.post_signed(&url, || {
                signed.fetch_add(1, Ordering::Relaxed);
                let request =
                    SignedRequest { headers: Vec::new(), body: Bytes::from_static(b"{}") };
                Ok::<_, Infallible>(request)
            });
            let Ok(Attempt { answer: Answer::Response { status: 200, .. }, .. }) = attempt.await
            else {
                panic!("it answers")
            };
        }
        // Every other one is read and not answered, and asked again over a connection of its own.
        assert_eq!((signed.into_inner(), animal.connections()), (6, 4));
    }
}

/// There are receivers, and gateways before them, that find a header by its capitals.
#[tokio::test]
async fn names_of_headers_are_written_as_they_are_documented() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (client, headers) = (client(&Zoo::default()), [("x-sign", "a"), ("webhook-id", "b")]);
    let headers = headers
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    let read = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut head = vec![0; 4_096];
        let length = stream.read(&mut head).await.expect("a request");
        String::from_utf8_lossy(&head[..length]).into_owned()
    };
    let (head, _) = tokio::join!(read, client.post(&url, &headers, Bytes::from_static(b"{}")));
    for line in
        ["X-Sign: a\r\n", "Webhook-Id: b\r\n", "User-Agent: ", "Host: ", "Content-Length: 2"]
    {
        assert!(head.contains(line), "no {line:?} in {head}");
    }
}

#[tokio::test]
async fn a_new_connection_that_is_closed_is_not_tried_again() {
    let zoo = Zoo::default();
    for habit in [Habit::HangsUp, Habit::Resets, Habit::ResetsInHead, Habit::ResetsAtOnce] {
        let client = client(&zoo);
        let animal = zoo.admit(habit).await;
        let attempt = client.post(&animal.url(), &[], Bytes::from_static(b"{}")).await;
        assert!(matches!(attempt.answer, Answer::Failed(_)), "{attempt:?}");
        assert_eq!(animal.connections(), 1);
    }
}

#[tokio::test]
async fn certificates_and_hosts_are_those_of_the_name() {
    let zoo = Zoo::default();
    let client = client(&zoo);
    let animal = zoo.admit(Habit::Tls(Certificate::Good)).await;
    for host in [NAME, "ZOO.example", "zoo.example.", "127.0.0.1"] {
        let attempt = client.get(&animal.url_at(host)).await;
        let Answer::Response { status: 200, .. } = attempt.answer else {
            panic!("{host}: {attempt:?}")
        };
    }
    let other: Animal = zoo.admit(Habit::Tls(Certificate::OtherName)).await;
    let attempt = client.get(&other.url_at(NAME)).await;
    let Answer::Failed(failure) = &attempt.answer else { panic!("{attempt:?}") };
    assert_eq!(failure.kind, FailureKind::Tls);
}

#[tokio::test]
async fn kept_connections_are_bounded_for_each_host() {
    let zoo = Zoo::default();
    let config = EgressConfig { max_idle_per_host: 2, ..config(&zoo) };
    let client = Client::new(config).unwrap();
    let animal = zoo.admit(Habit::Tls(Certificate::Good)).await;
    let url = animal.url();
    let at_once = async |count: usize| {
        let calls = (0..count).map(|_| client.get(&url));
        for attempt in join_all(calls).await {
            assert!(matches!(attempt.answer, Answer::Response { status: 200, .. }), "{attempt:?}");
        }
    };
    at_once(8).await;
    let first = animal.connections();
    at_once(8).await;
    let second = animal.connections() - first;
    assert!((1..=8).contains(&first), "{first}");
    // Of the first eight at most two are still there.
    assert!(first < 8 || second >= 5, "{first}, then {second}");
}

/// The receiver has hung up meanwhile. Asked again, it would get the request long after another
/// process has had an answer to it.
#[tokio::test]
async fn a_process_that_was_frozen_asks_nobody_again() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let asked_again = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]).expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
        let _ = stream.read(&mut [0; 4096]).expect("another request");
        std::thread::sleep(Duration::from_millis(300));
        drop(stream);
        listener.set_nonblocking(true).expect("set");
        std::thread::sleep(Duration::from_secs(3));
        listener.accept().is_ok()
    });
    let client = hasty_client();
    let attempt = client.post(&url, &[], Bytes::from_static(b"{}")).await;
    assert!(matches!(attempt.answer, Answer::Response { status: 200, .. }), "{attempt:?}");
    let frozen = async {
        chassis::Clock::system().sleep(Duration::from_millis(150)).await;
        std::thread::sleep(Duration::from_secs(2));
    };
    let (attempt, ()) = tokio::join!(client.post(&url, &[], Bytes::from_static(b"{}")), frozen);
    assert!(matches!(attempt.answer, Answer::Failed(_)), "{attempt:?}");
    assert!(!asked_again.join().expect("no panic"), "it was asked again");
}

fn hasty_client() -> Client {
    let config = EgressConfig {
        allow: vec!["127.0.0.0/8".parse().expect("a range")],
        total_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_millis(800),
        ..EgressConfig::default()
    };
    Client::new(config).expect("a client")
}

/// When a process thaws, its timers are over and the answer is there, too.
#[tokio::test]
async fn an_answer_that_came_while_this_process_was_frozen_counts() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]).expect("a request");
        std::thread::sleep(Duration::from_millis(300));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("sent");
        stream
    });
    let client = hasty_client();
    let frozen = async {
        // The request is on its way, and from here on nobody is at it.
        chassis::Clock::system().sleep(Duration::from_millis(150)).await;
        std::thread::sleep(Duration::from_secs(2));
        assert!(answering.is_finished(), "it has answered");
    };
    let (attempt, ()) = tokio::join!(client.post(&url, &[], Bytes::from_static(b"{}")), frozen);
    assert!(matches!(attempt.answer, Answer::Response { status: 200, .. }), "{attempt:?}");
}
