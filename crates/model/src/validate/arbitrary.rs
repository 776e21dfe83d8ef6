//! Events of every shape that the proto allows, right ones and wrong ones.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use protocol::Timestamp;
use protocol::v1::event::Kind;
use protocol::v1::*;

/// Where the texts of an event come from.
type Text = BoxedStrategy<String>;

/// Any event, with each field empty, plausible or absurd.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    event_of(&text())
}

/// Any event that has these texts in all of its fields that can have any text.
pub(crate) fn event_of(text: &Text) -> impl Strategy<Value = Event> + use<> {
    let given = || text.clone();
    (given(), given(), given(), option::of(timestamp()), option::weighted(0.95, kind(text)))
        .prop_map(|(id, account, domain, timestamp, kind)| Event {
            id,
            account,
            domain,
            timestamp,
            kind,
        })
}

/// Any text, empty, plausible or absurd.
pub(crate) fn text() -> Text {
    prop_oneof![
        Just(String::new()),
        any::<String>(),
        "[a-zA-Z+]{1,5}@[a-z]{1,5}\\.[a-z]{2}",
        "(https?|ftp)://[a-z./?%]{0,9}",
        "[0-9:.a-f]{1,15}",
        "[<>@%+ \u{0}-\u{1f}\u{7f}\"\\\\/äß€𝄞]{0,12}",
        Just("long".repeat(5_000)),
    ]
    .boxed()
}

fn double() -> impl Strategy<Value = Option<f64>> {
    option::of(prop_oneof![any::<f64>(), Just(f64::NAN), Just(f64::INFINITY), 0.0..2e9])
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        (any::<i64>(), any::<i32>()),
        (946_684_800..253_402_300_800i64, 0..1_000_000_000i32),
    ]
    .prop_map(|(seconds, nanos)| Timestamp { seconds, nanos })
}

fn kind(text: &Text) -> BoxedStrategy<Kind> {
    let given = || text.clone();
    prop_oneof![
        ip(text).prop_map(Kind::IpListed),
        ip(text).prop_map(Kind::IpDelisted),
        domain(text).prop_map(Kind::DomainListed),
        domain(text).prop_map(Kind::DomainDelisted),
        (option::of(job(text)), given()).prop_map(|(bulk_validation_job, message)| {
            Kind::ValidationJob(ValidationJob { bulk_validation_job, message })
        }),
        (option::of(job(text)), given()).prop_map(|(bulk_validation_job, message)| {
            Kind::ValidationPreview(ValidationPreview { bulk_validation_job, message })
        }),
        sent(text).prop_map(|sent| Kind::Accepted(Accepted {
            recipient: sent.recipient,
            message: sent.message,
            envelope: sent.envelope,
            flags: sent.flags,
            storage: sent.storage,
            labels: sent.labels,
            api_key_id: sent.reason.clone(),
            method: sent.primary_dkim.clone(),
            originating_ip: sent.primary_dkim,
            routes: vec![Route {
                id: sent.reason.clone(),
                expression: sent.reason.clone(),
                match_recipient: sent.reason,
            }],
            recipient_provider: sent.recipient_provider,
        })),
        sent(text).prop_map(|sent| Kind::Delivered(Delivered {
            recipient: sent.recipient,
            message: sent.message,
            envelope: sent.envelope,
            flags: sent.flags,
            storage: sent.storage,
            labels: sent.labels,
            delivery_status: sent.delivery_status,
            primary_dkim: sent.primary_dkim,
            recipient_provider: sent.recipient_provider,
        })),
        sent(text).prop_map(|sent| Kind::TemporaryFail(TemporaryFail {
            recipient: sent.recipient,
            message: sent.message,
            envelope: sent.envelope,
            flags: sent.flags,
            storage: sent.storage,
            labels: sent.labels,
            delivery_status: sent.delivery_status,
            primary_dkim: sent.primary_dkim,
            recipient_provider: sent.recipient_provider,
            reason: sent.reason,
        })),
        sent(text).prop_map(Kind::PermanentFail),
        engaged(text).prop_map(|clicked| Kind::Opened(Opened {
            recipient: clicked.recipient,
            message: clicked.message,
            labels: clicked.labels,
            ip: clicked.ip,
            geolocation: clicked.geolocation,
            client_info: clicked.client_info,
            recipient_provider: clicked.recipient_provider,
            flags: clicked.flags,
            delivered_at: clicked.delivered_at,
        })),
        engaged(text).prop_map(Kind::Clicked),
        engaged(text).prop_map(|clicked| Kind::Unsubscribed(Unsubscribed {
            recipient: clicked.recipient,
            message: clicked.message,
            labels: clicked.labels,
            ip: clicked.ip,
            geolocation: clicked.geolocation,
            client_info: clicked.client_info,
            recipient_provider: clicked.recipient_provider,
            flags: clicked.flags,
        })),
        sent(text).prop_map(|sent| Kind::Complained(Complained {
            recipient: sent.recipient,
            message: sent.message,
            labels: sent.labels,
            flags: sent.flags,
            envelope: sent.envelope,
            storage: sent.storage,
            recipient_provider: sent.recipient_provider,
        })),
    ]
    .boxed()
}

