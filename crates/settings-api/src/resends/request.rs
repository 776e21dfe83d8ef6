//! What is to be sent again.

use chrono::{DateTime, Utc};
use model::End;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::schema::{Array, ArrayBuilder, ObjectBuilder, Type};
use uuid::Uuid;

use crate::error::ApiError;
use crate::form;

/// Deliveries in a second, unless the call says otherwise.
const USUAL_RATE: i32 = 50;
const MAX_RATE: i32 = 1_000;

/// What is to be sent again; with neither a URL nor an alert setting, all of it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResendForm {
    /// To this URL, by the account's own webhooks and its domains'.
    #[schema(example = "https://hooks.example.net/mail")]
    url: Option<String>,
    /// For this alert setting.
    alert_setting_id: Option<String>,
    /// How the deliveries ended; `held` unless said otherwise.
    #[schema(schema_with = outcomes)]
    outcomes: Option<Vec<String>>,
    /// Those that ended at this moment or later.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<String>,
    /// How many a second, 50 unless said otherwise.
    #[schema(minimum = 1, maximum = 1000)]
    per_second: Option<i32>,
}

/// The ends that can be sent again, as they are described.
fn outcomes() -> Array {
    let names = End::RESENDABLE.map(End::as_str);
    let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names));
    ArrayBuilder::new()
        .items(name)
        .max_items(Some(names.len()))
        .description(Some("How the deliveries ended; `held` unless said otherwise."))
        .examples([json!(["held", "exhausted"])])
        .build()
}

/// A change of a job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangedResend {
    /// `running`, `paused` or `cancelled`.
    #[schema(example = "paused")]
    state: String,
}

/// The same, checked.
pub(crate) struct Wanted {
    pub(super) target_id: Option<Uuid>,
    pub(super) target: String,
    pub(super) outcomes: Vec<String>,
    pub(super) since: Option<DateTime<Utc>>,
    pub(super) per_second: i32,
}

pub(crate) fn read(body: &[u8], account_id: &str) -> Result<Wanted, ApiError> {
    let form: ResendForm = form::json(body)?;
    let (target, target_id) = match (form.url, form.alert_setting_id) {
        (Some(_), Some(_)) => {
            return Err(ApiError::bad_request("give url or alert_setting_id, not both"));
        }
        (Some(url), None) => {
            let id = model::message_target_id(account_id, &url);
            (url, Some(id))
        }
        (None, Some(setting_id)) => {
            let known = Uuid::try_parse(&setting_id).map_err(|_| {
                ApiError::bad_request(format!("alert_setting_id: {setting_id} is no UUID"))
            })?;
            let id = model::alert_target_id(&known.to_string());
            (setting_id, Some(id))
        }
        (None, None) => (String::new(), None),
    };
    let mut outcomes = form.outcomes.unwrap_or_else(|| vec![End::Held.as_str().to_owned()]);
    outcomes.sort();
    outcomes.dedup();
    let known = End::RESENDABLE.map(End::as_str);
    if let Some(unknown) = outcomes.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        let message = format!("outcomes: {unknown:?} is none of {known}");
        return Err(ApiError::bad_request(message));
    }
    if outcomes.is_empty() {
        return Err(ApiError::bad_request("outcomes: at least one"));
    }
    let per_second = form.per_second.unwrap_or(USUAL_RATE);
    if !(1..=MAX_RATE).contains(&per_second) {
        let message = format!("per_second: expected 1 to {MAX_RATE}, found {per_second}");
        return Err(ApiError::bad_request(message));
    }
    let since = form.since.map(|text| {
        DateTime::parse_from_rfc3339(&text).map(|at| at.to_utc()).map_err(|_| {
            let what = "a moment such as 2026-11-21T08:00:00Z";
            ApiError::bad_request(format!("since: expected {what}, found {text:?}"))
        })
    });
    let since = since.transpose()?;
    // Hex of 16 bytes, which is a UUID without hyphens.
    let target_id = target_id.and_then(|id| Uuid::try_parse(&id).ok());
    Ok(Wanted { target_id, target, outcomes, since, per_second })
}

/// The answer to a target for which there is nothing, and will be nothing.
pub(super) fn of_nobody(target: &str) -> ApiError {
    let message = if Uuid::try_parse(target).is_ok() {
        format!("alert_setting_id: there is no alert setting {target}")
    } else {
        format!(
            "url: this account has no webhook with the URL {target:?}, and nothing is undelivered \
             there; GET /postrider/v1/undelivered lists the targets for which something is"
        )
    };
    ApiError::bad_request(message)
}

pub(crate) fn state(body: &[u8]) -> Result<&'static str, ApiError> {
    let ChangedResend { state } = form::json(body)?;
    ["running", "paused", "cancelled"].into_iter().find(|known| *known == state).ok_or_else(|| {
        let message = format!("state: expected running, paused or cancelled, found {state:?}");
        ApiError::bad_request(message)
    })
}
