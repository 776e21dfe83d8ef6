//! A SOCKS5 proxy (RFC 1928, RFC 1929) that notes what it is asked for.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What a proxy does with whoever asks it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Manner {
    /// Connects to whatever port it is asked for, of this machine.
    LetsThrough,
    /// The same, for whoever has this password.
    AsksWho(&'static str),
    /// With this code of RFC 1928.
    Answers(u8),
    /// Greets, and then connects to nobody.
    NeverConnects,
    /// Accepts, and says nothing.
    NeverGreets,
    /// Accepts, and closes.
    HangsUp,
}

/// A proxy on 127.0.0.1. Dropping it closes all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    told: Mutex<Vec<(u8, Vec<u8>)>>,
}

impl Proxy {
    /// Starts one.
    ///
    /// # Panics
    ///
    /// When the machine has no port left.
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { manner: Mutex::new(manner), told: Mutex::default() });
        let mut serving = JoinSet::new();
        let accepting = Arc::clone(&shared);
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                // Whoever breaks off half-way gets no answer; that is all there is to do.
                connections.spawn(async move { drop(shared.serve(stream).await) });
            }
        });
        Self { address, shared, _serving: serving }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does from now on.
    pub fn set(&self, manner: Manner) {
        *self.shared.manner.lock().unwrap_or_else(PoisonError::into_inner) = manner;
    }

    /// What it was asked for so far: the kind of each address (1: IPv4, 3: a name,
    /// 4: IPv6), and the address with its port.
    pub fn told(&self) -> Vec<(u8, Vec<u8>)> {
        self.shared.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let manner = *self.manner.lock().unwrap_or_else(PoisonError::into_inner);
        match manner {
            Manner::HangsUp => return Ok(()),
            Manner::NeverGreets => return std::future::pending().await,
            _ => {}
        }
        greet(&mut client, manner).await?;
        let (kind, address) = asked_for(&mut client).await?;
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push((kind, address.clone()));
        match manner {
            Manner::NeverConnects => return std::future::pending().await,
            Manner::Answers(code) => return answer(&mut client, code).await,
            _ => {}
        }
        let [.., high, low] = address[..] else { return Ok(()) };
        let port = u16::from_be_bytes([high, low]);
        let mut receiver = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        answer(&mut client, 0).await?;
        copy_bidirectional(&mut client, &mut receiver).await?;
        Ok(())
    }
}

async fn greet(client: &mut TcpStream, manner: Manner) -> io::Result<()> {
    let mut head = [0; 2];
    client.read_exact(&mut head).await?;
    let mut methods = vec![0; head[1].into()];
    client.read_exact(&mut methods).await?;
    if !methods.contains(&2) {
        return client.write_all(&[5, 0]).await;
    }
    client.write_all(&[5, 2]).await?;
    let mut version_and_length = [0; 2];
    client.read_exact(&mut version_and_length).await?;
    let mut user = vec![0; version_and_length[1].into()];
    client.read_exact(&mut user).await?;
    let mut password = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut password).await?;
    let is_wrong = matches!(manner, Manner::AsksWho(wanted) if wanted.as_bytes() != password);
    client.write_all(&[1, u8::from(is_wrong)]).await
}

async fn asked_for(client: &mut TcpStream) -> io::Result<(u8, Vec<u8>)> {
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let kind = request[3];
    let length = match kind {
        1 => 4,
        4 => 16,
        _ => usize::from(client.read_u8().await?),
    };
    let mut address = vec![0; length + 2];
    client.read_exact(&mut address).await?;
    Ok((kind, address))
}

async fn answer(client: &mut TcpStream, code: u8) -> io::Result<()> {
    client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await
}