fn ip(text: &Text) -> impl Strategy<Value = BlocklistedIp> + use<> {
    let given = || text.clone();
    (given(), given(), given()).prop_map(|(ip, blocklist, message)| BlocklistedIp {
        ip,
        blocklist,
        message,
    })
}

fn domain(text: &Text) -> impl Strategy<Value = BlocklistedDomain> + use<> {
    let given = || text.clone();
    (given(), given(), given()).prop_map(|(domain, blocklist, message)| BlocklistedDomain {
        domain,
        blocklist,
        message,
    })
}

fn job(text: &Text) -> impl Strategy<Value = BulkValidationJob> + use<> {
    let given = || text.clone();
    (
        any::<i64>(),
        given(),
        any::<i64>(),
        given(),
        option::of(any::<[i64; 8]>()),
        option::of((given(), given())),
        any::<Option<i64>>(),
    )
        .prop_map(|(created_at, list_id, quantity, status, counts, urls, processed)| {
            BulkValidationJob {
                created_at,
                list_id,
                quantity,
                status,
                summary: counts.map(|[a, b, c, d, e, f, g, h]| ValidationSummary {
                    result: Some(ValidationResult {
                        deliverable: a,
                        undeliverable: b,
                        catch_all: c,
                        unknown: d,
                    }),
                    risk: Some(ValidationRisk { high: e, low: f, medium: g, unknown: h }),
                }),
                download_urls: urls.map(|(csv, json)| DownloadUrls { csv, json }),
                processed,
            }
        })
}

/// The failure has every field that any event about sending has.
fn sent(text: &Text) -> BoxedStrategy<PermanentFail> {
    let given = || text.clone();
    (
        (given(), given(), given(), given()),
        option::of(message(text)),
        option::of(envelope(text)),
        option::of(flags()),
        option::of((given(), given(), given(), given())),
        option::of(labels(text)),
        option::of(delivery_status(text)),
    )
        .prop_map(|(texts, message, envelope, flags, storage, labels, delivery_status)| {
            let (recipient, primary_dkim, recipient_provider, reason) = texts;
            PermanentFail {
                recipient,
                message,
                envelope,
                flags,
                storage: storage.map(|(url, key, region, env)| Storage { url, key, region, env }),
                labels,
                delivery_status,
                primary_dkim,
                recipient_provider,
                reason,
            }
        })
        .boxed()
}

