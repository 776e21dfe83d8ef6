//! A receiver for the demo: takes every POST, remembers the last ones, shows them.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// The port of the design's request bin, whose place this takes.
pub(super) const PORT: u16 = 8090;

const KEPT: usize = 50;
const LONGEST_HEAD_BYTES: u64 = 64 * 1024;
const LONGEST_BODY_BYTES: usize = 8 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Requests {
    received: u64,
    last: VecDeque<Value>,
}

type Shared = Arc<Mutex<Requests>>;

/// Listens from now on until the process ends.
pub(super) fn start() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))
        .with_context(|| format!("the demo receiver cannot listen on port {PORT}"))?;
    thread::spawn(move || serve(&listener));
    Ok(())
}

fn serve(listener: &TcpListener) {
    let shared = Shared::default();
    for stream in listener.incoming().flatten() {
        let shared = Arc::clone(&shared);
        // Whoever breaks off half-way gets no answer; that is all there is to do.
        thread::spawn(move || answer(stream, &shared));
    }
}

/// One request a connection.
fn answer(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (status, body) = match Request::read(&mut reader)? {
        Ok(request) => respond(request, shared),
        Err(status) => (status, String::new()),
    };
    let mut stream = reader.into_inner();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn respond(request: Request, shared: &Shared) -> (&'static str, String) {
    let mut requests = shared.lock().unwrap_or_else(PoisonError::into_inner);
    if request.method == "POST" {
        requests.received += 1;
        let number = requests.received;
        requests.last.push_back(json!({
            "number": number,
            "path": request.path,
            "x-sign": request.headers.get("x-sign"),
            "headers": request.headers,
            "body": String::from_utf8_lossy(&request.body),
        }));
        while requests.last.len() > KEPT {
            requests.last.pop_front();
        }
        return ("200 OK", r#"{"message":"Post received. Thanks!"}"#.to_owned());
    }
    let lines = match request.path.as_str() {
        "/requests" => requests.last.iter().map(|request| format!("{request}\n")).collect(),
        _ => String::new(),
    };
    ("200 OK", lines)
}

struct Request {
    method: String,
    path: String,
    headers: Map<String, Value>,
    body: Vec<u8>,
}

impl Request {
    /// Reads a request, or says with which status to refuse it.
    fn read(reader: &mut impl BufRead) -> io::Result<Result<Self, &'static str>> {
        let mut head = reader.by_ref().take(LONGEST_HEAD_BYTES);
        let mut line = String::new();
        head.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Ok(Err("400 Bad Request"));
        };
        let mut headers = Map::new();
        loop {
            let mut line = String::new();
            if head.read_line(&mut line)? == 0 {
                return Ok(Err("431 Request Header Fields Too Large"));
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), json!(value.trim()));
        }
        let length = match headers.get("content-length").and_then(Value::as_str) {
            Some(length) => length.parse().unwrap_or(usize::MAX),
            None if headers.contains_key("transfer-encoding") => {
                return Ok(Err("411 Length Required"));
            }
            None => 0,
        };
        if length > LONGEST_BODY_BYTES {
            return Ok(Err("413 Content Too Large"));
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(Ok(Self { method, path, headers, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(shared: &Shared, request: &str) -> (&'static str, String) {
        match Request::read(&mut request.as_bytes()).unwrap() {
            Ok(request) => respond(request, shared),
            Err(status) => (status, String::new()),
        }
    }

    #[test]
    fn posts_are_kept_with_signature_and_body_and_shown() {
        let shared = Shared::default();
        let post =
            "POST /demo HTTP/1.1\r\nHost: x\r\nX-Sign: abc\r\nContent-Length: 7\r\n\r\n{\"a\":1}";
        let (status, body) = exchange(&shared, post);
        assert_eq!((status, &*body), ("200 OK", r#"{"message":"Post received. Thanks!"}"#));

        let (_, lines) = exchange(&shared, "GET /requests HTTP/1.1\r\n\r\n");
        let shown: Value = serde_json::from_str(lines.trim_end()).unwrap();
        assert_eq!(shown["x-sign"], "abc");
        assert_eq!(shown["body"], "{\"a\":1}");
        assert_eq!(exchange(&shared, "GET /demo HTTP/1.1\r\n\r\n"), ("200 OK", String::new()));

        for _ in 0..KEPT {
            exchange(&shared, post);
        }
        let (_, lines) = exchange(&shared, "GET /requests HTTP/1.1\r\n\r\n");
        assert_eq!(lines.lines().count(), KEPT);
        assert!(lines.contains("\"number\":51") && !lines.contains("\"number\":1,"));
    }

    #[test]
    fn what_it_cannot_take_is_refused() {
        let shared = Shared::default();
        let huge = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", LONGEST_BODY_BYTES + 1);
        assert!(exchange(&shared, &huge).0.starts_with("413"));
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert!(exchange(&shared, chunked).0.starts_with("411"));
        assert!(exchange(&shared, "\r\n\r\n").0.starts_with("400"));
    }
}
