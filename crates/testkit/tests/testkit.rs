//! The ground that other tests stand on holds.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Gate, OwnServers, Postrider, Receiver, Reply, TestEnv, free_port, http, process};

const SOON: Duration = Duration::from_secs(20);
const NO_VARIABLES: [(&str, &str); 0] = [];

#[tokio::test]
async fn a_receiver_remembers_what_it_was_sent() {
    let receiver = Receiver::start().await;
    let body = "{\"a\": \"\u{e4}<&>\"}";
    http::post(receiver.url("/hook?x=1"))
        .header("X-Sign", "abc")
        .body("application/json", body)
        .send()
        .await
        .unwrap()
        .expect_status(200);
    http::get(receiver.url("/check")).send().await.unwrap().expect_status(200);

    let requests = receiver.wait_for("two requests", SOON, |all| all.len() == 2).await;
    assert_eq!(requests[0].path, "/hook");
    assert_eq!(requests[0].query, "x=1");
    assert_eq!(requests[0].header("x-sign"), Some("abc"));
    assert_eq!(requests[0].body, body.as_bytes());
    assert!(requests[0].at <= requests[1].at);
    assert_eq!(receiver.posts("/check").len(), 0);
}

#[tokio::test]
async fn a_receiver_follows_its_script_and_keeps_the_last_reply() {
    let receiver = Receiver::start().await;
    receiver.on_post(
        "/a",
        [
            Reply::status(500).body("oh"),
            Reply::redirect(307, "http://elsewhere.example/"),
            Reply::status(204),
        ],
    );
    let post = || async { http::post(receiver.url("/a")).send().await.unwrap() };
    let first = post().await;
    assert_eq!((first.status, &first.body[..]), (500, &b"oh"[..]));
    let second = post().await;
    assert_eq!(second.header("location"), Some("http://elsewhere.example/"));
    assert_eq!(post().await.status, 204);
    assert_eq!(post().await.status, 204);
    http::post(receiver.url("/b")).send().await.unwrap().expect_status(200);
    assert_eq!(receiver.wait_for_posts("/a", 4, SOON).await.len(), 4);
}

#[tokio::test]
async fn a_receiver_can_be_slow_silent_and_rude() {
    let receiver = Receiver::start().await;
    let delay = Duration::from_millis(120);
    receiver.on_post("/slow", [Reply::status(200).after(delay)]);
    receiver.on_post("/silent", [Reply::hang()]);
    receiver.on_post("/rude", [Reply::close()]);
    receiver.on_post("/endless", [Reply::endless(200)]);
    receiver.on_post("/trickle", [Reply::trickle(200, Duration::from_millis(5))]);

    let began = Instant::now();
    http::post(receiver.url("/slow")).send().await.unwrap();
    assert!(began.elapsed() >= delay);
    http::post(receiver.url("/rude")).send().await.unwrap_err();
    for path in ["/silent", "/endless", "/trickle"] {
        let request = http::post(receiver.url(path)).send();
        let answer = tokio::time::timeout(Duration::from_millis(200), request).await;
        assert!(answer.is_err(), "{path} came to an end");
    }
    receiver.wait_idle(SOON).await;
    assert_eq!(receiver.requests().len(), 5);
}

#[tokio::test]
async fn a_gate_holds_answers_back() {
    let receiver = Receiver::start().await;
    let gate = Gate::new();
    receiver.on_post("/", [Reply::status(200).behind(&gate)]);
    let post = || http::post(receiver.url("/")).send();
    let answers = async { tokio::join!(post(), post(), post()) };
    let opener = async {
        receiver.wait_for_posts("/", 3, SOON).await;
        gate.open();
    };
    let (answers, ()) = tokio::join!(answers, opener);
    assert_eq!(answers.0.unwrap().status, 200);
    assert_eq!(receiver.most_at_once("/"), 3);
    // Later ones pass at once.
    post().await.unwrap().expect_status(200);
}

#[tokio::test]
async fn a_receiver_comes_back_on_its_port() {
    let receiver = Receiver::start().await;
    let (address, url) = (receiver.address(), receiver.url("/"));
    drop(receiver);
    http::post(&url).send().await.unwrap_err();
    let _receiver = Receiver::start_on(address.port()).await;
    http::post(&url).send().await.unwrap().expect_status(200);
}

