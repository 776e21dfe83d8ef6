//! HMAC-SHA256 over several parts, and its comparison in constant time.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::SigningKey;

/// The code of the parts, one after the other, with nothing between them.
pub(crate) fn sign(key: &SigningKey, parts: &[&[u8]]) -> [u8; 32] {
    mac(key, parts).finalize().into_bytes().into()
}

/// Whether `code` is that of the parts; takes the same time wherever it differs.
pub(crate) fn verify(key: &SigningKey, parts: &[&[u8]], code: &[u8]) -> bool {
    mac(key, parts).verify_slice(code).is_ok()
}

fn mac(key: &SigningKey, parts: &[&[u8]]) -> Hmac<Sha256> {
    // RFC 2104: a longer key is hashed first and a shorter one is padded.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of every length");
    for part in parts {
        mac.update(part);
    }
    mac
}
