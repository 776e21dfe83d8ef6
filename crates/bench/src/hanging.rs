//! Receivers that take a connection and never answer.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::receiver::detach;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How many, each at an address of its own.
    #[arg(long)]
    count: u32,
}

/// The address of one of them: hosts that differ share nothing in the client.
pub(crate) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + number)
}

/// Listens on loopback, at one port of all addresses, which it prints.
pub(crate) async fn run(options: Options) -> Result<()> {
    let first = TcpListener::bind((address(0), 0)).await?;
    let port = first.local_addr()?.port();
    let mut listeners = vec![first];
    for number in 1..options.count {
        let listener = TcpListener::bind((address(number), port)).await;
        listeners.push(listener.with_context(|| format!("port {port} of {}", address(number)))?);
    }
    println!("{port}");
    for listener in listeners {
        detach(async move {
            // A connection that breaks before it is taken is the other side's business.
            loop {
                if let Ok((stream, _)) = listener.accept().await {
                    detach(swallow(stream));
                }
            }
        });
    }
    std::future::pending().await
}

/// Takes whatever comes, until the other side has had enough.
async fn swallow(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}
