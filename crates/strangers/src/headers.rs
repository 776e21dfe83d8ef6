//! Header fields of requests that are read before anything else is known of them.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chassis::door::is_from_same_origin;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue};
use settings_api::parsers;

use crate::bounds::within;

/// Memory, in bytes for each of the fields'.
const MULTIPLE: usize = 16;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Lines, each with a field. A key is what a naive reader finds; links lead to one host; where a
/// visitor comes from is said by the last of our proxies alone; a browser that says that it is
/// on another site is not on ours.
pub(crate) fn check(input: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in input.split(|byte| *byte == b'\n').take(50) {
        let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    key(input.len(), &headers);
    links(input.len(), &headers);
    visitor(input.len(), headers.clone());
    let is_elsewhere = headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site");
    let is_same = within(input.len(), MULTIPLE, || is_from_same_origin(&headers));
    assert!(!(is_elsewhere && is_same), "{headers:?}");
    if headers.get("sec-fetch-site").is_none()
        && let (Some(origin), Some(host)) = (headers.get("origin"), headers.get(HOST))
        && is_same
    {
        let (origin, host) = (origin.to_str(), host.to_str().unwrap_or_default());
        assert!(origin.is_ok_and(|origin| origin.ends_with(&format!("://{host}"))), "{headers:?}");
    }
}

fn key(bytes: usize, headers: &HeaderMap) {
    let key = within(bytes, MULTIPLE, || parsers::api_key(headers));
    let naive = || {
        let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let rest = text.get(..6).filter(|scheme| scheme.eq_ignore_ascii_case("basic "))?;
        let pair = String::from_utf8(STANDARD.decode(text[rest.len()..].trim()).ok()?).ok()?;
        pair.strip_prefix("api:").filter(|key| !key.is_empty()).map(str::to_owned)
    };
    assert_eq!(key, naive(), "{headers:?}");
    let Some(key) = key else { return };
    let again = format!("Basic {}", STANDARD.encode(format!("api:{key}")));
    let again = HeaderValue::try_from(again).map(|value| (AUTHORIZATION, value));
    let again = again.map(|field| parsers::api_key(&HeaderMap::from_iter([field])));
    assert_eq!(again.ok(), Some(Some(key)));
}

fn links(bytes: usize, headers: &HeaderMap) {
    let origin = within(bytes, MULTIPLE, || parsers::origin(headers));
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    let host = host.unwrap_or_else(|| panic!("{origin}"));
    let breaks = |c: char| c.is_control() || c.is_whitespace() || "\"'<>\\@/?#".contains(c);
    // RFC 3986 has the apostrophe in names of hosts, and JSON has no need to escape it.
    assert!(!host.replace('\'', "").contains(breaks), "{origin}");
}

fn visitor(bytes: usize, mut headers: HeaderMap) {
    let [peer, seen]: [IpAddr; 2] = [[192, 0, 2, 1].into(), [198, 51, 100, 7].into()];
    let of = |headers: &HeaderMap, proxies| {
        within(bytes + 64, MULTIPLE, || console::parsers::visitor(peer, headers, proxies))
    };
    assert_eq!(of(&headers, 0), peer);
    for proxies in 1..4 {
        of(&headers, proxies);
    }
    // One proxy adds to what a visitor has sent, another one adds a field of its own.
    let theirs = headers.get_all(&FORWARDED_FOR).iter().next_back().cloned();
    let theirs = theirs.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    let both = HeaderValue::from_bytes(&[theirs, b", ", seen.to_string().as_bytes()].concat());
    if let Ok(both) = both {
        let mut added = headers.clone();
        added.insert(FORWARDED_FOR, both);
        assert_eq!(of(&added, 1), seen, "{added:?}");
    }
    if let Ok(own) = HeaderValue::try_from(seen.to_string()) {
        headers.append(FORWARDED_FOR, own);
        assert_eq!(of(&headers, 1), seen, "{headers:?}");
    }
}
