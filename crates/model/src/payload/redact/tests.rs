use super::*;
use protocol::v1::{Envelope, MessageHeaders, MessageInfo};

const RECIPIENT: &str = "Ada.Lovelace+Shop@customer.example";

fn redactor(fields: &MessageFields<'_>) -> Redactor {
    Redactor::new(Redaction::Pii, fields)
}

fn pii(recipient: &str) -> Redactor {
    redactor(&MessageFields { recipient, ..MessageFields::default() })
}

#[track_caller]
fn leaves(recipient: &str, text: &str, left: &str) {
    assert_eq!(pii(recipient).text(text), left, "{recipient} in {text}");
}

#[track_caller]
fn leaves_about(recipient: &str, text: &str, left: &str) {
    assert_eq!(pii(recipient).about_recipient(text), left, "{recipient} in {text}");
}

/// How mail systems, browsers and tools write [`RECIPIENT`], and what is left.
pub(in crate::payload) const FORMS: [(&str, &str); 37] = [
    ("ada.lovelace+shop@customer.example", "[REDACTED]"),
    ("ADA.LOVELACE+SHOP@CUSTOMER.EXAMPLE", "[REDACTED]"),
    ("<ada.lovelace+shop@customer.example>", "<[REDACTED]>"),
    (r#""ada.lovelace+shop"@customer.example"#, "[REDACTED]"),
    (r#"\"ada.lovelace+shop\"@customer.example"#, "[REDACTED]"),
    ("<ada.lovelace+shop>@customer.example", "[REDACTED]"),
    // Without its tag, with another one.
    ("ada.lovelace@customer.example", "[REDACTED]"),
    ("ada.lovelace+other@customer.example", "[REDACTED]"),
    // Written so that robots do not see it.
    ("ada.lovelace+shop @ customer.example", "[REDACTED]"),
    ("ada.lovelace+shop at customer.example", "[REDACTED]"),
    ("ada.lovelace+shop(at)customer.example", "[REDACTED]"),
    ("ada.lovelace+shop [at] customer.example", "[REDACTED]"),
    ("ada.lovelace+shop＠customer.example", "[REDACTED]"),
    // In links, and in links in links.
    ("ada.lovelace+shop%40customer.example", "[REDACTED]"),
    ("ada.lovelace%2bshop%40customer.example", "[REDACTED]"),
    ("Ada.Lovelace%2BShop@customer.example", "[REDACTED]"),
    ("ada%2Elovelace%252Bshop%2540customer%2eexample", "[REDACTED]"),
    ("ada.lovelace%25252Bshop%252540customer.example", "[REDACTED]"),
    (
        "%61%64%61%2E%6C%6F%76%65%6C%61%63%65%2B%73%68%6F%70%40%63%75%73%74%6F%6D%65%72%2E%65%78%61%6D%70%6C%65",
        "[REDACTED]",
    ),
    // Within other addresses: VERP, SRS, BATV, routes of old.
    (
        "bounces+7f-ada.lovelace+shop=customer.example@mail.demo.example",
        "bounces+7f-[REDACTED]@mail.demo.example",
    ),
    (
        "bounce%2Bada.lovelace%2Bshop%3Dcustomer.example%40m.example",
        "bounce%2B[REDACTED]%40m.example",
    ),
    (
        "SRS0=Hx3k=TT=customer.example=ada.lovelace+shop@fwd.example",
        "SRS0=Hx3k=TT=[REDACTED]@fwd.example",
    ),
    ("prvs=0123456789=ada.lovelace+shop@customer.example", "prvs=0123456789=[REDACTED]"),
    ("ada.lovelace+shop%customer.example@relay.example", "[REDACTED]@relay.example"),
    ("customer.example!ada.lovelace+shop", "[REDACTED]"),
    // Quoted-printable, HTML, source code, regular expressions.
    ("ada.lovelace=2Bshop=40customer.example", "[REDACTED]"),
    ("ada.lovelace+shop=40cust=\r\nomer.example", "[REDACTED]"),
    ("ada.lovelace&#43;shop&#x40;customer.example", "[REDACTED]"),
    ("ada.lovelace&plus;shop&commat;customer&period;example", "[REDACTED]"),
    (r"ada.lovelace\u002bshop\u0040customer.example", "[REDACTED]"),
    (r"ada\.lovelace\+shop@customer\.example", "[REDACTED]"),
    // Base64 of the address, of more than that, of an encoded one; hex.
    ("YWRhLmxvdmVsYWNlK3Nob3BAY3VzdG9tZXIuZXhhbXBsZQ==", "[REDACTED]=="),
    ("YWRhLmxvdmVsYWNlK3Nob3BAY3VzdG9tZXIuZXhhbXBsZQ%3D%3D", "[REDACTED]%3D%3D"),
    ("dTphZGEubG92ZWxhY2Urc2hvcEBjdXN0b21lci5leGFtcGxl", "dT[REDACTED]"),
    (
        "eyJtYWlsIjoiYWRhLmxvdmVsYWNlK3Nob3BAY3VzdG9tZXIuZXhhbXBsZSIsIm4iOjF9",
        "eyJtYWlsIjoi[REDACTED]IsIm4iOjF9",
    ),
    ("YWRhLmxvdmVsYWNlJTJCc2hvcCU0MGN1c3RvbWVyLmV4YW1wbGU=", "[REDACTED]="),
    ("6164612e6c6f76656c6163652b73686f7040637573746f6d65722e6578616d706c65", "[REDACTED]"),
];

#[test]
fn an_address_goes_in_every_form_in_which_it_is_written() {
    for (form, left) in FORMS {
        leaves(RECIPIENT, form, left);
        leaves(RECIPIENT, &format!("é {form}, {form};"), &format!("é {left}, {left};"));
        let link = |form: &str| format!("https://shop.example/a%20b/?u={form}&p=10%25#x");
        leaves(RECIPIENT, &link(form), &link(left));
    }
}

#[test]
fn other_text_stays_as_it_is() {
    for text in [
        "",
        "Order 1042",
        "customer.example",
        "mx1.customer.example",
        "orders@customer.example",
        "ada@other.example",
        "lovelace+shop%40customer.example",
        "https://shop.example/orders/1042?utm_source=mail&a=%C3%A9&b=%ff&c=%&d=%4",
        "=?utf-8?Q?Gr=C3=BC=C3=9Fe?=",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJlIG9mIHRoYXQgdG9rZW4",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0",
        "ſ İ ß 𝄞 \u{0}\u{7f}",
    ] {
        let redactor = pii(RECIPIENT);
        assert!(matches!(redactor.text(text), Cow::Borrowed(_)), "{text}");
        assert_eq!(redactor.text(text), text);
        assert_eq!(redactor.about_recipient(text), text);
    }
}

#[test]
fn letters_beyond_ascii_are_compared_without_case_and_never_cut() {
    leaves("JÜRGEN@bücher.example", "öjürgen@BÜCHER.exampleö", "ö[REDACTED]ö");
    leaves("jürgen@bücher.example", "j%C3%BCrgen@xn--bcher-kva.example", "[REDACTED]");
    leaves("ada@xn--bcher-kva.example", "<ada@bücher.example>", "<[REDACTED]>");
    // Turned to lower case, this letter becomes two.
    leaves("i\u{307}@x.example", "İ@x.example", "[REDACTED]");
    leaves("ΣΑΣ@x.example", "σας@x.example Σασ@x.example", "σας@x.example [REDACTED]");
}

#[test]
fn a_quoted_recipient_is_the_same_as_one_without_quotes() {
    leaves(r#""ada"@customer.example"#, "to ada@customer.example", "to [REDACTED]");
    leaves(r#""ada b"@customer.example"#, r#"<"Ada b"@customer.example>"#, "<[REDACTED]>");
    leaves(r#""a\"b"@customer.example"#, r#"<"a\"b"@customer.example>"#, "<[REDACTED]>");
    leaves(r#""ada b"@customer.example"#, "x%20%22ada%20b%22%40customer.example", "x%20[REDACTED]");
}

#[test]
fn signs_within_a_recipient_are_not_taken_for_escapes() {
    leaves("a%41b@x.example", "a%41b@x.example", "[REDACTED]");
    leaves("a%41b@x.example", "a%2541b%40x.example", "[REDACTED]");
    leaves(
        "a=41b@x.example",
        "a=41b@x.example and a%3D41b%40x.example",
        "[REDACTED] and [REDACTED]",
    );
    leaves("o'brien&co@x.example", "o&#39;brien&amp;co@x.example", "[REDACTED]");
    leaves("aa@x.example", "aaaa@x.examplex.example", "aa[REDACTED]x.example");
}

#[test]
fn the_mailbox_alone_goes_where_a_text_is_about_it() {
    for (text, left) in [
        ("550 5.1.1 unknown user: \"ada\"", "550 5.1.1 unknown user: \"[REDACTED]\""),
        ("no mailbox <ADA> here", "no mailbox <[REDACTED]> here"),
        ("Unknown user ada.", "Unknown user [REDACTED]."),
        ("ada: mailbox full", "[REDACTED]: mailbox full"),
        ("/var/mail/ada is full", "/var/mail/[REDACTED] is full"),
        ("match_recipient(\"^ada@.*\")", "match_recipient(\"^[REDACTED]@.*\")"),
        // Another word, another mailbox.
        ("canada adam ada.b ada-b x.ada ada_1", "canada adam ada.b ada-b x.ada ada_1"),
    ] {
        leaves_about("ada@customer.example", text, left);
    }
    assert_eq!(pii("ada@customer.example").text("Unknown user ada"), "Unknown user ada");
    leaves_about(RECIPIENT, "user ada.lovelace+shop unknown", "user [REDACTED] unknown");
    leaves_about(RECIPIENT, "user ada.lovelace unknown", "user [REDACTED] unknown");
}

#[test]
fn words_of_mail_servers_stay_readable() {
    let full = "550 5.2.2 mailbox full, mail to user is not taken";
    for recipient in ["mailbox@x.example", "user@x.example", "is@x.example", "550@x.example"] {
        leaves_about(recipient, full, full);
    }
    leaves_about("info@x.example", "<info> for info: no", "<[REDACTED]> for info: no");
}

#[test]
fn the_readers_ip_goes_too() {
    let fields = MessageFields {
        recipient: RECIPIENT,
        ip: "198.51.100.9",
        client_info: None,
        ..MessageFields::default()
    };
    let redactor = redactor(&fields);
    assert_eq!(
        redactor.text("?ip=198.51.100.9&x=198.51.100.90 198.51.100.9:443"),
        "?ip=[REDACTED]&x=198.51.100.90 [REDACTED]:443"
    );
    let fields = MessageFields { ip: "2001:DB8::7", ..fields };
    assert_eq!(
        super::Redactor::new(Redaction::Pii, &fields).text("[2001%3Adb8::7]"),
        "[[REDACTED]]"
    );
}

#[test]
fn others_whom_the_event_names_go_too() {
    let message = MessageInfo {
        headers: Some(MessageHeaders {
            to: "Ada <ada.lovelace+shop@customer.example>, \"Bob\" <Bob@gone.example>".to_owned(),
            ..MessageHeaders::default()
        }),
        recipients: vec!["eve@customer.example".to_owned()],
        ..MessageInfo::default()
    };
    let envelope =
        Envelope { targets: "x@y.example,carl@gone.example".to_owned(), ..Envelope::default() };
    let redactor = redactor(&MessageFields {
        recipient: RECIPIENT,
        message: Some(&message),
        envelope: Some(&envelope),
        ..MessageFields::default()
    });
    assert_eq!(
        redactor
            .text("bob@gone.example. CARL%40gone.example, eve@customer.example; x@y.example.com"),
        "[REDACTED]. [REDACTED], [REDACTED]; x@y.example.com"
    );
    assert_eq!(redactor.text("dora@gone.example"), "dora@gone.example");
}

#[test]
fn a_recipient_that_is_no_address_is_no_reason_to_panic() {
    for recipient in ["", "@", "ada", "@x.example", "ada@", "\"\"@x", "+@x.example", "+x@y.example"]
    {
        for (form, _) in FORMS {
            let redactor = pii(recipient);
            let _ = redactor.text(form);
            let _ = redactor.about_recipient(form);
        }
    }
}

#[test]
fn nothing_changes_without_redaction() {
    let fields = MessageFields { recipient: RECIPIENT, ..MessageFields::default() };
    let redactor = Redactor::new(Redaction::None, &fields);
    assert_eq!(redactor.value(RECIPIENT), RECIPIENT);
    for (form, _) in FORMS {
        assert!(matches!(redactor.text(form), Cow::Borrowed(text) if text == form));
        assert!(matches!(redactor.about_recipient(form), Cow::Borrowed(text) if text == form));
    }
    assert!(!redactor.list(&["a".to_owned()]).is_empty());
    assert!(redactor.list(&[]).is_empty());
}
