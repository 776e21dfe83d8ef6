//! Where links lead: to where the client has called. It follows them with its
//! credentials, as they are.

use std::fmt;

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderName};

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Scheme and host that the client has used. A proxy in front says so in
/// `X-Forwarded-Proto` and `X-Forwarded-Host`; a caller who forges these gets
/// links that lead astray, and nobody else does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    scheme: &'static str,
    host: String,
}

impl Origin {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        // Several proxies add to a list, the one next to the client first.
        let first = |name: &HeaderName| {
            let value = headers.get(name)?.to_str().ok()?;
            value.split(',').next().map(str::trim)
        };
        let host = |text: &str| {
            let authority: Authority = text.parse().ok()?;
            // A name and a port, and no user.
            (!authority.as_str().contains('@')).then(|| authority.to_string())
        };
        let host = first(&FORWARDED_HOST)
            .and_then(host)
            .or_else(|| first(&HOST).and_then(host))
            .unwrap_or_else(|| "localhost".to_owned());
        let is_tls =
            first(&FORWARDED_PROTO).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        Self { scheme: if is_tls { "https" } else { "http" }, host }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(headers: &[(&'static str, &'static str)]) -> String {
        let headers = headers.iter().map(|(name, value)| {
            (HeaderName::from_static(name), http::HeaderValue::from_static(value))
        });
        Origin::of(&headers.collect()).to_string()
    }

    #[test]
    fn links_lead_to_where_the_client_has_called() {
        for (headers, expected) in [
            (&[("host", "127.0.0.1:8080")][..], "http://127.0.0.1:8080"),
            (
                &[
                    ("host", "pod-7"),
                    ("x-forwarded-host", "api.example"),
                    ("x-forwarded-proto", "https"),
                ],
                "https://api.example",
            ),
            (
                &[("host", "a.example"), ("x-forwarded-host", "b.example:8443, c")],
                "http://b.example:8443",
            ),
            (&[("host", "a.example"), ("x-forwarded-host", "b/c")], "http://a.example"),
            (&[("host", "a@b.example")], "http://localhost"),
            (&[], "http://localhost"),
        ] {
            assert_eq!(origin(headers), expected);
        }
    }
}
