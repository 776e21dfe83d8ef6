//! URLs that may be sent to, as far as that can be said without the network.

use std::net::{IpAddr, Ipv4Addr};

use url::{Host, Url};

use crate::address::{AddressPolicy, Forbidden};
use crate::ports;

/// The longest URL that is taken, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;

/// Why a URL cannot be a receiver's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum UrlError {
    /// It is no absolute http or https URL.
    #[error("{0}")]
    Invalid(&'static str),
    /// It names an address that receivers may not have.
    #[error(transparent)]
    Blocked(#[from] Forbidden),
}

impl AddressPolicy {
    /// Parses a URL and vets what can be vetted of it without the network:
    /// scheme, form, and the host when it is an address, in whatever notation,
    /// or a name for this machine.
    ///
    /// Passing says nothing of the addresses that a name leads to; these are
    /// vetted at each connection.
    ///
    /// # Errors
    /// Why nothing can be sent there.
    pub fn vet_url(&self, text: &str) -> Result<Url, UrlError> {
        if text.len() > MAX_URL_BYTES {
            return Err(UrlError::Invalid("the URL is longer than 2048 bytes"));
        }
        // The parser would drop them in silence, and the URL that is stored
        // would not be the one that is called.
        if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
            return Err(UrlError::Invalid("the URL contains spaces or control characters"));
        }
        let url = Url::parse(text)
            .map_err(|_| UrlError::Invalid("this is not an absolute URL such as https://host/"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(UrlError::Invalid("the URL must begin with http:// or https://"));
        }
        if url.port() == Some(0) {
            return Err(UrlError::Invalid("port 0 cannot be connected to"));
        }
        if url.port().is_some_and(ports::is_of_another_protocol) {
            return Err(UrlError::Invalid("the URL's port belongs to another protocol than HTTP"));
        }
        match url.host() {
            None => return Err(UrlError::Invalid("the URL names no host")),
            Some(Host::Ipv4(address)) => self.vet(address.into())?,
            Some(Host::Ipv6(address)) => self.vet(address.into())?,
            Some(Host::Domain(name)) => self.vet_name(name)?,
        }
        Ok(url)
    }

    fn vet_name(&self, name: &str) -> Result<(), UrlError> {
        let name = name.strip_suffix('.').unwrap_or(name);
        // RFC 1035. Resolvers fail in many ways on longer ones, some of which
        // would look like our fault.
        let labels_fit = name.split('.').all(|label| (1..=63).contains(&label.len()));
        // The library that sends takes none of these in a host, and a URL may have them.
        let can_be_sent = !name.contains(['"', '`', '{', '}']);
        if name.len() > 253 || !labels_fit || !can_be_sent {
            return Err(UrlError::Invalid("the URL's host is not a domain name"));
        }
        // RFC 6761: whatever the resolver says, these mean this machine.
        let name = name.to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") {
            self.vet(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        }
        Ok(())
    }
}

/// A URL for the people whose it is: without user name, password, query and fragment, any of
/// which may be a credential. For logs of processes it is too much: with many services the
/// path is a secret as well. They have [`host_of`], if anything.
pub fn loggable_url(url: &Url) -> String {
    // `user:secret@host` is a URL as well, with the scheme `user`.
    let Some(host) = url.host_str() else { return NOT_A_URL.to_owned() };
    let mut out = format!("{}://{host}", url.scheme());
    if let Some(port) = url.port() {
        out.push(':');
        out.push_str(&port.to_string());
    }
    out.push_str(url.path());
    if url.query().is_some() {
        out.push_str("?…");
    }
    out
}

/// [`loggable_url`] of text; of what is no URL nothing is shown.
pub fn loggable(text: &str) -> String {
    Url::parse(text).map_or_else(|_| NOT_A_URL.to_owned(), |url| loggable_url(&url))
}

/// The host of a URL, for who may know where something goes and not by which path: with many
/// services the path is the secret.
pub fn host_of(text: &str) -> String {
    Url::parse(text)
        .ok()
        .and_then(|url| Some(format!("{}://{}/…", url.scheme(), url.host_str()?)))
        .unwrap_or_else(|| NOT_A_URL.to_owned())
}

const NOT_A_URL: &str = "[not a URL]";

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn vet(url: &str) -> Result<Url, UrlError> {
        AddressPolicy::default().vet_url(url)
    }

    #[test]
    fn web_urls_pass() {
        for url in [
            "https://hooks.example.net/a?b=c#d",
            "http://hooks.example.net:8080",
            "https://user:secret@hooks.example.net/",
            "https://8.8.8.8/",
            "https://[2606:4700::1111]/",
            "https://bücher.example/",
            "https://single-label/",
            "HTTPS://hooks.example.net./",
        ] {
            assert!(vet(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn what_is_no_web_url_is_refused() {
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL_BYTES));
        let label = format!("https://{}.example/", "a".repeat(64));
        for url in [
            "",
            "hooks.example.net",
            "/path",
            "ftp://hooks.example.net/",
            "file:///etc/passwd",
            "unix:/run/x.sock",
            "http://",
            "https://hooks.example.net:0/",
            "https://hooks.example.net:25/",
            "https://hooks.example.net:99999/",
            "https://a..example/",
            "https://a`b.example/",
            "https://a\"b.example/",
            "https://{a}.example/",
            " https://a.example/",
            "https://a.example/\n",
            "https://a.exa\tmple/",
            &long,
            &label,
        ] {
            assert!(matches!(vet(url), Err(UrlError::Invalid(_))), "{url}");
        }
    }

    #[test]
    fn addresses_are_vetted_in_every_notation() {
        for url in [
            "http://127.0.0.1/",
            "http://127.0.0.1./",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://017700000001/",
            "http://0177.0.0.01/",
            "http://%31%32%37.0.0.1/",
            "http://１２７。0。0。1/",
            "http://0/",
            "http://169.254.169.254/latest/meta-data",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001:0:7f00:1::]/",
            "http://user:secret@10.0.0.1/",
            "http://localhost/",
            "http://LOCALHOST.:8080/",
            "http://a.localhost/",
        ] {
            assert!(matches!(vet(url), Err(UrlError::Blocked(_))), "{url}: {:?}", vet(url));
        }
    }

    #[test]
    fn allowed_ranges_open_urls() {
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], vec![]);
        for url in ["http://127.0.0.1:8090/x", "http://localhost/", "http://0x7f000001/"] {
            assert!(policy.vet_url(url).is_ok(), "{url}");
        }
        assert!(policy.vet_url("http://[::1]/").is_err());
    }

    #[test]
    fn logs_see_no_credentials() {
        for (url, shown) in [
            ("https://user:pw@a.example:8443/x/y?token=1#z", "https://a.example:8443/x/y?…"),
            ("https://a.example:443", "https://a.example/"),
            ("http://[::1]:80/", "http://[::1]/"),
            ("user:pw@a.example", "[not a URL]"),
            ("//user:pw@a.example", "[not a URL]"),
        ] {
            assert_eq!(loggable(url), shown);
        }
    }

    #[test]
    fn a_host_tells_no_path() {
        let url = "https://user:pw@a.example:8443/services/T0/TOKEN?x=1";
        assert_eq!(host_of(url), "https://a.example/…");
        assert_eq!(host_of("user:pw@a.example"), "[not a URL]");
    }
}
