//! Mailgun alerts: the header `X-Sign` (reference §9.4).

use crate::{SigningKey, mac};

/// Lower-case hex of HMAC-SHA256 over the whole body, as it is sent.
pub fn x_sign(key: &SigningKey, body: &[u8]) -> String {
    hex::encode(mac::sign(key, &[body]))
}

/// Whether `header` is the `X-Sign` of these bytes.
pub fn verify_x_sign(key: &SigningKey, body: &[u8], header: &str) -> bool {
    hex::decode(header).is_ok_and(|code| mac::verify(key, &[body], &code))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &str = r#"{"signature":{"timestamp":1760000000,"token":"4f1c0a9be27d35866d0b3f7a51c2e8904ad6b17c39f2058e6b"},"event_data":{"id":"0d9c1c1e-5b7a-4a53-9d53-2f7f1b0a6c11","timestamp":"2025-10-09T08:53:20.123456Z","log_level":"warn","event":"ip_listed","ip":"192.0.2.44","blocklist":"Example BL","message":"IP 192.0.2.44 was blocklisted by Example BL"}}"#;

    #[test]
    fn signs_like_the_published_vector() {
        let key = SigningKey::new("demo-alerts-key-0003");
        let sign = "7f59d52f242fe5830090fd54e87176254836e480ab452ab2ecde64b365a7a7d2";
        assert_eq!(x_sign(&key, BODY.as_bytes()), sign);
        assert!(verify_x_sign(&key, BODY.as_bytes(), sign));
    }

    #[test]
    fn every_byte_is_covered() {
        let key = SigningKey::new("demo-alerts-key-0003");
        let sign = x_sign(&key, BODY.as_bytes());
        for at in 0..BODY.len() {
            let mut body = BODY.as_bytes().to_vec();
            body[at] ^= 1;
            assert!(!verify_x_sign(&key, &body, &sign), "byte {at}");
        }
    }
}
