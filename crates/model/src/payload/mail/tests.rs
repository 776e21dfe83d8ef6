use protocol::Timestamp;
use protocol::v1::BlocklistedIp;

use super::*;
use crate::sample;

const TIMESTAMP: Timestamp = Timestamp { seconds: 1_760_000_000, nanos: 0 };

const SETTING: MailFrame<'_> = MailFrame {
    reason: MailReason::Setting("5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21"),
    console_url: Some("https://console.example.net/"),
};

const TEST: MailFrame<'_> = MailFrame { reason: MailReason::Test, console_url: None };

fn accepted(event: Event) -> AcceptedEvent {
    AcceptedEvent { event: Some(event), ..AcceptedEvent::default() }
}

fn mail(event_type: EventType, frame: &MailFrame<'_>) -> AlertMail {
    let event = sample(event_type, "id-1", TIMESTAMP, "demo", "");
    alert_mail(&accepted(event), frame).expect("a mail")
}

/// A listing of which each text is this one.
fn listing_of(text: &str) -> AcceptedEvent {
    let change =
        BlocklistedIp { ip: text.into(), blocklist: text.into(), message: format!("m {text}") };
    accepted(Event {
        kind: Some(Kind::IpListed(change)),
        ..sample(EventType::IpListed, text, TIMESTAMP, text, "")
    })
}

#[test]
fn a_change_of_a_blocklist_reads_like_this() {
    let AlertMail { subject, text, .. } = mail(EventType::IpListed, &SETTING);
    assert_eq!(subject, "IP 192.0.2.44 was blocklisted by Example BL");
    assert_eq!(
        text,
        "IP 192.0.2.44 was blocklisted by Example BL\n\n\
         Receivers that use this blocklist may refuse mail from this IP address until it is removed from the list.\n\n\
         IP address:  192.0.2.44\n\
         Blocklist:   Example BL\n\
         Since:       9 October 2025, 08:53:20 UTC\n\
         Account:     demo\n\
         Alert:       ip_listed\n\
         Event:       id-1\n\n\
         Look further in the console:\n\
         https://console.example.net/\n\n\
         -- \n\
         You get this mail because an alert setting of account demo names your address for ip_listed.\n\
         To stop these mails, have your address taken out of this setting:\n\
         5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21\n"
    );
    let subject = mail(EventType::DomainDelisted, &SETTING).subject;
    assert_eq!(subject, "Domain shop.example was removed by Example BL");
}

#[test]
fn a_validation_job_reads_like_this() {
    let AlertMail { subject, text, .. } = mail(EventType::ValidationJob, &TEST);
    assert_eq!(subject, "[Test] Validation job id-1 is complete");
    assert_eq!(
        text,
        "This is a test, which somebody with access to account demo has asked for.\n\
         Nothing has happened. A real alert reads like this:\n\n\
         Validation job id-1 is complete\n\n\
         List:        test\n\
         Status:      uploaded\n\
         Addresses:   100, 100 of them processed\n\
         Result:      80 deliverable, 10 undeliverable, 6 catch-all, 4 unknown\n\
         Risk:        11 high, 9 medium, 75 low, 5 unknown\n\
         Time:        9 October 2025, 08:53:20 UTC\n\
         CSV:         https://files.example/test.csv\n\
         JSON:        https://files.example/test.json\n\
         Account:     demo\n\
         Alert:       validation_job\n\
         Event:       id-1\n\n\
         -- \n\
         You get this mail because a test call of account demo names your address.\n\
         There is nothing to stop: it was sent once.\n"
    );
}

#[test]
fn the_page_says_what_the_text_says() {
    for event_type in EventType::ALERTS {
        for frame in [SETTING, TEST] {
            let AlertMail { subject, text, html } = mail(event_type, &frame);
            let is_test = frame.reason == MailReason::Test;
            assert_eq!(subject.starts_with("[Test] "), is_test, "{subject}");
            assert_eq!(text.starts_with("This is a test"), is_test, "{text}");
            assert_eq!(html.contains("This is a test."), is_test, "{html}");
            let story = Story::of(&accepted(sample(event_type, "id-1", TIMESTAMP, "demo", "")))
                .expect("a story");
            let facts = story.facts.iter().chain(&story.ids);
            let parts = facts.map(|fact| fact.value.as_str()).chain([story.headline.as_str()]);
            for part in parts {
                assert!(text.contains(part) && html.contains(part), "{part}: {text} {html}");
            }
            for part in ["5f0a3a5e-0a9f-4a37-9d3c-0d5b0f4a7e21", "https://console.example.net/"] {
                assert_eq!((text.contains(part), html.contains(part)), (!is_test, !is_test));
            }
        }
    }
}

#[test]
fn the_page_loads_nothing() {
    for event_type in EventType::ALERTS {
        let html = mail(event_type, &SETTING).html;
        for loads in
            ["<img", "<link", "<script", "<iframe", "url(", "@import", "src=", "@font-face"]
        {
            assert!(!html.contains(loads), "{loads}: {html}");
        }
    }
}

#[test]
fn texts_of_callers_stay_on_their_line() {
    let text =
        format!("A\r\nBcc: x@y.example\n\nAlert:  two\u{2028}three\u{202e}{}", "b".repeat(300));
    let AlertMail { subject, text, html } =
        alert_mail(&listing_of(&text), &SETTING).expect("a mail");
    assert!(subject.starts_with("IP A Bcc: x@y.example Alert: two three bbb"), "{subject}");
    assert_eq!(subject.chars().count(), MAX_SUBJECT_CHARS);
    assert!(!subject.contains(['\r', '\n']), "{subject}");
    assert_eq!(text.lines().filter(|line| line.starts_with("Alert:")).count(), 1, "{text}");
    assert!(!text.contains('\u{202e}') && !html.contains('\u{202e}'));
}

#[test]
fn texts_of_callers_are_no_tags_and_no_links() {
    let evil = "\"><script>alert('1')</script><a href='https://evil.example'>&amp;";
    let html = alert_mail(&listing_of(evil), &SETTING).expect("a mail").html;
    let escaped = "&quot;&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;\
                   &lt;a href=&#39;https://evil.example&#39;&gt;&amp;amp;";
    // Title (cut), headline (twice), remark, two facts; at the end the account, twice, and the event.
    assert_eq!(html.matches(escaped).count(), 9, "{html}");
    assert!(!html.contains("<script") && !html.contains("href='"), "{html}");

    for (value, is_link) in [
        ("https://files.example/a?b=\"c&d", true),
        ("javascript:alert(1)", false),
        ("https://files.example/ and more", false),
        ("files.example", false),
    ] {
        let html = alert_mail(&listing_of(value), &SETTING).expect("a mail").html;
        // The console is the one other link.
        assert_eq!(html.matches("<a ").count() > 1, is_link, "{value}");
        assert!(!html.contains("b=\"c"), "{html}");
    }
}

#[test]
fn message_events_have_no_such_mail() {
    let event = sample(EventType::Clicked, "id", TIMESTAMP, "demo", "mail.demo.example");
    let error = alert_mail(&accepted(event), &SETTING).expect_err("no alert");
    assert!(matches!(error, PayloadError::OtherFamily(EventType::Clicked)));
}
