//! Made-up events for test calls: one of each kind, recognisable as a test by
//! every receiver that looks.
//!
//! Names and addresses are those set aside for documentation, so that nobody is
//! meant by them.

use std::collections::BTreeMap;

use protocol::Timestamp;
use protocol::v1::event::Kind;
use protocol::v1::{
    Accepted, BlocklistedDomain, BlocklistedIp, BulkValidationJob, Clicked, ClientInfo, Complained,
    Delivered, DeliveryStatus, DownloadUrls, Envelope, Event, Flags, Geolocation, Labels,
    MessageHeaders, MessageInfo, Opened, PermanentFail, Storage, TemporaryFail, Unsubscribed,
    ValidationJob, ValidationPreview, ValidationResult, ValidationRisk, ValidationSummary,
};

use crate::{EventType, Family};

const RECIPIENT: &str = "ada@customer.example";
const PROVIDER: &str = "Other";
const SENDING_IP: &str = "203.0.113.25";
const READER_IP: &str = "198.51.100.90";
const STORAGE_KEY: &str = "test";

/// A whole event of this type, as ingest would accept it.
///
/// `account` is the account's name or id. `domain` is the name of the sending
/// domain; alerts, which belong to no domain, do without.
pub fn sample(
    event_type: EventType,
    id: &str,
    timestamp: Timestamp,
    account: &str,
    domain: &str,
) -> Event {
    let parts = Parts { domain, epoch_seconds: timestamp.seconds };
    let domain = match event_type.family() {
        Family::Message => domain,
        Family::Alert => "",
    };
    Event {
        id: id.to_owned(),
        account: account.to_owned(),
        domain: domain.to_owned(),
        timestamp: Some(timestamp),
        kind: Some(parts.kind(event_type)),
    }
}

struct Parts<'a> {
    domain: &'a str,
    epoch_seconds: i64,
}

