use protocol::v1::{self, UrlOptions, event::Kind};
use serde_json::Value;
use signing::{verify_send_signature, verify_standard_webhooks, verify_x_sign};

use super::*;

const URL: &str = "https://hooks.example.net/a";
const NOW: u64 = 1_760_000_000;
const TOKEN: &str = "4f1c0a9be27d35866d0b3f7a51c2e8904ad6b17c39f2058e6b";

fn secret_key() -> SecretKey {
    "5e".repeat(32).parse().expect("a key")
}

fn seal(key: &str, secret: Sealed<'_>) -> Vec<u8> {
    secret_key().seal(key.as_bytes(), [7; 24], &secret.context())
}

/// An account whose keys are `http-ID` and `alerts-ID`; those before them are
/// `old-http-ID` and `old-alerts-ID`, which sign until that second.
fn account(id: &str, until: Option<i64>) -> AccountDocument {
    let previous = |key: &str, secret| {
        until.map(|seconds| PreviousKey {
            sealed: seal(key, secret).into(),
            until: Some(protocol::Timestamp { seconds, nanos: 900_000_000 }),
        })
    };
    let (http, alerts) = (Sealed::HttpSigningKey(id), Sealed::AlertsSigningKey(id));
    AccountDocument {
        account_id: id.to_owned(),
        sealed_http_signing_key: seal(&format!("http-{id}"), http).into(),
        sealed_alerts_signing_key: seal(&format!("alerts-{id}"), alerts).into(),
        previous_http_signing_key: previous(&format!("old-http-{id}"), http),
        previous_alerts_signing_key: previous(&format!("old-alerts-{id}"), alerts),
        ..AccountDocument::default()
    }
}

fn event(kind: Kind) -> AcceptedEvent {
    let timestamp = Some(protocol::Timestamp { seconds: 1_760_000_000, nanos: 0 });
    let event = v1::Event {
        id: "id".to_owned(),
        account: "demo".to_owned(),
        domain: "mail.demo.example".to_owned(),
        timestamp,
        kind: Some(kind),
    };
    AcceptedEvent { event: Some(event), ..AcceptedEvent::default() }
}

fn opened() -> AcceptedEvent {
    let recipient = "ada@customer.example".to_owned();
    event(Kind::Opened(v1::Opened { recipient, ..v1::Opened::default() }))
}

fn listed() -> AcceptedEvent {
    event(Kind::IpListed(v1::BlocklistedIp {
        ip: "192.0.2.44".to_owned(),
        blocklist: "Example BL".to_owned(),
        message: String::new(),
    }))
}

fn request(
    event: &AcceptedEvent,
    event_type: EventType,
    account: &AccountDocument,
    parent: Option<&AccountDocument>,
) -> SignedRequest {
    let secret_key = secret_key();
    let signer = Signer {
        secret_key: &secret_key,
        account,
        parent,
        domain: None,
        destination: Destination::of(account, URL),
    };
    signer.request(event, event_type, "delivery", 3, NOW, TOKEN).expect("a request")
}

fn header<'a>(request: &'a SignedRequest, name: &str) -> Option<&'a str> {
    let (_, value) = request.headers.iter().find(|(known, _)| known == name)?;
    Some(value.to_str().expect("text"))
}

fn block(request: &SignedRequest) -> serde_json::Map<String, Value> {
    let body: Value = serde_json::from_slice(&request.body).expect("JSON");
    body["signature"].as_object().expect("an object").clone()
}

#[test]
fn a_message_event_carries_what_is_documented_and_no_more() {
    let request = request(&opened(), EventType::Opened, &account("a", None), None);
    let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "content-type",
            "webhook-id",
            "webhook-timestamp",
            "webhook-signature",
            "x-postrider-event",
            "x-postrider-delivery",
            "x-postrider-attempt",
        ]
    );
    assert_eq!(header(&request, "content-type"), Some("application/json"));
    assert_eq!(header(&request, "x-postrider-event"), Some("opened"));
    assert_eq!(header(&request, "x-postrider-delivery"), Some("delivery"));
    assert_eq!(header(&request, "x-postrider-attempt"), Some("3"));
    let block = block(&request);
    assert_eq!(block.len(), 3, "{block:?}");
    let signature = block["signature"].as_str().expect("hex");
    let key = SigningKey::new("http-a");
    assert!(verify_send_signature(&key, "1760000000", TOKEN, signature));
    let standard = header(&request, "webhook-signature").expect("a signature");
    assert!(!standard.contains(' '));
    assert!(verify_standard_webhooks(&key, "delivery", "1760000000", &request.body, standard));
}

