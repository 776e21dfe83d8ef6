//! The receiver of all webhooks: outside, so that no power cut reaches it.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::ledger::{Ledger, event_in};
use crate::requests::{Listening, Request};

/// The first takes every delivery at once. The second refuses the first try, so that retries
/// wait on the broker.
pub(super) const PATHS: [&str; 2] = ["/at-once", "/at-the-second-try"];

#[derive(Debug)]
pub(super) struct Receiver(Listening);

impl Receiver {
    pub(super) async fn start(ledger: Ledger) -> Result<Self> {
        Ok(Self(Listening::start(move |stream| serve(stream, ledger.clone())).await?))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.0.address
    }
}

/// One connection, one request after the other.
async fn serve(stream: TcpStream, ledger: Ledger) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    while let Some(request) = Request::read(&mut read).await? {
        let is_first = request.header("x-postrider-attempt").parse().unwrap_or(0) <= 1;
        let status = if request.path == PATHS[1] && is_first { 500 } else { 200 };
        if let (200, Some(event)) = (status, event_in(&request.body)) {
            ledger.event_arrived(event, &request.path);
        }
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
        write.write_all(head.as_bytes()).await?;
    }
    Ok(())
}
