use proptest::prelude::*;
use protocol::Timestamp;
use protocol::v1::event::Kind;
use protocol::v1::*;

use super::{Invalid, arbitrary};
use crate::EventType;

fn alert(kind: Kind) -> Event {
    Event { account: "demo".to_owned(), kind: Some(kind), ..Event::default() }
}

fn of_message(kind: Kind) -> Event {
    Event { domain: "mail.demo.example".to_owned(), kind: Some(kind), ..Event::default() }
}

fn ip_listed() -> BlocklistedIp {
    BlocklistedIp {
        ip: "192.0.2.44".to_owned(),
        blocklist: "Example BL".to_owned(),
        message: String::new(),
    }
}

fn domain_listed(domain: &str) -> Event {
    alert(Kind::DomainListed(BlocklistedDomain {
        domain: domain.to_owned(),
        blocklist: "Example BL".to_owned(),
        message: String::new(),
    }))
}

fn job() -> BulkValidationJob {
    BulkValidationJob {
        created_at: 1_760_000_000,
        list_id: "spring".to_owned(),
        quantity: 10,
        status: "uploaded".to_owned(),
        summary: Some(ValidationSummary {
            result: Some(ValidationResult::default()),
            risk: Some(ValidationRisk::default()),
        }),
        download_urls: None,
        processed: None,
    }
}

fn preview(job: BulkValidationJob) -> Event {
    alert(Kind::ValidationPreview(ValidationPreview {
        bulk_validation_job: Some(job),
        message: String::new(),
    }))
}

fn message(message_id: &str) -> Option<MessageInfo> {
    Some(MessageInfo {
        headers: Some(MessageHeaders {
            message_id: message_id.to_owned(),
            ..MessageHeaders::default()
        }),
        ..MessageInfo::default()
    })
}

fn accepted() -> Accepted {
    Accepted {
        recipient: "ada@customer.example".to_owned(),
        message: message("1.2@mail.demo.example"),
        ..Accepted::default()
    }
}

fn failed() -> PermanentFail {
    PermanentFail {
        recipient: "ada@customer.example".to_owned(),
        message: message("1.2@mail.demo.example"),
        delivery_status: Some(DeliveryStatus::default()),
        reason: "bounce".to_owned(),
        ..PermanentFail::default()
    }
}

fn clicked() -> Clicked {
    Clicked {
        recipient: "ada@customer.example".to_owned(),
        message: message("1.2@mail.demo.example"),
        url: "https://shop.example/".to_owned(),
        ..Clicked::default()
    }
}

/// The field that is complained of.
#[track_caller]
fn wrong(event: &Event) -> String {
    let Invalid { field, message } = super::event(event).unwrap_err().swap_remove(0);
    assert!(!message.is_empty());
    field
}

/// Changes a right value and tells which field is complained of then.
macro_rules! wrong_with {
    ($make:expr, $wrap:expr, |$value:ident| $change:expr) => {{
        let mut $value = $make;
        $change;
        wrong(&$wrap($value))
    }};
}

