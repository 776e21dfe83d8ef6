//! Mailgun Send: the `signature` block inside the body (reference §7.2).

use crate::{SigningKey, mac};

/// Lower-case hex of HMAC-SHA256 over `timestamp` in decimal and `token`.
///
/// `timestamp` is in seconds since the epoch. The body is not covered; the
/// headers of [`crate::standard_webhooks`], which go with it, cover it.
pub fn send_signature(key: &SigningKey, timestamp: u64, token: &str) -> String {
    let timestamp = timestamp.to_string();
    hex::encode(mac::sign(key, &[timestamp.as_bytes(), token.as_bytes()]))
}

/// Whether `signature`, in hex, belongs to `timestamp` and `token`, which are
/// taken as they stand in the body. Does not look at how old they are.
pub fn verify_send_signature(
    key: &SigningKey,
    timestamp: &str,
    token: &str,
    signature: &str,
) -> bool {
    hex::decode(signature)
        .is_ok_and(|code| mac::verify(key, &[timestamp.as_bytes(), token.as_bytes()], &code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMESTAMP: u64 = 1_760_000_000;
    const TOKEN: &str = "4f1c0a9be27d35866d0b3f7a51c2e8904ad6b17c39f2058e6b";

    #[test]
    fn signs_like_the_published_vectors() {
        // Reference §7.2 and, for a parent account, §7.3.
        for (key, signature) in [
            (
                "demo-signing-key-0001",
                "59977de5c3cef93cc998f8bcaa85d5c80136dbc7cdd3d5070929689468ff1636",
            ),
            (
                "demo-parent-key-0002",
                "11ed919c9c5a99cb3a028ac908f3b4a294cb8f795bd06b0e7d2e94db056da784",
            ),
        ] {
            let key = SigningKey::new(key);
            assert_eq!(send_signature(&key, TIMESTAMP, TOKEN), signature);
            assert!(verify_send_signature(&key, "1760000000", TOKEN, signature));
        }
    }

    #[test]
    fn refuses_whatever_differs() {
        let key = SigningKey::new("demo-signing-key-0001");
        let good = send_signature(&key, TIMESTAMP, TOKEN);
        let other = SigningKey::new("demo-signing-key-0002");
        assert!(!verify_send_signature(&other, "1760000000", TOKEN, &good));
        assert!(!verify_send_signature(&key, "1760000001", TOKEN, &good));
        assert!(!verify_send_signature(&key, "1760000000", "", &good));
        for bad in ["", "zz", &good[2..], "é"] {
            assert!(!verify_send_signature(&key, "1760000000", TOKEN, bad));
        }
    }
}
