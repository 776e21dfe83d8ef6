//! Of each kind the least that ingest takes, and one event with all fields.

/// (alert event type, least, whole), in the order of `EventType::ALERTS`.
pub(super) const ALERTS: [(&str, &str, &str); 6] = [
    (
        "ip_listed",
        r#"{"id":"1","account":"demo","ip_listed":{"ip":"192.0.2.44","blocklist":"Example BL"}}"#,
        r#"{"id":"1","account":"demo","timestamp":"2025-10-09T08:53:20Z","ip_listed":{"ip":"2001:db8::7","blocklist":"Example BL","message":"Act now"}}"#,
    ),
    (
        "ip_delisted",
        r#"{"id":"1","account":"demo","ip_delisted":{"ip":"192.0.2.44","blocklist":"Example BL"}}"#,
        r#"{"id":"1","account":"demo","timestamp":"2025-10-09T08:53:20.000000001Z","ip_delisted":{"ip":"2001:db8::7","blocklist":"Example BL","message":"All is well"}}"#,
    ),
    (
        "domain_listed",
        r#"{"id":"1","account":"demo","domain_listed":{"domain":"shop.example","blocklist":"Example BL"}}"#,
        r#"{"id":"1","account":"demo","timestamp":"2025-10-09T08:53:20Z","domain_listed":{"domain":"shop.example","blocklist":"Example BL","message":"Act now"}}"#,
    ),
    (
        "domain_delisted",
        r#"{"id":"1","account":"demo","domain_delisted":{"domain":"shop.example","blocklist":"Example BL"}}"#,
        r#"{"id":"1","account":"demo","timestamp":"2025-10-09T08:53:20Z","domain_delisted":{"domain":"shop.example","blocklist":"Example BL","message":"All is well"}}"#,
    ),
    (
        "validation_job",
        r#"{"id":"1","account":"demo","validation_job":{"bulk_validation_job":{"created_at":"1760000000","list_id":"spring","quantity":"3","status":"uploaded"}}}"#,
        r#"{"id":"1","account":"demo","validation_job":{"message":"Done","bulk_validation_job":{"created_at":"1760000000","list_id":"spring","quantity":"100","status":"uploaded","processed":"100","summary":{"result":{"deliverable":"80","undeliverable":"10","catch_all":"6","unknown":"4"},"risk":{"high":"11","low":"75","medium":"9","unknown":"5"}},"download_urls":{"csv":"https://files.example/spring.csv?a=1&b=2","json":"https://files.example/spring.json"}}}}"#,
    ),
    (
        "validation_preview",
        r#"{"id":"1","account":"demo","validation_preview":{"bulk_validation_job":{"created_at":"1760000000","list_id":"spring","quantity":"3","status":"preview_complete"}}}"#,
        r#"{"id":"1","account":"demo","validation_preview":{"message":"Done","bulk_validation_job":{"created_at":"1760000000","list_id":"spring","quantity":"100","status":"preview_complete","summary":{"result":{"deliverable":"80","undeliverable":"10","catch_all":"6","unknown":"4"},"risk":{"high":"11","low":"75","medium":"9","unknown":"5"}}}}}"#,
    ),
];

macro_rules! head {
    ($kind:literal) => {
        concat!(
            r#"{"id":"Qz3rT0pV","domain":"mail.demo.example",""#,
            $kind,
            r#"":{"recipient":"ada@customer.example","#
        )
    };
}

macro_rules! least {
    ($kind:literal) => {
        least!($kind, "")
    };
    ($kind:literal, $more:literal) => {
        concat!(
            head!($kind),
            $more,
            r#""message":{"headers":{"message_id":"1.2@mail.demo.example"}}}}"#
        )
    };
}

macro_rules! labels {
    () => {
        r#""labels":{"tags":["order","é"],"user_variables":{"order":"1042","mail":"ada@customer.example"},"mailing_list":{"address":"news@mail.demo.example","list_id":"7","sid":"abc"},"template":{"name":"order","version":"v2","is_text":true},"batch_id":"68e7a1c0b2f4"}"#
    };
}

