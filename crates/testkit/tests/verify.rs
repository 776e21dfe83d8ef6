//! The independent check of signatures knows right from wrong, by the published vectors.

use testkit::verify::{SendKeys, Verifier};

const TOKEN: &str = "4f1c0a9be27d35866d0b3f7a51c2e8904ad6b17c39f2058e6b";
const SIGNATURE: &str = "59977de5c3cef93cc998f8bcaa85d5c80136dbc7cdd3d5070929689468ff1636";
const PARENT: &str = "11ed919c9c5a99cb3a028ac908f3b4a294cb8f795bd06b0e7d2e94db056da784";
const KEY: &str = "demo-signing-key-0001";
const PARENT_KEY: &str = "demo-parent-key-0002";

fn send_body(extra: &str) -> String {
    format!(
        r#"{{"signature":{{"timestamp":"1760000000","token":"{TOKEN}","signature":"{SIGNATURE}"{extra}}},"event-data":{{}}}}"#
    )
}

#[test]
fn the_send_vectors_hold() {
    let verifier = Verifier::start();
    let plain = send_body("");
    let with_parent = send_body(&format!(r#","parent-signature":"{PARENT}""#));
    verifier.send(plain.as_bytes(), KEY, None).unwrap();
    verifier.send(with_parent.as_bytes(), KEY, Some(PARENT_KEY)).unwrap();

    verifier.send(plain.as_bytes(), "another-key", None).unwrap_err();
    verifier.send(plain.as_bytes(), KEY, Some(PARENT_KEY)).unwrap_err();
    verifier.send(with_parent.as_bytes(), KEY, None).unwrap_err();
    verifier.send(with_parent.as_bytes(), KEY, Some(KEY)).unwrap_err();
    let number = plain.replace("\"1760000000\"", "1760000000");
    verifier.send(number.as_bytes(), KEY, None).unwrap_err();
    let later = plain.replace("1760000000", "1760000001");
    verifier.send(later.as_bytes(), KEY, None).unwrap_err();
    verifier.send(b"no JSON", KEY, None).unwrap_err();

    let overlap = send_body(&format!(r#","previous-signature":"{PARENT}""#));
    let keys = SendKeys { key: KEY, previous: Some(PARENT_KEY), ..SendKeys::default() };
    verifier.send_keys(overlap.as_bytes(), keys).unwrap();
    verifier.send_keys(plain.as_bytes(), keys).unwrap_err();
    let other = SendKeys { previous: Some(KEY), ..keys };
    verifier.send_keys(overlap.as_bytes(), other).unwrap_err();
    verifier.send(overlap.as_bytes(), KEY, None).unwrap_err();
}

#[test]
fn the_alert_vector_holds_for_exactly_its_bytes() {
    let verifier = Verifier::start();
    let body = format!(
        r#"{{"signature":{{"timestamp":1760000000,"token":"{TOKEN}"}},"event_data":{{"id":"0d9c1c1e-5b7a-4a53-9d53-2f7f1b0a6c11","timestamp":"2025-10-09T08:53:20.123456Z","log_level":"warn","event":"ip_listed","ip":"192.0.2.44","blocklist":"Example BL","message":"IP 192.0.2.44 was blocklisted by Example BL"}}}}"#
    );
    let key = "demo-alerts-key-0003";
    let x_sign = "7f59d52f242fe5830090fd54e87176254836e480ab452ab2ecde64b365a7a7d2";
    verifier.alert(body.as_bytes(), x_sign, key).unwrap();

    verifier.alert(format!("{body}\n").as_bytes(), x_sign, key).unwrap_err();
    verifier.alert(body.as_bytes(), &x_sign.to_uppercase(), key).unwrap_err();
    verifier.alert(body.as_bytes(), x_sign, KEY).unwrap_err();
}

/// The example of the Standard Webhooks reference libraries.
#[test]
fn the_standard_webhooks_vector_holds() {
    let verifier = Verifier::start();
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let (id, timestamp) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
    let body = br#"{"test": 2432232314}"#;
    let right = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    verifier.standard_webhooks(body, id, timestamp, right, secret).unwrap();
    let rotated = format!("v1,AAAA {right}");
    verifier.standard_webhooks(body, id, timestamp, &rotated, secret).unwrap();

    verifier.standard_webhooks(body, "msg_other", timestamp, right, secret).unwrap_err();
    verifier.standard_webhooks(body, id, "1614265331", right, secret).unwrap_err();
    verifier.standard_webhooks(b"{}", id, timestamp, right, secret).unwrap_err();
    verifier.standard_webhooks(body, id, timestamp, "v1,AAAA", secret).unwrap_err();
}
