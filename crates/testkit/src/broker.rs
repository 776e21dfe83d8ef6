//! Questions to the broker itself, such as making a stream refuse writes.
//!
//! A dozen lines of its text protocol, so that tests need no client of it.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Sends one request to JetStream's API, such as `STREAM.INFO.us_EVENTS`, and
/// returns the answer.
///
/// # Panics
///
/// When the broker cannot be reached or answers with an error.
pub async fn jetstream(url: &str, subject: &str, question: &Value) -> Value {
    match ask(url, subject, question).await {
        Ok(answer) => answer,
        Err(error) => panic!("{subject}: {error:#}"),
    }
}

async fn ask(url: &str, subject: &str, question: &Value) -> Result<Value> {
    let address = url.strip_prefix("nats://").context("a nats:// URL")?;
    let mut stream = BufReader::new(TcpStream::connect(address).await?);
    let question = question.to_string();
    let commands = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB answer 1\r\nPUB $JS.API.{subject} answer {}\r\n{question}\r\n",
        question.len()
    );
    stream.write_all(commands.as_bytes()).await?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            bail!("the broker closed the connection");
        }
        if line.starts_with("-ERR") {
            bail!("{}", line.trim());
        }
        let Some(head) = line.strip_prefix("MSG ") else { continue };
        let size = head.trim().rsplit(' ').next().context("a size")?.parse()?;
        let mut answer = vec![0; size];
        stream.read_exact(&mut answer).await?;
        let answer: Value = serde_json::from_slice(&answer)?;
        if let Some(error) = answer.get("error") {
            bail!("{error}");
        }
        return Ok(answer);
    }
}
