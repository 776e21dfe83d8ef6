//! A mail as bytes (RFC 5322, RFC 2045).

use std::fmt::Write as _;
use std::time::SystemTime;

use lettre::Message;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, MultiPart, SinglePart};

use super::{Mail, MailAddress, MailFailure, MailList, Sender};

/// Longest subject, in characters. Lines of mails have an end (RFC 5322, 2.1.1).
const SUBJECT_CHARS: usize = 200;

/// Longest id of a delivery in a header, in characters.
const DELIVERY_CHARS: usize = 200;

/// Longest name of a list, in characters.
const LIST_NAME_CHARS: usize = 100;

/// Most parts of a list's id, and the longest, in characters.
const LIST_LABELS: usize = 4;
const LIST_LABEL_CHARS: usize = 63;

/// What stands between the parts. `=_` never comes out of quoted-printable, so
/// that no text can contain it (RFC 2045, 6.7).
const BOUNDARY: &str = "=_postrider";

/// Those who get the mail, each once.
pub(super) fn recipients(mail: &Mail) -> Vec<MailAddress> {
    let mut recipients: Vec<MailAddress> = Vec::with_capacity(mail.to.len());
    for address in &mail.to {
        if !recipients.contains(address) {
            recipients.push(address.clone());
        }
    }
    recipients
}

/// The mail as it goes over the wire, but for its dots. It is ASCII throughout,
/// with lines of less than a thousand bytes, so that any relay can take it.
pub(super) fn compose(
    sender: &Sender,
    mail: &Mail,
    recipients: &[MailAddress],
    at: SystemTime,
) -> Result<Vec<u8>, MailFailure> {
    let to = recipients.iter().map(|address| address.inner().clone()).collect();
    // There is nothing else that it could have against it.
    let envelope = Envelope::new(Some(sender.address().inner().clone()), to)
        .map_err(|_| MailFailure::no_recipient("the mail names no recipient"))?;
    let to: Vec<&str> = recipients.iter().map(MailAddress::as_str).collect();
    let mut builder = Message::builder()
        .from(sender.mailbox())
        .envelope(envelope)
        // As text, of which the line is folded: a list of mailboxes would be one
        // line, however long it is.
        .raw_header(header("To", to.join(", ")))
        .subject(one_line(&mail.subject, SUBJECT_CHARS))
        .date(at)
        .message_id(Some(message_id(&mail.id, sender.address().domain())))
        // RFC 3834, 5: so that no holiday notice answers.
        .raw_header(header("Auto-Submitted", "auto-generated".to_owned()));
    if let Some(delivery) = &mail.delivery {
        let delivery = one_line(delivery, DELIVERY_CHARS);
        builder = builder.raw_header(header("X-Postrider-Delivery", delivery));
    }
    if let Some(list) = &mail.list {
        builder = builder.raw_header(header("List-Id", list_id(list, sender.address().domain())));
    }
    let text = part(ContentType::TEXT_PLAIN, &mail.text);
    let message = match &mail.html {
        None => builder.singlepart(text),
        // The best comes last (RFC 2046, 5.1.4).
        Some(html) => builder.multipart(
            MultiPart::alternative()
                .boundary(BOUNDARY)
                .singlepart(text)
                .singlepart(part(ContentType::TEXT_HTML, html)),
        ),
    };
    // It can only miss what was given to it above.
    let message = message.map_err(|error| MailFailure::no_recipient(&error.to_string()))?;
    Ok(message.formatted())
}

/// What has no spaces or special characters is not encoded, and what has is.
fn header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Quoted-printable, because it alone makes the boundary safe.
fn part(kind: ContentType, text: &str) -> SinglePart {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let body = Body::new_with_encoding(text, ContentTransferEncoding::QuotedPrintable)
        // Any text can be quoted; base64 would be as safe.
        .unwrap_or_else(Body::new);
    SinglePart::builder().header(kind).body(body)
}

/// Text from elsewhere for a header: what would end the line becomes a space, and what looks
/// encoded (RFC 2047, 2) is shown as it is.
fn one_line(text: &str, limit: usize) -> String {
    let is_break = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    let clean: String = text.chars().map(|c| if is_break(c) { ' ' } else { c }).collect();
    let clean = clean.replace("=?", "= ?");
    let clean = clean.trim();
    if clean.chars().count() <= limit {
        return clean.to_owned();
    }
    let mut cut: String = clean.chars().take(limit - 1).collect();
    cut.push('…');
    cut
}

/// RFC 2919, 3: the name between quotes, the id between angle brackets.
fn list_id(list: &MailList, domain: &str) -> String {
    let is_plain = |c: &char| (' '..='~').contains(c) && !matches!(c, '"' | '\\');
    let name: String = list.name.chars().filter(is_plain).take(LIST_NAME_CHARS).collect();
    let host_char = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let labels = list.id.split('.').filter(|label| !label.is_empty()).take(LIST_LABELS);
    let labels = labels.map(|label| label.chars().take(LIST_LABEL_CHARS).map(host_char).collect());
    let labels: Vec<String> = labels.chain([domain.to_owned()]).collect();
    format!("\"{}\" <{}>", name.trim(), labels.join("."))
}

