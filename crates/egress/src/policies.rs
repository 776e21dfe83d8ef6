//! The deployment's retry policies.

use std::sync::Arc;
use std::time::Duration;

use chassis::Env;
use chassis::config::durations;
use model::{Family, RetryPolicy};
use protocol::v1::PolicyOverride;

use crate::settings::total_timeout;

/// A schedule's time has room for so many timeouts a try: the request, and what delays it.
const TIMEOUTS: u32 = 6;

/// One for each family; accounts and URLs can want otherwise.
#[derive(Clone, Debug)]
pub struct Policies {
    message: Arc<RetryPolicy>,
    alert: Arc<RetryPolicy>,
}

impl Policies {
    /// Reads the settings.
    pub fn read(env: &mut Env) -> Self {
        Self {
            message: Arc::new(policy(env, Family::Message)),
            alert: Arc::new(policy(env, Family::Alert)),
        }
    }

    /// The policy of a family, with what the account and then the URL want
    /// otherwise.
    pub fn in_force(
        &self,
        family: Family,
        of_account: Option<&PolicyOverride>,
        of_url: Option<&PolicyOverride>,
    ) -> Arc<RetryPolicy> {
        let policy = match family {
            Family::Message => &self.message,
            Family::Alert => &self.alert,
        };
        let overrides = [of_account, of_url].into_iter().flatten();
        overrides.fold(Arc::clone(policy), |policy, by| Arc::new(policy.overridden(family, by)))
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
    let policy = if resilient {
        RetryPolicy::resilient(family, waits)
    } else {
        RetryPolicy::mailgun(family, waits)
    };
    policy.with_tries_of(total_timeout(env) * TIMEOUTS)
}
