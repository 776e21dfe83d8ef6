//! HTTP/1.1 over plain sockets: cheap, and free to break every rule.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep_until};

/// The address of an attacker: another network than the victim's, which is 127.0.0.1.
pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 6, 0, 1)) + number)
}

/// A connection that is kept from one request to the next.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    /// Connects from this address.
    pub(super) async fn open(from: Ipv4Addr, to: SocketAddr) -> Result<Self> {
        Self::open_with(from, to, None).await
    }

    /// The same, and the system keeps no more than this of what is not read.
    pub(super) async fn open_with(
        from: Ipv4Addr,
        to: SocketAddr,
        receive_bytes: Option<u32>,
    ) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads the answer to its end. Returns its status and its body.
    pub(super) async fn ask(&mut self, request: &[u8]) -> Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.more().await?;
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.context("a status")?;
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        match length.map(|length| length.trim().parse::<usize>()) {
            Some(length) => {
                let end = head + length?;
                while self.buffer.len() < end {
                    self.more().await?;
                }
            }
            None if text.contains("transfer-encoding: chunked") => {
                while !self.buffer.ends_with(b"\r\n0\r\n\r\n") {
                    self.more().await?;
                }
            }
            None => {}
        }
        Ok((status, self.buffer[head..].to_vec()))
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }

    /// Reads and forgets, until the other side has had enough.
    pub(super) async fn wait_for_end(&mut self) {
        let mut buffer = [0; 4096];
        while self.stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Turns that come at a rate, shared by tasks. Turns that nobody took are not made up for.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    next: Mutex<Instant>,
}

impl Pace {
    /// So many in a second.
    pub(super) fn of(per_second: u32) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self { every, next: Mutex::new(Instant::now()) }
    }

    /// Waits for the next turn.
    pub(super) async fn turn(&self) {
        let at = self.claim(Instant::now());
        sleep_until(at).await;
    }

    fn claim(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next).max(now);
        *next = at + self.every;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_at_their_rate_and_are_not_made_up_for() {
        let pace = Pace::of(10);
        let begun = Instant::now() + Duration::from_secs(1);
        let ms = Duration::from_millis;
        let turns = [0, 0, 0, 5_000, 5_000].map(|now| pace.claim(begun + ms(now)) - begun);
        assert_eq!(turns, [0, 100, 200, 5_000, 5_100].map(ms));
    }
}
