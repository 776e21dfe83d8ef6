//! A proxy between one process and one server, which a test tampers with.
//!
//! Bytes of a connection are never lost or swapped: TCP would not let that happen either.
//! They are held back, in one direction or both, or the connection is cut. What a broker
//! and a client say is also understood as far as it takes to lose single messages: an
//! acknowledgement, or the broker's confirmation of a write. Both can be lost in the world
//! when a server dies at that moment.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// What is spoken on a wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speech {
    /// NATS' text protocol, without TLS.
    Nats,
    /// Bytes that are not looked at.
    Other,
}

/// What is done to a wire at this moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tampering {
    /// What the process says does not arrive while this lasts, and arrives then.
    pub hold_to_server: bool,
    /// The same of what the server says.
    pub hold_to_process: bool,
    /// Every piece takes this long, in both directions.
    pub delay_ms: u64,
    /// Nothing connects, and what was connected is cut.
    pub cut: bool,
    /// Acknowledgements of messages get lost.
    pub lose_acks: bool,
    /// Confirmations of writes get lost.
    pub lose_confirmations: bool,
    /// Changes of settings are held back.
    pub hold_settings: bool,
}

/// One proxy. It listens for as long as the runtime lives.
#[derive(Debug)]
pub struct Wire {
    address: SocketAddr,
    tampering: watch::Sender<Tampering>,
    accepting: AbortHandle,
    _tasks: JoinSet<()>,
}

impl Wire {
    /// Listens on a free port and connects whoever comes to `to`.
    ///
    /// # Errors
    ///
    /// When the machine has no port left.
    pub async fn lay(to: SocketAddr, speech: Speech) -> Result<Self> {
        let port = dev_servers::ports::free_port()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let (tampering, tampered) = watch::channel(Tampering::default());
        let mut tasks = JoinSet::new();
        let accepting = tasks.spawn_on(accept(listener, to, speech, tampered), &Handle::current());
        Ok(Self { address, tampering, accepting, _tasks: tasks })
    }