/// The click has every field that any event about a recipient has.
fn engaged(text: &Text) -> BoxedStrategy<Clicked> {
    let given = || text.clone();
    (
        (given(), given(), given(), given()),
        option::of(message(text)),
        option::of(labels(text)),
        option::of((given(), given(), given(), given())),
        option::of((given(), given(), given(), option::of(given()), given())),
        option::of(flags()),
        double(),
    )
        .prop_map(|(texts, message, labels, place, client, flags, delivered_at)| {
            let (recipient, ip, recipient_provider, url) = texts;
            Clicked {
                recipient,
                message,
                labels,
                ip,
                geolocation: place.map(|(country, region, city, timezone)| Geolocation {
                    country,
                    region,
                    city,
                    timezone,
                }),
                client_info: client.map(|(kind, os, agent, bot, ip)| ClientInfo {
                    client_type: kind.clone(),
                    client_os: os.clone(),
                    client_name: os,
                    device_type: kind,
                    user_agent: agent.clone(),
                    bot,
                    accept_language: agent,
                    ip,
                }),
                recipient_provider,
                url,
                flags,
                delivered_at,
            }
        })
        .boxed()
}

fn flags() -> impl Strategy<Value = Flags> {
    any::<[Option<bool>; 8]>().prop_map(|[a, b, c, d, e, f, g, h]| Flags {
        is_authenticated: a,
        is_test_mode: b,
        is_routed: c,
        is_system_test: d,
        is_big: e,
        is_amp: f,
        is_encrypted: g,
        is_delayed_bounce: h,
    })
}

fn message(text: &Text) -> impl Strategy<Value = MessageInfo> + use<> {
    let given = || text.clone();
    (
        option::of((given(), given(), given(), given())),
        vec((given(), given(), any::<i64>()), 0..3),
        any::<Option<i64>>(),
        vec(given(), 0..3),
        double(),
    )
        .prop_map(|(headers, attachments, size, recipients, scheduled_for)| MessageInfo {
            headers: headers.map(|(message_id, from, to, subject)| MessageHeaders {
                message_id,
                from,
                to,
                subject,
            }),
            attachments: attachments
                .into_iter()
                .map(|(filename, content_type, size)| Attachment { filename, content_type, size })
                .collect(),
            size,
            recipients,
            scheduled_for,
        })
}

fn envelope(text: &Text) -> impl Strategy<Value = Envelope> + use<> {
    let given = || text.clone();
    (given(), given(), given(), given(), given(), given()).prop_map(
        |(sender, transport, targets, sending_ip, sending_host, mail_from)| Envelope {
            sender,
            transport,
            targets,
            sending_ip,
            sending_host,
            mail_from,
        },
    )
}

fn labels(text: &Text) -> impl Strategy<Value = Labels> + use<> {
    let given = || text.clone();
    (
        vec(given(), 0..3),
        btree_map(given(), given(), 0..3),
        option::of((given(), given(), given())),
        option::of((given(), given(), any::<Option<bool>>())),
        given(),
    )
        .prop_map(|(tags, user_variables, list, template, batch_id)| Labels {
            tags,
            user_variables,
            mailing_list: list.map(|(address, list_id, sid)| MailingList { address, list_id, sid }),
            template: template.map(|(name, version, is_text)| Template { name, version, is_text }),
            batch_id,
        })
}

fn delivery_status(text: &Text) -> impl Strategy<Value = DeliveryStatus> + use<> {
    let given = || text.clone();
    (
        any::<[Option<i32>; 3]>(),
        any::<[Option<bool>; 3]>(),
        any::<Option<i64>>(),
        (double(), double()),
        (given(), given(), given(), given(), given()),
    )
        .prop_map(|(numbers, bools, retry_seconds, seconds, texts)| {
            let [code, attempt_no, last_code] = numbers;
            let [tls, certificate_verified, utf8] = bools;
            let (message, description, mx_host, enhanced_code, bounce_type) = texts;
            DeliveryStatus {
                code,
                last_message: message.clone(),
                message,
                description,
                attempt_no,
                session_seconds: seconds.0,
                tls,
                certificate_verified,
                utf8,
                mx_host,
                bounce_code: enhanced_code.clone(),
                enhanced_code,
                retry_seconds,
                bounce_type,
                first_delivery_attempt_seconds: seconds.1,
                last_code,
            }
        })
}
