//! A retry policy, or what of it is different, as JSON.

use std::time::Duration;

use chassis::config::duration;
use model::{EventType, Family, RetryPolicy, Success};
use protocol::v1::PolicyOverride;
use protocol::v1::policy_override::{self, Statuses, Waits};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ApiError;

/// Tries that a schedule can have, but for the first.
const MAX_WAITS: usize = 30;
/// All waits together.
const MAX_TOTAL: Duration = Duration::from_secs(72 * 3_600);
/// Statuses that stop.
const MAX_STATUSES: usize = 32;

/// What of a retry policy is different; what is left out stays as it was.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// What the rest is laid over: `mailgun` (the default) or `resilient`, which
    /// takes any 2xx as success and retries `delivered` events too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "resilient")]
    preset: Option<Preset>,
    /// Between the tries: there is one try more than there are waits. At most 30
    /// of a second or more each, 72 hours in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 30, example = json!(["10m", "1h", "4h"]))]
    waits: Option<Vec<String>>,
    /// Which answers mean that it was taken: `200` or `2xx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "2xx")]
    success: Option<Taken>,
    /// Statuses after which there is no further try.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 32, example = json!([406, 410]))]
    stop: Option<Vec<u16>>,
    /// Whether `delivered` events are tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_delivered: Option<bool>,
    /// Whether an alert setting whose schedule is used up is disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    disable_alerts: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    Mailgun,
    Resilient,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Taken {
    #[serde(rename = "200")]
    Only200,
    #[serde(rename = "2xx")]
    Any2xx,
}

impl Policy {
    /// Checks it. One that says nothing is none. `place` is where it stands, for
    /// the error.
    pub(super) fn read(&self, place: &str) -> Result<Option<PolicyOverride>, ApiError> {
        let wrong = |why: String| ApiError::bad_request(format!("{place}.{why}"));
        if *self == Self::default() {
            return Ok(None);
        }
        let waits = self.waits.as_ref().map(|waits| seconds(waits)).transpose().map_err(wrong)?;
        if let Some(stop) = &self.stop {
            check_statuses(stop).map_err(wrong)?;
        }
        let preset = match self.preset {
            None => policy_override::Preset::Unspecified,
            Some(Preset::Mailgun) => policy_override::Preset::Mailgun,
            Some(Preset::Resilient) => policy_override::Preset::Resilient,
        };
        let success = match self.success {
            None => policy_override::Success::Unspecified,
            Some(Taken::Only200) => policy_override::Success::Only200,
            Some(Taken::Any2xx) => policy_override::Success::Any2xx,
        };
        Ok(Some(PolicyOverride {
            preset: preset.into(),
            waits: waits.map(|seconds| Waits { seconds }),
            success: success.into(),
            stop: self.stop.as_ref().map(|statuses| Statuses {
                statuses: statuses.iter().copied().map(u32::from).collect(),
            }),
            retry_delivered: self.retry_delivered,
            disable_alerts: self.disable_alerts,
        }))
    }

    /// What an account or a URL wants otherwise, as it was given.
    pub(super) fn otherwise(by: Option<&PolicyOverride>) -> Self {
        let Some(by) = by else { return Self::default() };
        let statuses = |stop: &Statuses| {
            stop.statuses.iter().filter_map(|status| u16::try_from(*status).ok()).collect()
        };
        let waits = |waits: &Waits| {
            waits.seconds.iter().map(|s| shown(Duration::from_secs(u64::from(*s)))).collect()
        };
        Self {
            preset: match by.preset() {
                policy_override::Preset::Unspecified => None,
                policy_override::Preset::Mailgun => Some(Preset::Mailgun),
                policy_override::Preset::Resilient => Some(Preset::Resilient),
            },
            waits: by.waits.as_ref().map(waits),
            success: match by.success() {
                policy_override::Success::Unspecified => None,
                policy_override::Success::Only200 => Some(Taken::Only200),
                policy_override::Success::Any2xx => Some(Taken::Any2xx),
            },
            stop: by.stop.as_ref().map(statuses),
            retry_delivered: by.retry_delivered,
            disable_alerts: by.disable_alerts,
        }
    }

