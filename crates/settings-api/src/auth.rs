//! Who is calling (reference §1.2, §1.3).

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use store::{AccountStatus, Authenticated, CallerAccount};

use crate::error::ApiError;
use crate::{SettingsApi, keys};

const ON_BEHALF_OF: HeaderName = HeaderName::from_static("x-mailgun-on-behalf-of");
const KEY_ID: HeaderName = HeaderName::from_static("x-mailgun-key-id");

/// The account that a call is for, which is the key's own or a subaccount of it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account_id: String,
}

/// Lets a call through to its handler with the [`Caller`] it is from. The body
/// is not read before.
pub(crate) async fn authenticate(
    State(api): State<SettingsApi>,
    mut request: Request,
    next: Next,
) -> Response {
    let (key_id, caller) = match identify(&api, request.headers()).await {
        Ok(identified) => identified,
        Err(error) => return error.into_response(),
    };
    request.extensions_mut().insert(caller);
    let mut response = next.run(request).await;
    if let Ok(key_id) = HeaderValue::try_from(key_id) {
        response.headers_mut().insert(KEY_ID, key_id);
    }
    response
}

async fn identify(api: &SettingsApi, headers: &HeaderMap) -> Result<(String, Caller), ApiError> {
    let key = api_key(headers).ok_or(ApiError::Unauthorized)?;
    let on_behalf_of = headers.get(ON_BEHALF_OF).filter(|id| !id.is_empty());
    let subaccount_id =
        on_behalf_of.and_then(|id| id.to_str().ok()).filter(|id| keys::is_object_id(id));
    let hash = signing::api_key_hash(&key);
    let Authenticated { key_id, account, subaccount } = api
        .store
        .authenticate(&hash, subaccount_id, api.clock.now())
        .await?
        .ok_or(ApiError::Unauthorized)?;
    check_open(&account)?;
    let account = match on_behalf_of {
        None => account,
        Some(id) if id.as_bytes() == account.account_id.as_bytes() => account,
        // Whether another account has the id, or none, is not for this caller to know.
        Some(_) => {
            let subaccount = subaccount.ok_or_else(|| ApiError::forbidden("Forbidden"))?;
            check_open(&subaccount)?;
            subaccount
        }
    };
    Ok((key_id, Caller { account_id: account.account_id }))
}

/// The password of user `api`.
fn api_key(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) =
        headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = STANDARD.decode(credentials.trim()).ok()?;
    let (user, key) = std::str::from_utf8(&credentials).ok()?.split_once(':')?;
    (user == "api" && !key.is_empty()).then(|| key.to_owned())
}

fn check_open(account: &CallerAccount) -> Result<(), ApiError> {
    match account.status {
        AccountStatus::Open => Ok(()),
        AccountStatus::Disabled => Err(ApiError::forbidden("Account is disabled")),
        AccountStatus::Closed => Err(ApiError::forbidden("Account is closed")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(authorization: &str) -> Option<String> {
        let value = authorization.parse().expect("a header");
        api_key(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
    }

    #[test]
    fn the_key_is_the_password_of_user_api() {
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(key_of(&basic("api:key-1")).as_deref(), Some("key-1"));
        assert_eq!(key_of(&basic("api:a:b")).as_deref(), Some("a:b"));
        assert_eq!(key_of(&basic("api:key-1").replace("Basic", "basic")).as_deref(), Some("key-1"));
        for wrong in ["user:key-1", "api:", "api", ""] {
            assert_eq!(key_of(&basic(wrong)), None, "{wrong}");
        }
        for wrong in ["Bearer key-1", "Basic", "Basic ???", ""] {
            assert_eq!(key_of(wrong), None, "{wrong}");
        }
    }
}
