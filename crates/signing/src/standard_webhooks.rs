//! Standard Webhooks: the header `webhook-signature`, which covers the body.
//!
//! Source: the specification of standard-webhooks, symmetric signatures (v1).

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_PAD_INDIFFERENT};

use crate::{SigningKey, mac};

const VERSION: &str = "v1,";
const SECRET_PREFIX: &str = "whsec_";

/// The value of `webhook-signature`: `v1,` and base64 of HMAC-SHA256 over
/// `id.timestamp.body`.
///
/// `id` goes out as `webhook-id` and `timestamp`, in seconds since the epoch,
/// as `webhook-timestamp`. The bytes of the key are the key; a receiver that
/// uses a library of that standard gives it [`standard_webhooks_secret`].
pub fn standard_webhooks(key: &SigningKey, id: &str, timestamp: u64, body: &[u8]) -> String {
    let timestamp = timestamp.to_string();
    let mut signature = String::from(VERSION);
    STANDARD.encode_string(mac::sign(key, &parts(id, &timestamp, body)), &mut signature);
    signature
}

/// The form in which libraries of the standard take a key: `whsec_` and its
/// bytes in base64.
///
/// They take the prefix off and decode, and so come to the bytes that sign
/// here. That is why one key, such as Mailgun's `key-…`, can serve both schemes.
pub fn standard_webhooks_secret(key: &SigningKey) -> String {
    let mut secret = String::from(SECRET_PREFIX);
    STANDARD.encode_string(key.expose(), &mut secret);
    secret
}

/// Whether one of the signatures in `header`, which are separated by spaces,
/// belongs to the other arguments. Those of other versions are passed over.
/// Does not look at how old the timestamp is.
pub fn verify_standard_webhooks(
    key: &SigningKey,
    id: &str,
    timestamp: &str,
    body: &[u8],
    header: &str,
) -> bool {
    header
        .split(' ')
        .filter_map(|signature| signature.strip_prefix(VERSION))
        .filter_map(|encoded| STANDARD_PAD_INDIFFERENT.decode(encoded).ok())
        .any(|code| mac::verify(key, &parts(id, timestamp, body), &code))
}

fn parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

#[cfg(test)]
mod tests {
    use super::*;

    // The vector that the standard's reference libraries share.
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIMESTAMP: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key() -> SigningKey {
        SigningKey::new(STANDARD.decode(SECRET).unwrap())
    }

    #[test]
    fn signs_like_the_reference_libraries() {
        assert_eq!(standard_webhooks(&key(), ID, TIMESTAMP, BODY), SIGNATURE);
        assert_eq!(standard_webhooks_secret(&key()), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    }

    #[test]
    fn one_right_signature_among_several_is_enough() {
        let verify = |header: &str| {
            verify_standard_webhooks(&key(), ID, &TIMESTAMP.to_string(), BODY, header)
        };
        assert!(verify(SIGNATURE));
        assert!(verify(&format!("v1,AAAA v1a,BBBB {SIGNATURE}")));
        assert!(!verify(SIGNATURE.trim_start_matches("v1,")));
        assert!(!verify("v1,"));
        assert!(!verify(""));
        let other = SIGNATURE.replace("v1,", "v2,");
        assert!(!verify(&other));
    }

    #[test]
    fn id_time_and_body_are_covered() {
        let verify = |id: &str, timestamp: &str, body: &[u8]| {
            verify_standard_webhooks(&key(), id, timestamp, body, SIGNATURE)
        };
        assert!(verify(ID, "1614265330", BODY));
        assert!(!verify("msg_other", "1614265330", BODY));
        assert!(!verify(ID, "1614265331", BODY));
        assert!(!verify(ID, "1614265330", b"{}"));
    }
}
