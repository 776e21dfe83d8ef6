//! How webhooks of domains and accounts are taken.

use chassis::Env;

/// Settings of the deployment about webhooks.
#[derive(Clone, Copy, Debug)]
pub struct WebhookOptions {
    /// What the ids from before 2018 mean.
    pub legacy_ids: LegacyIds,
    /// Whether the host of a URL has to be found before the URL is stored.
    pub dns_check: DnsCheck,
}

/// What becomes of the webhook ids from before 2018 (reference §2.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LegacyIds {
    /// They are kept and listed under their own names, and get the events of
    /// the types that they stand for.
    Distinct,
    /// They are other names of today's ids.
    Alias,
    /// They can be read and removed, and not written.
    Reject,
}

/// What is done when the host of a webhook's URL is not found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DnsCheck {
    /// Nobody looks.
    Off,
    /// The URL is refused.
    Reject,
}

impl WebhookOptions {
    /// Reads the settings.
    pub(crate) fn read(env: &mut Env) -> Self {
        let legacy_ids = env.read_with(
            "POSTRIDER_LEGACY_WEBHOOK_IDS",
            "distinct",
            "Webhook ids from before 2018, such as `deliver`: `distinct` keeps them under their own names, `alias` takes them for today's ids, `reject` refuses to write them.",
            |text| match text {
                "distinct" => Ok(LegacyIds::Distinct),
                "alias" => Ok(LegacyIds::Alias),
                "reject" => Ok(LegacyIds::Reject),
                _ => Err(format!("expected distinct, alias or reject, found {text:?}")),
            },
        );
        let dns_check = env.read_with(
            "POSTRIDER_WEBHOOK_DNS_CHECK",
            "off",
            "Whether the host of a webhook's URL has to be found when it is saved: `off` or `reject`.",
            |text| match text {
                "off" => Ok(DnsCheck::Off),
                "reject" => Ok(DnsCheck::Reject),
                _ => Err(format!("expected off or reject, found {text:?}")),
            },
        );
        Self { legacy_ids, dns_check }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_mean_nothing_are_problems() {
        let pairs = [("LEGACY_WEBHOOK_IDS", "distinkt"), ("WEBHOOK_DNS_CHECK", "on")];
        let mut env = Env::from_pairs(
            pairs.map(|(name, text)| (format!("POSTRIDER_{name}"), text.to_owned())),
        );
        let options = WebhookOptions::read(&mut env);
        assert_eq!(options.legacy_ids, LegacyIds::Distinct);
        assert_eq!(options.dns_check, DnsCheck::Off);
        let known = env.settings().to_vec();
        let problems = env.finish(&known).expect_err("two are wrong").to_string();
        assert!(problems.contains("found \"distinkt\""), "{problems}");
        assert!(problems.contains("found \"on\""), "{problems}");
    }
}
