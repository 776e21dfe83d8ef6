//! Whether a request comes from a page of somebody else.

use axum::http::{HeaderMap, HeaderValue};

/// Whether a request was sent by a page of the same origin, or by none, as far as a browser
/// says. Other clients say nothing.
pub fn is_from_same_origin(headers: &HeaderMap) -> bool {
    // A value that is no text is no origin of ours.
    let text =
        |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else { return true };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_some_and(|host| !host.is_empty()) && host == text("host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_site_sends_is_told_apart() {
        let says = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            is_from_same_origin(&HeaderMap::from_iter(headers))
        };
        assert!(says(&[]) && says(&[("sec-fetch-site", "same-origin")]));
        assert!(says(&[("origin", "http://a.example:81"), ("host", "a.example:81")]));
        for site in ["cross-site", "same-site", "whatever"] {
            assert!(!says(&[("sec-fetch-site", site)]), "{site}");
        }
        for origin in ["null", "http://b.example", "http://a.example:82"] {
            assert!(!says(&[("origin", origin), ("host", "a.example:81")]), "{origin}");
        }
        for name in ["sec-fetch-site", "origin"] {
            let value = HeaderValue::from_bytes(b"http://caf\xe9").unwrap();
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), value)]);
            assert!(!is_from_same_origin(&headers), "{name}");
        }
    }
}
