//! A way to a server on which everything takes its time.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::wait::pause;

/// A port on 127.0.0.1 that leads to a server. Dropping it closes all its connections.
#[derive(Debug)]
pub struct SlowLink {
    address: SocketAddr,
    delay: watch::Sender<Duration>,
    _serving: JoinSet<()>,
}

impl SlowLink {
    /// Starts one, which is quick until it is told otherwise.
    ///
    /// # Panics
    ///
    /// When the machine has no port left.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (delay, delays) = watch::channel(Duration::ZERO);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(server).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (quick, slow) = (watch::channel(Duration::ZERO).1, delays.clone());
                connections.spawn(async move { drop(pass(from_client, to_server, quick).await) });
                connections.spawn(async move { drop(pass(from_server, to_client, slow).await) });
            }
        });
        Self { address, delay, _serving: serving }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, what the server says at a time arrives so much later.
    pub fn delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delays: watch::Receiver<Duration>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        let delay = *delays.borrow();
        if !delay.is_zero() {
            pause(delay).await;
        }
        to.write_all(&bytes[..count]).await?;
    }
}
