//! A proxy on the way out, for deployments that let nothing else out.
//!
//! It speaks SOCKS5, because that is told an address: the one that was vetted
//! here. A proxy for HTTP is told a name, looks it up once more, and what it then
//! connects to is not what was vetted.

use std::error::Error;
use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

use crate::answer::{Failure, FailureKind};

/// How long a proxy may take to say that it is there.
const GREETING: Duration = Duration::from_secs(1);

/// A SOCKS5 proxy, with the user and the password that it asks for.
#[derive(Clone, Eq, PartialEq)]
pub struct EgressProxy(Url);

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.host(), self.port());
        f.debug_struct("EgressProxy").field("host", &host).field("port", &port).finish()
    }
}

impl EgressProxy {
    /// Parses `socks5://[user:password@]host[:port]`; the port is 1080 without one.
    ///
    /// # Errors
    /// What would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Url::parse(text).ok().filter(|url| url.host_str().is_some_and(|h| !h.is_empty()));
        let Some(url) = url else {
            return Err("expected socks5://[user:password@]host:port".to_owned());
        };
        if url.scheme() != "socks5" {
            return Err(
                "expected socks5://: other proxies look names up themselves, and would connect to addresses that nobody has vetted"
                    .to_owned(),
            );
        }
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err("expected nothing behind the port".to_owned());
        }
        Ok(Self(url))
    }

    /// In lower case, and without a dot at its end.
    pub(crate) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        host.trim_end_matches('.').to_ascii_lowercase()
    }

    fn port(&self) -> u16 {
        self.0.port().unwrap_or(1080)
    }

    pub(crate) fn url(&self) -> Url {
        self.0.clone()
    }

    /// Whether this is the proxy's own name, which is looked up without vetting
    /// and so can be nobody's receiver. One that is named by its address is not
    /// looked up.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let name = name.trim_end_matches('.');
        name.parse::<Ipv4Addr>().is_err() && name.eq_ignore_ascii_case(&self.host())
    }

    /// Whether the proxy greets us. Asked when a connection has not come about in
    /// time, to tell a proxy in trouble, which is our fault, from a receiver.
    pub(crate) async fn greets(&self) -> bool {
        let greeting = async {
            let host = self.host();
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let mut stream = TcpStream::connect((host, self.port())).await?;
            // Version 5; two ways to say who we are: not at all, or by a password.
            stream.write_all(&[5, 2, 0, 2]).await?;
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await?;
            Ok::<bool, std::io::Error>(answer[0] == 5)
        };
        matches!(timeout(GREETING, greeting).await, Ok(Ok(true)))
    }
}

/// What the library says of a proxy that could not be passed. It has no other
/// way to tell; the tests hold these texts against a real proxy.
const NOT_PASSED: &str = "error connecting to socks proxy";
const ITS_ANSWER: &str = "SOCKS error: ";

/// What a proxy has to do with an error, if it has.
pub(crate) fn classify(causes: &[&(dyn Error + 'static)]) -> Option<Failure> {
    let texts: Vec<String> = causes.iter().map(ToString::to_string).collect();
    let answer = texts.iter().find_map(|text| text.strip_prefix(ITS_ANSWER));
    if answer.is_none() && !texts.iter().any(|text| text == NOT_PASSED) {
        return None;
    }
    // The proxy speaks of the receiver, or of itself.
    let (kind, detail) = match answer {
        Some("connection refused") => (FailureKind::Connect, "the connection was refused"),
        Some("host unreachable" | "network unreachable" | "ttl expired") => {
            (FailureKind::Connect, "the host cannot be reached")
        }
        Some("connection not allowed") => {
            (FailureKind::Blocked, "the operator's proxy lets nobody go there")
        }
        _ => (FailureKind::Proxy, "the proxy on the way out is in trouble"),
    };
    Some(Failure::new(kind, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_parsed_and_others_are_told_what_is_right() {
        let proxy = EgressProxy::parse("socks5://ada:s3cret@Proxy.Internal.:1081").unwrap();
        assert_eq!((proxy.host().as_str(), proxy.port()), ("proxy.internal", 1081));
        assert!(proxy.has_name("PROXY.internal") && !proxy.has_name("internal"));
        assert!(!format!("{proxy:?}").contains("s3cret"));
        let by_address = EgressProxy::parse("socks5://10.0.0.1").unwrap();
        assert_eq!(by_address.port(), 1080);
        assert!(!by_address.has_name("10.0.0.1"), "it would not be vetted");
        for wrong in ["http://proxy:3128", "socks5h://proxy:1080", "proxy:1080", "socks5://"] {
            let error = EgressProxy::parse(wrong).unwrap_err();
            assert!(error.contains("socks5://"), "{wrong}: {error}");
        }
        assert!(EgressProxy::parse("socks5://proxy:1080/path").is_err());
    }
}
