//! What the habits are on the wire.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_rustls::TlsAcceptor;

use super::Counts;
use super::habit::Habit;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A gigabyte of zeros in a megabyte: a file may have many members (RFC 1952,
/// section 2.2), here a thousand and more of a mebibyte each.
fn gzip_bomb() -> Vec<u8> {
    const BEFORE: [u8; 25] = [
        0x1f, 0x8b, 0x08, 0, 0, 0, 0, 0, 0x02, 0x03, 0xed, 0xc1, 0x31, 0x01, 0, 0, 0, 0xc2, 0xa0,
        0xf5, 0x4f, 0x6d, 0x08, 0x5f, 0xa0,
    ];
    const AFTER: [u8; 10] = [0x3e, 0x03, 0x1c, 0xea, 0x38, 0xa7, 0, 0, 0x10, 0];
    let member = [&BEFORE[..], &[0; 1016], &AFTER].concat();
    member.repeat(1_024)
}

pub(super) async fn accept(
    listener: TcpListener,
    habit: Habit,
    acceptor: Option<TlsAcceptor>,
    counts: Arc<Counts>,
) {
    let habit = Arc::new(habit);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                counts.connections.fetch_add(1, SeqCst);
                let (habit, counts) = (Arc::clone(&habit), Arc::clone(&counts));
                let acceptor = acceptor.clone();
                // That the other side hangs up is what all this is about.
                connections.spawn(async move {
                    drop(connection(stream, &habit, acceptor, &counts).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    stream: TcpStream,
    habit: &Habit,
    acceptor: Option<TlsAcceptor>,
    counts: &Counts,
) -> io::Result<()> {
    match (habit, acceptor) {
        (_, Some(acceptor)) => {
            let stream = acceptor.accept(stream).await?;
            answer(&mut Wire { stream, counts }, habit).await
        }
        (Habit::ResetsAtOnce, _) => stream.set_zero_linger(),
        (
            Habit::Resets | Habit::ResetsInHead | Habit::ResetsInBody | Habit::ResetsOnTheSecond,
            _,
        ) => {
            let mut wire = Wire { stream, counts };
            let answered = answer(&mut wire, habit).await;
            // Dropped after that, it resets.
            wire.stream.set_zero_linger()?;
            answered
        }
        _ => answer(&mut Wire { stream, counts }, habit).await,
    }
}

async fn answer<S>(wire: &mut Wire<'_, S>, habit: &Habit) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Those that do not wait for a request.
    match habit {
        Habit::TlsStalls => return pending().await,
        Habit::TlsHangsUp => return wire.read_some().await,
        Habit::SpeaksFirst(greeting) => {
            wire.send(greeting.as_bytes()).await?;
            return pending().await;
        }
        Habit::AnswersEarly => {
            wire.read_some().await?;
            wire.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await?;
            return wire.stream.shutdown().await;
        }
        Habit::PlainForTls => {
            wire.read_some().await?;
            wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await?;
            return pending().await;
        }
        Habit::Http2Only => {
            // SETTINGS, and GOAWAY with PROTOCOL_ERROR for what is no preface.
            wire.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
            wire.read_some().await?;
            wire.send(&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]).await?;
            return wire.stream.shutdown().await;
        }
        _ => {}
    }
    if !wire.request().await? {
        return Ok(());
    }
    match habit {
        Habit::Stalls => pending().await,
        Habit::StallsInHead => {
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Le").await?;
            pending().await
        }
        Habit::StallsInBody => {
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await?;
            pending().await
        }
        Habit::DripsHead(every) => {
            wire.send(b"HTTP/1.1 200 OK\r\nX-Drip: ").await?;
            wire.drip(*every).await
        }
        Habit::DripsBody(every) => {
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await?;
            wire.drip(*every).await
        }
        Habit::EndlessField => {
            wire.send(b"HTTP/1.1 200 OK\r\nX-Long: ").await?;
            wire.flood(&[b'x'; 16 * 1_024]).await
        }
        Habit::EndlessHead => {
            wire.send(b"HTTP/1.1 200 OK\r\n").await?;
            wire.flood(&b"X-More: and more\r\n".repeat(1_000)).await
        }
        Habit::EndlessBody => {
            wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
            let mut chunk = b"4000\r\n".to_vec();
            chunk.extend([b'x'; 0x4000]);
            chunk.extend(b"\r\n");
            wire.flood(&chunk).await
        }
        Habit::EndlessProvisional => {
            wire.flood(&b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(100)).await
        }
        Habit::Provisional(count) => {
            wire.send(&b"HTTP/1.1 102 Processing\r\n\r\n".repeat(*count)).await?;
            wire.send(OK).await?;
            wire.stream.shutdown().await
        }
        Habit::GzipBomb => {
            let bomb = gzip_bomb();
            let length = bomb.len();
            wire.send(
                format!(
                    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n"
                )
                .as_bytes(),
            )
            .await?;
            wire.send(&bomb).await?;
            wire.stream.shutdown().await
        }
        Habit::ResetsInHead => wire.send(b"HTTP/1.1 200 OK\r\nContent-Le").await,
        Habit::ResetsInBody => {
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await?;
            // A reset throws away what has not been read yet, also the head.
            wire.rest().await
        }
        Habit::Says(bytes) => {
            wire.send(bytes).await?;
            wire.stream.shutdown().await
        }
        Habit::TlsHttp2Only => wire.send(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await,
        Habit::Redirects(status, to) => {
            wire.send(
                format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n")
                    .as_bytes(),
            )
            .await
        }
        Habit::HangsUpOnTheSecond | Habit::ResetsOnTheSecond => {
            wire.send(OK).await?;
            wire.request().await.map(drop)
        }
        Habit::AnswersTwice => {
            while {
                wire.send(OK).await?;
                wire.send(OK).await?;
                wire.request().await?
            } {}
            Ok(())
        }
        Habit::Tls(_) => {
            while {
                wire.send(OK).await?;
                wire.request().await?
            } {}
            Ok(())
        }
        // Closing or resetting is all that is left of them; or they never get here.
        Habit::Resets
        | Habit::HangsUp
        | Habit::Refuses
        | Habit::NeverAccepts
        | Habit::ResetsAtOnce
        | Habit::TlsStalls
        | Habit::TlsHangsUp
        | Habit::SpeaksFirst(_)
        | Habit::AnswersEarly
        | Habit::PlainForTls
        | Habit::Http2Only => Ok(()),
    }
}

/// A connection that counts.
struct Wire<'a, S> {
    stream: S,
    counts: &'a Counts,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<'_, S> {
    async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.stream.write(bytes).await?;
            self.counts.sent_bytes.fetch_add(sent as u64, SeqCst);
            bytes = &bytes[sent..];
        }
        self.stream.flush().await
    }

    async fn flood(&mut self, bytes: &[u8]) -> io::Result<()> {
        loop {
            self.send(bytes).await?;
        }
    }

    async fn drip(&mut self, every: Duration) -> io::Result<()> {
        let mut tick = interval(every);
        loop {
            tick.tick().await;
            self.send(b".").await?;
        }
    }

    /// Reads whatever comes first.
    async fn read_some(&mut self) -> io::Result<()> {
        self.stream.read(&mut [0; 4_096]).await.map(drop)
    }

    /// Waits until all that was sent should have been read, then reads no more.
    async fn rest(&mut self) -> io::Result<()> {
        crate::wait::pause(Duration::from_millis(100)).await;
        Ok(())
    }

    /// Reads a request; `false` at the end of the connection.
    async fn request(&mut self) -> io::Result<bool> {
        let mut bytes = Vec::new();
        loop {
            if self.stream.read_buf(&mut bytes).await? == 0 {
                return Ok(false);
            }
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                self.counts.requests.fetch_add(1, SeqCst);
                return Ok(true);
            }
        }
    }
}