/// What accepted, delivered, failed and complained share.
macro_rules! sent {
    () => {
        concat!(
            r#""message":{"headers":{"message_id":"1.2@mail.demo.example","from":"Shop <orders@mail.demo.example>","to":"Ada <ada@customer.example>","subject":"Order 1042 <&>"},"attachments":[{"filename":"a.pdf","content_type":"application/pdf","size":"17"}],"size":"1834","recipients":["ada@customer.example","bob@customer.example"],"scheduled_for":1760000000.5},"#,
            r#""envelope":{"sender":"orders@mail.demo.example","transport":"smtp","targets":"ada@customer.example","sending_ip":"203.0.113.25","sending_host":"out.demo.example","mail_from":"bounce@mail.demo.example"},"#,
            r#""flags":{"is_authenticated":true,"is_test_mode":true,"is_routed":false,"is_system_test":false,"is_big":false,"is_amp":false,"is_encrypted":true},"#,
            r#""storage":{"url":"https://store.demo.example/BAABAQ","key":"BAABAQ","region":"us-west1","env":"production"},"#,
            labels!()
        )
    };
}

/// What delivered and failed share.
macro_rules! tried {
    ($code:literal) => {
        concat!(
            sent!(),
            r#","primary_dkim":"s1._domainkey.mail.demo.example","recipient_provider":"Other","delivery_status":{"code":"#,
            $code,
            r#","message":"<ADA@customer.example> said so","description":"to ada@customer.example","attempt_no":2,"session_seconds":0.512,"tls":true,"certificate_verified":true,"utf8":true,"mx_host":"mx1.customer.example","enhanced_code":"2.0.0","retry_seconds":"600","bounce_type":"hard","bounce_code":"5.1.1","first_delivery_attempt_seconds":0,"last_code":451,"last_message":"ada@customer.example later"}"#
        )
    };
}

/// What opened, clicked and unsubscribed share.
macro_rules! engaged {
    () => {
        concat!(
            r#""message":{"headers":{"message_id":"1.2@mail.demo.example"}},"ip":"198.51.100.90","recipient_provider":"Other","geolocation":{"country":"DE","region":"BE","city":"Berlin","timezone":"Europe/Berlin"},"client_info":{"client_type":"mobile browser","client_os":"iOS","client_name":"Mobile Safari","device_type":"mobile","user_agent":"ExampleUA/1.0","bot":"generic","accept_language":"de","ip":"198.51.100.90"},"#,
            labels!()
        )
    };
}

/// (webhook id, least, whole), in the order of `EventType::WEBHOOKS`.
pub(super) const MESSAGE_EVENTS: [(&str, &str, &str); 8] = [
    (
        "accepted",
        least!("accepted"),
        concat!(
            head!("accepted"),
            sent!(),
            r#","api_key_id":"1a2b3c4d-5e6f7081","method":"HTTP","originating_ip":"198.51.100.7","recipient_provider":"Other","routes":[{"id":"r1","expression":"match_recipient('ada@customer.example')","match_recipient":"ada@customer.example"}]}}"#
        ),
    ),
    ("delivered", least!("delivered"), concat!(head!("delivered"), tried!("250"), "}}")),
    ("opened", least!("opened"), concat!(head!("opened"), engaged!(), "}}")),
    (
        "clicked",
        least!("clicked", r#""url":"https://shop.example/?a=1&b=2","#),
        concat!(
            head!("clicked"),
            engaged!(),
            r#","url":"https://shop.example/?u=ada%40customer.example&v=Ada@customer.example"}}"#
        ),
    ),
    ("unsubscribed", least!("unsubscribed"), concat!(head!("unsubscribed"), engaged!(), "}}")),
    ("complained", least!("complained"), concat!(head!("complained"), sent!(), "}}")),
    (
        "temporary_fail",
        least!("temporary_fail", r#""reason":"generic","delivery_status":{"code":451},"#),
        concat!(head!("temporary_fail"), tried!("451"), r#","reason":"generic"}}"#),
    ),
    (
        "permanent_fail",
        least!(
            "permanent_fail",
            r#""reason":"bounce","flags":{"is_delayed_bounce":true},"delivery_status":{"code":550},"#
        ),
        concat!(head!("permanent_fail"), tried!("605"), r#","reason":"suppress-bounce"}}"#),
    ),
];
