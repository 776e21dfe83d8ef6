//! A corpus of hostile URLs and DNS answers against the real client, with a
//! resolver of the test's own. Everything of this machine listens on one port
//! and counts: nobody forbidden is ever connected to, by no method.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use egress::{Answer, Attempt, Client, EgressConfig, FailureKind, Found, IpNet, NotFound};
use testkit::zoo::{Habit, Zoo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

const URLS: &str = include_str!("urls.txt");
const ANSWERS: &str = include_str!("answers.txt");

/// Stands for the public Internet.
fn open() -> IpNet {
    "127.77.0.0/16".parse().expect("a range")
}

/// All addresses of this machine on one port, and on those of the web where this
/// user may have them.
struct Machine {
    port: u16,
    forbidden: Arc<AtomicUsize>,
    allowed: Arc<AtomicUsize>,
    _listening: JoinSet<()>,
}

impl Machine {
    async fn listen() -> Self {
        let first = listen_everywhere(0).expect("a port");
        let port = first.local_addr().expect("it is bound").port();
        let mut listeners = vec![first];
        listeners.extend([80, 443].into_iter().flat_map(listen_everywhere));
        let (forbidden, allowed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let mut listening = JoinSet::new();
        for listener in listeners {
            listening.spawn(serve(listener, Arc::clone(&forbidden), Arc::clone(&allowed)));
        }
        Self { port, forbidden, allowed, _listening: listening }
    }

    fn forbidden(&self) -> usize {
        self.forbidden.load(Ordering::SeqCst)
    }

    fn allowed(&self) -> usize {
        self.allowed.load(Ordering::SeqCst)
    }
}

/// On all addresses of this machine: of both families, where it has IPv6.
fn listen_everywhere(port: u16) -> io::Result<TcpListener> {
    listen((Ipv6Addr::UNSPECIFIED, port).into())
        .or_else(|_| listen((Ipv4Addr::UNSPECIFIED, port).into()))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(address)?;
    socket.listen(1_024)
}

async fn serve(listener: TcpListener, forbidden: Arc<AtomicUsize>, allowed: Arc<AtomicUsize>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let local = stream.local_addr().expect("it is connected").ip().to_canonical();
        let counter = if open().contains(&local) { &allowed } else { &forbidden };
        counter.fetch_add(1, Ordering::SeqCst);
        connections.spawn(async move { drop(answer(stream).await) });
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    let _request = stream.read(&mut [0; 4_096]).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await?;
    stream.shutdown().await
}

/// What came of a call, in the words of the corpus.
fn word(attempt: &Attempt) -> String {
    match &attempt.answer {
        Answer::Response { status, .. } => status.to_string(),
        Answer::Failed(failure) => failure.kind.as_str().to_owned(),
    }
}

fn config(allow: Vec<IpNet>) -> EgressConfig {
    EgressConfig {
        allow,
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(10),
        ..EgressConfig::default()
    }
}

fn lines(corpus: &str) -> impl Iterator<Item = &str> {
    corpus.lines().filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hostile_url_leads_to_a_forbidden_address() {
    let machine = Machine::listen().await;
    // Names lead nowhere, so that what a URL means is all that counts.
    let look_up = |_: &str| Ok(vec![]);
    let client = Client::with_look_up(config(vec![]), look_up).unwrap();
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in lines(URLS) {
        let (expected, written) = line.split_once(' ').unwrap();
        let url = written
            .replace("{port}", &machine.port.to_string())
            .replace("{tab}", "\t")
            .replace("{lf}", "\n")
            .replace("{cr}", "\r")
            .replace("{nul}", "\0")
            .replace("{sp}", " ");
        let post = client.post(&url, &[], Bytes::from_static(b"{}")).await;
        let get = client.get(&url).await;
        // What is vetted when a URL is saved is no weaker than what is vetted
        // when it is called.
        let saved = client.look_up(&url).await.err().map(|failure| failure.kind.as_str());
        for found in [word(&post), word(&get), saved.unwrap_or("saved").to_owned()] {
            if found != expected {
                wrong.push(format!("{written}: {found}, not {expected}"));
            }
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count >= 400, "{count}");
    assert_eq!((machine.forbidden(), machine.allowed()), (0, 0));
}

#[tokio::test]
async fn without_vetting_the_same_calls_would_arrive_and_be_counted() {
    let machine = Machine::listen().await;
    let all = ["0.0.0.0/0", "::/0"].map(|range| range.parse().unwrap()).to_vec();
    let client = Client::new(config(all)).unwrap();
    let hosts = ["127.0.0.1", "127.1.2.3", "2130706433", "0x7f.1", "0", "[::ffff:7f00:1]"];
    for host in hosts {
        let url = format!("http://{host}:{}/", machine.port);
        assert_eq!(word(&client.get(&url).await), "200", "{host}");
    }
    assert_eq!((machine.forbidden(), machine.allowed()), (hosts.len(), 0));
}

/// A row of answers.txt, and how often its name has been looked up.
struct Row {
    lists: Vec<Result<Vec<SocketAddr>, String>>,
    look_ups: usize,
}

type Rows = Arc<Mutex<HashMap<String, Row>>>;

fn parse_list(text: &str) -> Result<Vec<SocketAddr>, String> {
    if let Some(error) = text.strip_prefix('!') {
        return Err(error.to_owned());
    }
    let mut addresses = Vec::new();
    for part in text.split_whitespace().filter(|part| *part != "-") {
        let (count, part) = part.split_once('*').unwrap_or(("1", part));
        let (part, zone) = part.split_once('%').unwrap_or((part, "0"));
        let address: SocketAddr = match part.parse().expect("an address") {
            IpAddr::V4(v4) => (v4, 0).into(),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, zone.parse().expect("a number")).into(),
        };
        addresses.extend(std::iter::repeat_n(address, count.parse().expect("a number")));
    }
    Ok(addresses)
}

fn look_up(rows: &Rows, name: &str) -> Found {
    let mut rows = rows.lock().expect("nobody panicked");
    let row = rows.get_mut(name).expect("a name of the corpus");
    let list = row.lists[row.look_ups.min(row.lists.len() - 1)].clone();
    row.look_ups += 1;
    let list = list.map_err(|error| match error.as_str() {
        "no such name" => NotFound::NoSuchName,
        _ => NotFound::Resolver(error),
    });
    list.map(|addresses| addresses.iter().map(SocketAddr::ip).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_hostile_answer_of_a_name_leads_to_a_forbidden_address() {
    let machine = Machine::listen().await;
    let rows = Rows::default();
    let resolver = Arc::clone(&rows);
    let client =
        Client::with_look_up(config(vec![open()]), move |name| look_up(&resolver, name)).unwrap();
    let mut wrong = Vec::new();
    let (mut count, mut calls_that_arrive) = (0, 0);
    for line in lines(ANSWERS) {
        let (expected, answers) = line.split_once(" : ").unwrap();
        // To whoever asks, a name that is blocked looks like one that does not exist.
        let told = |word| if word == "blocked" { "dns" } else { word };
        let expected: Vec<&str> = expected.split_whitespace().map(told).collect();
        let lists: Vec<_> = answers.split(" / ").map(parse_list).collect();
        // By POST, as deliveries and test calls; by GET, as the check of an
        // alert; and by each after the other, which share their connections.
        for (method, name) in ["post", "get", "both"].map(|m| (m, format!("{m}{count}.example"))) {
            let row = Row { lists: lists.clone(), look_ups: 0 };
            rows.lock().unwrap().insert(name.clone(), row);
            let url = format!("http://{name}:{}/", machine.port);
            let mut found = Vec::new();
            for step in 0..expected.len() {
                let is_get = method == "get" || (method == "both" && step % 2 == 0);
                let attempt = if is_get {
                    client.get(&url).await
                } else {
                    client.post(&url, &[], Bytes::from_static(b"{}")).await
                };
                found.push(word(&attempt));
            }
            if found != expected {
                wrong.push(format!("{line}: {method}: {found:?}"));
            }
            // Once for each call: nothing is looked up again between the vetting
            // and the connection.
            let look_ups = rows.lock().unwrap()[&name].look_ups;
            if look_ups != expected.len() {
                wrong.push(format!("{line}: {method}: {look_ups} look-ups"));
            }
            calls_that_arrive += expected.iter().filter(|word| **word == "200").count();
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count >= 100, "{count}");
    assert_eq!((machine.forbidden(), machine.allowed()), (0, calls_that_arrive));
}

#[tokio::test]
async fn what_was_vetted_when_it_was_saved_is_vetted_again_when_it_is_called() {
    let machine = Machine::listen().await;
    let rows = Rows::default();
    let lists = ["127.77.0.1", "127.0.0.1"].map(parse_list).to_vec();
    rows.lock().unwrap().insert("turns.example".into(), Row { lists, look_ups: 0 });
    let client =
        Client::with_look_up(config(vec![open()]), move |name| look_up(&rows, name)).unwrap();
    let url = format!("http://turns.example:{}/", machine.port);
    assert_eq!(client.look_up(&url).await, Ok(()));
    for attempt in [client.get(&url).await, client.post(&url, &[], Bytes::new()).await] {
        assert_eq!(word(&attempt), FailureKind::Dns.as_str());
    }
    assert_eq!((machine.forbidden(), machine.allowed()), (0, 0));
}

#[tokio::test]
async fn a_request_that_is_sent_again_over_a_new_connection_is_vetted_again() {
    let zoo = Zoo::default();
    let animal = zoo.admit(Habit::HangsUpOnTheSecond).await;
    let port = animal.address().port();
    let other = listen((Ipv4Addr::new(127, 0, 0, 2), port).into()).unwrap();
    let (forbidden, allowed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut listening = JoinSet::new();
    listening.spawn(serve(other, Arc::clone(&forbidden), Arc::clone(&allowed)));
    let rows = Rows::default();
    let lists = ["127.0.0.1", "127.0.0.2"].map(parse_list).to_vec();
    rows.lock().unwrap().insert("turns.example".into(), Row { lists, look_ups: 0 });
    let allow = vec!["127.0.0.1/32".parse().unwrap()];
    let client = Client::with_look_up(config(allow), move |name| look_up(&rows, name)).unwrap();
    let url = format!("http://turns.example:{port}/");
    let first = client.post(&url, &[], Bytes::from_static(b"{}")).await;
    // The connection is kept, hung up on, and replaced: by then the name has
    // turned.
    let second = client.post(&url, &[], Bytes::from_static(b"{}")).await;
    assert_eq!([word(&first), word(&second)], ["200", "dns"]);
    assert_eq!(animal.requests(), 2);
    assert_eq!(forbidden.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_redirect_to_a_forbidden_address_is_not_followed() {
    let machine = Machine::listen().await;
    let zoo = Zoo::default();
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let client = Client::new(config(allow)).unwrap();
    for status in [300, 301, 302, 303, 305, 307, 308] {
        let to = format!("http://127.0.0.1:{}/", machine.port);
        let animal = zoo.admit(Habit::Redirects(status, to)).await;
        let url = animal.url();
        for attempt in [client.get(&url).await, client.post(&url, &[], Bytes::new()).await] {
            assert_eq!(word(&attempt), status.to_string());
        }
    }
    assert_eq!((machine.forbidden(), machine.allowed()), (0, 0));
}

const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Calls the URL that the test below names in its environment.
#[tokio::test]
#[ignore = "is run by no_proxy_of_the_environment_is_asked"]
async fn calls_with_proxies_in_the_environment() {
    #[expect(clippy::disallowed_methods, reason = "the environment is what is tested")]
    let url = std::env::var("SSRF_TEST_URL").unwrap();
    let allow = vec!["127.0.0.0/8".parse().unwrap()];
    let client = Client::new(config(allow)).unwrap();
    for attempt in [client.get(&url).await, client.post(&url, &[], Bytes::new()).await] {
        assert_eq!(word(&attempt), "307");
    }
}

#[tokio::test]
async fn no_proxy_of_the_environment_is_asked() {
    let machine = Machine::listen().await;
    let zoo = Zoo::default();
    let animal = zoo.admit(Habit::Redirects(307, "/".into())).await;
    let proxy = format!("http://127.0.0.1:{}", machine.port);
    let child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "calls_with_proxies_in_the_environment", "--ignored"])
        .envs(PROXIES.map(|name| (name, proxy.clone())))
        .env("SSRF_TEST_URL", animal.url())
        .output()
        .await
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stdout));
    assert_eq!((machine.forbidden(), animal.requests()), (0, 2));
}