/// Ids that differ stay different: whatever is not plain is written as its
/// code, and nothing at all as a lone `=`.
fn message_id(id: &str, domain: &str) -> String {
    let mut local = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            local.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(local, "={byte:02X}");
        }
    }
    if local.is_empty() {
        local.push('=');
    }
    format!("<{local}@{domain}>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::MailFailureKind;

    fn composed(mail: &Mail) -> String {
        let sender = "Postrider <alerts@example.net>".parse().unwrap();
        let bytes = compose(&sender, mail, &recipients(mail), SystemTime::UNIX_EPOCH).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    fn mail() -> Mail {
        Mail {
            id: "d1".into(),
            to: vec!["ops@shop.example".parse().unwrap(), "cto@shop.example".parse().unwrap()],
            subject: "IP listed".into(),
            text: "192.0.2.44 is listed.\n".into(),
            html: None,
            delivery: Some("d1".into()),
            list: Some(MailList {
                id: "5f0a3a5e.alerts".into(),
                name: "ip_listed alerts of demo".into(),
            }),
        }
    }

    #[test]
    fn a_mail_is_the_same_each_time() {
        let expected = "From: Postrider <alerts@example.net>\r\n\
            To: ops@shop.example, cto@shop.example\r\n\
            Subject: IP listed\r\n\
            Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n\
            Message-ID: <d1@example.net>\r\n\
            Auto-Submitted: auto-generated\r\n\
            X-Postrider-Delivery: d1\r\n\
            List-Id: \"ip_listed alerts of demo\" <5f0a3a5e.alerts.example.net>\r\n\
            MIME-Version: 1.0\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            Content-Transfer-Encoding: quoted-printable\r\n\
            \r\n\
            192.0.2.44 is listed.\r\n\
            \r\n";
        assert_eq!(composed(&mail()), expected);
        let html = Mail { html: Some("<b>listed</b>".into()), ..mail() };
        assert_eq!(composed(&html), composed(&html));
    }

    #[test]
    fn headers_cannot_be_injected() {
        let breaks = "x\r\nBcc: evil@evil.example\r\n\r\nbody\u{2028}\u{85}\0";
        let mail = Mail {
            id: breaks.into(),
            subject: breaks.into(),
            delivery: Some(breaks.into()),
            list: Some(MailList { id: breaks.into(), name: format!("\"<a@b>\\{breaks}") }),
            ..mail()
        };
        let text = composed(&mail);
        let head = text.split("\r\n\r\n").next().unwrap();
        let names: Vec<&str> = head
            .split("\r\n")
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().unwrap())
            .collect();
        let expected = "From To Subject Date Message-ID Auto-Submitted X-Postrider-Delivery \
            List-Id MIME-Version Content-Type Content-Transfer-Encoding";
        assert_eq!(names.join(" "), expected, "{head}");
        assert!(head.contains("<x=0D=0ABcc=3A=20evil=40evil=2Eexample"), "{head}");
    }

    #[test]
    fn what_looks_encoded_is_shown_as_it_is() {
        let mail = Mail { subject: "=?UTF-8?Q?evil?= is listed".into(), ..mail() };
        let text = composed(&mail);
        assert!(text.contains("Subject: = ?UTF-8?Q?evil?= is listed\r\n"), "{text}");
    }

    #[test]
    fn parts_cannot_be_injected() {
        let text = "--=_postrider\r\nContent-Type: text/html\r\n\r\n<script>\r\n--=_postrider--";
        let mail = Mail { text: text.into(), html: Some("<b>".into()), ..mail() };
        assert_eq!(composed(&mail).matches("--=_postrider").count(), 3);
    }

    #[test]
    fn everything_is_ascii_with_short_lines() {
        let mail = Mail {
            to: (0..300).map(|n| format!("someone{n}@shop.example").parse().unwrap()).collect(),
            subject: "ü".repeat(5_000),
            text: format!("{}\n.\n{}\ründ\0", "a".repeat(5_000), "ä".repeat(5_000)),
            delivery: Some("x".repeat(5_000)),
            list: Some(MailList { id: "ü.".repeat(500), name: "ü x".repeat(5_000) }),
            ..mail()
        };
        let text = composed(&mail);
        assert!(text.is_ascii());
        for line in text.split("\r\n") {
            assert!(line.len() < 998 && !line.contains(['\r', '\n']), "{line}");
        }
    }

    #[test]
    fn ids_that_differ_stay_different() {
        let ids = ["", "=", "a.b", "a=2Eb", "a b", "ä", "a"];
        let mut encoded: Vec<_> = ids.iter().map(|id| message_id(id, "example.net")).collect();
        assert_eq!(encoded[0], "<=@example.net>");
        assert_eq!(encoded[2], "<a=2Eb@example.net>");
        encoded.sort();
        encoded.dedup();
        assert_eq!(encoded.len(), ids.len());
    }

    #[test]
    fn whoever_is_taken_can_be_written_to_and_from() {
        for name in
            ["", "Postrider", "Pöst, Rider & Söhne: „a@b“", "(x) [y]; z.", &"封".repeat(100)]
        {
            let sender: Sender = format!("{name} <alerts@example.net>").parse().unwrap();
            let odd = "!#$%&'*+-/=?^_`{|}~@shop.example".parse().unwrap();
            let to = [odd, format!("{0}@{0}.example", "a".repeat(63)).parse().unwrap()];
            let message = compose(&sender, &mail(), &to, SystemTime::UNIX_EPOCH).unwrap();
            let message = String::from_utf8(message).unwrap();
            assert!(
                message.contains("\r\nTo: !#$%&'*+-/=?^_`{|}~@shop.example,\r\n "),
                "{message}"
            );
            assert!(message.split("\r\n").next().unwrap().len() < 998 && message.is_ascii());
        }
    }

    #[test]
    fn nobody_gets_it_twice_or_in_vain() {
        let twice = Mail { to: [mail().to, mail().to].concat(), ..mail() };
        assert_eq!(recipients(&twice), mail().to);
        let sender = "alerts@example.net".parse().unwrap();
        let failure = compose(&sender, &mail(), &[], SystemTime::UNIX_EPOCH).unwrap_err();
        assert_eq!(failure.kind, MailFailureKind::NoRecipient);
        assert!(failure.kind.is_permanent());
    }
}
