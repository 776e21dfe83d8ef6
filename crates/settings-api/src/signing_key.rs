//! The key that signs message events (reference §6.1), and how a signing key
//! is replaced by the next one.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use signing::Sealed;
use store::SigningKeyKind;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::form::WithQuery;
use crate::{SettingsApi, keys, respond};

/// Longest time for which a key that was replaced may also sign: seven days.
pub(crate) const MAX_OVERLAP_SECONDS: u64 = 7 * 24 * 60 * 60;

/// The path that mailgun-python's generic client makes of the real one.
const ALIAS: &str = "/v5/accounts/http/signing/key";

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new()
        .routes(routes!(get, regenerate))
        .route(ALIAS, axum::routing::get(get).post(regenerate))
}

/// Shows the key that signs the account's message events.
#[utoipa::path(
    get,
    path = "/v5/accounts/http_signing_key",
    operation_id = "get_http_signing_key",
    tag = "accounts",
    responses(
        (status = 200, description = "The key", body = HttpSigningKey),
        (status = 400, description = "The key cannot be opened", body = crate::error::Problem),
    )
)]
async fn get(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    caller.check_sees_secrets()?;
    let account_id = caller.account_id.as_str();
    let sealed = api.store.sealed_keys(account_id).await?.http_signing_key;
    let http_signing_key =
        api.unseal(&sealed, Sealed::HttpSigningKey(account_id)).map_err(|error| {
            tracing::error!(%error, account.id = account_id, "a signing key cannot be unsealed");
            ApiError::bad_request("could not get HSK for account")
        })?;
    Ok(respond::ok(&HttpSigningKey { http_signing_key }))
}

/// Replaces the key that signs the account's message events.
///
/// From the answer on, every attempt is signed with the new key, retries too.
/// With `overlap_seconds` the replaced key also signs for that long:
/// `previous-signature` in the object `signature`, and a second signature in
/// `webhook-signature`. Without, or with 0, it signs nothing more. Only one
/// replaced key is kept, so that replacing again ends an overlap that is under way.
#[utoipa::path(
    post,
    path = "/v5/accounts/http_signing_key",
    operation_id = "regenerate_http_signing_key",
    tag = "accounts",
    params(OverlapQuery),
    request_body(content = Option<Overlap>),
    responses((status = 200, description = "The new key", body = Regenerated))
)]
async fn regenerate(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    WithQuery(form): WithQuery,
) -> Result<Response, ApiError> {
    caller.check_sees_secrets()?;
    let now = api.clock.now();
    let until = overlap_until(&api, form.first("overlap_seconds"), now)?;
    let account_id = caller.account_id.as_str();
    let http_signing_key = keys::http_signing_key();
    let sealed = api.seal(&http_signing_key, Sealed::HttpSigningKey(account_id));
    api.check_broker()?;
    let replaced =
        api.store.replace_signing_key(account_id, SigningKeyKind::Http, &sealed, until, now);
    api.publish(&replaced.await?).await?;
    let message = "regenerated HTTP signing key for account";
    Ok(respond::ok(&Regenerated { message, http_signing_key }))
}

/// Until when a key that is replaced now also signs: as long as the call says,
/// or else as long as operators have set.
pub(crate) fn overlap_until(
    api: &SettingsApi,
    given: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, ApiError> {
    let seconds = match given {
        None => api.signing_key_overlap.as_secs(),
        Some(text) => {
            text.parse().ok().filter(|seconds| *seconds <= MAX_OVERLAP_SECONDS).ok_or_else(
                || {
                    ApiError::bad_request(format!(
                        "overlap_seconds must be a whole number from 0 to {MAX_OVERLAP_SECONDS}"
                    ))
                },
            )?
        }
    };
    let overlap = TimeDelta::seconds(i64::try_from(seconds).unwrap_or_default());
    Ok((overlap > TimeDelta::zero()).then(|| now + overlap))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
pub(crate) struct OverlapQuery {
    /// For how many seconds the replaced key also signs; may stand in the body
    /// as well. An extension of Postrider.
    #[param(minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<u64>,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
pub(crate) struct Overlap {
    /// For how many seconds the replaced key also signs. An extension of Postrider.
    #[schema(minimum = 0, maximum = 604_800)]
    overlap_seconds: Option<u64>,
}

#[derive(Serialize, ToSchema)]
struct HttpSigningKey {
    /// Its bytes, prefix included, are the key.
    http_signing_key: String,
}

#[derive(Serialize, ToSchema)]
struct Regenerated {
    message: &'static str,
    /// Its bytes, prefix included, are the key.
    http_signing_key: String,
}
