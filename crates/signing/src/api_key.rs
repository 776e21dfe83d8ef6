//! How an API key is stored.

use sha2::{Digest as _, Sha256};

/// What is stored of an API key, and what it is looked up by.
///
/// A plain hash is right here. A slow one protects passwords, which can be
/// guessed; keys that we make are random throughout, so that whoever steals
/// the table gains nothing by trying. Each request is authenticated by one
/// look-up in an index, which a salt would make impossible and a slow hash
/// would make dear. An operator who chooses a key by hand answers for it.
pub fn api_key_hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_sha_256() {
        // FIPS 180-4, the example "abc".
        assert_eq!(
            hex::encode(api_key_hash("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
