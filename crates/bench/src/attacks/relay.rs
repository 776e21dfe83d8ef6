//! A mail relay that takes everything and counts whom it is for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::receiver::detach;

pub(super) struct Relay {
    pub(super) address: SocketAddr,
    recipients: Arc<AtomicU64>,
}

impl Relay {
    pub(super) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let recipients = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&recipients);
        detach(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                detach(async move {
                    // A relay that breaks off is the other side's trouble.
                    let _ = talk(stream, &counted).await;
                });
            }
        });
        Ok(Self { address, recipients })
    }

    /// How many addresses mails were taken for.
    pub(super) fn recipients(&self) -> u64 {
        self.recipients.load(Ordering::Relaxed)
    }
}

async fn talk(stream: TcpStream, recipients: &AtomicU64) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 relay\r\n").await?;
    let mut is_letter = false;
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        if is_letter {
            if line == b".\r\n" {
                is_letter = false;
                stream.write_all(b"250 taken\r\n").await?;
            }
            continue;
        }
        let verb = String::from_utf8_lossy(&line[..line.len().min(4)]).to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "DATA" => {
                is_letter = true;
                b"354 go on\r\n"
            }
            "RCPT" => {
                recipients.fetch_add(1, Ordering::Relaxed);
                b"250 ok\r\n"
            }
            "QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        stream.write_all(reply).await?;
    }
}
