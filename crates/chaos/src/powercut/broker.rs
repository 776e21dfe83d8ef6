//! Reads whole streams from the brokers, in their text protocol.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};

/// A cluster elects the leaders of its streams within this.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A stream that is unknown for this long was forgotten, and is not only read in late.
const UNKNOWN_FOR: Duration = Duration::from_secs(15);
const MESSAGES_WITHIN: Duration = Duration::from_secs(30);
const STREAM_NOT_FOUND: u64 = 10059;

/// The bytes of every message of a stream; none when the brokers have forgotten it.
pub(super) async fn messages(urls: &[String], stream: &str) -> Result<Vec<Vec<u8>>> {
    let began = Instant::now();
    for url in urls.iter().cycle() {
        match timeout(MESSAGES_WITHIN, read(url, stream)).await {
            Ok(Ok(Some(messages))) => return Ok(messages),
            Ok(Ok(None)) if began.elapsed() > UNKNOWN_FOR => {
                eprintln!("    {stream} is gone");
                return Ok(Vec::new());
            }
            Ok(Err(error)) if began.elapsed() > ANSWER_WITHIN => {
                return Err(error.context(format!("stream {stream}")));
            }
            Err(_) if began.elapsed() > ANSWER_WITHIN => bail!("stream {stream} has no leader"),
            _ => sleep_until(Instant::now() + Duration::from_millis(300)).await,
        }
    }
    bail!("there is no broker")
}

/// `None` when this broker knows no such stream.
async fn read(url: &str, stream: &str) -> Result<Option<Vec<Vec<u8>>>> {
    let address = url.strip_prefix("nats://").context("a nats:// URL")?;
    let mut connection = BufReader::new(TcpStream::connect(address).await?);
    let inbox = format!("_INBOX.powercut.{}", connection.get_ref().local_addr()?.port());
    // Pushed to us, oldest first, without acknowledgements.
    let consumer = json!({
        "stream_name": stream,
        "config": {
            "deliver_subject": format!("{inbox}.messages"),
            "deliver_policy": "all",
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": true,
            "num_replicas": 1,
        },
    })
    .to_string();
    // The server takes no wildcard for interest in pushed messages.
    let ask = format!(
        "CONNECT {{\"verbose\":false,\"headers\":true}}\r\nSUB {inbox}.made 1\r\n\
         SUB {inbox}.messages 2\r\nPUB $JS.API.CONSUMER.CREATE.{stream} {inbox}.made {}\r\n\
         {consumer}\r\n",
        consumer.len()
    );
    connection.write_all(ask.as_bytes()).await?;

    let mut expected = None;
    let mut messages = Vec::new();
    while expected != Some(messages.len()) {
        let (subject, bytes) = next(&mut connection).await?;
        if subject != format!("{inbox}.made") {
            messages.push(bytes);
            continue;
        }
        let made: Value = serde_json::from_slice(&bytes)?;
        if made["error"]["err_code"] == STREAM_NOT_FOUND {
            return Ok(None);
        }
        if let Some(error) = made.get("error") {
            bail!("{error}");
        }
        // What was pushed before this was written is pending no more.
        let counts = [&made["num_pending"], &made["delivered"]["consumer_seq"]];
        let count: u64 = counts.iter().filter_map(|count| count.as_u64()).sum();
        expected = Some(usize::try_from(count)?);
    }
    Ok(Some(messages))
}

/// The next message: where it was sent to, and its bytes without headers. A pushed message has
/// the subject that it is stored under.
async fn next(connection: &mut BufReader<TcpStream>) -> Result<(String, Vec<u8>)> {
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line).await? == 0 {
            bail!("the broker closed the connection");
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let (size, headers) = match words.as_slice() {
            ["PING", ..] => {
                connection.write_all(b"PONG\r\n").await?;
                continue;
            }
            ["-ERR", ..] => bail!("{}", line.trim()),
            ["MSG", .., size] => (size.parse::<usize>()?, 0),
            ["HMSG", .., headers, size] => (size.parse::<usize>()?, headers.parse::<usize>()?),
            _ => continue,
        };
        let subject = words[1].to_owned();
        let mut bytes = vec![0; size + 2];
        connection.read_exact(&mut bytes).await?;
        bytes.truncate(size);
        bytes.drain(..headers);
        return Ok((subject, bytes));
    }
}
