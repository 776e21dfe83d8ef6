//! The connections that come to a door.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream};
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tonic::transport::server::Connected;

use super::gate::Place;
use super::pace::{Activity, Paced};
use super::{Door, Peer, Speaks, names};
use crate::Clock;

/// How long a handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Handshakes at once; who comes then waits in the system's queue.
const HANDSHAKES: usize = 1024;
/// The part of an answer that the system keeps until it is taken. By itself it takes up to 4 MiB.
const SEND_BUFFER_BYTES: usize = 128 * 1024;
/// How long nobody is let in when the system has nothing left to do it with.
const REST: Duration = Duration::from_secs(1);

/// The connections of one listener. Dropping it ends the handshakes that are
/// under way, and nothing else.
pub struct Incoming {
    door: Door,
    listener: TcpListener,
    speaks: Speaks,
    clock: Clock,
    /// Each a task of its own, so that none waits for another.
    handshakes: JoinSet<Result<Shaken, Refused>>,
}

/// A connection whose handshake is over.
struct Shaken {
    peer: Peer,
    stream: Plain,
    place: Place,
}

type Plain = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// A handshake that came to nothing.
struct Refused {
    address: SocketAddr,
    why: &'static str,
    error: Option<io::Error>,
}

impl Incoming {
    pub(super) fn new(door: Door, listener: TcpListener, speaks: Speaks, clock: Clock) -> Self {
        Self { door, listener, speaks, clock, handshakes: JoinSet::new() }
    }

    /// The next connection over which requests can come.
    pub async fn next(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if self.handshakes.len() < HANDSHAKES => {
                    match accepted {
                        Ok((stream, address)) => {
                            if let Some(connection) = self.begin(stream, address) {
                                return connection;
                            }
                        }
                        Err(error) => self.rest(&error).await,
                    }
                }
                Some(ended) = self.handshakes.join_next() => match ended {
                    Ok(Ok(shaken)) => return self.come_in(shaken),
                    Ok(Err(refused)) => self.tell(&refused),
                    Err(error) => tracing::error!(%error, "a handshake failed"),
                }
            }
        }
    }

    /// As a stream that never ends, for tonic.
    pub fn into_stream(self) -> impl Stream<Item = io::Result<Connection>> {
        stream::unfold(self, |mut incoming| async move {
            let connection = incoming.next().await;
            Some((Ok(connection), incoming))
        })
    }

    /// Takes a connection as it is, or begins a handshake on it.
    fn begin(&mut self, stream: TcpStream, address: SocketAddr) -> Option<Connection> {
        let place = match self.door.0.gate.enter(address.ip()) {
            Ok(place) => place,
            Err(why) => {
                self.door.refused(why);
                return None;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
        if let Err(error) = set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES) {
            tracing::debug!(%error, "a connection keeps the system's buffer");
        }
        let Some(config) = self.door.tls(self.speaks) else {
            let peer = Peer { address, name: None };
            return Some(self.come_in(Shaken { peer, stream: Either::Left(stream), place }));
        };
        self.handshakes.spawn(shake(config, stream, address, place));
        None
    }

    fn come_in(&self, shaken: Shaken) -> Connection {
        let Shaken { peer, stream, place } = shaken;
        let stream = Paced::new(stream, self.speaks, self.door.limits(), place);
        Connection { peer, stream }
    }

    /// Some connections are gone before they are accepted, which is nothing. For
    /// everything else, such as files that have run out, time may help.
    async fn rest(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if !matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset) {
            tracing::error!(%error, door = self.door.name(), "cannot accept connections");
            self.clock.sleep(REST).await;
        }
    }

    fn tell(&self, refused: &Refused) {
        let Refused { address, why, error } = refused;
        // Load balancers come and go like that, to see whether the port is open.
        if error.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::UnexpectedEof) {
            return;
        }
        self.door.refused(why);
        tracing::info!(
            door = self.door.name(),
            peer = %address.ip(),
            why,
            error = error.as_ref().map(tracing::field::display),
            "a caller did not come in"
        );
    }
}

async fn shake(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
) -> Result<Shaken, Refused> {
    let refused = |why, error| Refused { address, why, error };
    let shaken = TlsAcceptor::from(config).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE_WITHIN, shaken).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(refused("handshake", Some(error))),
        Err(_) => return Err(refused("handshake_timeout", None)),
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let name = match certificate {
        None => None,
        Some(certificate) => match names::name(certificate) {
            Some(name) => Some(name),
            None => return Err(refused("certificate_without_name", None)),
        },
    };
    Ok(Shaken { peer: Peer { address, name }, stream: Either::Right(Box::new(stream)), place })
}

impl std::fmt::Debug for Incoming {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Incoming").field("door", &self.door).finish_non_exhaustive()
    }
}

/// A connection that has come in.
#[derive(Debug)]
pub struct Connection {
    peer: Peer,
    stream: Paced<Plain>,
}

impl Connection {
    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(super) fn activity(&self) -> Arc<Activity> {
        self.stream.activity()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
