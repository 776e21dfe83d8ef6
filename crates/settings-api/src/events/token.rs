//! The last part of a link. It holds the whole list and the place in it, so that
//! nothing is kept for it here; sealed, so that it can be neither read nor
//! changed, and bound to its account and its list.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use signing::{Sealed, SecretKey};

use crate::SettingsApi;
use crate::error::ApiError;

/// Seals a place in this list of an account.
pub(crate) fn seal<T: Serialize>(
    api: &SettingsApi,
    account_id: &str,
    list: &str,
    content: &T,
) -> Result<String, ApiError> {
    let content = serde_json::to_string(content).map_err(|error| {
        tracing::error!(%error, "a link cannot be written");
        ApiError::internal()
    })?;
    Ok(URL_SAFE_NO_PAD.encode(api.seal(&content, Sealed::Page(account_id, list))))
}

/// Opens what was sealed for the same account and list.
pub(crate) fn open<T: DeserializeOwned>(
    api: &SettingsApi,
    account_id: &str,
    list: &str,
    token: &str,
) -> Result<T, ApiError> {
    // An older version's, another account's, another list's or nobody's: it makes
    // no difference to whoever shows it.
    let opened = open_with(api.secret_key(), account_id, list, token);
    opened.ok_or_else(|| ApiError::bad_request("Invalid page: begin the list anew"))
}

/// The same with this key.
pub(crate) fn open_with<T: DeserializeOwned>(
    key: &SecretKey,
    account_id: &str,
    list: &str,
    token: &str,
) -> Option<T> {
    let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
    let content = key.unseal(&sealed, &Sealed::Page(account_id, list).context()).ok()?;
    serde_json::from_slice(&content).ok()
}
