//! Forms and paths of the console.

use console::parsers;
use url::Url;

use crate::bounds::within;
use crate::queries::now;

/// Memory, in bytes for each of a form's.
const MULTIPLE: usize = 200;

const NAMES: [&str; 5] = ["a", "next", "url", "form_token", "sure"];

/// The body of a form, whose values are also taken for all else that a form may hold. A page that
/// a visitor is led to is one of ours to a browser, too; no stranger has a token of a form.
pub(crate) fn check(input: &[u8]) {
    for name in NAMES {
        let values = within(input.len(), MULTIPLE, || parsers::values(input, name));
        assert!(values.iter().all(|value| !value.is_empty() && value.trim() == value));
        for value in values.iter().take(4) {
            value_of_any_field(value);
        }
    }
    if let Ok(text) = std::str::from_utf8(input) {
        value_of_any_field(text);
    }
}

fn value_of_any_field(text: &str) {
    if within(text.len(), 1, || parsers::is_ours(text)) {
        let base = Url::parse("https://console.example/console/sign-in");
        let led_to = base.and_then(|base| base.join(text));
        let led_to = led_to.unwrap_or_else(|error| panic!("{text}: {error}"));
        let host = (led_to.scheme(), led_to.host_str(), led_to.port());
        assert_eq!(host, ("https", Some("console.example"), None), "{text}");
        assert!(http::HeaderValue::from_str(text).is_ok(), "{text}");
    }
    assert!(!within(text.len(), 2, || parsers::takes_form_token(text, now())), "{text}");
    let moment = within(text.len(), 8, || parsers::moment(text));
    assert!(moment == text || parsers::moment(&moment) == moment, "{text}: {moment}");
    let page = within(text.len(), 8, || parsers::page_of(text));
    assert!(page.is_none_or(|page| !page.is_empty()));
    let segment = within(text.len(), 12, || parsers::segment(text));
    assert!(segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'%'), "{segment}");
    let again = percent_encoding::percent_decode_str(&segment).decode_utf8();
    assert_eq!(again.as_deref(), Ok(text));
}
