//! URLs of receivers, and names of domains.

use std::sync::OnceLock;

use egress::{AddressPolicy, Client, EgressConfig, MAX_URL_BYTES, host_of, loggable};
use settings_api::parsers::{self, Fields};
use url::Url;

use crate::bounds::within;

/// Memory, in bytes for each of a URL's: names in other scripts are mapped and checked.
const MULTIPLE: usize = 64;

/// A URL that is taken is taken again as it was read, is the same to the library that sends, and shows
/// no password in logs. What is a domain's name is its own canonical form.
pub(crate) fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    shown(text);
    domain(text);
    // Handlers refuse what is longer before anything else looks at it.
    let vetted = within(text.len(), MULTIPLE, || AddressPolicy::default().vet_url(text));
    let checked = within(text.len(), MULTIPLE, || parsers::check_url(client(), text));
    assert!(vetted.is_ok() || checked.is_err(), "{text}");
    let webhook =
        vec![("url".to_owned(), text.to_owned()), ("event_types".to_owned(), "clicked".to_owned())];
    match parsers::account_webhook(client(), &Fields::of(webhook)) {
        Ok(()) => assert!(checked.is_ok(), "{text}"),
        Err(status) => assert!((400..500).contains(&status), "{status}: {text}"),
    }
    let Ok(url) = vetted else { return };
    assert!(text.len() <= MAX_URL_BYTES);
    if url.as_str().len() <= MAX_URL_BYTES {
        let again = AddressPolicy::default().vet_url(url.as_str());
        assert_eq!(again.as_ref(), Ok(&url), "{text}");
    }
    let uri: http::Uri = url.as_str().parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(uri.host(), url.host_str(), "{text}");
    assert_eq!(uri.port_u16(), url.port(), "{text}");
    assert_eq!(uri.scheme_str(), Some(url.scheme()), "{text}");
}

pub(crate) fn client() -> &'static Client {
    static CLIENT: OnceLock<Client> = OnceLock::new();
    CLIENT.get_or_init(|| {
        Client::new(EgressConfig::default()).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Logs show of it neither user nor password nor query.
fn shown(text: &str) {
    let shown = within(text.len(), MULTIPLE, || loggable(text));
    if let Ok(url) = Url::parse(&shown) {
        assert_eq!((url.username(), url.password(), url.fragment()), ("", None, None), "{text}");
        assert!(url.query().is_none_or(|query| query == "%E2%80%A6"), "{text}: {shown}");
    }
    if let Ok(url) = Url::parse(&host_of(text)) {
        assert_eq!((url.username(), url.password(), url.query()), ("", None, None), "{text}");
        assert!(matches!(url.path(), "/%E2%80%A6" | "/…"), "{text}: {url}");
    }
}

fn domain(text: &str) {
    let Some(name) = within(text.len(), MULTIPLE, || parsers::domain_name(text)) else { return };
    assert_eq!(parsers::domain_name(&name).as_ref(), Some(&name), "{text}");
    assert!(name.is_ascii() && name.len() <= 253 && name == name.to_ascii_lowercase(), "{text}");
}
