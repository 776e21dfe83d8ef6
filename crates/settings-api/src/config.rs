//! Settings of this service.

use std::net::SocketAddr;
use std::time::Duration;

use chassis::config::{console_url, secret_key};
use chassis::{Door, Env, door};
use egress::Policies;
use egress::mail::MailConfig;
use signing::SecretKey;
use store::StoreConfig;

use crate::{Limits, WebhookOptions, signing_key};

/// Where to listen, and what to work with.
#[derive(Clone, Debug)]
pub struct SettingsApiConfig {
    /// Where customers call.
    pub http_addr: SocketAddr,
    /// Where operators call.
    pub admin_addr: SocketAddr,
    /// Who of them may come in.
    pub admin_door: Door,
    /// Who may call the customers' APIs, key or not.
    pub door: Door,
    /// The database.
    pub store: StoreConfig,
    /// Seals signing keys.
    pub secret_key: SecretKey,
    /// What one account may have, and how often it may ask.
    pub limits: Limits,
    /// How webhooks are taken.
    pub webhooks: WebhookOptions,
    /// How deliveries are tried where accounts do not want it otherwise.
    pub policies: Policies,
    /// How long a signing key that is replaced also signs, where the call does
    /// not say.
    pub signing_key_overlap: Duration,
    /// How the mails of test calls are sent; `None` where there is no relay.
    pub mail: Option<MailConfig>,
    /// Where the links of mails lead to.
    pub console_url: Option<String>,
    /// How long after each connection to the broker it is looked for what was lost; zero for
    /// not at all.
    pub reconcile_after: Duration,
}

impl SettingsApiConfig {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        Self {
            http_addr: env.read(
                "POSTRIDER_HTTP_ADDR",
                "127.0.0.1:8080",
                "Where the customers' HTTP APIs listen.",
            ),
            admin_addr: env.read(
                "POSTRIDER_ADMIN_ADDR",
                "127.0.0.1:9092",
                "Where the gRPC service `Admin` listens. Internal: never make it public.",
            ),
            admin_door: Door::read(env, &door::ADMIN),
            door: Door::open(env, "api"),
            store: StoreConfig::read(env),
            limits: Limits::read(env),
            webhooks: WebhookOptions::read(env),
            policies: Policies::read(env),
            mail: MailConfig::read(env),
            console_url: console_url(env),
            signing_key_overlap: env.read_with(
                "POSTRIDER_SIGNING_KEY_OVERLAP",
                "0s",
                "How long a signing key that a customer replaces also signs, where the call does not say; at most 7d.",
                |text| {
                    let overlap = chassis::config::duration(text)?;
                    let allowed = overlap.as_secs() <= signing_key::MAX_OVERLAP_SECONDS;
                    allowed.then_some(overlap).ok_or_else(|| "at most 7d".to_owned())
                },
            ),
            secret_key: secret_key(env),
            reconcile_after: env.read_with(
                "POSTRIDER_RECONCILE_AFTER",
                "15m",
                "How long after a connection to NATS was made deliveries are looked for that were decided before, have no end, and are on the broker no more; they are made anew, as by `postrider admin reconcile`. 0s for never.",
                chassis::config::duration,
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn database_and_secret_key_have_to_be_given() {
        let mut env = Env::from_pairs([]);
        SettingsApiConfig::read(&mut env);
        let known = env.settings().to_vec();
        let problems = env.finish(&known).expect_err("both are missing").to_string();
        for name in ["POSTRIDER_DATABASE_URL", "POSTRIDER_SECRET_KEY"] {
            assert!(problems.contains(&format!("{name} is not set")), "{problems}");
        }
    }
}