#[test]
fn the_least_that_each_kind_needs_is_enough() {
    let temporary = TemporaryFail {
        recipient: "ada@customer.example".to_owned(),
        message: message("1.2@x"),
        delivery_status: Some(DeliveryStatus::default()),
        reason: "generic".to_owned(),
        ..TemporaryFail::default()
    };
    let validation_job = ValidationJob {
        bulk_validation_job: Some(BulkValidationJob {
            processed: Some(10),
            download_urls: Some(DownloadUrls::default()),
            ..job()
        }),
        message: String::new(),
    };
    let domain = BlocklistedDomain {
        domain: "shop.example".to_owned(),
        blocklist: "Example BL".to_owned(),
        message: String::new(),
    };
    let recipient = "\"a b\"@customer.example".to_owned();
    let engaged = message("1.2@x");
    for event in [
        alert(Kind::IpListed(ip_listed())),
        alert(Kind::IpDelisted(ip_listed())),
        alert(Kind::DomainListed(domain.clone())),
        alert(Kind::DomainDelisted(domain)),
        alert(Kind::ValidationJob(validation_job)),
        preview(job()),
        of_message(Kind::Accepted(accepted())),
        of_message(Kind::Delivered(Delivered {
            recipient: recipient.clone(),
            message: engaged.clone(),
            ..Delivered::default()
        })),
        of_message(Kind::TemporaryFail(temporary)),
        of_message(Kind::PermanentFail(failed())),
        of_message(Kind::Opened(Opened {
            recipient: recipient.clone(),
            message: engaged.clone(),
            ..Opened::default()
        })),
        of_message(Kind::Clicked(clicked())),
        of_message(Kind::Unsubscribed(Unsubscribed {
            recipient: recipient.clone(),
            message: engaged.clone(),
            ..Unsubscribed::default()
        })),
        of_message(Kind::Complained(Complained {
            recipient,
            message: engaged,
            ..Complained::default()
        })),
    ] {
        let kind = EventType::of(event.kind.as_ref().unwrap());
        assert_eq!(super::event(&event), Ok(kind));
    }
}

#[test]
fn an_event_without_a_kind_is_told_the_kinds() {
    let error = super::event(&Event::default()).unwrap_err().swap_remove(0);
    assert_eq!(error.field, "");
    for kind in EventType::ALERTS.into_iter().chain(EventType::WEBHOOKS) {
        assert!(error.message.contains(kind.as_str()), "{kind}");
    }
}

#[test]
fn ids_are_printable_ascii() {
    for id in ["", "1", "~ a/b.c:d", &"x".repeat(128)] {
        let event = Event { id: id.to_owned(), ..alert(Kind::IpListed(ip_listed())) };
        assert!(super::event(&event).is_ok(), "{id}");
    }
    for id in ["ä", "a\n", "\0", "\x7f", &"x".repeat(129)] {
        let event = Event { id: id.to_owned(), ..alert(Kind::IpListed(ip_listed())) };
        assert_eq!(wrong(&event), "id", "{id:?}");
    }
}

#[test]
fn alerts_name_the_account_and_message_events_the_domain() {
    let listed = || alert(Kind::IpListed(ip_listed()));
    assert_eq!(wrong_with!(listed(), |e: Event| e, |e| e.account.clear()), "account");
    assert_eq!(wrong_with!(listed(), |e: Event| e, |e| e.domain = "x.example".into()), "domain");
    let opened = || of_message(Kind::Accepted(accepted()));
    assert_eq!(wrong_with!(opened(), |e: Event| e, |e| e.domain.clear()), "domain");
}

#[test]
fn timestamps_lie_in_years_that_payloads_can_show() {
    for (seconds, nanos, field) in [
        (946_684_799, 0, "timestamp.seconds"),
        (253_402_300_800, 0, "timestamp.seconds"),
        (i64::MIN, 0, "timestamp.seconds"),
        (1_760_000_000, -1, "timestamp.nanos"),
        (1_760_000_000, 1_000_000_000, "timestamp.nanos"),
    ] {
        let event = Event {
            timestamp: Some(Timestamp { seconds, nanos }),
            ..alert(Kind::IpListed(ip_listed()))
        };
        assert_eq!(wrong(&event), field);
    }
}

