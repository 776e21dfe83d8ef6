//! The operator's relay, as a URL.

use std::fmt::{self, Debug, Formatter};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use url::{Host, Url};

/// RFC 6409, 3.1 and RFC 8314, 3.3.
const SUBMISSION_PORT: u16 = 587;
const SUBMISSIONS_PORT: u16 = 465;

/// Why a URL names no relay. Says nothing of the URL, which may hold a password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RelayError(&'static str);

/// Where mail is handed in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Relay {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: RelayTls,
    pub(super) login: Option<Login>,
}

/// How the connection to a relay is secured. Wherever it is, the certificate is
/// checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RelayTls {
    /// From the first byte on (`smtps://`).
    Implicit,
    /// With STARTTLS, or there is no mail. The default of `smtp://`.
    Required,
    /// With STARTTLS if the relay offers it. A password is not sent without.
    Opportunistic,
    /// Not at all.
    Off,
}

/// A user name and a password. Does not show the latter.
#[derive(Clone, Eq, PartialEq)]
pub struct Login {
    pub(super) user: String,
    pub(super) password: String,
}

impl Debug for Login {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).field("password", &"[redacted]").finish()
    }
}

impl Relay {
    /// The name that its certificate must be for.
    pub(super) fn server_name(&self) -> Option<ServerName<'static>> {
        ServerName::try_from(self.host.clone()).ok()
    }
}

impl FromStr for Relay {
    type Err = RelayError;

    /// Parses `smtp://[user:password@]host[:port][?tls=required|opportunistic|none]`
    /// or `smtps://…`.
    fn from_str(text: &str) -> Result<Self, RelayError> {
        let url = Url::parse(text).map_err(|_| {
            RelayError(
                "expected smtp://user:password@host:port or smtps://…, with special characters of the password percent-encoded",
            )
        })?;
        let (port, tls) = match url.scheme() {
            "smtp" => (SUBMISSION_PORT, RelayTls::Required),
            "smtps" => (SUBMISSIONS_PORT, RelayTls::Implicit),
            _ => return Err(RelayError("the URL must begin with smtp:// or smtps://")),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(RelayError(
                "nothing but ?tls=… may come after the host; percent-encode special characters of the password",
            ));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return Err(RelayError("the URL names no host")),
        };
        let relay = Self {
            host,
            port: url.port().unwrap_or(port),
            tls: chosen_tls(&url, tls)?,
            login: login(&url)?,
        };
        if relay.server_name().is_none() || relay.port == 0 {
            return Err(RelayError("the URL's host or port cannot be connected to"));
        }
        Ok(relay)
    }
}

fn chosen_tls(url: &Url, default: RelayTls) -> Result<RelayTls, RelayError> {
    let mut tls = default;
    for (name, value) in url.query_pairs() {
        tls = match (name.as_ref(), value.as_ref(), default) {
            ("tls", _, RelayTls::Implicit) => {
                return Err(RelayError("smtps:// is always secured; leave out ?tls=…"));
            }
            ("tls", "required", _) => RelayTls::Required,
            ("tls", "opportunistic", _) => RelayTls::Opportunistic,
            ("tls", "none", _) => RelayTls::Off,
            _ => return Err(RelayError("expected ?tls=required, opportunistic or none")),
        };
    }
    Ok(tls)
}

fn login(url: &Url) -> Result<Option<Login>, RelayError> {
    let decode = |text| {
        let text = percent_decode_str(text).decode_utf8();
        let text = text.map_err(|_| RelayError("user name and password must be UTF-8"))?;
        // RFC 4616, 2: NUL parts them.
        if text.contains('\0') {
            return Err(RelayError("user name and password must not contain NUL"));
        }
        Ok(text.into_owned())
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        ("", Some(_)) | (_, None) => {
            Err(RelayError("a user name and a password are needed, or neither"))
        }
        (user, Some(password)) => {
            Ok(Some(Login { user: decode(user)?, password: decode(password)? }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Relay, RelayError> {
        text.parse()
    }

    #[test]
    fn scheme_and_query_say_port_and_tls() {
        for (text, host, port, tls) in [
            ("smtp://relay.example", "relay.example", 587, RelayTls::Required),
            ("smtp://relay.example:25/", "relay.example", 25, RelayTls::Required),
            ("smtp://10.0.0.1?tls=none", "10.0.0.1", 587, RelayTls::Off),
            ("smtp://[::1]:2525?tls=opportunistic", "::1", 2525, RelayTls::Opportunistic),
            ("smtp://relay?tls=required", "relay", 587, RelayTls::Required),
            ("smtps://relay.example", "relay.example", 465, RelayTls::Implicit),
        ] {
            let login = None;
            assert_eq!(parse(text), Ok(Relay { host: host.into(), port, tls, login }), "{text}");
        }
    }

    #[test]
    fn the_password_is_decoded_and_not_shown() {
        let relay = parse("smtp://us%40er:p%C3%A4ss%2Fword@relay.example").unwrap();
        let login = relay.login.clone().unwrap();
        assert_eq!((login.user.as_str(), login.password.as_str()), ("us@er", "päss/word"));
        let shown = format!("{relay:?}");
        assert!(shown.contains("[redacted]") && !shown.contains("word\""), "{shown}");
    }

    #[test]
    fn problems_do_not_show_the_url() {
        for text in [
            "relay.example",
            "http://u:secret@relay.example",
            "smtp:relay.example",
            "smtp://",
            "smtp://u:secret@",
            "smtp://u:sec/ret@relay.example",
            "smtp://u:sec#ret@relay.example",
            "smtp://secret@relay.example",
            "smtp://:secret@relay.example",
            "smtp://u:secret%00@relay.example",
            "smtp://u:secret%ff@relay.example",
            "smtp://u:secret@relay.example:0",
            "smtp://u:secret@relay.example:99999",
            "smtp://u:secret@relay.example?tls=maybe",
            "smtp://u:secret@relay.example?secret=1",
            "smtps://u:secret@relay.example?tls=none",
            "smtp://u:secret@relay.example/inbox",
            "smtp://u:secret@re lay.example",
        ] {
            let problem = parse(text).expect_err(text).to_string();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
