//! A receiver of webhooks that does what a test tells it to, and remembers
//! everything that it was sent.

mod reply;
mod serve;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub use reply::{Gate, Reply};

use crate::within;

/// A request, as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: String,
    /// The query, without its question mark; empty when there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body's bytes.
    pub body: Bytes,
    /// When the head of the request had arrived.
    pub at: Instant,
}

impl Received {
    /// A header as text; `None` when it is absent or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{} was sent no JSON: {error}", self.path),
        }
    }
}

/// An HTTP/1.1 receiver on 127.0.0.1. Dropping it closes all its connections.
///
/// Every path answers 200 until a script says otherwise. A script is a list of
/// replies, taken one a request; the last one stays.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

impl Receiver {
    /// Starts on a free port.
    ///
    /// # Panics
    ///
    /// When the machine has no port left.
    pub async fn start() -> Self {
        Self::start_on(0).await
    }

    /// Starts on this port, such as that of a receiver that was dropped before.
    ///
    /// # Panics
    ///
    /// When the port is taken.
    pub async fn start_on(port: u16) -> Self {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => listener,
            Err(error) => panic!("the receiver cannot listen on port {port}: {error}"),
        };
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let mut accepting = JoinSet::new();
        accepting.spawn(serve::accept(listener, Arc::clone(&shared)));
        Self { address, shared, _accepting: accepting }
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Sets what POSTs to this path are answered, from the next one on.
    pub fn on_post(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.script(Method::POST, path, replies);
    }

    /// Sets what GETs of this path are answered, from the next one on.
    pub fn on_get(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.script(Method::GET, path, replies);
    }

    fn script(&self, method: Method, path: &str, replies: impl IntoIterator<Item = Reply>) {
        let mut replies: Vec<Reply> = replies.into_iter().collect();
        replies.reverse();
        self.shared.state().scripts.insert((method, path.to_owned()), replies);
    }

    /// All requests so far, in the order in which they were complete.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.state().requests.clone()
    }

    /// The POSTs to this path so far.
    pub fn posts(&self, path: &str) -> Vec<Received> {
        let posts = |request: &&Received| request.method == Method::POST && request.path == path;
        let state = self.shared.state();
        state.requests.iter().filter(posts).cloned().collect()
    }

    /// The most requests to this path that waited for their answer at one time.
    pub fn most_at_once(&self, path: &str) -> usize {
        let state = self.shared.state();
        state.in_flight.get(path).map_or(0, |count| count.most)
    }

    /// Forgets the requests so far; the scripts stay.
    pub fn forget(&self) {
        self.shared.state().requests.clear();
    }

    /// Waits until what has arrived satisfies `enough`, and returns it.
    ///
    /// # Panics
    ///
    /// When it does not within this time; the message names `what` was waited
    /// for and lists what has arrived instead.
    pub async fn wait_for(
        &self,
        what: &str,
        deadline: Duration,
        mut enough: impl FnMut(&[Received]) -> bool,
    ) -> Vec<Received> {
        let arrival = async {
            loop {
                // Registered before the look, so that an arrival in between is not missed.
                let changed = self.shared.changed.notified();
                let requests = self.requests();
                if enough(&requests) {
                    return requests;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(deadline, arrival).await {
            Ok(requests) => requests,
            Err(_) => panic!(
                "waited {deadline:?} in vain for {what}; arrived so far: {:?}",
                self.summary()
            ),
        }
    }

    /// Waits for this many POSTs to a path, and returns them.
    ///
    /// # Panics
    ///
    /// When there are fewer within this time.
    pub async fn wait_for_posts(
        &self,
        path: &str,
        count: usize,
        deadline: Duration,
    ) -> Vec<Received> {
        let what = format!("{count} POSTs to {path}");
        self.wait_for(&what, deadline, |requests| {
            let is_post =
                |request: &&Received| request.method == Method::POST && request.path == path;
            requests.iter().filter(is_post).count() >= count
        })
        .await;
        self.posts(path)
    }

    /// Waits until no request is waiting for its answer.
    ///
    /// # Panics
    ///
    /// When some still are after this time.
    pub async fn wait_idle(&self, deadline: Duration) {
        let idle = async {
            loop {
                let changed = self.shared.changed.notified();
                if self.shared.state().in_flight.values().all(|count| count.now == 0) {
                    return;
                }
                changed.await;
            }
        };
        within(deadline, "the receiver to be idle", idle).await;
    }

    fn summary(&self) -> Vec<String> {
        let mut counts: Vec<(String, usize)> = Vec::new();
        for request in self.requests() {
            let line = format!("{} {}", request.method, request.path);
            match counts.iter_mut().find(|(known, _)| *known == line) {
                Some((_, count)) => *count += 1,
                None => counts.push((line, 1)),
            }
        }
        counts.into_iter().map(|(line, count)| format!("{line} × {count}")).collect()
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Told of every arrival and of every answer.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Received>,
    /// In reverse, so that the next reply is the last one.
    scripts: HashMap<(Method, String), Vec<Reply>>,
    in_flight: HashMap<String, InFlight>,
}

#[derive(Debug, Default)]
struct InFlight {
    now: usize,
    most: usize,
}

impl Shared {
    /// A test that panicked elsewhere is no reason to panic here as well.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the request down and says what to answer.
    fn record(&self, request: Received) -> Reply {
        let mut state = self.state();
        let count = state.in_flight.entry(request.path.clone()).or_default();
        count.now += 1;
        count.most = count.most.max(count.now);
        let key = (request.method.clone(), request.path.clone());
        let reply = match state.scripts.get_mut(&key) {
            Some(replies) if replies.len() > 1 => replies.pop(),
            Some(replies) => replies.last().cloned(),
            None => None,
        };
        state.requests.push(request);
        drop(state);
        self.changed.notify_waiters();
        reply.unwrap_or_else(|| Reply::status(200))
    }

    fn answered(&self, path: &str) {
        if let Some(count) = self.state().in_flight.get_mut(path) {
            count.now -= 1;
        }
        self.changed.notify_waiters();
    }
}
