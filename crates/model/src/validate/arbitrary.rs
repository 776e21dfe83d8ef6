//! Events of every shape that the proto allows, right ones and wrong ones.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use protocol::Timestamp;
use protocol::v1::event::Kind;
use protocol::v1::*;

/// Any event, with each field empty, plausible or absurd.
pub(crate) fn event() -> impl Strategy<Value = Event> {
    (text(), text(), text(), option::of(timestamp()), option::weighted(0.95, kind())).prop_map(
        |(id, account, domain, timestamp, kind)| Event { id, account, domain, timestamp, kind },
    )
}

fn text() -> BoxedStrategy<String> {
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

fn kind() -> BoxedStrategy<Kind> {
    prop_oneof![
        ip().prop_map(Kind::IpListed),
        ip().prop_map(Kind::IpDelisted),
        domain().prop_map(Kind::DomainListed),
        domain().prop_map(Kind::DomainDelisted),
        (option::of(job()), text()).prop_map(|(bulk_validation_job, message)| {
            Kind::ValidationJob(ValidationJob { bulk_validation_job, message })
        }),
        (option::of(job()), text()).prop_map(|(bulk_validation_job, message)| {
            Kind::ValidationPreview(ValidationPreview { bulk_validation_job, message })
        }),
        sent().prop_map(|sent| Kind::Accepted(Accepted {
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
        sent().prop_map(|sent| Kind::Delivered(Delivered {
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
        sent().prop_map(|sent| Kind::TemporaryFail(TemporaryFail {
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
        sent().prop_map(Kind::PermanentFail),
        engaged().prop_map(|clicked| Kind::Opened(Opened {
            recipient: clicked.recipient,
            message: clicked.message,
            labels: clicked.labels,
            ip: clicked.ip,
            geolocation: clicked.geolocation,
            client_info: clicked.client_info,
            recipient_provider: clicked.recipient_provider,
        })),
        engaged().prop_map(Kind::Clicked),
        engaged().prop_map(|clicked| Kind::Unsubscribed(Unsubscribed {
            recipient: clicked.recipient,
            message: clicked.message,
            labels: clicked.labels,
            ip: clicked.ip,
            geolocation: clicked.geolocation,
            client_info: clicked.client_info,
            recipient_provider: clicked.recipient_provider,
        })),
        sent().prop_map(|sent| Kind::Complained(Complained {
            recipient: sent.recipient,
            message: sent.message,
            labels: sent.labels,
            flags: sent.flags,
            envelope: sent.envelope,
            storage: sent.storage,
        })),
    ]
    .boxed()
}

fn ip() -> impl Strategy<Value = BlocklistedIp> {
    (text(), text(), text()).prop_map(|(ip, blocklist, message)| BlocklistedIp {
        ip,
        blocklist,
        message,
    })
}

fn domain() -> impl Strategy<Value = BlocklistedDomain> {
    (text(), text(), text()).prop_map(|(domain, blocklist, message)| BlocklistedDomain {
        domain,
        blocklist,
        message,
    })
}

fn job() -> impl Strategy<Value = BulkValidationJob> {
    (
        any::<i64>(),
        text(),
        any::<i64>(),
        text(),
        option::of(any::<[i64; 8]>()),
        option::of((text(), text())),
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
fn sent() -> BoxedStrategy<PermanentFail> {
    (
        (text(), text(), text(), text()),
        option::of(message()),
        option::of(envelope()),
        option::of(any::<[Option<bool>; 8]>()),
        option::of((text(), text(), text(), text())),
        option::of(labels()),
        option::of(delivery_status()),
    )
        .prop_map(|(texts, message, envelope, flags, storage, labels, delivery_status)| {
            let (recipient, primary_dkim, recipient_provider, reason) = texts;
            PermanentFail {
                recipient,
                message,
                envelope,
                flags: flags.map(|[a, b, c, d, e, f, g, h]| Flags {
                    is_authenticated: a,
                    is_test_mode: b,
                    is_routed: c,
                    is_system_test: d,
                    is_big: e,
                    is_amp: f,
                    is_encrypted: g,
                    is_delayed_bounce: h,
                }),
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
fn engaged() -> BoxedStrategy<Clicked> {
    (
        (text(), text(), text(), text()),
        option::of(message()),
        option::of(labels()),
        option::of((text(), text(), text(), text())),
        option::of((text(), text(), text(), option::of(text()), text())),
    )
        .prop_map(|(texts, message, labels, place, client)| {
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
            }
        })
        .boxed()
}

fn message() -> impl Strategy<Value = MessageInfo> {
    (
        option::of((text(), text(), text(), text())),
        vec((text(), text(), any::<i64>()), 0..3),
        any::<Option<i64>>(),
        vec(text(), 0..3),
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

fn envelope() -> impl Strategy<Value = Envelope> {
    (text(), text(), text(), text(), text(), text()).prop_map(
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

fn labels() -> impl Strategy<Value = Labels> {
    (
        vec(text(), 0..3),
        btree_map(text(), text(), 0..3),
        option::of((text(), text(), text())),
        option::of((text(), text(), any::<Option<bool>>())),
        text(),
    )
        .prop_map(|(tags, user_variables, list, template, batch_id)| Labels {
            tags,
            user_variables,
            mailing_list: list.map(|(address, list_id, sid)| MailingList { address, list_id, sid }),
            template: template.map(|(name, version, is_text)| Template { name, version, is_text }),
            batch_id,
        })
}

fn delivery_status() -> impl Strategy<Value = DeliveryStatus> {
    (
        any::<[Option<i32>; 3]>(),
        any::<[Option<bool>; 3]>(),
        any::<Option<i64>>(),
        (double(), double()),
        (text(), text(), text(), text(), text()),
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
