//! Receivers that misbehave, each in its own way, on real sockets.
//!
//! [`Receiver`](crate::Receiver) answers what it is told to; these do on the
//! wire what no HTTP library would. They all sit on 127.0.0.1.

mod habit;
mod serve;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

pub use habit::{Certificate, Habit};
pub use tls::NAME;

use crate::authority::Authority;

/// Keeps animals, and the authority that has signed for some of them.
#[derive(Debug)]
pub struct Zoo {
    authority: Authority,
}

/// A receiver with a habit. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Animal {
    address: SocketAddr,
    is_https: bool,
    counts: Arc<Counts>,
    _serving: JoinSet<()>,
    /// What fills the queue of one that never accepts.
    _queue: Vec<TcpStream>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
    sent_bytes: AtomicU64,
}

impl Default for Zoo {
    fn default() -> Self {
        Self { authority: Authority::called("the zoo's authority") }
    }
}

impl Zoo {
    /// The certificate, in PEM, of the authority that those with a valid
    /// certificate have theirs from.
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// Lets one with this habit in.
    ///
    /// # Panics
    ///
    /// When the machine has no port left.
    pub async fn admit(&self, habit: Habit) -> Animal {
        let is_https = habit.is_https();
        let counts = Arc::new(Counts::default());
        let mut serving = JoinSet::new();
        let mut queue = Vec::new();
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a free port");
        let address = socket.local_addr().expect("a bound socket has an address");
        match habit {
            Habit::Refuses => drop(socket),
            Habit::NeverAccepts => {
                let listener = socket.listen(1).expect("a socket that listens");
                queue = fill(address).await;
                serving.spawn(hold(listener));
            }
            habit => {
                let listener = socket.listen(64).expect("a socket that listens");
                let acceptor =
                    habit.tls().map(|(kind, alpn)| tls::acceptor(&self.authority, kind, alpn));
                serving.spawn(serve::accept(listener, habit, acceptor, Arc::clone(&counts)));
            }
        }
        Animal { address, is_https, counts, _serving: serving, _queue: queue }
    }
}

impl Animal {
    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, by its address.
    pub fn url(&self) -> String {
        self.url_at(&self.address.ip().to_string())
    }

    /// Its URL under a name or another address for it.
    pub fn url_at(&self, host: &str) -> String {
        let scheme = if self.is_https { "https" } else { "http" };
        format!("{scheme}://{host}:{}/hook", self.address.port())
    }

    /// Connections that it has accepted.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Requests that it has read.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }

    /// Bytes that it could get rid of, below TLS not counted: what somebody has
    /// read, and what buffers of the system hold.
    pub fn sent_bytes(&self) -> u64 {
        self.counts.sent_bytes.load(Ordering::SeqCst)
    }
}

/// Connects until nobody else can: the queue of a listener that does not accept
/// has a length, and the system drops what comes after.
async fn fill(address: SocketAddr) -> Vec<TcpStream> {
    const FULL_AFTER: Duration = Duration::from_millis(200);
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(FULL_AFTER, TcpStream::connect(address)).await {
        queue.push(stream);
    }
    queue
}

async fn hold(_listener: TcpListener) {
    std::future::pending().await
}
