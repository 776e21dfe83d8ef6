//! Settings of this service.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::config::{duration, size_bytes};
use chassis::{Door, Env};

/// Where to listen, and how much to keep.
#[derive(Clone, Debug)]
pub struct RequestBinConfig {
    /// Where bins take requests and are looked at.
    pub addr: SocketAddr,
    /// Who may come in there.
    pub door: Door,
    /// What bins' URLs begin with, where that is not the address.
    pub public_url: Option<String>,
    /// How much is kept.
    pub limits: BinLimits,
}

/// How much is kept, and for how long.
#[derive(Clone, Debug)]
pub struct BinLimits {
    /// Bins at once.
    pub bins: usize,
    /// How long a bin lasts since it was last looked at or sent to.
    pub lifetime: Duration,
    /// Requests of one bin; the oldest go first.
    pub requests_per_bin: usize,
    /// Of all requests together, in bytes.
    pub memory_bytes: usize,
    /// Of the body of one request, in bytes; the rest is counted and not kept.
    pub body_bytes: usize,
}

impl Default for BinLimits {
    fn default() -> Self {
        Self {
            bins: 1_000,
            lifetime: Duration::from_secs(48 * 3_600),
            requests_per_bin: 200,
            memory_bytes: 128 * 1_024 * 1_024,
            body_bytes: 1_024 * 1_024,
        }
    }
}

impl RequestBinConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let defaults = BinLimits::default();
        let config = Self {
            addr: env.read(
                "POSTRIDER_REQUEST_BIN_ADDR",
                "127.0.0.1:8090",
                "Where the request bin listens: throw-away receivers for tests.",
            ),
            door: Door::open(env, "request-bin"),
            public_url: env.optional(
                "POSTRIDER_REQUEST_BIN_URL",
                "What the URLs of bins begin with, such as `https://bin.example.com`; without it, the address of the request bin.",
                base_url,
            ),
            limits: BinLimits {
                bins: env.read(
                    "POSTRIDER_REQUEST_BIN_MOST",
                    "1000",
                    "Bins at once. When there are as many, one that was never sent to makes room.",
                ),
                lifetime: env.read_with(
                    "POSTRIDER_REQUEST_BIN_LIFETIME",
                    "48h",
                    "How long a bin lasts after it was last looked at or sent to.",
                    duration,
                ),
                memory_bytes: env.read_with(
                    "POSTRIDER_REQUEST_BIN_MEMORY",
                    "128MiB",
                    "What all bins keep together.",
                    |text| Ok(usize::try_from(size_bytes(text)?).unwrap_or(usize::MAX)),
                ),
                ..defaults
            },
        };
        env.check(config.limits.bins > 0, || {
            "POSTRIDER_REQUEST_BIN_MOST must be at least 1".into()
        });
        env.check(config.limits.memory_bytes > config.limits.body_bytes, || {
            "POSTRIDER_REQUEST_BIN_MEMORY must be more than 1MiB".into()
        });
        config
    }

    /// What bins' URLs begin with.
    pub(crate) fn url(&self) -> String {
        self.public_url.clone().unwrap_or_else(|| format!("http://{}", self.addr))
    }
}

fn base_url(text: &str) -> Result<String, String> {
    let is_url = text.starts_with("http://") || text.starts_with("https://");
    let is_plain =
        !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '<' | '>' | '?' | '#'));
    if is_url && is_plain {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("expected a URL such as https://bin.example.com".to_owned())
    }
}