impl Parts<'_> {
    fn kind(&self, event_type: EventType) -> Kind {
        match event_type {
            EventType::IpListed => Kind::IpListed(blocklisted_ip()),
            EventType::IpDelisted => Kind::IpDelisted(blocklisted_ip()),
            EventType::DomainListed => Kind::DomainListed(blocklisted_domain()),
            EventType::DomainDelisted => Kind::DomainDelisted(blocklisted_domain()),
            EventType::ValidationJob => Kind::ValidationJob(self.validation_job()),
            EventType::ValidationPreview => Kind::ValidationPreview(self.validation_preview()),
            EventType::Accepted => Kind::Accepted(self.accepted()),
            EventType::Delivered => Kind::Delivered(self.delivered()),
            EventType::Opened => Kind::Opened(self.opened()),
            EventType::Clicked => Kind::Clicked(self.clicked()),
            EventType::Unsubscribed => Kind::Unsubscribed(self.unsubscribed()),
            EventType::Complained => Kind::Complained(self.complained()),
            EventType::TemporaryFail => Kind::TemporaryFail(self.temporary_fail()),
            EventType::PermanentFail => Kind::PermanentFail(self.permanent_fail()),
        }
    }

    fn validation_job(&self) -> ValidationJob {
        let job = BulkValidationJob {
            download_urls: Some(DownloadUrls {
                csv: "https://files.example/test.csv".into(),
                json: "https://files.example/test.json".into(),
            }),
            processed: Some(100),
            ..self.job()
        };
        ValidationJob { bulk_validation_job: Some(job), message: String::new() }
    }

    fn validation_preview(&self) -> ValidationPreview {
        ValidationPreview { bulk_validation_job: Some(self.job()), message: String::new() }
    }

    fn job(&self) -> BulkValidationJob {
        let result =
            ValidationResult { deliverable: 80, undeliverable: 10, catch_all: 6, unknown: 4 };
        let risk = ValidationRisk { high: 11, low: 75, medium: 9, unknown: 5 };
        BulkValidationJob {
            created_at: self.epoch_seconds,
            list_id: "test".into(),
            quantity: 100,
            status: "uploaded".into(),
            summary: Some(ValidationSummary { result: Some(result), risk: Some(risk) }),
            ..BulkValidationJob::default()
        }
    }

    fn accepted(&self) -> Accepted {
        Accepted {
            recipient: RECIPIENT.into(),
            message: Some(self.message()),
            envelope: Some(Envelope { sending_ip: String::new(), ..self.envelope() }),
            flags: Some(test_flags()),
            storage: Some(self.storage()),
            labels: Some(labels()),
            method: "HTTP".into(),
            originating_ip: "198.51.100.7".into(),
            recipient_provider: PROVIDER.into(),
            ..Accepted::default()
        }
    }

    fn delivered(&self) -> Delivered {
        Delivered {
            recipient: RECIPIENT.into(),
            message: Some(self.message()),
            envelope: Some(self.envelope()),
            flags: Some(test_flags()),
            storage: Some(self.storage()),
            labels: Some(labels()),
            delivery_status: Some(DeliveryStatus {
                code: Some(250),
                message: "OK".into(),
                enhanced_code: "2.0.0".into(),
                ..status()
            }),
            primary_dkim: self.primary_dkim(),
            recipient_provider: PROVIDER.into(),
        }
    }

    fn temporary_fail(&self) -> TemporaryFail {
        TemporaryFail {
            recipient: RECIPIENT.into(),
            message: Some(self.message()),
            envelope: Some(self.envelope()),
            flags: Some(test_flags()),
            storage: Some(self.storage()),
            labels: Some(labels()),
            delivery_status: Some(DeliveryStatus {
                code: Some(451),
                message: "4.7.0 try again later".into(),
                enhanced_code: "4.7.0".into(),
                retry_seconds: Some(600),
                ..status()
            }),
            primary_dkim: self.primary_dkim(),
            recipient_provider: PROVIDER.into(),
            reason: "generic".into(),
        }
    }

    fn permanent_fail(&self) -> PermanentFail {
        PermanentFail {
            recipient: RECIPIENT.into(),
            message: Some(self.message()),
            envelope: Some(self.envelope()),
            flags: Some(test_flags()),
            storage: Some(self.storage()),
            labels: Some(labels()),
            delivery_status: Some(DeliveryStatus {
                code: Some(550),
                message: "5.1.1 no such mailbox".into(),
                enhanced_code: "5.1.1".into(),
                bounce_type: "hard".into(),
                ..status()
            }),
            primary_dkim: self.primary_dkim(),
            recipient_provider: PROVIDER.into(),
            reason: "bounce".into(),
        }
    }

    fn opened(&self) -> Opened {
        let Clicked { recipient, message, labels, ip, geolocation, client_info, .. } =
            self.clicked();
        let (flags, recipient_provider) = (Some(test_flags()), PROVIDER.into());
        Opened {
            recipient,
            message,
            labels,
            ip,
            geolocation,
            client_info,
            recipient_provider,
            flags,
            delivered_at: None,
        }
    }

    fn clicked(&self) -> Clicked {
        let headers = MessageHeaders { message_id: self.message_id(), ..MessageHeaders::default() };
        Clicked {
            recipient: RECIPIENT.into(),
            message: Some(MessageInfo { headers: Some(headers), ..MessageInfo::default() }),
            labels: Some(labels()),
            ip: READER_IP.into(),
            geolocation: Some(Geolocation {
                country: "DE".into(),
                region: "BE".into(),
                city: "Berlin".into(),
                timezone: String::new(),
            }),
            client_info: Some(ClientInfo {
                client_type: "mobile browser".into(),
                client_os: "iOS".into(),
                client_name: "Mobile Safari".into(),
                device_type: "mobile".into(),
                user_agent: "ExampleUA/1.0".into(),
                bot: Some(String::new()),
                ..ClientInfo::default()
            }),
            recipient_provider: PROVIDER.into(),
            url: "https://shop.example/orders/1042".into(),
            flags: Some(test_flags()),
            delivered_at: None,
        }
    }

    fn unsubscribed(&self) -> Unsubscribed {
        let Clicked { recipient, message, labels, ip, geolocation, client_info, .. } =
            self.clicked();
        let (flags, recipient_provider) = (Some(test_flags()), PROVIDER.into());
        Unsubscribed {
            recipient,
            message,
            labels,
            ip,
            geolocation,
            client_info,
            recipient_provider,
            flags,
        }
    }

    fn complained(&self) -> Complained {
        Complained {
            recipient: RECIPIENT.into(),
            message: Some(self.message()),
            labels: Some(labels()),
            flags: Some(test_flags()),
            ..Complained::default()
        }
    }

    fn message(&self) -> MessageInfo {
        MessageInfo {
            headers: Some(MessageHeaders {
                message_id: self.message_id(),
                from: format!("Shop <{}>", self.sender()),
                to: RECIPIENT.into(),
                subject: "Test of a webhook".into(),
            }),
            size: Some(1834),
            ..MessageInfo::default()
        }
    }

    fn envelope(&self) -> Envelope {
        Envelope {
            sender: self.sender(),
            transport: "smtp".into(),
            targets: RECIPIENT.into(),
            sending_ip: SENDING_IP.into(),
            ..Envelope::default()
        }
    }

    fn storage(&self) -> Storage {
        Storage {
            url: format!(
                "https://storage.example/v3/domains/{}/messages/{STORAGE_KEY}",
                self.domain
            ),
            key: STORAGE_KEY.into(),
            ..Storage::default()
        }
    }

    fn sender(&self) -> String {
        format!("orders@{}", self.domain)
    }

    fn message_id(&self) -> String {
        format!("{}.1.test@{}", self.epoch_seconds, self.domain)
    }

    fn primary_dkim(&self) -> String {
        format!("s1._domainkey.{}", self.domain)
    }
}

