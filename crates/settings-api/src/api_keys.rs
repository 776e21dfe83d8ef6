//! API keys and their roles (reference §1.2). A key is shown once, to whoever
//! made it; all that is stored is its hash.

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use http::StatusCode;
use serde::Serialize;
use store::{ApiKey, KeyFilter, KeyKind, NewKey, RateBudget, Role, StoreError, Thing};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::error::{ApiError, Problem};
use crate::form::{Form, Query};
use crate::path::Segments;
use crate::{SettingsApi, domain_name, keys, respond};

/// How long a key of a browser's session lives at most, in seconds.
const WEB_SECONDS: u32 = 24 * 60 * 60;
/// Longest text that is noted of a key, in characters.
const MAX_TEXT: usize = 256;

/// The calls of this module.
pub(crate) fn routes() -> OpenApiRouter<SettingsApi> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(delete))
}

type Result<T = Response> = std::result::Result<T, ApiError>;

/// Lists the account's API keys, oldest first, without the keys themselves.
/// Deleted ones are gone; expired ones are shown as disabled for 30 days.
#[utoipa::path(
    get,
    path = "/v1/keys",
    operation_id = "list_keys",
    tag = "keys",
    params(ListQuery),
    responses(
        (status = 200, description = "What is known of the keys", body = KeyList<'_>),
        (status = 400, description = "Something in the query is wrong", body = Problem),
    )
)]
pub(crate) async fn list(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Query(query): Query,
) -> Result {
    let filter = KeyFilter {
        kind: kind(&query)?,
        // What is no name of a domain is not that of any key.
        domain_name: query
            .first("domain_name")
            .map(|name| domain_name::canonical(name).unwrap_or_default()),
    };
    let now = api.clock.now();
    let keys = api.store.account_keys(&caller.account_id, &filter, now).await?;
    let items: Vec<_> = keys.iter().map(|key| KeyAnswer::of(key, now)).collect();
    Ok(respond::ok(&KeyList { total_count: items.len(), items }))
}

/// Makes an API key. This answer is the only one that ever has the key itself.
#[utoipa::path(
    post,
    path = "/v1/keys",
    operation_id = "create_key",
    tag = "keys",
    request_body = NewKeyForm,
    responses((
        status = 200,
        description = "The key, twice: some clients read it at the top, some under `key`",
        body = KeyMade<'_>
    ))
)]
pub(crate) async fn create(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    form: Form,
) -> Result {
    let (secret, now) = (keys::api_key(), api.clock.now());
    let new = read(&form, keys::stored(&secret), now)?;
    api.spend(&caller.primary_id, RateBudget::ApiKeys, 1).await?;
    let quotas = &api.limits.quotas;
    let made = api.store.create_account_key(&caller.account_id, &new, quotas, now).await;
    let made = made.map_err(|error| match error {
        StoreError::NotFound(Thing::Domain) => {
            ApiError::bad_request("domain_name must be a domain of this account")
        }
        StoreError::QuotaReached { .. } => {
            let message = format!("could not create key, account limit reached: {error}");
            ApiError::new(StatusCode::FORBIDDEN, message)
        }
        error => error.into(),
    })?;
    tracing::info!(
        account.id = caller.account_id,
        key.id = made.key_id,
        key.role = made.role.as_str(),
        by.key.id = caller.key_id,
        "an API key was made"
    );
    let with_secret = || KeyWithSecret { key: KeyAnswer::of(&made, now), secret: &secret };
    Ok(respond::ok(&KeyMade {
        message: "great success",
        key: with_secret(),
        at_the_top: with_secret(),
    }))
}

/// Deletes an API key, which opens nothing from then on, be it the one of this call.
/// The last admin key without an end stays, unless a parent account can make others.
#[utoipa::path(
    delete,
    path = "/v1/keys/{key_id}",
    operation_id = "delete_key",
    tag = "keys",
    params(KeyPath),
    responses(
        (status = 200, description = "Deleted", body = KeyDeleted),
        (status = 400, description = "Nobody could make another key afterwards", body = Problem),
    )
)]
pub(crate) async fn delete(
    State(api): State<SettingsApi>,
    Extension(caller): Extension<Caller>,
    Segments(key_id): Segments<String>,
) -> Result {
    let unknown = || ApiError::not_found("no key matching id");
    if !keys::is_key_id(&key_id) {
        return Err(unknown());
    }
    match api.store.revoke_account_key(&caller.account_id, &key_id, api.clock.now()).await {
        Ok(()) => {
            tracing::info!(
                account.id = caller.account_id,
                key.id = key_id,
                by.key.id = caller.key_id,
                "an API key was deleted"
            );
            Ok(respond::ok(&KeyDeleted { message: "key deleted" }))
        }
        Err(StoreError::NotFound(_)) => Err(unknown()),
        Err(error) => Err(error.into()),
    }
}

