//! Sealed things that strangers bring back: links of lists, and the console's cookie.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use settings_api::parsers;
use signing::{Sealed, SecretKey};

use crate::bounds::within;
use crate::queries::now;

pub(crate) const ACCOUNT: &str = "65aa0d3c9f21b70011ee4402";
pub(crate) const LIST: &str = "events:0";

/// Memory, in bytes for each of a token's.
const MULTIPLE: usize = 16;

const LINK: &str = r#"[{"f":null,"t":1760000000000000,"a":true,"o":false,"l":100,"q":[["subject","a"]]},{"a":[[1760000000000000,7],null]}]"#;

pub(crate) fn key() -> SecretKey {
    static KEY: OnceLock<SecretKey> = OnceLock::new();
    KEY.get_or_init(|| {
        "07".repeat(32).parse::<SecretKey>().unwrap_or_else(|error| panic!("{error:?}"))
    })
    .clone()
}

fn sealed(content: &[u8]) -> Vec<u8> {
    key().seal(content, [7; 24], &Sealed::Page(ACCOUNT, LIST).context())
}

fn open(token: &str) -> Option<String> {
    within(token.len(), MULTIPLE, || parsers::open_page(&key(), ACCOUNT, LIST, token))
}

/// A byte for what is done with the rest: it is a token, or a change of one, or what is sealed
/// in one, or a cookie. Only what is sealed here opens, in one spelling; and what opens, opens
/// again as it was read.
pub(crate) fn check(input: &[u8]) {
    let Some((choice, rest)) = input.split_first() else { return };
    let valid = URL_SAFE_NO_PAD.encode(sealed(LINK.as_bytes()));
    match choice % 4 {
        0 => {
            let token = String::from_utf8_lossy(rest);
            assert!(open(&token).is_none() || token == valid, "{token} opens");
        }
        1 => {
            let mut bytes = sealed(LINK.as_bytes());
            for (byte, change) in bytes.iter_mut().zip(rest) {
                *byte ^= change;
            }
            let token = URL_SAFE_NO_PAD.encode(bytes);
            assert_eq!(open(&token).is_some(), token == valid, "{token}");
            let text: Vec<u8> = valid.bytes().zip(rest).map(|(a, b)| a ^ b).collect();
            let token = String::from_utf8_lossy(&text);
            assert!(open(&token).is_none() || token == valid, "{token}");
        }
        2 => {
            let token = URL_SAFE_NO_PAD.encode(sealed(rest));
            let Some(read) = open(&token) else { return };
            let again = URL_SAFE_NO_PAD.encode(sealed(read.as_bytes()));
            assert_eq!(open(&again), Some(read));
            let elsewhere = parsers::open_page(&key(), ACCOUNT, "failures", &token);
            assert_eq!(elsewhere, None, "a link of one list opens in another");
        }
        _ => cookies(rest),
    }
}

/// A stranger's cookie is nobody's session, and hides none that stands beside it.
fn cookies(theirs: &[u8]) {
    let read = |value: &HeaderValue, is_secure| {
        let headers = HeaderMap::from_iter([(COOKIE, value.clone())]);
        let bytes = value.as_bytes().len();
        within(bytes, MULTIPLE, || {
            console::parsers::session_key(&headers, &key(), is_secure, now())
        })
    };
    for is_secure in [false, true] {
        if let Ok(value) = HeaderValue::from_bytes(theirs) {
            assert_eq!(read(&value, is_secure), None);
        }
        let cookie = console::parsers::cookie("key-1", &key(), is_secure, now());
        let pair = cookie.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        for parts in [[theirs, b"; ", pair], [pair, b"; ", theirs]] {
            let Ok(value) = HeaderValue::from_bytes(&parts.concat()) else { return };
            assert_eq!(read(&value, is_secure).as_deref(), Some("key-1"), "{value:?}");
        }
    }
}
