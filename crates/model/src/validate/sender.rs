//! The headers and addresses of a mail's sender, as they can be stored and shown. An event about a mail
//! that was really sent is not lost for a header of it.

use protocol::v1::event::Kind;
use protocol::v1::{Envelope, Event, MessageHeaders, MessageInfo};

use super::rules::TEXT_BYTES;

/// Makes right what senders write, where its meaning is plain:
///
/// - message ids stand without the angle brackets and white space around them, and not folded;
/// - headers have at most as many bytes as free text may have;
/// - recipients and senders stand without angle brackets, and the null sender, `<>`, is empty.
pub fn normalise(event: &mut Event) {
    let Some(kind) = &mut event.kind else { return };
    let (recipient, message, envelope) = match kind {
        Kind::Accepted(of) => (&mut of.recipient, &mut of.message, Some(&mut of.envelope)),
        Kind::Delivered(of) => (&mut of.recipient, &mut of.message, Some(&mut of.envelope)),
        Kind::TemporaryFail(of) => (&mut of.recipient, &mut of.message, Some(&mut of.envelope)),
        Kind::PermanentFail(of) => (&mut of.recipient, &mut of.message, Some(&mut of.envelope)),
        Kind::Complained(of) => (&mut of.recipient, &mut of.message, Some(&mut of.envelope)),
        Kind::Opened(of) => (&mut of.recipient, &mut of.message, None),
        Kind::Clicked(of) => (&mut of.recipient, &mut of.message, None),
        Kind::Unsubscribed(of) => (&mut of.recipient, &mut of.message, None),
        Kind::IpListed(_)
        | Kind::IpDelisted(_)
        | Kind::DomainListed(_)
        | Kind::DomainDelisted(_)
        | Kind::ValidationJob(_)
        | Kind::ValidationPreview(_) => return,
    };
    address(recipient);
    if let Some(MessageInfo { headers: Some(headers), recipients, .. }) = message {
        let MessageHeaders { message_id: id, from, to, subject } = headers;
        message_id(id);
        recipients.iter_mut().for_each(address);
        [from, to, subject].into_iter().for_each(shorten);
    }
    if let Some(Some(Envelope { sender, mail_from, .. })) = envelope {
        address(sender);
        address(mail_from);
    }
}

fn message_id(id: &mut String) {
    // A header is folded by a line end; RFC 5322, 2.2.3.
    id.retain(|c| !c.is_control());
    shorten(id);
    address(id);
}

fn address(address: &mut String) {
    let bare = address.trim_matches(|c: char| c.is_whitespace() || matches!(c, '<' | '>'));
    if bare.len() < address.len() {
        *address = bare.to_owned();
    }
}

fn shorten(text: &mut String) {
    text.truncate(text.floor_char_boundary(TEXT_BYTES));
}

#[cfg(test)]
mod tests {
    use protocol::v1::Delivered;

    use super::*;

    fn delivered(recipient: &str, message_id: &str, sender: &str) -> Event {
        let headers = MessageHeaders { message_id: message_id.into(), ..MessageHeaders::default() };
        let message = MessageInfo { headers: Some(headers), ..MessageInfo::default() };
        let envelope = Envelope { sender: sender.into(), ..Envelope::default() };
        let kind = Kind::Delivered(Delivered {
            recipient: recipient.into(),
            message: Some(message),
            envelope: Some(envelope),
            ..Delivered::default()
        });
        Event { domain: "mail.demo.example".into(), kind: Some(kind), ..Event::default() }
    }

    fn normal(mut event: Event) -> Event {
        normalise(&mut event);
        assert!(super::super::event(&event).is_ok(), "{event:?}");
        event
    }

    #[test]
    fn message_ids_as_senders_write_them_are_taken() {
        for (written, stored) in [
            ("1.2@mail.demo.example", "1.2@mail.demo.example"),
            ("<a@b.example>", "a@b.example"),
            ("<<a@b>>", "a@b"),
            ("a@b>", "a@b"),
            (" <a@b>\r\n", "a@b"),
            ("\r\n <folded\r\n @b.example>", "folded @b.example"),
            ("foo bar@host", "foo bar@host"),
            ("\"quoted part\"@x", "\"quoted part\"@x"),
            ("a@x\0", "a@x"),
            ("\u{a0}a@x\u{2028}", "a@x"),
            ("<>", ""),
            ("", ""),
            ("ACME@x_ACME@", "ACME@x_ACME@"),
            ("(comment)a@x", "(comment)a@x"),
            ("é@x", "é@x"),
        ] {
            let event = normal(delivered("ada@customer.example", written, ""));
            assert_eq!(event, delivered("ada@customer.example", stored, ""), "{written:?}");
            assert_eq!(normal(event.clone()), event);
        }
    }

    #[test]
    fn addresses_stand_without_brackets_and_nobody_sends_as_well() {
        for (written, stored) in [
            ("<>", ""),
            ("", ""),
            (" <bounce@mail.demo.example> ", "bounce@mail.demo.example"),
            ("bounce@mail.demo.example", "bounce@mail.demo.example"),
        ] {
            let event = normal(delivered("<ada@customer.example>", "1@x", written));
            assert_eq!(event, delivered("ada@customer.example", "1@x", stored), "{written:?}");
        }
    }

    #[test]
    fn headers_longer_than_any_are_cut() {
        let mut event = delivered("ada@customer.example", &"é".repeat(TEXT_BYTES), "");
        let Some(Kind::Delivered(of)) = &mut event.kind else { panic!("delivered") };
        let headers = of.message.as_mut().and_then(|message| message.headers.as_mut());
        headers.expect("headers").to = "ada@customer.example, ".repeat(1_000);
        let event = normal(event);
        let Some(Kind::Delivered(of)) = &event.kind else { panic!("delivered") };
        let headers = of.message.as_ref().and_then(|message| message.headers.as_ref());
        let MessageHeaders { message_id, to, .. } = headers.expect("headers");
        assert_eq!((message_id.len(), to.len()), (TEXT_BYTES, TEXT_BYTES));
    }
}