fn blocklisted_ip() -> BlocklistedIp {
    BlocklistedIp {
        ip: "192.0.2.44".into(),
        blocklist: "Example BL".into(),
        message: String::new(),
    }
}

fn blocklisted_domain() -> BlocklistedDomain {
    BlocklistedDomain {
        domain: "shop.example".into(),
        blocklist: "Example BL".into(),
        message: String::new(),
    }
}

fn status() -> DeliveryStatus {
    DeliveryStatus {
        attempt_no: Some(1),
        session_seconds: Some(0.512),
        tls: Some(true),
        certificate_verified: Some(true),
        utf8: Some(true),
        mx_host: "mx1.customer.example".into(),
        ..DeliveryStatus::default()
    }
}

/// What tells a test from the real thing (reference §3.6).
fn test_flags() -> Flags {
    Flags {
        is_authenticated: Some(true),
        is_routed: Some(false),
        is_system_test: Some(true),
        is_test_mode: Some(true),
        ..Flags::default()
    }
}

fn labels() -> Labels {
    Labels {
        tags: vec!["test".into()],
        user_variables: BTreeMap::from([("order".into(), "1042".into())]),
        ..Labels::default()
    }
}

#[cfg(test)]
mod tests {
    use protocol::v1::AcceptedEvent;
    use serde_json::Value;

    use super::*;
    use crate::{Redaction, alert_body, send_event_data, validate};

    const TIMESTAMP: Timestamp = Timestamp { seconds: 1_760_000_000, nanos: 250_000_000 };

    fn made(event_type: EventType) -> Event {
        sample(event_type, "id", TIMESTAMP, "demo", "mail.demo.example")
    }

    fn accepted(event_type: EventType) -> AcceptedEvent {
        let event = Some(made(event_type));
        AcceptedEvent { account_id: "a1".into(), event, ..AcceptedEvent::default() }
    }

    #[test]
    fn samples_are_events_that_ingest_would_take() {
        for event_type in EventType::ALERTS.into_iter().chain(EventType::WEBHOOKS) {
            assert_eq!(validate::event(&made(event_type)), Ok(event_type));
            assert_eq!(made(event_type), made(event_type));
        }
    }

    #[test]
    fn message_samples_say_that_they_are_tests() {
        for event_type in EventType::WEBHOOKS {
            let data = send_event_data(&accepted(event_type), Redaction::None).expect("a payload");
            let data: Value = serde_json::from_slice(&data).expect("JSON");
            assert_eq!(data["flags"]["is-system-test"], true, "{data}");
            assert_eq!(data["flags"]["is-test-mode"], true, "{data}");
            assert_eq!(data["event"], event_type.payload_name());
            assert_eq!(data["domain"]["name"], "mail.demo.example");
            assert_eq!(data["timestamp"], 1_760_000_000.25);
        }
    }

    #[test]
    fn alert_samples_have_bodies() {
        for event_type in EventType::ALERTS {
            alert_body(&accepted(event_type), 1, "token").expect("a body");
            assert_eq!(made(event_type).domain, "");
        }
    }
}
