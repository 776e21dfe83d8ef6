//! The request bin of the demo.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dev_servers::{ManagedProcess, Signal};
use serde_json::{Value, json};

use super::Product;

pub(super) const PORT: u16 = 8090;
pub(super) const OPS_PORT: u16 = 9101;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Where the demo's bin is.
pub(super) struct Bin {
    /// Where to send to.
    pub(super) url: String,
    /// Where people look.
    pub(super) view_url: String,
    /// Where programs look.
    pub(super) api_url: String,
}

/// Starts the request bin.
pub(super) fn start(postrider: &Product, log: &Path) -> Result<ManagedProcess> {
    let mut command = postrider.command();
    command.arg("request-bin").env("POSTRIDER_OPS_ADDR", format!("127.0.0.1:{OPS_PORT}"));
    ManagedProcess::spawn("the request bin", &mut command, log, Signal::TERM)
}

/// Makes the demo's bin, as soon as the request bin takes requests.
pub(super) fn create(name: &str) -> Result<Bin> {
    let deadline = Instant::now() + READY_WITHIN;
    let answer = loop {
        match post("/api/bins", &json!({ "name": name }).to_string()) {
            Ok(answer) => break answer,
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("the request bin does not answer");
            }
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    };
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("the request bin answered with half of an answer");
    };
    let made: Value =
        serde_json::from_str(body).with_context(|| format!("the request bin said {head}"))?;
    let text = |field: &str| {
        made[field]
            .as_str()
            .map(str::to_owned)
            .with_context(|| format!("the bin has no {field}: {made}"))
    };
    let api_url = format!("http://127.0.0.1:{PORT}/api/bins/{name}/requests");
    Ok(Bin { url: text("url")?, view_url: text("view_url")?, api_url })
}

fn post(path: &str, body: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