    /// A whole policy, every field of it that means something for the family.
    pub(super) fn whole(family: Family, policy: &RetryPolicy) -> Self {
        Self {
            preset: None,
            waits: Some(policy.waits.iter().copied().map(shown).collect()),
            success: Some(match policy.success {
                Success::Only200 => Taken::Only200,
                Success::Any2xx => Taken::Any2xx,
            }),
            stop: Some(policy.stop.clone()),
            retry_delivered: (family == Family::Message)
                .then(|| !policy.never_retried.contains(&EventType::Delivered)),
            disable_alerts: (family == Family::Alert).then_some(policy.disables),
        }
    }
}

fn seconds(waits: &[String]) -> Result<Vec<u32>, String> {
    if waits.len() > MAX_WAITS {
        return Err(format!("waits: at most {MAX_WAITS}, found {}", waits.len()));
    }
    let mut total = Duration::ZERO;
    let mut seconds = Vec::with_capacity(waits.len());
    for text in waits {
        let wait = duration(text).map_err(|why| format!("waits: {why}"))?;
        if wait < Duration::from_secs(1) {
            return Err(format!("waits: at least 1s each, found {text:?}"));
        }
        total = total.saturating_add(wait);
        if total > MAX_TOTAL {
            return Err("waits: at most 72h in all".to_owned());
        }
        // Less than 72 hours, and whole seconds are what schedules are made of.
        seconds.push(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX));
    }
    Ok(seconds)
}

fn check_statuses(stop: &[u16]) -> Result<(), String> {
    if stop.len() > MAX_STATUSES {
        return Err(format!("stop: at most {MAX_STATUSES}, found {}", stop.len()));
    }
    match stop.iter().find(|status| !(300..600).contains(*status)) {
        Some(status) => {
            Err(format!("stop: expected HTTP statuses from 300 to 599, found {status}"))
        }
        None => Ok(()),
    }
}

/// A duration in the largest unit that shows it whole.
fn shown(wait: Duration) -> String {
    let seconds = wait.as_secs();
    match seconds {
        _ if wait.subsec_nanos() > 0 => format!("{}ms", wait.as_millis()),
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(3_600) => format!("{}h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Option<PolicyOverride>, String> {
        let policy: Policy = serde_json::from_str(json).map_err(|error| error.to_string())?;
        policy.read("policy").map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn what_is_read_is_shown_again() {
        let given = r#"{"preset":"resilient","waits":["10m","90s","4h"],"success":"200","stop":[406,410],"retry_delivered":false,"disable_alerts":true}"#;
        let policy = read(given).expect("a policy").expect("it says something");
        let shown = serde_json::to_string(&Policy::otherwise(Some(&policy))).expect("JSON");
        assert_eq!(shown, given);
        assert_eq!(read("{}"), Ok(None));
        assert!(read(r#"{"waits":[]}"#).expect("one try").is_some());
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        let many = format!(r#"{{"waits":[{}]}}"#, vec![r#""1s""#; 31].join(","));
        for (given, why) in [
            (r#"{"preset":"svix"}"#, "unknown variant `svix`"),
            (r#"{"waits":["10"]}"#, "policy.waits: expected a duration"),
            (r#"{"waits":["10ms"]}"#, "policy.waits: at least 1s each"),
            (r#"{"waits":["73h"]}"#, "policy.waits: at most 72h in all"),
            (r#"{"stop":[200]}"#, "policy.stop: expected HTTP statuses from 300 to 599, found 200"),
            (r#"{"retries":3}"#, "unknown field `retries`"),
            (&many, "policy.waits: at most 30, found 31"),
        ] {
            let error = read(given).expect_err(given);
            assert!(error.contains(why), "{given}: {error}");
        }
    }
}
