//! Secrets at rest and on the broker: XChaCha20-Poly1305 under a key that only
//! the services have.
//!
//! A sealed secret is one version byte, four bytes that name the key, the
//! nonce, then ciphertext and tag. The name is a hash of the key, so that the
//! right one of several is found without trying all, and a missing one can be
//! told from a forgery.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use sha2::{Digest as _, Sha256};

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;
const KEY_ID_LEN: usize = 4;
pub(crate) const NONCE_LEN: usize = 24;

/// The deployment's secret key, with those that it has replaced.
///
/// Parsed from `POSTRIDER_SECRET_KEY`: 32 bytes in base64 or in hex. To change
/// the key, put the new one in front, separated by a comma: the first seals,
/// all of them unseal.
#[derive(Clone)]
pub struct SecretKey {
    seals: Cipher,
    unseal_only: Vec<Cipher>,
}

#[derive(Clone)]
struct Cipher {
    id: [u8; KEY_ID_LEN],
    cipher: XChaCha20Poly1305,
}

/// Why text is not a secret key. Says nothing of the text itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("key {position} is not 32 bytes in base64 or 64 hex characters")]
pub struct InvalidSecretKey {
    /// Which of the comma-separated keys is meant, from 1.
    pub position: usize,
}

/// Why a secret cannot be unsealed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// It is too short, or of a version that this release does not know.
    #[error("this is not a sealed secret that this release can read")]
    Malformed,
    /// It was sealed under a key that is not among those given.
    #[error("sealed under key {key_id}, which POSTRIDER_SECRET_KEY does not hold")]
    UnknownKey {
        /// Eight hex characters, a hash of the key.
        key_id: String,
    },
    /// It was altered, or it was sealed for another context.
    #[error("the sealed secret was altered, or belongs to something else")]
    Altered,
}

impl SecretKey {
    /// Seals `plaintext` for `context`, which names what the secret belongs to.
    ///
    /// The context is authenticated, not stored: a secret copied to another
    /// place does not open there. `nonce` is random and never used twice; of
    /// 24 random bytes that can be taken for granted.
    pub fn seal(&self, plaintext: &[u8], nonce: [u8; NONCE_LEN], context: &[u8]) -> Vec<u8> {
        let mut text = plaintext.to_vec();
        self.seals
            .cipher
            .encrypt_in_place(&nonce.into(), context, &mut text)
            .expect("the cipher takes up to 256 GiB");

        let mut sealed = Vec::with_capacity(1 + KEY_ID_LEN + NONCE_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&self.seals.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        sealed
    }

    /// Opens what was sealed for the same context under any of the keys.
    ///
    /// # Errors
    /// See [`SealError`]; none of them is helped by trying again.
    pub fn unseal(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let (key_id, nonce, text) = split(sealed).ok_or(SealError::Malformed)?;
        let mut found = false;
        for key in std::iter::once(&self.seals).chain(&self.unseal_only) {
            // Four bytes may collide, so every key of that name gets its try.
            if key.id != key_id {
                continue;
            }
            found = true;
            let mut opened = text.to_vec();
            let result = key.cipher.decrypt_in_place(&nonce.into(), context, &mut opened);
            if result.is_ok() {
                return Ok(opened);
            }
        }
        if found {
            Err(SealError::Altered)
        } else {
            Err(SealError::UnknownKey { key_id: hex::encode(key_id) })
        }
    }

    /// Whether this was sealed under the key that seals now. What was not is
    /// to be sealed anew before the older key is taken away.
    pub fn is_current(&self, sealed: &[u8]) -> bool {
        split(sealed).is_some_and(|(key_id, ..)| key_id == self.seals.id)
    }
}

impl FromStr for SecretKey {
    type Err = InvalidSecretKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut keys = text.split(',').enumerate().map(|(index, text)| {
            Cipher::parse(text.trim()).ok_or(InvalidSecretKey { position: index + 1 })
        });
        let seals = keys.next().unwrap_or(Err(InvalidSecretKey { position: 1 }))?;
        let unseal_only = keys.collect::<Result<_, _>>()?;
        Ok(Self { seals, unseal_only })
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Cipher {
    fn parse(text: &str) -> Option<Self> {
        // 64 hex characters are base64 too, but of 48 bytes, so that each text
        // is one or the other.
        let bytes = if text.len() == 2 * KEY_LEN {
            hex::decode(text).ok()?
        } else {
            STANDARD_PAD_INDIFFERENT.decode(text).ok()?
        };
        let bytes: [u8; KEY_LEN] = bytes.try_into().ok()?;
        let digest =
            Sha256::new().chain_update(b"postrider secret key id").chain_update(bytes).finalize();
        let mut id = [0; KEY_ID_LEN];
        id.copy_from_slice(&digest[..KEY_ID_LEN]);
        Some(Self { id, cipher: XChaCha20Poly1305::new(&bytes.into()) })
    }
}

type Parts<'a> = ([u8; KEY_ID_LEN], [u8; NONCE_LEN], &'a [u8]);

fn split(sealed: &[u8]) -> Option<Parts<'_>> {
    let rest = sealed.strip_prefix(&[VERSION])?;
    let (key_id, rest) = rest.split_first_chunk()?;
    let (nonce, text) = rest.split_first_chunk()?;
    Some((*key_id, *nonce, text))
}

#[cfg(test)]
mod tests;