fn read(form: &Form, stored: NewKey, now: DateTime<Utc>) -> Result<NewKey> {
    let role =
        form.first("role").ok_or_else(|| ApiError::bad_request("Missing parameter 'role'"))?;
    let role = Role::parse(role).ok_or_else(|| {
        ApiError::bad_request("role must be one of admin, developer, basic and sending")
    })?;
    let kind = kind(form)?.unwrap_or(KeyKind::User);
    let domain_name = match form.first("domain_name") {
        None => None,
        Some(name) => Some(
            domain_name::canonical(name)
                .ok_or_else(|| ApiError::bad_request("domain_name must be the name of a domain"))?,
        ),
    };
    if kind == KeyKind::Domain {
        // A key for one domain that opens all of the account would surprise its maker.
        if role != Role::Sending {
            return Err(ApiError::bad_request("a key of kind domain must have the role sending"));
        }
        if domain_name.is_none() {
            return Err(ApiError::bad_request("Missing parameter 'domain_name'"));
        }
    }
    let text = |name| match form.first(name) {
        Some(text) if text.chars().count() > MAX_TEXT => {
            let message = format!("{name} must be a text of at most {MAX_TEXT} characters");
            Err(ApiError::bad_request(message))
        }
        text => Ok(text.map(str::to_owned)),
    };
    let lives = lifetime(form, kind)?;
    Ok(NewKey {
        role,
        kind,
        domain_name,
        description: text("description")?.unwrap_or_default(),
        requestor: text("email")?,
        user_name: text("user_name")?,
        expires_at: lives.map(|seconds| now + TimeDelta::seconds(seconds.into())),
        ..stored
    })
}

/// In seconds; `None` for ever.
fn lifetime(form: &Form, kind: KeyKind) -> Result<Option<u32>> {
    let seconds = match form.first("expiration").map(str::parse::<u32>) {
        None | Some(Ok(0)) => None,
        Some(Ok(seconds)) => Some(seconds),
        Some(Err(_)) => {
            let message = format!(
                "expiration must be a number of seconds from 0, for never, to {}",
                u32::MAX
            );
            return Err(ApiError::bad_request(message));
        }
    };
    match (kind, seconds) {
        (KeyKind::Web, None) => Ok(Some(WEB_SECONDS)),
        (KeyKind::Web, Some(seconds)) if seconds > WEB_SECONDS => {
            let message =
                format!("expiration of a key of kind web must be at most {WEB_SECONDS} seconds");
            Err(ApiError::bad_request(message))
        }
        (_, seconds) => Ok(seconds),
    }
}

fn kind(form: &Form) -> Result<Option<KeyKind>> {
    let Some(name) = form.first("kind") else { return Ok(None) };
    let message = "expected `kind` param to be one of [domain user web] or absent";
    KeyKind::parse(name).map(Some).ok_or_else(|| ApiError::bad_request(message))
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the query")]
struct ListQuery {
    /// Only keys that were made for this domain.
    #[param(required = false)]
    domain_name: String,
    /// Only keys of this kind: domain, user or web.
    #[param(required = false)]
    kind: String,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes the path")]
struct KeyPath {
    /// Id of the key.
    #[param(example = "01234567-89abcdef")]
    key_id: String,
}

#[derive(ToSchema)]
#[expect(dead_code, reason = "describes the form")]
struct NewKeyForm {
    /// What it may be used for: admin, developer, basic or sending.
    role: String,
    /// Who holds it: user, domain (with role sending) or web. user if left out.
    #[schema(required = false)]
    kind: String,
    /// A note, at most 256 characters.
    #[schema(required = false)]
    description: String,
    /// Mail address of who asks for it, at most 256 characters; shown as `requestor`.
    #[schema(required = false)]
    email: String,
    /// For whom it is, at most 256 characters.
    #[schema(required = false)]
    user_name: String,
    /// A domain, which has to be the account's own with kind domain.
    #[schema(required = false)]
    domain_name: String,
    /// Seconds for which it is to work; 0 for ever. With kind web a day at most.
    #[schema(required = false, minimum = 0, maximum = 4_294_967_295_i64)]
    expiration: i64,
}

#[derive(Serialize, ToSchema)]
struct KeyList<'a> {
    /// How many are listed.
    total_count: usize,
    items: Vec<KeyAnswer<'a>>,
}

#[derive(Serialize, ToSchema)]
struct KeyMade<'a> {
    message: &'static str,
    key: KeyWithSecret<'a>,
    #[serde(flatten)]
    at_the_top: KeyWithSecret<'a>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ApiKeyWithSecret)]
struct KeyWithSecret<'a> {
    #[serde(flatten)]
    key: KeyAnswer<'a>,
    /// The key itself.
    secret: &'a str,
}

#[derive(Serialize, ToSchema)]
struct KeyDeleted {
    message: &'static str,
}

/// What is known of a key. Its moments are in UTC, without a zone, as Mailgun's are.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct KeyAnswer<'a> {
    id: &'a str,
    description: &'a str,
    kind: &'static str,
    role: &'static str,
    created_at: String,
    /// Keys do not change: the same as `created_at`.
    updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// `expired`, once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_reason: Option<&'static str>,
    is_disabled: bool,
    domain_name: Option<&'a str>,
    /// Mail address of who asked for it, as its maker says.
    requestor: Option<&'a str>,
    /// For whom it is, as its maker says.
    user_name: Option<&'a str>,
    /// Right to the minute; null before the first use.
    last_used_at: Option<String>,
}

impl<'a> KeyAnswer<'a> {
    fn of(key: &'a ApiKey, now: DateTime<Utc>) -> Self {
        let is_expired = key.expires_at.is_some_and(|at| at <= now);
        Self {
            id: &key.key_id,
            description: &key.description,
            kind: key.kind.as_str(),
            role: key.role.as_str(),
            created_at: moment(key.created_at),
            updated_at: moment(key.created_at),
            expires_at: key.expires_at.map(moment),
            disabled_reason: is_expired.then_some("expired"),
            is_disabled: is_expired,
            domain_name: key.domain_name.as_deref(),
            requestor: key.requestor.as_deref(),
            user_name: key.user_name.as_deref(),
            last_used_at: key.last_used_at.map(moment),
        }
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%S").to_string()
}
