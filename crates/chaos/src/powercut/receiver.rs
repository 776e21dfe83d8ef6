//! The receiver of all webhooks: outside, so that no power cut reaches it.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ledger::{Ledger, event_in};

/// The first takes every delivery at once. The second refuses the first try, so that retries
/// wait on the broker.
pub(super) const PATHS: [&str; 2] = ["/at-once", "/at-the-second-try"];

#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Receiver {
    pub(super) async fn start(ledger: Ledger) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        let ledger = ledger.clone();
                        connections.spawn(async move { drop(serve(stream, &ledger).await) });
                    }
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Self { address, _serving: serving })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// One connection, one request after the other.
async fn serve(stream: TcpStream, ledger: &Ledger) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let (mut length, mut attempt) = (0, 0_u64);
        loop {
            let mut line = String::new();
            read.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "x-postrider-attempt" => attempt = value.trim().parse()?,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        read.read_exact(&mut body).await?;
        let status = if path == PATHS[1] && attempt <= 1 { 500 } else { 200 };
        if let (200, Some(event)) = (status, event_in(&body)) {
            ledger.event_arrived(event, &path);
        }
        write
            .write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").as_bytes())
            .await?;
    }
}
