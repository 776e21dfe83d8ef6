//! Whether what came was signed, and with the right key.

use serde::Serialize;
use serde_json::Value;
use signing::{SigningKey, verify_send_signature, verify_standard_webhooks, verify_x_sign};

use crate::bins::Captured;

/// One signature that a request carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub(crate) struct Check {
    /// Where it stands, and how it is made.
    pub(crate) scheme: &'static str,
    pub(crate) verdict: Verdict,
}

/// What the bin's keys say of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// One of the keys has made it.
    Valid,
    /// None of them has.
    Invalid,
    /// The bin has no key.
    NoKey,
}

impl Verdict {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "not by these keys",
            Self::NoKey => "not checked",
        }
    }

    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Valid => "good",
            Self::Invalid => "bad",
            Self::NoKey => "wait",
        }
    }
}

/// All signatures of a request; none when it carries none. A body that was cut
/// cannot be checked where the signature covers it.
pub(crate) fn checks(request: &Captured, keys: &[SigningKey]) -> Vec<Check> {
    let verdict = |is_valid: &dyn Fn(&SigningKey) -> bool| match keys {
        [] => Verdict::NoKey,
        keys if keys.iter().any(is_valid) => Verdict::Valid,
        _ => Verdict::Invalid,
    };
    let mut checks = Vec::new();
    for (scheme, field) in [("signature", "signature"), ("parent-signature", "parent-signature")] {
        if let Some(block) = block(request, field) {
            let [timestamp, token, signature] = &block;
            let is_valid =
                |key: &SigningKey| verify_send_signature(key, timestamp, token, signature);
            checks.push(Check { scheme, verdict: verdict(&is_valid) });
        }
    }
    if let Some(header) = request.header("x-sign") {
        let is_valid = |key: &SigningKey| verify_x_sign(key, &request.body, header);
        checks.push(Check { scheme: "X-Sign", verdict: verdict(&is_valid) });
    }
    let of = |name| request.header(name).unwrap_or_default();
    if let Some(header) = request.header("webhook-signature") {
        let (id, timestamp) = (of("webhook-id"), of("webhook-timestamp"));
        let is_valid =
            |key: &SigningKey| verify_standard_webhooks(key, id, timestamp, &request.body, header);
        checks.push(Check { scheme: "webhook-signature", verdict: verdict(&is_valid) });
    }
    checks
}

/// Timestamp, token and signature, as a body in JSON or as a form has them.
fn block(request: &Captured, field: &str) -> Option<[String; 3]> {
    const PARTS: [&str; 3] = ["timestamp", "token", "signature"];
    if let Ok(body) = serde_json::from_slice::<Value>(&request.body) {
        let block = body.get(field)?.as_object()?;
        let text = |name: &str| match block.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        };
        let [timestamp, token, signature] = PARTS.map(text);
        return Some([timestamp?, token?, signature?]);
    }
    if field != "signature" {
        return None;
    }
    let find = |name: &str| {
        let mut pairs = form_urlencoded::parse(&request.body);
        pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
    };
    let [timestamp, token, signature] = PARTS.map(find);
    Some([timestamp?, token?, signature?])
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use chrono::DateTime;
    use signing::{send_signature, standard_webhooks, x_sign};

    use super::*;

    fn request(body: String, headers: Vec<(String, String)>) -> Captured {
        Captured {
            number: 1,
            at: DateTime::UNIX_EPOCH,
            method: "POST".into(),
            path: String::new(),
            headers,
            body_bytes: body.len(),
            body: Bytes::from(body),
            answered: Some(200),
        }
    }

    fn verdicts(request: &Captured, keys: &[&str]) -> Vec<(&'static str, Verdict)> {
        let keys: Vec<SigningKey> = keys.iter().map(SigningKey::new).collect();
        checks(request, &keys).into_iter().map(|check| (check.scheme, check.verdict)).collect()
    }

    #[test]
    fn each_scheme_is_checked_with_every_key() {
        use Verdict::{Invalid, NoKey, Valid};
        let key = SigningKey::new("the-key");
        let signature = send_signature(&key, 1_760_000_000, "token");
        let block = serde_json::json!({
            "timestamp": "1760000000", "token": "token", "signature": signature,
        });
        let body = serde_json::json!({"signature": block, "event-data": {}}).to_string();
        let standard = standard_webhooks(&key, "id", 1_760_000_000, body.as_bytes());
        let headers = vec![
            ("X-Sign".to_owned(), x_sign(&key, body.as_bytes())),
            ("webhook-id".to_owned(), "id".to_owned()),
            ("webhook-timestamp".to_owned(), "1760000000".to_owned()),
            ("webhook-signature".to_owned(), standard),
        ];
        let signed = request(body, headers);
        let all = |verdict| ["signature", "X-Sign", "webhook-signature"].map(|s| (s, verdict));
        assert_eq!(verdicts(&signed, &["another", "the-key"]), all(Valid));
        assert_eq!(verdicts(&signed, &["another"]), all(Invalid));
        assert_eq!(verdicts(&signed, &[]), all(NoKey));
        let form = format!("event=clicked&timestamp=1760000000&token=token&signature={signature}");
        assert_eq!(verdicts(&request(form, vec![]), &["the-key"]), [("signature", Valid)]);
    }

    #[test]
    fn what_carries_no_signature_has_none() {
        for body in ["", "{}", "[]", "{\"signature\":3}", "{\"signature\":{}}", "token=x", "\u{0}"]
        {
            assert_eq!(verdicts(&request(body.to_owned(), vec![]), &["key"]), [], "{body}");
        }
    }
}
