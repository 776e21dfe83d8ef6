use std::time::Duration;

use chassis::Clock;
use testkit::{Act, Mailbox, MailboxOptions, MailboxTls, Stage};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

const PASSWORD: &str = "hunter2 ä/@";

fn clock() -> Clock {
    Clock::fixed(chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap())
}

fn config(url: &str) -> MailConfig {
    let sender = "Postrider <alerts@example.net>".parse().unwrap();
    MailConfig {
        connect_timeout: Duration::from_secs(5),
        total_timeout: Duration::from_secs(5),
        ..MailConfig::new(url.parse().unwrap(), sender)
    }
}

fn mailer(mailbox: &Mailbox) -> Mailer {
    Mailer::new(config(&mailbox.url()), clock()).unwrap()
}

/// A mailer whose whole time is short.
fn hasty(mailbox: &Mailbox) -> Mailer {
    let total_timeout = Duration::from_millis(300);
    Mailer::new(MailConfig { total_timeout, ..config(&mailbox.url()) }, clock()).unwrap()
}

fn address(text: &str) -> MailAddress {
    text.parse().unwrap()
}

fn mail(to: &[&str]) -> Mail {
    Mail {
        id: "0199-d1".into(),
        to: to.iter().map(|text| address(text)).collect(),
        subject: "IP 192.0.2.44 was listed".into(),
        text: "It stands on Example BL.\n".into(),
        html: None,
        delivery: Some("0199-d1".into()),
        list: Some(MailList { id: "setting.alerts".into(), name: "Alerts".into() }),
    }
}

async fn failure(mailer: &Mailer, to: &[&str]) -> MailFailure {
    mailer.send(&mail(to)).await.expect_err("this mail is not to be taken")
}

#[tokio::test]
async fn one_mail_goes_to_all() {
    let mailbox = Mailbox::start().await;
    let to = ["ops@shop.example", "cto@shop.example"];
    let accepted = mailer(&mailbox).send(&mail(&to)).await.unwrap();
    assert_eq!(accepted.taken, mail(&to).to);
    assert!(accepted.refused.is_empty());
    assert_eq!(accepted.reply.to_string(), "250 2.0.0 taken");

    let [letter] = mailbox.letters().try_into().unwrap();
    assert_eq!(letter.sender, "alerts@example.net");
    assert_eq!(letter.recipients, to);
    let header = |name| letter.header(name).unwrap_or_default();
    assert_eq!(header("From"), "Postrider <alerts@example.net>");
    assert_eq!(header("To"), "ops@shop.example, cto@shop.example");
    assert_eq!(header("Message-ID"), "<0199-d1@example.net>");
    assert_eq!(header("Date"), "Fri, 15 Jan 2027 08:00:00 +0000");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert_eq!(header("X-Postrider-Delivery"), "0199-d1");
    assert_eq!(header("List-Id"), "\"Alerts\" <setting.alerts.example.net>");
    assert_eq!(mailbox.commands()[0], "EHLO [127.0.0.1]");
}

#[tokio::test]
async fn text_arrives_as_it_was_written() {
    let mailbox = Mailbox::start().await;
    let mailer = mailer(&mailbox);
    let subject = format!("Adresse «192.0.2.44» gelistet – 封鎖 🚫 {}", "sehr lang ".repeat(12));
    let text = "Grüße\n.\n..zwei\nFrom me\n= 封鎖\t \n--=_postrider\n\nEnde";
    for html in [None, Some("<p>Grüße\n.\n</p>".to_owned())] {
        let mail = Mail {
            subject: subject.clone(),
            text: text.into(),
            html: html.clone(),
            ..mail(&["ops@shop.example"])
        };
        mailbox.forget();
        mailer.send(&mail).await.unwrap();
        let [letter] = mailbox.letters().try_into().unwrap();
        assert_eq!(letter.subject(), subject.trim());
        assert_eq!(letter.text(), text);
        assert_eq!(letter.html(), html);
        assert!(letter.raw.is_ascii());
    }
}

#[tokio::test]
async fn a_mail_that_is_sent_again_has_the_same_id() {
    let mailbox = Mailbox::start().await;
    mailbox.at(Stage::Mail, [Act::Drop, Act::Normal]);
    let mailer = mailer(&mailbox);
    // The relay has it, and its answer is lost.
    assert_eq!(failure(&mailer, &["ops@shop.example"]).await.kind, MailFailureKind::NoAnswer);
    mailer.send(&mail(&["ops@shop.example"])).await.unwrap();
    let [first, second] = mailbox.letters().try_into().unwrap();
    assert_eq!(first.header("Message-ID"), second.header("Message-ID"));
    assert_eq!(first.raw, second.raw);
}

