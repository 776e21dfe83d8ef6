//! Questions to the broker itself, such as making a stream refuse writes.
//!
//! A dozen lines of its text protocol, so that tests need no client of it.

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
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

/// As [`jetstream`], for a cluster that may be electing its leaders: nothing when
/// there is no answer.
pub async fn try_jetstream(url: &str, subject: &str, question: &Value) -> Option<Value> {
    ask(url, subject, question).await.ok()
}

/// The names of all streams.
///
/// # Panics
///
/// As [`jetstream`].
pub async fn streams(url: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    loop {
        let page = jetstream(url, "STREAM.NAMES", &json!({"offset": names.len()})).await;
        let page = page["streams"].as_array().cloned().unwrap_or_default();
        if page.is_empty() {
            return names;
        }
        names.extend(page.iter().filter_map(|name| name.as_str().map(str::to_owned)));
    }
}

/// Every message that a stream holds, oldest first: its subject and its bytes.
///
/// # Panics
///
/// As [`jetstream`].
pub async fn messages(url: &str, stream: &str) -> Vec<(String, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut next = 1;
    loop {
        let info = jetstream(url, &format!("STREAM.INFO.{stream}"), &json!({})).await;
        let last = info["state"]["last_seq"].as_u64().unwrap_or_default();
        if info["state"]["messages"] == 0 || next > last {
            return messages;
        }
        let question = json!({"seq": next, "next_by_subj": ">"});
        // The rest may have gone since.
        let Ok(answer) = ask(url, &format!("STREAM.MSG.GET.{stream}"), &question).await else {
            return messages;
        };
        let message = &answer["message"];
        let data = message["data"].as_str().unwrap_or_default();
        let data = STANDARD.decode(data).unwrap_or_default();
        messages.push((message["subject"].as_str().unwrap_or_default().to_owned(), data));
        next = message["seq"].as_u64().unwrap_or(last) + 1;
    }
}

/// Whether every role that consumes a stream has taken and acknowledged all of it. Whoever
/// only looks something up there, under no lasting name, is not waited for.
///
/// # Panics
///
/// As [`jetstream`].
pub async fn is_consumed(url: &str, stream: &str) -> bool {
    let list = jetstream(url, &format!("CONSUMER.LIST.{stream}"), &json!({})).await;
    let consumers = list["consumers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut lasting = consumers.iter().filter(|info| info["config"]["durable_name"].is_string());
    lasting.all(|info| info["num_pending"] == 0 && info["num_ack_pending"] == 0)
}

/// Stores a message of whatever bytes, as another version may have written it.
///
/// # Panics
///
/// When the broker cannot be reached or says anything but that it has it.
pub async fn publish(url: &str, subject: &str, payload: &[u8]) {
    if let Err(error) = try_publish(url, subject, payload).await {
        panic!("{subject}: {error:#}");
    }
}

/// Whether a user may not publish on a subject of JetStream's, as the broker says.
///
/// # Panics
///
/// When the broker cannot be reached.
pub async fn is_forbidden(url: &str, subject: &str) -> bool {
    // Whatever else it says of the message, it would have let it through.
    let refusal = try_publish(url, subject, b"{}").await.err();
    let refusal = refusal.map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(!refusal.contains("Connection refused"), "{url}: {refusal}");
    refusal.contains("Permissions Violation")
}

/// Whether the user in this URL may not subscribe to a subject.
///
/// # Panics
///
/// When the broker cannot be reached.
pub async fn is_deaf(url: &str, subject: &str) -> bool {
    let heard = async {
        let (mut stream, _) = connect(url).await?;
        stream.write_all(format!("SUB {subject} 2\r\nPING\r\n").as_bytes()).await?;
        let mut line = String::new();
        while line != "PONG\r\n" {
            line.clear();
            if stream.read_line(&mut line).await? == 0 || line.starts_with("-ERR") {
                bail!("{}", line.trim());
            }
        }
        Ok(())
    };
    let refusal = heard.await.err().map(|error: anyhow::Error| format!("{error:#}"));
    let refusal = refusal.unwrap_or_default();
    assert!(!refusal.contains("Connection refused"), "{url}: {refusal}");
    refusal.contains("Permissions Violation")
}

/// As [`publish`], for a cluster that may be electing its leaders.
///
/// # Errors
///
/// When the broker cannot be reached or says anything but that it has it.
pub async fn try_publish(url: &str, subject: &str, payload: &[u8]) -> Result<()> {
    let (mut stream, inbox) = connect(url).await?;
    let publish = format!("PUB {subject} {inbox} {}\r\n", payload.len());
    stream.write_all(&[publish.as_bytes(), payload, b"\r\n"].concat()).await?;
    answer(&mut stream).await.map(drop)
}

async fn ask(url: &str, subject: &str, question: &Value) -> Result<Value> {
    let (mut stream, inbox) = connect(url).await?;
    let question = question.to_string();
    let ask = format!("PUB $JS.API.{subject} {inbox} {}\r\n{question}\r\n", question.len());
    stream.write_all(ask.as_bytes()).await?;
    answer(&mut stream).await
}

/// A connection, and a subject of its own on which answers come.
async fn connect(url: &str) -> Result<(BufReader<TcpStream>, String)> {
    let address = url.strip_prefix("nats://").context("a nats:// URL")?;
    let (login, address) = match address.split_once('@') {
        Some((login, address)) => (login.split_once(':'), address),
        None => (None, address),
    };
    let mut options = json!({"verbose": false});
    if let Some((user, password)) = login {
        options["user"] = user.into();
        options["pass"] = password.into();
    }
    let stream = TcpStream::connect(address).await?;
    // Others ask the same broker at the same time, over ports of their own.
    let user = login.map_or("testkit", |(user, _)| user);
    let inbox = format!("_INBOX.{user}.{}", stream.local_addr()?.port());
    let mut stream = BufReader::new(stream);
    let commands = format!("CONNECT {options}\r\nSUB {inbox} 1\r\n");
    stream.write_all(commands.as_bytes()).await?;
    Ok((stream, inbox))
}

async fn answer(stream: &mut BufReader<TcpStream>) -> Result<Value> {
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
