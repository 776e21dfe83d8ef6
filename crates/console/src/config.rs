//! Settings of this service.

use std::net::SocketAddr;

use chassis::config::{console_url, secret_key, web_url};
use chassis::{Door, Env};
use signing::SecretKey;
use url::Url;

/// Where to listen, and whom to ask.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// Where visitors come, in a process of its own.
    pub addr: SocketAddr,
    /// Who may come in there.
    pub door: Door,
    /// Where the customers' APIs are, seen from a process of its own.
    pub api_url: Url,
    /// Where visitors find it from outside.
    pub console_url: Option<String>,
    /// Proxies between visitors and us, each of which adds to `X-Forwarded-For`.
    pub proxies: usize,
    /// Seals sessions.
    pub secret_key: SecretKey,
}

impl ConsoleConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        Self {
            addr: env.read(
                "POSTRIDER_CONSOLE_ADDR",
                "127.0.0.1:8081",
                "Where the console listens. In `postrider all` it is served at `POSTRIDER_HTTP_ADDR` instead, beside the APIs.",
            ),
            door: Door::open(env, "console"),
            api_url: env.read_with(
                "POSTRIDER_API_URL",
                "http://127.0.0.1:8080/",
                "Where the console finds the customers' APIs; not used in `postrider all`.",
                web_url,
            ),
            console_url: console_url(env),
            proxies: env.read(
                "POSTRIDER_CONSOLE_PROXIES",
                "0",
                "Proxies before the console that add to `X-Forwarded-For`. Needed to tell visitors apart when too many sign-ins fail.",
            ),
            secret_key: secret_key(env),
        }
    }

    /// Whether visitors come over TLS alone.
    pub(crate) fn is_secure(&self) -> bool {
        self.console_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }
}
