//! The parsers that strangers reach, for `strangers`, which fuzzes them. None has a public
//! door of its own: a page needs the APIs behind it. No part of the product calls this, and
//! nothing here decides anything.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue};
use chrono::{DateTime, Utc};
use signing::SecretKey;

use crate::fields::Fields;
use crate::session::Session;

/// The API key of the session that a cookie brings along.
pub fn session_key(
    headers: &HeaderMap,
    key: &SecretKey,
    is_secure: bool,
    now: DateTime<Utc>,
) -> Option<String> {
    Session::read(headers, key, is_secure, now).map(|session| session.key().to_owned())
}

/// The cookie of a session that begins now.
pub fn cookie(api_key: &str, key: &SecretKey, is_secure: bool, now: DateTime<Utc>) -> HeaderValue {
    Session::begin(api_key, now).cookie(key, is_secure, now)
}

/// Whether a session takes this for a token of its forms. None of a stranger's is.
pub fn takes_form_token(token: &str, now: DateTime<Utc>) -> bool {
    Session::begin("key", now).has_sent(token)
}

/// Where a visitor comes from.
pub fn visitor(peer: IpAddr, headers: &HeaderMap, proxies: usize) -> IpAddr {
    crate::attempts::origin(peer, headers, proxies)
}

/// Whether a visitor may be led to this path.
pub fn is_ours(path: &str) -> bool {
    crate::path::is_ours(path)
}

/// All values of a field, without blanks around them.
pub fn values(form: &[u8], name: &str) -> Vec<String> {
    Fields::parse(form).all(name).map(str::to_owned).collect()
}

/// A moment, as the APIs take it.
pub fn moment(text: &str) -> String {
    crate::query::moment(text)
}

/// The place in a list that a link leads to.
pub fn page_of(link: &str) -> Option<String> {
    crate::query::page_of(link)
}

/// A text as a segment of a path of the APIs.
pub fn segment(text: &str) -> String {
    crate::path::segment(text).to_string()
}