#[test]
fn blocklist_changes_name_an_address_or_a_domain_and_the_list() {
    let listed = |ip: BlocklistedIp| alert(Kind::IpListed(ip));
    for ip in ["", "192.0.2.444", "192.0.2.44/32", "shop.example", " ::1"] {
        let field = wrong_with!(ip_listed(), listed, |e| e.ip = ip.to_owned());
        assert_eq!(field, "ip_listed.ip", "{ip}");
    }
    for ip in ["2001:db8::7", "::ffff:192.0.2.44"] {
        let mut listed = ip_listed();
        listed.ip = ip.to_owned();
        assert!(super::event(&alert(Kind::IpDelisted(listed))).is_ok());
    }
    for blocklist in ["", "a\r\nBcc: eve@evil.example"] {
        let field = wrong_with!(ip_listed(), listed, |e| e.blocklist = blocklist.to_owned());
        assert_eq!(field, "ip_listed.blocklist");
    }
    let field = wrong_with!(ip_listed(), listed, |e| e.message = "a\0".to_owned());
    assert_eq!(field, "ip_listed.message");

    for domain in ["a.b", "_dmarc.xn--bcher-kva.example", "192-0-2-44.example"] {
        assert!(super::event(&domain_listed(domain)).is_ok(), "{domain}");
    }
    let long = format!("{}.example", "a".repeat(64));
    for domain in [
        "",
        "example",
        "a..b",
        ".a.b",
        "a.b.",
        "-a.b",
        "a-.b",
        "bücher.example",
        "a b.c",
        "192.0.2.44",
        "http://a.b",
        &long,
    ] {
        assert_eq!(wrong(&domain_listed(domain)), "domain_listed.domain", "{domain}");
    }
}

#[test]
fn validation_jobs_have_their_fields() {
    let path = |field: &str| format!("validation_preview.bulk_validation_job{field}");
    assert_eq!(wrong(&alert(Kind::ValidationPreview(ValidationPreview::default()))), path(""));
    for (field, job) in [
        (".created_at", BulkValidationJob { created_at: 0, ..job() }),
        (".list_id", BulkValidationJob { list_id: String::new(), ..job() }),
        (".quantity", BulkValidationJob { quantity: -1, ..job() }),
        (".status", BulkValidationJob { status: String::new(), ..job() }),
        (".processed", BulkValidationJob { processed: Some(1), ..job() }),
        (
            ".download_urls",
            BulkValidationJob { download_urls: Some(DownloadUrls::default()), ..job() },
        ),
        (
            ".summary.risk.medium",
            BulkValidationJob {
                summary: Some(ValidationSummary {
                    result: None,
                    risk: Some(ValidationRisk { medium: -1, ..ValidationRisk::default() }),
                }),
                ..job()
            },
        ),
        (
            ".summary.result.catch_all",
            BulkValidationJob {
                summary: Some(ValidationSummary {
                    result: Some(ValidationResult { catch_all: -1, ..ValidationResult::default() }),
                    risk: None,
                }),
                ..job()
            },
        ),
    ] {
        assert_eq!(wrong(&preview(job)), path(field));
    }
}

