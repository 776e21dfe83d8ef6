//! Where the broker is, and who we are to it.

use std::fmt;
use std::str::FromStr;

use async_nats::ServerAddr;
use percent_encoding::percent_decode_str;

/// Addresses of the broker's servers: `nats://` or `tls://`, with a user and a
/// password where it asks for them.
#[derive(Clone)]
pub struct BrokerUrl(Vec<ServerAddr>);

impl BrokerUrl {
    pub(crate) fn servers(&self) -> &[ServerAddr] {
        &self.0
    }

    /// User and password of the first address that has them: a cluster has the
    /// same users on every server.
    pub(crate) fn login(&self) -> Option<(String, String)> {
        let server = self.0.iter().find(|server| server.has_user_pass())?;
        let plain = |text: Option<&str>| {
            percent_decode_str(text.unwrap_or_default()).decode_utf8_lossy().into_owned()
        };
        Some((plain(server.username()), plain(server.password())))
    }
}

impl FromStr for BrokerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The parser's own words could repeat the password.
        let wrong = || "expected nats://host:port, or tls://user:password@host:port; several with commas between";
        let servers: Result<Vec<ServerAddr>, _> =
            text.split(',').map(|address| address.trim().parse()).collect();
        let servers = servers.map_err(|_| wrong())?;
        let is_fit = |server: &ServerAddr| {
            ["nats", "tls"].contains(&server.scheme()) && !server.host().is_empty()
        };
        if servers.iter().all(is_fit) { Ok(Self(servers)) } else { Err(wrong().to_owned()) }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_taken_from_the_address_and_never_shown() {
        let url: BrokerUrl = "tls://one:4222, tls://ingest:p%40ss@two:4222".parse().expect("right");
        assert_eq!(url.servers().len(), 2);
        assert_eq!(url.login(), Some(("ingest".to_owned(), "p@ss".to_owned())));
        assert_eq!(format!("{url:?}"), "[redacted]");
        let url: BrokerUrl = "nats://127.0.0.1:4222".parse().expect("right");
        assert_eq!(url.login(), None);
    }

    #[test]
    fn a_wrong_address_is_told_without_its_password() {
        for wrong in
            ["", "nats://", "http://user:secret@host", "nats://user:secret@host:port", "a,,b"]
        {
            let problem = wrong.parse::<BrokerUrl>().expect_err(wrong);
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
