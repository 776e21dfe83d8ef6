//! Settings of the dispatcher.

use std::time::Duration;

use chassis::Env;
use chassis::config::{console_url, duration, secret_key, size_bytes};
use egress::Policies;
use egress::mail::MailConfig;
use signing::SecretKey;

/// How the dispatcher works.
#[derive(Clone, Debug)]
pub struct DispatcherConfig {
    /// Deliveries in work at once in this process.
    pub slots: usize,
    /// Bytes of deliveries in work at once in this process.
    pub bytes: u64,
    /// Deliveries asked for in one pull.
    pub batch: usize,
    /// Tries at one target at once, over all dispatchers.
    pub target_concurrency: u32,
    /// Tries at one target in a second, over all dispatchers; 0 for no limit.
    pub target_rate: f64,
    /// Deliveries that may wait for one target, over all dispatchers.
    pub target_backlog: u64,
    /// Deliveries of one customer that may wait, over all dispatchers; 0 for no limit.
    pub account_backlog: u64,
    /// How often and when deliveries are tried.
    pub policies: Policies,
    /// Unseals the signing keys.
    pub secret_key: SecretKey,
    /// How alerts go by mail; `None` where there is no relay.
    pub mail: Option<MailConfig>,
    /// Where the links of mails lead to.
    pub console_url: Option<String>,
    /// How far the clocks of this process and of the broker may be apart.
    pub clock_skew: Duration,
}

impl DispatcherConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        let config = Self {
            slots: env.read(
                "POSTRIDER_DISPATCHER_SLOTS",
                "4096",
                "Deliveries that one dispatcher process works on at once.",
            ),
            bytes: env.read_with(
                "POSTRIDER_DISPATCHER_BYTES",
                "64MiB",
                "Bytes of deliveries that one dispatcher process works on at once; each takes a few times its size.",
                size_bytes,
            ),
            batch: env.read(
                "POSTRIDER_DISPATCHER_BATCH",
                "256",
                "Deliveries that the dispatcher asks for in one pull.",
            ),
            target_concurrency: env.read(
                "POSTRIDER_TARGET_CONCURRENCY",
                "64",
                "Tries under way at one target at once, over all dispatchers.",
            ),
            target_rate: env.read(
                "POSTRIDER_TARGET_RATE",
                "0",
                "Tries at one target in a second, over all dispatchers; 0 for no limit.",
            ),
            target_backlog: env.read(
                "POSTRIDER_TARGET_BACKLOG",
                "1000000",
                "Deliveries that may wait for one target, over all dispatchers, give or take some; what comes then ends as exhausted.",
            ),
            account_backlog: env.read(
                "POSTRIDER_ACCOUNT_BACKLOG",
                "2000000",
                "Deliveries of one account and its subaccounts that may wait, over all dispatchers, give or take some; what comes then ends as exhausted. 0 for no limit. `postrider admin account update` gives an account a number of its own. Keep it well below `POSTRIDER_DELIVERIES_HIGH_WATER`.",
            ),
            policies: Policies::read(env),
            secret_key: secret_key(env),
            mail: MailConfig::read(env),
            console_url: console_url(env),
            clock_skew: env.read_with(
                "POSTRIDER_CLOCK_SKEW",
                "30s",
                "How far the clocks of a dispatcher and of NATS may be apart before the dispatcher is not ready.",
                duration,
            ),
        };
        env.check((1..=100_000).contains(&config.slots), || {
            format!("POSTRIDER_DISPATCHER_SLOTS: expected 1 to 100000, found {}", config.slots)
        });
        env.check((1..=10_000).contains(&config.batch), || {
            format!("POSTRIDER_DISPATCHER_BATCH: expected 1 to 10000, found {}", config.batch)
        });
        env.check(config.target_concurrency > 0, || {
            "POSTRIDER_TARGET_CONCURRENCY must be at least 1".to_owned()
        });
        env.check(config.target_backlog > 0, || {
            "POSTRIDER_TARGET_BACKLOG must be at least 1".to_owned()
        });
        env.check((0.0..=1e6).contains(&config.target_rate), || {
            format!("POSTRIDER_TARGET_RATE: expected 0 to 1000000, found {}", config.target_rate)
        });
        config
    }
}