#[test]
fn message_events_name_a_recipient_and_a_message() {
    let wrap = |event: Accepted| of_message(Kind::Accepted(event));
    for recipient in [
        "",
        "ada",
        "@x.example",
        "ada@",
        "Ada <ada@x.example>",
        "a@b.example, c@d.example",
        "a@b\n",
    ] {
        let field = wrong_with!(accepted(), wrap, |e| e.recipient = recipient.to_owned());
        assert_eq!(field, "accepted.recipient", "{recipient}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once() {
    let mut event = accepted();
    event.recipient = String::new();
    event.originating_ip = "192.0.2.444".to_owned();
    let labels = Labels { tags: vec!["\n".to_owned(); 90], ..Labels::default() };
    event.labels = Some(labels);
    let found = super::event(&of_message(Kind::Accepted(event))).unwrap_err();
    let fields: Vec<&str> = found.iter().map(|invalid| invalid.field.as_str()).collect();
    let first = ["accepted.recipient", "accepted.originating_ip", "accepted.labels.tags[0]"];
    assert_eq!(fields[..3], first);
    assert_eq!(found.len(), 20, "no more are told");
}

#[test]
fn numbers_words_and_lists_have_bounds() {
    let wrap = |event: Accepted| of_message(Kind::Accepted(event));
    let with_message = |change: fn(&mut MessageInfo)| {
        let mut event = accepted();
        change(event.message.as_mut().unwrap());
        wrong(&wrap(event))
    };
    assert_eq!(with_message(|m| m.size = Some(-1)), "accepted.message.size");
    for bad in [f64::NAN, f64::INFINITY, -1.0] {
        let mut event = accepted();
        event.message.as_mut().unwrap().scheduled_for = Some(bad);
        assert_eq!(wrong(&wrap(event)), "accepted.message.scheduled_for");
    }
    assert_eq!(
        with_message(|m| m.recipients = vec!["a@b.example".into(), "x".into()]),
        "accepted.message.recipients[1]"
    );
    assert_eq!(
        with_message(|m| m.recipients = vec!["a@b.example".into(); 1_001]),
        "accepted.message.recipients"
    );
    assert_eq!(
        with_message(|m| m.attachments = vec![Attachment { size: -1, ..Attachment::default() }]),
        "accepted.message.attachments[0].size"
    );
    let field = wrong_with!(accepted(), wrap, |e| e.method = "FTP".to_owned());
    assert_eq!(field, "accepted.method");
    let field = wrong_with!(accepted(), wrap, |e| e.originating_ip = "here".to_owned());
    assert_eq!(field, "accepted.originating_ip");
    let field = wrong_with!(accepted(), wrap, |e| e.envelope =
        Some(Envelope { transport: "lmtp".to_owned(), ..Envelope::default() }));
    assert_eq!(field, "accepted.envelope.transport");
    let field = wrong_with!(accepted(), wrap, |e| e.labels =
        Some(Labels { tags: vec![String::new(), "t".repeat(257)], ..Labels::default() }));
    assert_eq!(field, "accepted.labels.tags[1]");
}

#[test]
fn failures_say_what_happened() {
    let wrap = |event: PermanentFail| of_message(Kind::PermanentFail(event));
    let field = wrong_with!(failed(), wrap, |e| e.delivery_status = None);
    assert_eq!(field, "permanent_fail.delivery_status");
    let field = wrong_with!(failed(), wrap, |e| e.reason.clear());
    assert_eq!(field, "permanent_fail.reason");

    let none = DeliveryStatus::default;
    for (field, status) in [
        ("code", DeliveryStatus { code: Some(1_000), ..none() }),
        ("last_code", DeliveryStatus { last_code: Some(-1), ..none() }),
        ("attempt_no", DeliveryStatus { attempt_no: Some(-1), ..none() }),
        ("retry_seconds", DeliveryStatus { retry_seconds: Some(-1), ..none() }),
        ("session_seconds", DeliveryStatus { session_seconds: Some(f64::NAN), ..none() }),
        ("bounce_type", DeliveryStatus { bounce_type: "Hard".to_owned(), ..none() }),
        ("message", DeliveryStatus { message: "x".repeat(16_385), ..none() }),
    ] {
        let found = wrong_with!(failed(), wrap, |e| e.delivery_status = Some(status));
        assert_eq!(found, format!("permanent_fail.delivery_status.{field}"));
    }
}

#[test]
fn clicks_carry_a_web_link() {
    let wrap = |event: Clicked| of_message(Kind::Clicked(event));
    for url in ["", "shop.example", "https://", "http:///x", "mailto:a@b.example", "https://a\n"] {
        let field = wrong_with!(clicked(), wrap, |e| e.url = url.to_owned());
        assert_eq!(field, "clicked.url", "{url}");
    }
    let mut upper = clicked();
    upper.url = "HTTP://shop.example".to_owned();
    assert!(super::event(&wrap(upper)).is_ok());
}

#[test]
fn what_strangers_wrote_loses_no_event() {
    let mut event = failed();
    event.message.as_mut().unwrap().headers.as_mut().unwrap().subject = "\u{1b}[31m\0".to_owned();
    event.delivery_status.as_mut().unwrap().message = "550\r\n\u{7}no".to_owned();
    assert!(super::event(&of_message(Kind::PermanentFail(event))).is_ok());
}

proptest! {
    #[test]
    fn no_event_brings_the_check_down(event in arbitrary::event()) {
        if let Err(invalid) = super::event(&event) {
            for Invalid { message, .. } in invalid {
                prop_assert!(!message.is_empty() && message.len() < 512, "{message}");
            }
        }
    }
}
