//! What the broker says of its streams, in its own plain protocol.
//!
//! A client would be more than is needed here, and all others go through `bus`.

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// One stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Stream {
    config: Config,
    pub(crate) state: State,
}

#[derive(Debug, Deserialize)]
struct Config {
    name: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct State {
    /// Messages in it.
    pub(crate) messages: u64,
    /// Goes up by one with every write.
    pub(crate) last_seq: u64,
}

#[derive(Deserialize)]
struct Listed {
    streams: Vec<Stream>,
}

impl Stream {
    /// Whether deliveries wait in it.
    pub(crate) fn is_of_deliveries(&self) -> bool {
        self.config.name.contains("DELIVERIES")
    }
}

/// All streams of the server at `host:port`.
pub(crate) async fn streams(address: &str) -> Result<Vec<Stream>> {
    let mut connection = BufReader::new(TcpStream::connect(address).await?);
    let ask = "CONNECT {\"verbose\":false}\r\nSUB _INBOX.bench 1\r\n\
               PUB $JS.API.STREAM.LIST _INBOX.bench 0\r\n\r\n";
    connection.write_all(ask.as_bytes()).await?;
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first().copied() {
            Some("INFO" | "+OK") => {}
            Some("PING") => connection.write_all(b"PONG\r\n").await?,
            Some("MSG") => {
                let size = words.last().and_then(|size| size.parse().ok());
                let mut body = vec![0; size.context("a message has a size")?];
                connection.read_exact(&mut body).await?;
                return Ok(serde_json::from_slice::<Listed>(&body)?.streams);
            }
            _ => bail!("the broker said {line:?}"),
        }
    }
}