#[test]
fn a_key_that_was_replaced_signs_along_until_its_moment() {
    let until = i64::try_from(NOW).expect("seconds") + 1;
    let (account_now, parent) = (account("a", Some(until)), account("p", Some(until)));
    let made = request(&opened(), EventType::Opened, &account_now, Some(&parent));
    let block_now = block(&made);
    let fields = [
        ("signature", "http-a"),
        ("parent-signature", "http-p"),
        ("previous-signature", "old-http-a"),
        ("previous-parent-signature", "old-http-p"),
    ];
    for (field, key) in fields {
        let signature = block_now[field].as_str().expect("hex");
        let key = SigningKey::new(key);
        assert!(verify_send_signature(&key, "1760000000", TOKEN, signature), "{field}");
    }
    assert_eq!(block_now.len(), 6);
    let standard = header(&made, "webhook-signature").expect("signatures");
    assert_eq!(standard.split(' ').count(), 2);
    for key in ["http-a", "old-http-a"] {
        let key = SigningKey::new(key);
        let timestamp = "1760000000";
        assert!(verify_standard_webhooks(&key, "delivery", timestamp, &made.body, standard));
    }

    // In the second in which it ends it signs no more, whatever is left of that second.
    let over = account("a", Some(until - 1));
    let made = request(&opened(), EventType::Opened, &over, Some(&account("p", None)));
    let mut names: Vec<_> = block(&made).keys().cloned().collect();
    names.sort();
    assert_eq!(names, ["parent-signature", "signature", "timestamp", "token"]);
}

#[test]
fn an_alert_is_signed_by_both_keys_in_headers_of_their_own() {
    let until = i64::try_from(NOW).expect("seconds") + 60;
    let made = request(&listed(), EventType::IpListed, &account("a", Some(until)), None);
    for (name, key) in [("x-sign", "alerts-a"), ("x-sign-previous", "old-alerts-a")] {
        let x_sign = header(&made, name).expect("a header");
        assert!(verify_x_sign(&SigningKey::new(key), &made.body, x_sign), "{name}");
    }
    assert_eq!(header(&made, "webhook-signature").map(|both| both.split(' ').count()), Some(2));
    assert_eq!(made.headers.len(), made.headers.capacity(), "room for the most there can be");

    let made = request(&listed(), EventType::IpListed, &account("a", None), None);
    assert_eq!(header(&made, "x-sign-previous"), None);
    assert_eq!(header(&made, "webhook-signature").map(|one| one.split(' ').count()), Some(1));
}

#[test]
fn redaction_is_on_when_any_level_has_it_on() {
    let off = account("a", None);
    let on = AccountDocument { redact_pii: true, ..account("p", None) };
    let domain = DomainDocument { redact_pii: true, ..DomainDocument::default() };
    let domain_off = DomainDocument::default();
    let secret_key = secret_key();
    let shows = |account, parent, domain| {
        let signer = Signer {
            secret_key: &secret_key,
            account,
            parent,
            domain,
            destination: Destination::of(account, URL),
        };
        let made = signer.request(&opened(), EventType::Opened, "delivery", 1, NOW, TOKEN);
        let body = made.expect("a request").body;
        String::from_utf8(body.to_vec()).expect("text").contains("ada@customer.example")
    };
    assert!(shows(&off, None, None));
    assert!(shows(&off, Some(&off), Some(&domain_off)));
    assert!(!shows(&on, None, None));
    assert!(!shows(&off, Some(&on), None));
    assert!(!shows(&off, None, Some(&domain)));
}

#[test]
fn a_key_of_another_account_or_of_an_unknown_secret_key_signs_nothing() {
    let moved = AccountDocument { account_id: "b".to_owned(), ..account("a", None) };
    let ours = secret_key();
    let other: SecretKey = "5f".repeat(32).parse().expect("a key");
    let own = account("a", None);
    for (secret_key, account) in [(&ours, &moved), (&other, &own)] {
        let signer = Signer {
            secret_key,
            account,
            parent: None,
            domain: None,
            destination: Destination::of(account, URL),
        };
        let made = signer.request(&opened(), EventType::Opened, "delivery", 1, NOW, TOKEN);
        assert!(matches!(made, Err(RequestError::Key(_))), "{made:?}");
    }
}

#[test]
fn what_the_owner_of_a_url_wants_to_be_sent_along_is() {
    let sealed = seal("Bearer x", Sealed::Header("a")).into();
    let headers = vec![SealedHeader { name: "authorization".into(), sealed }];
    let options = UrlOptions { url: URL.into(), headers, ..UrlOptions::default() };
    let own = AccountDocument { url_options: vec![options], ..account("a", None) };
    let made = request(&opened(), EventType::Opened, &own, None);
    assert_eq!(header(&made, "authorization"), Some("Bearer x"));
    assert_eq!(header(&made, "content-type"), Some("application/json"));
}

#[test]
fn who_asks_for_it_gets_forms_that_are_signed_like_the_json() {
    let options = UrlOptions { url: URL.into(), legacy_payload: true, ..UrlOptions::default() };
    let own = AccountDocument { url_options: vec![options], ..account("a", None) };
    let made = request(&opened(), EventType::Opened, &own, None);
    assert_eq!(header(&made, "content-type"), Some("application/x-www-form-urlencoded"));
    let form = String::from_utf8(made.body.to_vec()).expect("a form is ASCII");
    let json = request(&opened(), EventType::Opened, &account("a", None), None);
    let json: serde_json::Value = serde_json::from_slice(&json.body).expect("JSON");
    let signature = json["signature"]["signature"].as_str().expect("a signature");
    assert!(form.starts_with("event=opened&"), "{form}");
    assert!(form.ends_with(&format!("&token={TOKEN}&signature={signature}")), "{form}");
}
