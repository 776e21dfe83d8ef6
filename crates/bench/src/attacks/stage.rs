//! Where everything is, as it is told to the attacker.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

/// Whose deliveries are measured.
pub(super) const VICTIM: &str = "victim";
/// Whose key the attacker has, where it has one.
pub(super) const ATTACKER: &str = "attacker";

/// The ports of the process and of the request bin, and how long to attack.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Stage {
    pub(super) api: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) ingest_grpc: SocketAddr,
    pub(super) ingest_http: SocketAddr,
    pub(super) ops: SocketAddr,
    pub(super) bin: SocketAddr,
    pub(super) seconds: u64,
}

impl Stage {
    /// Every port on which something listens.
    pub(super) fn doors(&self) -> [(&'static str, SocketAddr); 6] {
        [
            ("api", self.api),
            ("ops", self.ops),
            ("bin", self.bin),
            ("ingest-http", self.ingest_http),
            ("ingest-grpc", self.ingest_grpc),
            ("admin", self.admin),
        ]
    }
}

/// The header that says whose call it is.
pub(super) fn authorization(account: &str) -> String {
    let credentials = BASE64_STANDARD.encode(format!("api:key-{account}"));
    format!("Authorization: Basic {credentials}\r\n")
}

/// A whole request.
pub(super) fn request(
    method: &str,
    path: &str,
    headers: &str,
    content_type: &str,
    body: &str,
) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: attacks\r\n{headers}Content-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A whole request with JSON, in the name of an account.
pub(super) fn json_request(
    method: &str,
    path: &str,
    account: &str,
    body: &serde_json::Value,
) -> Vec<u8> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(method, path, &authorization(account), "application/json", &body)
}
