//! What one account may have, and how often it may ask.

use chassis::Env;
use store::Quotas;

/// Limits of every account; operators can give an account quotas of its own.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls of webhook and alert settings in a minute.
    pub calls_per_minute: u32,
    /// How much of each thing.
    pub quotas: Quotas,
}

impl Limits {
    /// Reads the settings.
    pub(crate) fn read(env: &mut Env) -> Self {
        let calls_per_minute = env.read(
            "POSTRIDER_SETTINGS_RATE_LIMIT",
            "300",
            "Calls of webhook and alert settings that an account may make in a minute, over all replicas.",
        );
        env.check(calls_per_minute > 0, || {
            "POSTRIDER_SETTINGS_RATE_LIMIT must be at least 1".to_owned()
        });
        let quotas = Quotas {
            webhooks: env.read(
                "POSTRIDER_QUOTA_WEBHOOKS",
                "5000",
                "Webhook URLs that an account may have, over all event types and domains.",
            ),
            alert_settings: env.read(
                "POSTRIDER_QUOTA_ALERT_SETTINGS",
                "100",
                "Alert settings that an account may have.",
            ),
            domains: env.read(
                "POSTRIDER_QUOTA_DOMAINS",
                "1000",
                "Domains that an account may have.",
            ),
            api_keys: env.read(
                "POSTRIDER_QUOTA_API_KEYS",
                "100",
                "API keys that an account may have, without revoked ones.",
            ),
            subaccounts: env.read(
                "POSTRIDER_QUOTA_SUBACCOUNTS",
                "1000",
                "Subaccounts that an account may have, without closed ones.",
            ),
        };
        Self { calls_per_minute, quotas }
    }
}