#[tokio::test]
#[should_panic(expected = "in vain for a miracle; arrived so far: [\"GET /x × 2\"]")]
async fn a_wait_in_vain_says_for_what() {
    let receiver = Receiver::start().await;
    for _ in 0..2 {
        http::get(receiver.url("/x")).send().await.unwrap();
    }
    receiver.wait_for("a miracle", Duration::from_millis(50), |_| false).await;
}

#[tokio::test]
async fn the_client_sends_every_encoding() {
    let receiver = Receiver::start().await;
    let url = receiver.url("/");
    http::put(&url)
        .basic_auth("api", "key-x")
        .form(&[("id", "a b"), ("url", "1"), ("url", "2")])
        .send()
        .await
        .unwrap();
    http::post(&url).multipart(&[("id", "clicked")]).send().await.unwrap();
    http::delete(&url).json(&json!({"a": 1})).send().await.unwrap();
    let requests = receiver.requests();
    assert_eq!(requests[0].method, "PUT");
    assert_eq!(requests[0].header("authorization"), Some("Basic YXBpOmtleS14"));
    assert_eq!(requests[0].body, "id=a+b&url=1&url=2");
    let multipart = String::from_utf8_lossy(&requests[1].body).into_owned();
    assert!(multipart.contains("form-data; name=\"id\"\r\n\r\nclicked\r\n--"), "{multipart}");
    assert_eq!(requests[2].json(), json!({"a": 1}));

    let raw =
        http::raw(receiver.address(), b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
    assert!(raw.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn two_tests_share_servers_and_nothing_else() {
    let (one, two) = (TestEnv::new(), TestEnv::new());
    assert_ne!(one.region, two.region);
    assert_ne!(one.database_url, two.database_url);
    assert_eq!(one.nats_url, two.nats_url);
    one.sql("create table t (n int); insert into t values (7)");
    assert_eq!(one.sql("select n from t"), "7");
    assert_eq!(two.sql("select count(*) from pg_tables where tablename = 't'"), "0");
}

#[tokio::test]
async fn own_servers_can_be_killed() {
    let mut servers = OwnServers::start();
    servers.sql("create table t (n int); insert into t values (7)");
    servers.postgres.kill9().unwrap();
    servers.nats.kill9().unwrap();
    servers.postgres.restart().unwrap();
    servers.nats.restart().unwrap();
    assert_eq!(servers.sql("select n from t"), "7");
}

/// Python's own web server stands in for the binary: it has a port, a log and an end.
const SERVER: &str = "
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == '/readyz' else 404)
        self.end_headers()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
print('variable', os.environ.get('POSTRIDER_REGION'), flush=True)
http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Handler).serve_forever()
";

#[tokio::test]
async fn a_process_is_waited_for_and_ended() {
    let port = free_port().unwrap();
    let ops = ([127, 0, 0, 1], port).into();
    let arguments = ["-c", SERVER, &port.to_string()];
    let mut process = Postrider::start("python3", &arguments, [("POSTRIDER_REGION", "here")]);
    process.wait_ready(ops, SOON).await;
    assert!(process.log().contains("variable here"), "{}", process.log());
    assert_eq!(process.ended(), None);
    assert_eq!(process.terminate(SOON).await.code(), Some(3));

    let mut process = Postrider::start("python3", &arguments, NO_VARIABLES);
    process.wait_ready(ops, SOON).await;
    process.kill9().await;
    assert_eq!(process.ended().unwrap().code(), None);
}

#[tokio::test]
#[should_panic(
    expected = "ended before it was ready: exit status: 64; the end of its log:\nno such setting"
)]
async fn a_process_that_ends_early_says_why() {
    let script = "echo no such setting; exit 64";
    let mut process = Postrider::start("sh", &["-c", script], NO_VARIABLES);
    process.wait_ready(([127, 0, 0, 1], 1).into(), SOON).await;
}

#[tokio::test]
async fn a_command_gives_its_output_or_its_complaint() {
    let printed = process::run("sh", &["-c", "echo $GIVEN"], [("GIVEN", "x")]).await.unwrap();
    assert_eq!(printed, "x\n");
    let complaint =
        process::run("sh", &["-c", "echo bad >&2; exit 2"], NO_VARIABLES).await.unwrap_err();
    assert!(complaint.to_string().contains("exit status: 2\nbad"), "{complaint}");
}
