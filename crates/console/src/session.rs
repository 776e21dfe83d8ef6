//! Who is signed in: an API key, sealed into a cookie.
//!
//! Nothing is kept on the server, so that every replica knows every session. A
//! session ends with its time, with the key, or when the cookie is taken away.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use signing::{Sealed, SecretKey};

/// How long a session lasts.
const LASTS: TimeDelta = TimeDelta::hours(12);
const TOKEN_LEN: usize = 16;

/// An account, as its pages name it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Account {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What an API key may do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Admin,
    Developer,
    /// Looks, and changes nothing.
    Basic,
    /// Nothing of what pages are about.
    Sending,
}

/// A session. Made anew with each sign-in, so that nobody can have set it before.
#[derive(Clone, Deserialize, Serialize)]
pub(crate) struct Session {
    key: String,
    account: Account,
    /// The subaccount that pages are about, where that is not the key's account.
    acting_for: Option<Account>,
    pub(crate) role: Role,
    /// Goes into every form, masked, and has to come back with it.
    form_token: [u8; TOKEN_LEN],
    ends_at: i64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("account", &self.account.id).finish_non_exhaustive()
    }
}

impl Session {
    /// A session that can do nothing yet but ask whose key this is.
    pub(crate) fn begin(key: &str, now: DateTime<Utc>) -> Self {
        Self {
            key: key.to_owned(),
            account: Account { id: String::new(), name: String::new() },
            acting_for: None,
            role: Role::Sending,
            form_token: chassis::entropy::bytes(),
            ends_at: (now + LASTS).timestamp(),
        }
    }

    /// The session of a key that is this account's.
    pub(crate) fn of(self, account: Account, role: Role) -> Self {
        Self { account, role, ..self }
    }

    /// The session with pages about this subaccount, or about the key's account.
    pub(crate) fn acting(self, acting_for: Option<Account>) -> Self {
        Self { acting_for, ..self }
    }

    /// The API key. For the `Authorization` of calls, and for nothing else.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The account that pages are about.
    pub(crate) fn account(&self) -> &Account {
        self.acting_for.as_ref().unwrap_or(&self.account)
    }

    pub(crate) fn acting_for(&self) -> Option<&Account> {
        self.acting_for.as_ref()
    }

    /// The form token, under a mask that is different each time: pages are
    /// compressed, and what is the same in all of them could be guessed from
    /// their length.
    pub(crate) fn form_token(&self) -> String {
        let mask: [u8; TOKEN_LEN] = chassis::entropy::bytes();
        let masked = std::array::from_fn::<_, TOKEN_LEN, _>(|at| self.form_token[at] ^ mask[at]);
        hex::encode([mask, masked].concat())
    }

    /// Whether a form comes from a page of this session.
    pub(crate) fn has_sent(&self, token: &str) -> bool {
        let Ok(token) = hex::decode(token) else { return false };
        let Some((mask, masked)) = token.split_at_checked(TOKEN_LEN) else { return false };
        // Without an early end, so that the time says nothing of how much was right.
        masked.len() == TOKEN_LEN
            && (0..TOKEN_LEN)
                .fold(0, |wrong, at| wrong | (self.form_token[at] ^ mask[at] ^ masked[at]))
                == 0
    }

    /// The cookie that keeps it.
    pub(crate) fn cookie(
        &self,
        key: &SecretKey,
        is_secure: bool,
        now: DateTime<Utc>,
    ) -> HeaderValue {
        // Texts and numbers, which JSON can hold; and without a cookie nobody is signed in.
        let plain = serde_json::to_vec(self).unwrap_or_default();
        let sealed = key.seal(&plain, chassis::entropy::bytes(), &Sealed::Session.context());
        let seconds = (self.ends_at - now.timestamp()).max(0);
        cookie(&URL_SAFE_NO_PAD.encode(sealed), seconds, is_secure)
    }

