//! Switches of an account (reference §6.2).

use std::collections::BTreeMap;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use store::{FeatureChanges, Features};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::form::{Form, WithQuery};
use crate::{SettingsApi, respond};

/// The one switch that has an effect here.
const REDACT_PII: &str = "webhooks_redact_pii";

/// Switches of what is Mailgun's alone: kept and shown, without effect.
const OTHERS: [&str; 6] = [
    "ai_insights",
    "email_preview",
    "inbox_placement",
    "sending",
    "validations",
    "validations_bulk",
];

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(update))
}

/// Sets switches of the account; those that are not given stay.
///
/// Each value is a JSON object, in forms as a string: `{"enabled":true}`.
/// `webhooks_redact_pii` hides personal data in deliveries, for the account's
/// subaccounts too, and is not for the keys of subaccounts. The other switches are kept and
/// have no effect.
#[utoipa::path(
    put,
    path = "/v5/accounts/features",
    operation_id = "update_account_features",
    tag = "accounts",
    request_body = NewFeatures,
    responses((status = 200, description = "Set", body = Done))
)]
async fn update(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    WithQuery(form): WithQuery,
) -> Result<Response, ApiError> {
    let changes = changes(&form)?;
    if changes.redact_pii.is_some() && caller.is_subaccount_itself() {
        let message = "webhooks_redact_pii is the parent account's to set; a domain has its own";
        return Err(ApiError::forbidden(message));
    }
    api.check_broker()?;
    let key = api.store.set_features(&caller.account_id, &changes, api.clock.now()).await?;
    api.publish(&key).await?;
    Ok(respond::ok(&Done { success: true }))
}

/// Reads the switches that a request gives. What it gives besides is passed over.
pub(crate) fn changes(form: &Form) -> Result<FeatureChanges, ApiError> {
    let redact_pii = enabled(form, REDACT_PII)?;
    let mut others = BTreeMap::new();
    for name in OTHERS {
        if let Some(enabled) = enabled(form, name)? {
            others.insert(name.to_owned(), enabled);
        }
    }
    if redact_pii.is_none() && others.is_empty() {
        return Err(ApiError::bad_request("No valid updates provided"));
    }
    Ok(FeatureChanges { redact_pii, others })
}

fn enabled(form: &Form, name: &'static str) -> Result<Option<bool>, ApiError> {
    let Some(text) = form.first(name) else { return Ok(None) };
    let object = serde_json::from_str::<Value>(text).ok();
    let enabled = object.as_ref().and_then(|object| object.get("enabled")?.as_bool());
    enabled.map(Some).ok_or_else(|| {
        let message = format!(r#"{name} must be a JSON object such as {{"enabled":true}}"#);
        ApiError::bad_request(message)
    })
}

/// Switches as answers show them: ours, and the others as far as they were ever set. Whether
/// personal data is hidden is not for a subaccount to see (seed 004).
pub(crate) fn shown(features: &Features, sees_ours: bool) -> BTreeMap<&str, Feature> {
    let others = features.others.iter().map(|(name, enabled)| (name.as_str(), *enabled));
    let ours = sees_ours.then_some((REDACT_PII, features.redact_pii));
    others.chain(ours).map(|(name, enabled)| (name, Feature { enabled })).collect()
}

/// One switch.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Feature {
    enabled: bool,
}

/// At least one of them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
pub(crate) struct NewFeatures {
    #[schema(inline)]
    webhooks_redact_pii: Option<FeatureValue>,
    #[schema(inline)]
    ai_insights: Option<FeatureValue>,
    #[schema(inline)]
    email_preview: Option<FeatureValue>,
    #[schema(inline)]
    inbox_placement: Option<FeatureValue>,
    #[schema(inline)]
    sending: Option<FeatureValue>,
    #[schema(inline)]
    validations: Option<FeatureValue>,
    #[schema(inline)]
    validations_bulk: Option<FeatureValue>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes the form")]
enum FeatureValue {
    Object {
        enabled: bool,
    },
    /// The same as JSON text.
    #[schema(example = r#"{"enabled":true}"#)]
    Text(String),
}

/// Mailgun's way to say that it is done.
#[derive(Serialize, ToSchema)]
pub(crate) struct Done {
    pub(crate) success: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_switch_has_a_place_in_the_description() {
        use utoipa::PartialSchema as _;
        let schema = serde_json::to_value(NewFeatures::schema()).expect("JSON");
        let mut described: Vec<_> =
            schema["properties"].as_object().expect("properties").keys().cloned().collect();
        let mut known = [&OTHERS[..], &[REDACT_PII]].concat();
        described.sort();
        known.sort_unstable();
        assert_eq!(described, known);
    }
}
