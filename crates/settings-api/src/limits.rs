//! What one account may have, and how often it may ask.

use chassis::Env;
use store::Quotas;

/// Who makes and deletes domains.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CustomerDomains {
    /// Customers and operators.
    Allow,
    /// Operators alone, so that no customer takes a name that is somebody else's.
    OperatorOnly,
}

impl std::str::FromStr for CustomerDomains {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "allow" => Ok(Self::Allow),
            "operator-only" => Ok(Self::OperatorOnly),
            other => Err(format!("\"{other}\" is neither allow nor operator-only")),
        }
    }
}

/// Limits of every account; operators can give an account quotas of its own.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls of webhook and alert settings in a minute.
    pub calls_per_minute: u32,
    /// The same, of calls that the console makes.
    pub console_calls_per_minute: u32,
    /// How much of each thing.
    pub quotas: Quotas,
    /// Who makes and deletes domains.
    pub customer_domains: CustomerDomains,
}

impl Limits {
    /// Reads the settings.
    pub(crate) fn read(env: &mut Env) -> Self {
        let calls_per_minute = env.read(
            "POSTRIDER_SETTINGS_RATE_LIMIT",
            "300",
            "Calls of webhook and alert settings that an account may make in a minute, over all replicas.",
        );
        let console_calls_per_minute = env.read(
            "POSTRIDER_CONSOLE_RATE_LIMIT",
            "600",
            "The same, of calls that the console makes for the account's people; counted apart.",
        );
        env.check(calls_per_minute > 0 && console_calls_per_minute > 0, || {
            "POSTRIDER_SETTINGS_RATE_LIMIT and POSTRIDER_CONSOLE_RATE_LIMIT must be at least 1"
                .to_owned()
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
                "API keys that an account may have, without revoked and expired ones.",
            ),
            subaccounts: env.read(
                "POSTRIDER_QUOTA_SUBACCOUNTS",
                "1000",
                "Subaccounts that an account may have, without closed ones.",
            ),
        };
        let customer_domains = env.read(
            "POSTRIDER_CUSTOMER_DOMAINS",
            "allow",
            "Who makes and deletes domains: `allow` for customers too, `operator-only` where a name must be checked before somebody gets it.",
        );
        Self { calls_per_minute, console_calls_per_minute, quotas, customer_domains }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_domains_is_one_of_two() {
        assert_eq!("allow".parse(), Ok(CustomerDomains::Allow));
        assert_eq!("operator-only".parse(), Ok(CustomerDomains::OperatorOnly));
        let error = "Allow".parse::<CustomerDomains>().expect_err("refused");
        assert_eq!(error, "\"Allow\" is neither allow nor operator-only");
    }
}