    /// Where the process is to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what is done to it from now on, also to what is connected.
    pub fn tamper(&self, how: impl FnOnce(&mut Tampering)) {
        self.tampering.send_modify(how);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    to: SocketAddr,
    speech: Speech,
    tampering: watch::Receiver<Tampering>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((process, _)) = accepted else { continue };
                if !tampering.borrow().cut {
                    connections.spawn(carry(process, to, speech, tampering.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(
    process: TcpStream,
    to: SocketAddr,
    speech: Speech,
    mut tampering: watch::Receiver<Tampering>,
) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    let _ = (process.set_nodelay(true), server.set_nodelay(true));
    let (from_process, to_process) = process.into_split();
    let (from_server, to_server) = server.into_split();
    let held = Arc::new(Mutex::new(Vec::new()));
    let up = pump(from_process, to_server, Direction::ToServer, speech, tampering.clone(), &held);
    let down =
        pump(from_server, to_process, Direction::ToProcess, speech, tampering.clone(), &held);
    tokio::select! {
        () = up => {}
        () = down => {}
        _ = tampering.wait_for(|now| now.cut) => {}
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Direction {
    ToServer,
    ToProcess,
}

impl Tampering {
    fn holds(&self, direction: Direction) -> bool {
        match direction {
            Direction::ToServer => self.hold_to_server,
            Direction::ToProcess => self.hold_to_process,
        }
    }
}

/// One direction of one connection.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    speech: Speech,
    mut tampering: watch::Receiver<Tampering>,
    held_settings: &Mutex<Vec<u8>>,
) {
    let mut frames = Frames::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let mut out = Vec::new();
        tokio::select! {
            read = from.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { return };
                let now = *tampering.borrow();
                match speech {
                    Speech::Other => out.extend_from_slice(&buffer[..count]),
                    Speech::Nats => {
                        frames.push(&buffer[..count]);
                        while let Some(frame) = frames.next() {
                            match judge(&frame, direction, &now) {
                                Judgement::Pass => out.extend_from_slice(&frame),
                                Judgement::Lose => {}
                                Judgement::Hold => held_settings
                                    .lock()
                                    .unwrap_or_else(PoisonError::into_inner)
                                    .extend_from_slice(&frame),
                            }
                        }
                    }
                }
            }
            // Settings that were held go on as soon as they may.
            _ = tampering.changed(), if direction == Direction::ToProcess => {}
        }
        if direction == Direction::ToProcess && !tampering.borrow().hold_settings {
            let held =
                std::mem::take(&mut *held_settings.lock().unwrap_or_else(PoisonError::into_inner));
            if !held.is_empty() {
                out.splice(0..0, held);
            }
        }
        let delay_ms = tampering.borrow().delay_ms;
        if delay_ms > 0 {
            sleep_until(Instant::now() + Duration::from_millis(delay_ms)).await;
        }
        if tampering.wait_for(|now| !now.holds(direction)).await.is_err() {
            return;
        }
        if !out.is_empty() && to.write_all(&out).await.is_err() {
            return;
        }
    }
}

enum Judgement {
    Pass,
    Lose,
    Hold,
}

fn judge(frame: &[u8], direction: Direction, now: &Tampering) -> Judgement {
    match direction {
        Direction::ToServer => {
            let is_ack = frame.starts_with(b"PUB $JS.ACK.") || frame.starts_with(b"HPUB $JS.ACK.");
            if is_ack && now.lose_acks { Judgement::Lose } else { Judgement::Pass }
        }
        Direction::ToProcess => {
            let is_message = frame.starts_with(b"MSG ") || frame.starts_with(b"HMSG ");
            if !is_message {
                return Judgement::Pass;
            }
            let subject = frame.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
            if now.hold_settings && subject.starts_with(b"$KV.") && !subject.ends_with(b"_targets")
            {
                return Judgement::Hold;
            }
            let is_confirmation = subject.starts_with(b"_INBOX.")
                && contains(frame, b"{\"stream\":\"")
                && contains(frame, b"\"seq\":")
                && !contains(frame, b"\"type\":");
            if is_confirmation && now.lose_confirmations {
                return Judgement::Lose;
            }
            Judgement::Pass
        }
    }
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

/// What NATS and its clients say, cut into messages.
#[derive(Debug, Default)]
struct Frames {
    bytes: Vec<u8>,
    taken: usize,
}

impl Frames {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Vec<u8>> {
        let rest = &self.bytes[self.taken..];
        let line = rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
        let has_payload =
            [&b"PUB "[..], b"HPUB ", b"MSG ", b"HMSG "].iter().any(|verb| rest.starts_with(verb));
        let payload = if has_payload {
            let head = String::from_utf8_lossy(&rest[..line - 2]);
            head.rsplit(' ').next().and_then(|size| size.parse::<usize>().ok()).unwrap_or(0) + 2
        } else {
            0
        };
        let frame = rest.get(..line + payload)?.to_vec();
        self.taken += frame.len();
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_wherever_the_bytes_are_split() {
        let said = b"PING\r\nPUB a.b _INBOX.x 5\r\nab\r\nc\r\nHPUB c 12 14\r\nNATS/1.0\r\n\r\nhi\r\n+OK\r\n";
        for split in 0..said.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for part in [&said[..split], &said[split..]] {
                frames.push(part);
                while let Some(frame) = frames.next() {
                    found.push(frame);
                }
            }
            assert_eq!(found.len(), 4, "{split}");
            assert_eq!(found.concat(), said);
        }
    }

    #[test]
    fn acks_confirmations_and_settings_are_told_apart() {
        let all = Tampering {
            lose_acks: true,
            lose_confirmations: true,
            hold_settings: true,
            ..Tampering::default()
        };
        let judged = |frame: &[u8], direction| match judge(frame, direction, &all) {
            Judgement::Pass => "pass",
            Judgement::Lose => "lose",
            Judgement::Hold => "hold",
        };
        let (up, down) = (Direction::ToServer, Direction::ToProcess);
        assert_eq!(judged(b"PUB $JS.ACK.s.c.1.2.3.4.5 4\r\n+ACK\r\n", up), "lose");
        assert_eq!(judged(b"PUB us.events.a.b.c _INBOX.a 1\r\nx\r\n", up), "pass");
        assert_eq!(
            judged(b"MSG _INBOX.a.b 1 32\r\n{\"stream\":\"us_EVENTS\",\"seq\":1}\r\n", down),
            "lose"
        );
        assert_eq!(
            judged(
                b"MSG _INBOX.a.b 1 50\r\n{\"type\":\"io.nats\",\"state\":{\"seq\":1}}\r\n",
                down
            ),
            "pass"
        );
        assert_eq!(judged(b"HMSG $KV.us_settings.account.a 1 r 0 0\r\n\r\n", down), "hold");
    }
}
