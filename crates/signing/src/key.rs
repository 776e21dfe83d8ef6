//! The key of one account for one family of deliveries.

use std::fmt;
use std::sync::Arc;

/// A key that signs deliveries: opaque bytes, used as they are.
///
/// Mailgun's keys are text such as `key-0f…`; the prefix is part of the key
/// (reference §6.1). Cloning shares the bytes.
#[derive(Clone)]
pub struct SigningKey(Arc<[u8]>);

impl SigningKey {
    /// Takes the bytes that the customer was told, prefix included.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(Arc::from(bytes.as_ref()))
    }

    /// The key itself, to show it to its owner or to seal it.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_print() {
        let key = SigningKey::new("key-0f0f");
        assert_eq!(format!("{key:?}"), "[redacted]");
        assert_eq!(key.expose(), b"key-0f0f");
    }
}