#[tokio::test]
async fn some_recipients_may_be_refused() {
    let mailbox = Mailbox::start().await;
    mailbox.on_recipient("gone@shop.example", [Act::reply(550, "5.1.1 no such user")]);
    mailbox.on_recipient("full@shop.example", [Act::reply(452, "4.2.2 mailbox full")]);
    let to = ["gone@shop.example", "ops@shop.example", "full@shop.example"];
    let accepted = mailer(&mailbox).send(&mail(&to)).await.unwrap();
    assert_eq!(accepted.taken, [address("ops@shop.example")]);
    let refused: Vec<_> = accepted
        .refused
        .iter()
        .map(|one| (one.address.as_str(), one.kind, one.reply.code))
        .collect();
    assert_eq!(
        refused,
        [
            ("gone@shop.example", MailFailureKind::Refused, 550),
            ("full@shop.example", MailFailureKind::Deferred, 452)
        ]
    );
    assert_eq!(mailbox.letters()[0].recipients, ["ops@shop.example"]);
}

#[tokio::test]
async fn all_recipients_may_be_refused() {
    let mailbox = Mailbox::start().await;
    mailbox.at(Stage::Recipient, [Act::reply(550, "5.1.1 no such user")]);
    let mailer = mailer(&mailbox);
    let refused = failure(&mailer, &["a@shop.example", "b@shop.example"]).await;
    assert_eq!(refused.kind, MailFailureKind::Refused);
    assert!(refused.kind.is_permanent() && !refused.kind.is_ours());
    assert_eq!(refused.refused.len(), 2);
    assert!(refused.detail.ends_with("550 5.1.1 no such user"), "{}", refused.detail);

    // The connection goes on after that.
    mailbox.at(Stage::Recipient, [Act::reply(450, "4.7.1 greylisted"), Act::Normal]);
    assert_eq!(failure(&mailer, &["a@shop.example"]).await.kind, MailFailureKind::Deferred);
    mailer.send(&mail(&["a@shop.example"])).await.unwrap();
    assert_eq!(mailbox.connections(), 1);
}

#[tokio::test]
async fn the_mail_may_be_refused() {
    let mailbox = Mailbox::start().await;
    mailbox.on_recipient("gone@shop.example", [Act::reply(550, "5.1.1 no such user")]);
    let mailer = mailer(&mailbox);
    for (stage, code, kind) in [
        (Stage::Data, 554, MailFailureKind::Refused),
        (Stage::Data, 451, MailFailureKind::Deferred),
        (Stage::Mail, 554, MailFailureKind::Refused),
        (Stage::Mail, 451, MailFailureKind::Deferred),
    ] {
        mailbox.at(stage, [Act::reply(code, "not this one"), Act::Normal]);
        let refused = failure(&mailer, &["gone@shop.example", "ops@shop.example"]).await;
        assert_eq!(refused.kind, kind);
        let addresses: Vec<_> = refused.refused.iter().map(|one| one.address.as_str()).collect();
        assert_eq!(addresses, ["gone@shop.example", "ops@shop.example"]);
        assert_eq!(refused.refused[1].reply.code, code);
    }
    assert!(mailbox.letters().is_empty());
    assert_eq!(mailbox.connections(), 1);
}

#[tokio::test]
async fn what_the_relay_has_against_us_is_our_fault() {
    for (stage, code, text) in [
        (Stage::Greeting, 554, "5.7.1 go away"),
        (Stage::Greeting, 421, "4.3.2 too busy"),
        (Stage::Hello, 550, "5.7.1 go away"),
        (Stage::Sender, 553, "5.7.1 not your address"),
        (Stage::Sender, 451, "4.3.0 try later"),
        (Stage::Recipient, 554, "5.7.1 Relay access denied"),
        (Stage::Recipient, 421, "4.3.2 shutting down"),
        (Stage::Mail, 452, "4.3.1 disk full"),
    ] {
        let mailbox = Mailbox::start().await;
        mailbox.at(stage, [Act::reply(code, text)]);
        let refused = failure(&mailer(&mailbox), &["ops@shop.example"]).await;
        assert_eq!(refused.kind, MailFailureKind::Relay, "{stage:?}");
        assert!(refused.kind.is_ours() && !refused.kind.is_permanent());
        assert!(refused.detail.contains(text), "{}", refused.detail);
    }
}

