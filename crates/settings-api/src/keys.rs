//! Ids and keys, made up. Mailgun's forms (reference §1.2, §5, §6.1, §9.2).

use chassis::entropy;
use store::NewKey;

/// An id of an account or of an account-level webhook: 24 hex characters.
pub(crate) fn object_id() -> String {
    hex::encode(entropy::bytes::<12>())
}

/// Whether this has the form of such an id.
pub(crate) fn is_object_id(text: &str) -> bool {
    text.len() == 24 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether this has the form of an API key's id.
pub(crate) fn is_key_id(text: &str) -> bool {
    let part = |part: &str| part.len() == 8 && part.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_once('-').is_some_and(|(left, right)| part(left) && part(right))
}

/// An API key: `key-` and 32 hex characters.
pub(crate) fn api_key() -> String {
    format!("key-{}", hex::encode(entropy::bytes::<16>()))
}

/// A key that signs message events: `key-` and 32 hex characters.
pub(crate) fn http_signing_key() -> String {
    api_key()
}

/// A key that signs alerts: 32 hex characters.
pub(crate) fn alerts_signing_key() -> String {
    hex::encode(entropy::bytes::<16>())
}

/// What is stored of an API key that may do everything, under a new id of the
/// form `xxxxxxxx-yyyyyyyy`.
pub(crate) fn stored(api_key: &str) -> NewKey {
    let [left, right] = [(); 2].map(|()| hex::encode(entropy::bytes::<4>()));
    NewKey::admin(format!("{left}-{right}"), signing::api_key_hash(api_key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_keys_have_mailguns_forms() {
        assert!(is_object_id(&object_id()));
        assert!(!is_object_id("66f0c1de9a7b4e0012ab34cD") && !is_object_id("66f0"));
        let key = api_key();
        assert_eq!(key.strip_prefix("key-").map(str::len), Some(32));
        assert_eq!(alerts_signing_key().len(), 32);
        let stored = stored(&key);
        assert!(is_key_id(&stored.key_id) && !is_key_id(&key));
        assert_eq!(stored.hash, signing::api_key_hash(&key));
    }
}
