//! Settings of the dispatcher.

use std::time::Duration;

use chassis::Env;
use chassis::config::durations;
use egress::mail::MailConfig;
use model::{Family, RetryPolicy};
use signing::SecretKey;

/// How the dispatcher works.
#[derive(Clone, Debug)]
pub struct DispatcherConfig {
    /// Deliveries in work at once in this process.
    pub slots: usize,
    /// Deliveries asked for in one pull.
    pub batch: usize,
    /// Tries at one target at once, over all dispatchers.
    pub target_concurrency: u32,
    /// Tries at one target in a second, over all dispatchers; 0 for no limit.
    pub target_rate: f64,
    /// Policy of message events.
    pub send_policy: RetryPolicy,
    /// Policy of alerts.
    pub alerts_policy: RetryPolicy,
    /// Unseals the signing keys.
    pub secret_key: SecretKey,
    /// How alerts go by mail; `None` where there is no relay.
    pub mail: Option<MailConfig>,
    /// Where the links of mails lead to.
    pub console_url: Option<String>,
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
            send_policy: policy(env, Family::Message),
            alerts_policy: policy(env, Family::Alert),
            secret_key: read_secret_key(env),
            mail: MailConfig::read(env),
            console_url: egress::mail::console_url(env),
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
        env.check((0.0..=1e6).contains(&config.target_rate), || {
            format!("POSTRIDER_TARGET_RATE: expected 0 to 1000000, found {}", config.target_rate)
        });
        config
    }

    /// The policy of a family.
    pub fn policy(&self, family: Family) -> &RetryPolicy {
        match family {
            Family::Message => &self.send_policy,
            Family::Alert => &self.alerts_policy,
        }
    }
}

fn policy(env: &mut Env, family: Family) -> RetryPolicy {
    let waits: Vec<Duration> = match family {
        Family::Message => env.read_with(
            "POSTRIDER_SEND_RETRY_SCHEDULE",
            "10m,10m,15m,30m,1h,2h,4h",
            "Waits between the tries of a message event, with commas between; up to a tenth is added to each, never taken away.",
            durations,
        ),
        Family::Alert => env.read_with(
            "POSTRIDER_ALERTS_RETRY_SCHEDULE",
            "1m,2m,4m,8m,16m,32m,64m,128m,225m",
            "Waits between the tries of an alert; after the last one the alert is disabled.",
            durations,
        ),
    };
    let resilient = env.read_with(
        "POSTRIDER_POLICY",
        "mailgun",
        "Retry policy: `mailgun` is Mailgun's own; `resilient` takes any 2xx as success and retries `delivered` events too.",
        |text| match text {
            "mailgun" => Ok(false),
            "resilient" => Ok(true),
            _ => Err("expected mailgun or resilient".into()),
        },
    );
    if resilient {
        RetryPolicy::resilient(family, waits)
    } else {
        RetryPolicy::mailgun(family, waits)
    }
}

/// Reads the key that secrets are sealed under.
pub(crate) fn read_secret_key(env: &mut Env) -> SecretKey {
    env.required(
        "POSTRIDER_SECRET_KEY",
        "32 bytes in base64 or hex, under which secrets are sealed; several with commas between to change it: the first seals, all unseal.",
        || "00".repeat(32).parse().unwrap_or_else(|_| unreachable!("64 hex characters are a key")),
        |text| text.parse().map_err(|error: signing::InvalidSecretKey| error.to_string()),
    )
}