#[tokio::test]
async fn nobody_listens() {
    let mailbox = Mailbox::start().await;
    let mailer = mailer(&mailbox);
    let port = mailbox.address().port().to_string();
    drop(mailbox);
    let refused = failure(&mailer, &["ops@shop.example"]).await;
    assert_eq!(refused.kind, MailFailureKind::Connect);
    // Customers may read it; the relay is none of their business.
    assert!(!refused.detail.contains(&port) && !refused.detail.contains("127."), "{refused}");
}

#[tokio::test]
async fn a_silent_relay_costs_the_time_limit_and_no_more() {
    for stage in [Stage::Recipient, Stage::Data, Stage::Content, Stage::Mail] {
        let mailbox = Mailbox::start().await;
        mailbox.at(stage, [Act::Hang]);
        let late = failure(&hasty(&mailbox), &["ops@shop.example"]).await;
        assert_eq!(late.kind, MailFailureKind::Timeout, "{stage:?}");
        assert!(late.kind.is_ours());
    }
    for stage in [Stage::Greeting, Stage::Hello, Stage::Sender] {
        let mailbox = Mailbox::start().await;
        mailbox.at(stage, [Act::Hang]);
        let connect_timeout = Duration::from_millis(300);
        let config = MailConfig { connect_timeout, ..config(&mailbox.url()) };
        let late = failure(&Mailer::new(config, clock()).unwrap(), &["ops@shop.example"]).await;
        assert_eq!(late.kind, MailFailureKind::Connect, "{stage:?}");
    }
}

#[tokio::test]
async fn a_relay_may_hang_up_at_any_time() {
    use Stage::{Content, Data, Greeting, Hello, Recipient, Sender};
    for stage in [Greeting, Hello, Sender, Recipient, Data, Content, Stage::Mail] {
        let mailbox = Mailbox::start().await;
        mailbox.at(stage, [Act::Drop, Act::Normal]);
        let mailer = mailer(&mailbox);
        let broken = failure(&mailer, &["ops@shop.example"]).await;
        assert_eq!(broken.kind, MailFailureKind::NoAnswer, "{stage:?}");
        assert!(broken.kind.is_ours() && !broken.kind.is_permanent());
        // Nothing of the broken connection is left.
        mailer.send(&mail(&["ops@shop.example"])).await.unwrap();
        assert_eq!(mailbox.connections(), 2, "{stage:?}");
    }
}