    /// The session that these headers bring along, if it is one of ours and has
    /// not ended.
    pub(crate) fn read(
        headers: &HeaderMap,
        key: &SecretKey,
        is_secure: bool,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        // Bytes, because a cookie of somebody beside us may be no text, and takes ours with it.
        let cookies = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let pairs = cookies.flat_map(|cookies| cookies.split(|byte| *byte == b';'));
        let pairs = pairs.filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='));
        // Somebody beside us may have set one of the same name: the first that is ours counts.
        let mut ours =
            pairs.filter(|(found, _)| *found == name(is_secure)).filter_map(|(_, value)| {
                let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
                let plain = key.unseal(&sealed, &Sealed::Session.context()).ok()?;
                serde_json::from_slice::<Self>(&plain).ok()
            });
        ours.find(|session| session.ends_at > now.timestamp())
    }
}

/// Takes the cookie away.
pub(crate) fn no_cookie(is_secure: bool) -> HeaderValue {
    cookie("", 0, is_secure)
}

/// A browser takes the longer name only over TLS, for this host alone, from itself.
const fn name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-postrider" } else { "postrider" }
}

fn cookie(value: &str, seconds: i64, is_secure: bool) -> HeaderValue {
    let (name, secure) = (name(is_secure), if is_secure { "; Secure" } else { "" });
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> SecretKey {
        hex.repeat(32).parse().unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn sent_back(cookie: &HeaderValue, before: &str) -> HeaderMap {
        let pair = cookie.to_str().unwrap().split(';').next().unwrap();
        HeaderMap::from_iter([(COOKIE, format!("{before}{pair}").parse().unwrap())])
    }

    #[test]
    fn a_session_lasts_its_hours_under_our_key_alone() {
        let session = Session::begin("key-1", at(0));
        let cookie = session.cookie(&key("01"), false, at(0));
        let text = cookie.to_str().unwrap();
        assert!(!text.contains("key-1") && text.contains("HttpOnly") && !text.contains("Secure"));
        let headers = sent_back(&cookie, "postrider=planted; other=1; ");
        let read = |key, now| Session::read(&headers, &key, false, at(now));
        assert_eq!(read(key("01"), 12 * 3_600 - 1).unwrap().key(), "key-1");
        assert!(read(key("01"), 12 * 3_600).is_none(), "it has ended");
        assert!(read(key("02"), 0).is_none(), "another key");
    }

    #[test]
    fn a_neighbours_cookie_that_is_no_text_does_not_end_the_session() {
        let session = Session::begin("key-1", at(0));
        let cookie = session.cookie(&key("01"), false, at(0));
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().as_bytes();
        let both = HeaderValue::from_bytes(&[b"theirs=caf\xe9; ", pair].concat()).unwrap();
        let read = Session::read(&HeaderMap::from_iter([(COOKIE, both)]), &key("01"), false, at(0));
        assert_eq!(read.unwrap().key(), "key-1");
    }

    #[test]
    fn over_tls_the_cookie_is_for_this_host_alone() {
        let session = Session::begin("key-1", at(0));
        let cookie = session.cookie(&key("01"), true, at(0));
        let text = cookie.to_str().unwrap();
        assert!(text.starts_with("__Host-postrider=") && text.ends_with("; Secure"), "{text}");
        let headers = sent_back(&cookie, "");
        assert!(Session::read(&headers, &key("01"), true, at(0)).is_some());
        assert!(Session::read(&headers, &key("01"), false, at(0)).is_none());
    }

    #[test]
    fn a_form_token_looks_different_each_time_and_is_this_sessions() {
        let (one, other) = (Session::begin("key-1", at(0)), Session::begin("key-1", at(0)));
        let (first, second) = (one.form_token(), one.form_token());
        assert_ne!(first, second);
        assert!(one.has_sent(&first) && one.has_sent(&second));
        assert!(!other.has_sent(&first));
        for wrong in ["", "00", &first[2..], &format!("{first}00"), "zz"] {
            assert!(!one.has_sent(wrong), "{wrong}");
        }
        assert!(!one.has_sent(&"00".repeat(32)));
    }
}
