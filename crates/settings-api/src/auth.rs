//! Who is calling (reference §1.2, §1.3), and what its key allows.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use store::{AccountStatus, Authenticated, CallerAccount, Role};

use crate::error::ApiError;
use crate::strangers::DELAY;
use crate::{SettingsApi, held, keys};

const ON_BEHALF_OF: HeaderName = HeaderName::from_static("x-mailgun-on-behalf-of");
const KEY_ID: HeaderName = HeaderName::from_static("x-mailgun-key-id");

/// The account that a call is for, and the key that it came with.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The key's own account, or the subaccount of it that the call is on behalf of.
    pub(crate) account_id: String,
    /// The account of the key.
    pub(crate) key_account_id: String,
    /// The tenant: the primary account of both.
    pub(crate) primary_id: String,
    /// `xxxxxxxx-yyyyyyyy`.
    pub(crate) key_id: String,
    pub(crate) role: Role,
    status: AccountStatus,
}

impl Caller {
    /// Refuses a key that may look and not know: with a signing key its holder
    /// could speak in our name.
    pub(crate) fn check_sees_secrets(&self) -> Result<(), ApiError> {
        if self.sees_secrets() { Ok(()) } else { Err(ApiError::forbidden("Forbidden")) }
    }

    /// Whether this is a subaccount with a key of its own, and not its parent on its behalf.
    pub(crate) fn is_subaccount_itself(&self) -> bool {
        self.account_id == self.key_account_id && self.account_id != self.primary_id
    }

    /// Whether signing keys are shown to this key's holder.
    pub(crate) fn sees_secrets(&self) -> bool {
        matches!(self.role, Role::Admin | Role::Developer)
    }
}

/// What a group of calls is about; decides which roles may make them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Area {
    /// Webhooks, alerts, domains, signing keys.
    Settings,
    /// The account itself, its API keys and subaccounts.
    Account,
    /// The end of a subaccount, which may be disabled already.
    Closing,
    /// What has happened. Nothing is changed, whatever the method.
    History,
}

fn may(role: Role, area: Area, method: &Method) -> bool {
    let only_looks = area == Area::History || matches!(*method, Method::GET | Method::HEAD);
    match role {
        Role::Admin => true,
        Role::Developer => area == Area::Settings || only_looks,
        Role::Basic => only_looks,
        Role::Sending => false,
    }
}

/// Lets a call through to its handler with the [`Caller`] it is from, if its tenant has not
/// too many under way. The body is not read before.
pub(crate) async fn authenticate(
    State(api): State<SettingsApi>,
    mut request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip());
    let turn = match peer {
        Some(peer) => api.strangers.turn(peer).await,
        None => None,
    };
    let identified = identify(&api, request.headers()).await;
    drop(turn);
    let caller = match identified {
        Ok(caller) => caller,
        Err(error) => {
            // Without a key nothing was looked up.
            if matches!(error, ApiError::Unauthorized)
                && api_key(request.headers()).is_some()
                && let Some(peer) = peer
                && api.strangers.failed(peer)
            {
                api.clock.sleep(DELAY).await;
            }
            return error.into_response();
        }
    };
    let key_id = caller.key_id.clone();
    let place = api.calls.place(&caller.primary_id).await;
    request.extensions_mut().insert(caller);
    let mut response = match place {
        Ok(place) => held::until_read(next.run(request).await, place),
        Err(error) => error.into_response(),
    };
    if let Ok(key_id) = HeaderValue::try_from(key_id) {
        response.headers_mut().insert(KEY_ID, key_id);
    }
    response
}

/// Refuses what the key's role does not allow, and what is for an account that
/// may do nothing.
pub(crate) async fn authorize(
    State(area): State<Area>,
    Extension(caller): Extension<Caller>,
    request: Request,
    next: Next,
) -> Response {
    if !may(caller.role, area, request.method()) {
        return ApiError::forbidden("Forbidden").into_response();
    }
    if area != Area::Closing
        && let Err(error) = check_open(caller.status)
    {
        return error.into_response();
    }
    next.run(request).await
}

async fn identify(api: &SettingsApi, headers: &HeaderMap) -> Result<Caller, ApiError> {
    let key = api_key(headers).ok_or(ApiError::Unauthorized)?;
    let on_behalf_of = headers.get(ON_BEHALF_OF).filter(|id| !id.is_empty());
    let subaccount_id =
        on_behalf_of.and_then(|id| id.to_str().ok()).filter(|id| keys::is_object_id(id));
    let hash = signing::api_key_hash(&key);
    let Authenticated { key_id, role, account, primary_id, parent_status, subaccount } = api
        .reserve()
        .authenticate(&hash, subaccount_id, api.clock.now())
        .await?
        .ok_or(ApiError::Unauthorized)?;
    // A subaccount may do nothing that its parent may not.
    parent_status.map_or(Ok(()), check_open)?;
    let key_account_id = account.account_id.clone();
    let account = match on_behalf_of {
        None => account,
        Some(id) if id.as_bytes() == account.account_id.as_bytes() => account,
        // Whether another account has the id, or none, is not for this caller to know.
        Some(_) => {
            check_open(account.status)?;
            subaccount.ok_or_else(|| ApiError::forbidden("Forbidden"))?
        }
    };
    let CallerAccount { account_id, status } = account;
    Ok(Caller { account_id, key_account_id, primary_id, key_id, role, status })
}

/// The password of user `api`.
pub(crate) fn api_key(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) =
        headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = STANDARD.decode(credentials.trim()).ok()?;
    let (user, key) = std::str::from_utf8(&credentials).ok()?.split_once(':')?;
    (user == "api" && !key.is_empty()).then(|| key.to_owned())
}

fn check_open(status: AccountStatus) -> Result<(), ApiError> {
    match status {
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
    fn roles_allow_less_and_less() {
        let calls = [
            (Area::Settings, Method::GET),
            (Area::Account, Method::GET),
            (Area::Settings, Method::PUT),
            (Area::Account, Method::POST),
            (Area::Closing, Method::DELETE),
            (Area::History, Method::POST),
        ];
        for (role, allowed) in
            [(Role::Admin, 6), (Role::Developer, 4), (Role::Basic, 3), (Role::Sending, 0)]
        {
            let made = calls.iter().filter(|(area, method)| may(role, *area, method));
            assert_eq!(made.count(), allowed, "{role:?}");
        }
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