#[tokio::test]
async fn what_is_no_smtp_is_no_answer() {
    for text in [
        "HTTP/1.1 400 Bad Request\r\n".to_owned(),
        "25x fine\r\n".to_owned(),
        "250-one\r\n251 two\r\n".to_owned(),
        "250-on and on\r\n".repeat(1_000),
        format!("250 {}", "x".repeat(100_000)),
    ] {
        let mailbox = Mailbox::start().await;
        mailbox.at(Stage::Hello, [Act::Say(text)]);
        let broken = failure(&mailer(&mailbox), &["ops@shop.example"]).await;
        assert_eq!(broken.kind, MailFailureKind::NoAnswer);
        assert!(broken.detail.contains("no SMTP"), "{broken}");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let mailbox = Mailbox::start().await;
    let mailer = mailer(&mailbox);
    for _ in 0..3 {
        mailer.send(&mail(&["ops@shop.example"])).await.unwrap();
    }
    assert_eq!((mailbox.letters().len(), mailbox.connections()), (3, 1));

    // One that the relay has closed in the meantime costs nothing.
    for last_word in [Act::Drop, Act::reply(421, "4.4.2 idle for too long")] {
        let before = mailbox.connections();
        mailbox.at(Stage::Sender, [last_word, Act::Normal]);
        mailer.send(&mail(&["ops@shop.example"])).await.unwrap();
        assert_eq!(mailbox.connections(), before + 1);
    }
    assert_eq!(mailbox.letters().len(), 5);
}

#[tokio::test]
async fn connections_have_a_number_and_an_age() {
    let mailbox = Mailbox::start().await;
    let config = MailConfig { max_connections: 2, ..config(&mailbox.url()) };
    let mailer = Mailer::new(config, clock()).unwrap();
    let mail = mail(&["ops@shop.example"]);
    let sent = futures_util::future::join_all((0..20).map(|_| mailer.send(&mail))).await;
    assert!(sent.iter().all(Result::is_ok));
    assert_eq!((mailbox.letters().len(), mailbox.connections()), (20, 2));

    let config = MailConfig { idle_timeout: Duration::ZERO, ..self::config(&mailbox.url()) };
    let mailer = Mailer::new(config, clock()).unwrap();
    mailer.send(&mail).await.unwrap();
    mailer.send(&mail).await.unwrap();
    assert_eq!(mailbox.connections(), 4);
}

#[tokio::test]
async fn a_mail_to_nobody_is_not_sent() {
    let mailbox = Mailbox::start().await;
    assert_eq!(failure(&mailer(&mailbox), &[]).await.kind, MailFailureKind::NoRecipient);
    assert_eq!(mailbox.connections(), 0);
}

#[tokio::test]
async fn headers_and_commands_cannot_be_injected() {
    let mailbox = Mailbox::start().await;
    let evil = "x\r\nBcc: evil@evil.example\r\n\r\n.\r\nMAIL FROM:<evil@evil.example>\r\n";
    let mail = Mail {
        id: evil.into(),
        subject: evil.into(),
        text: evil.into(),
        html: Some(evil.into()),
        delivery: Some(evil.into()),
        ..mail(&["ops@shop.example"])
    };
    mailer(&mailbox).send(&mail).await.unwrap();
    let [letter] = mailbox.letters().try_into().unwrap();
    assert_eq!(letter.header("Bcc"), None);
    assert_eq!(letter.headers().len(), 10);
    assert_eq!(letter.recipients, ["ops@shop.example"]);
    assert_eq!(letter.subject().split_whitespace().next(), Some("x"));
    assert_eq!(letter.text(), evil.replace("\r\n", "\n"));
    let commands = mailbox.commands();
    let verbs: Vec<_> = commands.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(verbs, ["EHLO", "MAIL", "RCPT", "DATA"]);
}

fn login() -> Option<(String, String)> {
    Some(("user@example.net".into(), PASSWORD.into()))
}

fn url_with(mailbox: &Mailbox, scheme: &str, password: &str, query: &str) -> String {
    let password =
        percent_encoding::utf8_percent_encode(password, percent_encoding::NON_ALPHANUMERIC);
    let port = mailbox.address().port();
    format!("{scheme}://user%40example.net:{password}@127.0.0.1:{port}{query}")
}

#[tokio::test]
async fn both_ways_to_log_in_work() {
    for mechanisms in ["PLAIN LOGIN", "CRAM-MD5 LOGIN", "PLAIN"] {
        let options = MailboxOptions { login: login(), mechanisms, tls: None };
        let mailbox = Mailbox::with(options).await;
        let url = url_with(&mailbox, "smtp", PASSWORD, "?tls=none");
        let mailer = Mailer::new(config(&url), clock()).unwrap();
        mailer.send(&mail(&["ops@shop.example"])).await.unwrap();
        assert_eq!(mailbox.letters()[0].login.as_deref(), Some("user@example.net"));
    }
}

#[tokio::test]
async fn a_wrong_login_is_our_fault_and_stays_secret() {
    let options = |mechanisms| MailboxOptions { login: login(), mechanisms, tls: None };
    for mechanisms in ["PLAIN", "LOGIN", "CRAM-MD5"] {
        let mailbox = Mailbox::with(options(mechanisms)).await;
        let url = url_with(&mailbox, "smtp", "wrong-secret", "?tls=none");
        let mailer = Mailer::new(config(&url), clock()).unwrap();
        let refused = failure(&mailer, &["ops@shop.example"]).await;
        assert_eq!(refused.kind, MailFailureKind::Login, "{mechanisms}");
        assert!(refused.kind.is_ours() && !refused.kind.is_permanent());
        let shown = format!("{refused:?} {mailer:?}");
        assert!(!shown.contains("wrong-secret"), "{shown}");
    }
    // Not even a relay that repeats what it was told gives it away.
    let mailbox = Mailbox::with(options("PLAIN")).await;
    mailbox.at(Stage::Login, [Act::reply(535, PASSWORD)]);
    let url = url_with(&mailbox, "smtp", PASSWORD, "?tls=none");
    let mailer = Mailer::new(config(&url), clock()).unwrap();
    let refused = failure(&mailer, &["ops@shop.example"]).await;
    assert_eq!(refused.detail, "the mail relay refused our login with 535");

    // A relay that wants a login and gets none.
    let mailbox = Mailbox::with(options("PLAIN")).await;
    let refused = failure(&self::mailer(&mailbox), &["ops@shop.example"]).await;
    assert_eq!(refused.kind, MailFailureKind::Relay);
}

/// What a relay needs to secure connections, and the root that vouches for it.
fn certified(name: &str) -> (TlsAcceptor, Vec<u8>) {
    let certified = rcgen::generate_simple_self_signed(vec![name.into()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(server)), certified.cert.pem().into_bytes())
}

#[tokio::test]
async fn connections_are_secured() {
    let (acceptor, extra_ca_pem) = certified("127.0.0.1");
    for (scheme, query, tls) in [
        ("smtps", "", MailboxTls::Implicit(acceptor.clone())),
        ("smtp", "", MailboxTls::StartTls(acceptor.clone())),
        ("smtp", "?tls=opportunistic", MailboxTls::StartTls(acceptor.clone())),
    ] {
        let options = MailboxOptions { login: login(), tls: Some(tls), ..Default::default() };
        let mailbox = Mailbox::with(options).await;
        let config = config(&url_with(&mailbox, scheme, PASSWORD, query));
        let trusting = MailConfig { extra_ca_pem: extra_ca_pem.clone(), ..config.clone() };
        let mailer = Mailer::new(trusting, clock()).unwrap();
        mailer.send(&mail(&["ops@shop.example"])).await.unwrap();
        let letter = &mailbox.letters()[0];
        assert!(letter.is_secured && letter.login.is_some());

        // The certificate is checked, and the password not sent without.
        mailbox.forget();
        let refused = failure(&Mailer::new(config, clock()).unwrap(), &["ops@shop.example"]).await;
        assert_eq!(refused.kind, MailFailureKind::Tls, "{refused}");
        assert!(mailbox.commands().iter().all(|line| !line.starts_with("AUTH")));
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (acceptor, extra_ca_pem) = certified("relay.internal.example");
    let tls = Some(MailboxTls::Implicit(acceptor));
    let mailbox = Mailbox::with(MailboxOptions { tls, ..Default::default() }).await;
    let url = format!("smtps://{}", mailbox.address());
    let config = MailConfig { extra_ca_pem, ..config(&url) };
    let refused = failure(&Mailer::new(config, clock()).unwrap(), &["ops@shop.example"]).await;
    assert_eq!(refused.kind, MailFailureKind::Tls);
    assert!(refused.detail.ends_with("its certificate is for another name"), "{refused}");
}

#[tokio::test]
async fn without_tls_there_is_no_mail_unless_the_operator_says_so() {
    let mailbox = Mailbox::with(MailboxOptions { login: login(), ..Default::default() }).await;
    for query in ["", "?tls=required", "?tls=opportunistic"] {
        let url = url_with(&mailbox, "smtp", PASSWORD, query);
        let mailer = Mailer::new(config(&url), clock()).unwrap();
        let refused = failure(&mailer, &["ops@shop.example"]).await;
        assert_eq!(refused.kind, MailFailureKind::Tls, "{query}");
    }
    let secret = |line: &String| line.starts_with("AUTH") || line.starts_with("MAIL");
    assert!(!mailbox.commands().iter().any(secret), "{:?}", mailbox.commands());

    let open = Mailbox::start().await;
    let url = format!("smtp://{}?tls=opportunistic", open.address());
    let mailer = Mailer::new(config(&url), clock()).unwrap();
    mailer.send(&mail(&["ops@shop.example"])).await.unwrap();
    assert!(!open.letters()[0].is_secured);
}

#[tokio::test]
async fn nothing_said_before_tls_counts_after_it() {
    let (acceptor, extra_ca_pem) = certified("127.0.0.1");
    let tls = Some(MailboxTls::StartTls(acceptor));
    let mailbox = Mailbox::with(MailboxOptions { tls, ..Default::default() }).await;
    let injected = "220 go ahead\r\n250-evil.example\r\n250 AUTH PLAIN\r\n";
    mailbox.at(Stage::StartTls, [Act::Say(injected.into()), Act::reply(454, "4.7.0 not now")]);
    let config = MailConfig { extra_ca_pem, ..config(&format!("smtp://{}", mailbox.address())) };
    let mailer = Mailer::new(config, clock()).unwrap();
    for expected in ["in the clear after STARTTLS", "454 4.7.0 not now"] {
        let refused = failure(&mailer, &["ops@shop.example"]).await;
        assert_eq!(refused.kind, MailFailureKind::Tls);
        assert!(refused.detail.contains(expected), "{refused}");
    }
}
