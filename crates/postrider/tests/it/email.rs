//! Alerts by mail, through a relay that does what the test tells it to.

use std::time::Duration;

use protocol::v1::Event;
use serde_json::json;
use testkit::mailbox::loopback_certificate;
use testkit::{
    Act, Letter, Mailbox, MailboxOptions, MailboxTls, Scratch, Stage, eventually, free_port,
};

use crate::system::{SOON, System, alert, clicked, example};

/// Shorter than the lease of the tests.
const LIMITS: [(&str, &str); 3] = [
    ("MAIL_FROM", "Postrider <alerts@example.net>"),
    ("SMTP_TIMEOUT", "2s"),
    ("SMTP_CONNECT_TIMEOUT", "1s"),
];

/// A platform whose relay is here.
async fn start(relay: &str, extra: &[(&str, &str)]) -> System {
    System::start(&[&LIMITS, &[("SMTP_URL", relay)][..], extra].concat()).await
}

fn setting(emails: &[&str]) -> serde_json::Value {
    json!({"event_type": "ip_listed", "channel": "email", "settings": {"emails": emails}})
}

/// Adds a setting of `ip_listed` for these mailboxes; returns its id.
async fn add(system: &System, emails: &[&str]) -> String {
    let request = testkit::http::post(system.url("/v1/alerts/settings/events"));
    let request = request.basic_auth("api", "key-demo").json(&setting(emails));
    let answer = request.send().await.expect("answered").expect_status(200).json();
    answer["id"].as_str().expect("an id").to_owned()
}

async fn save(system: &System, id: &str, emails: &[&str]) {
    let request = testkit::http::put(system.url(&format!("/v1/alerts/settings/events/{id}")));
    let request = request.basic_auth("api", "key-demo").json(&setting(emails));
    request.send().await.expect("answered").expect_status(200);
}

async fn disabled_at(system: &System) -> Option<String> {
    let settings = system.alert_settings("demo").await;
    settings["events"][0]["disabled_at"].as_str().map(str::to_owned)
}

/// What history tells of the tries, the first one first: number, whether it was
/// charged, reason.
fn tries(system: &System) -> Vec<String> {
    let query = "SELECT attempt, charged, reason FROM attempts ORDER BY started_at";
    system.sql(query).lines().map(str::to_owned).collect()
}

/// Waits for a try that is told of with this reason.
async fn wait_for_try(system: &System, reason: &str) {
    eventually(SOON, &format!("a try that came to {reason}"), || async {
        tries(system).iter().any(|line| line.ends_with(reason)).then_some(())
    })
    .await;
}

fn end_reason(system: &System) -> String {
    system.sql("SELECT reason FROM ends").trim().to_owned()
}

fn message_ids(letters: &[Letter]) -> Vec<String> {
    let mut ids: Vec<_> = letters.iter().filter_map(|letter| letter.header("Message-ID")).collect();
    ids.dedup();
    ids
}

const GREYLISTED: (u16, &str) = (450, "4.7.1 <full@shop.example>: come back later");

fn greylisted() -> Act {
    Act::reply(GREYLISTED.0, GREYLISTED.1)
}

#[tokio::test]
async fn an_alert_goes_out_secured_to_all_its_mailboxes() {
    let (acceptor, pem) = loopback_certificate();
    let login = ("user@example.net".to_owned(), "hunter2/ä".to_owned());
    let mailbox = Mailbox::with(MailboxOptions {
        login: Some(login),
        tls: Some(MailboxTls::StartTls(acceptor)),
        ..MailboxOptions::default()
    })
    .await;
    let scratch = Scratch::new().expect("a directory");
    let ca_file = scratch.path().join("roots.pem");
    std::fs::write(&ca_file, pem).expect("written");
    let relay = format!("smtp://user%40example.net:hunter2%2F%C3%A4@{}", mailbox.address());
    let ca_file = ca_file.to_str().expect("a path");
    let console = ("CONSOLE_URL", "https://console.example.net");
    let mut system = start(&relay, &[("SMTP_CA_FILE", ca_file), console]).await;
    let id = add(&system, &["ops@shop.example", "cto@shop.example"]).await;
    system.publish(alert("by-mail")).await;

    let [letter] = mailbox.wait_for(1, SOON).await.try_into().expect("one mail to all");
    assert!(letter.is_secured);
    assert_eq!(letter.login.as_deref(), Some("user@example.net"));
    assert_eq!(letter.sender, "alerts@example.net");
    assert_eq!(letter.recipients, ["ops@shop.example", "cto@shop.example"]);
    let header = |name| letter.header(name).unwrap_or_default();
    assert_eq!(header("To"), "ops@shop.example, cto@shop.example");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert_eq!(
        header("List-Id"),
        format!("\"ip_listed alerts of demo\" <{id}.alerts.example.net>")
    );
    assert_eq!(header("Message-ID"), format!("<{}@example.net>", header("X-Postrider-Delivery")));
    let (text, html) = (letter.text(), letter.html().expect("a page as well"));
    for part in ["192.0.2.44", "Example BL", &id, "https://console.example.net/", "account demo"] {
        assert!(text.contains(part), "{part}: {text}");
        assert!(html.contains(part), "{part}: {html}");
    }

    system.wait_for_end("by-mail", "delivered").await;
    let rows = system.sql("SELECT url, status, reason, charged, response_snippet FROM attempts");
    assert_eq!(
        rows.trim(),
        "mailto:o*s@shop.example,c*o@shop.example||ok|t|250 2.0.0 taken",
        "history knows no whole address"
    );
    assert!(!system.process("all").log().contains("shop.example"), "logs know none at all");
}

#[tokio::test]
async fn a_mailbox_that_is_gone_keeps_nobody_else_from_the_mail() {
    let mailbox = Mailbox::start().await;
    let gone = Act::reply(550, "5.1.1 <gone@shop.example>: no such user");
    mailbox.on_recipient("gone@shop.example", [gone]);
    let system = start(&mailbox.url(), &[]).await;
    let id = add(&system, &["gone@shop.example", "ops@shop.example"]).await;
    system.publish(alert("one-gone")).await;
    system.wait_for_end("one-gone", "delivered").await;
    assert_eq!(end_reason(&system), "in_part");
    let [letter] = mailbox.letters().try_into().expect("one mail");
    assert_eq!(letter.recipients, ["ops@shop.example"]);
    let rows = system.sql("SELECT reason, detail FROM attempts");
    assert_eq!(
        rows.trim(),
        "refused|taken for 1 of 2; refused g**e@shop.example: 550 5.1.1 <g**e@shop.example>: no such user"
    );

    // Where nobody is left, the delivery ends; the setting stays as it is.
    save(&system, &id, &["gone@shop.example"]).await;
    system.publish(alert("all-gone")).await;
    system.wait_for_end("all-gone", "rejected").await;
    assert_eq!(system.sql("SELECT count(*) FROM attempts").trim(), "2", "no further try");
    assert_eq!(system.sql("SELECT count(*) FROM undelivered").trim(), "1");
    assert_eq!(disabled_at(&system).await, None);
}

#[tokio::test]
async fn a_mailbox_that_puts_us_off_is_asked_again_and_it_alone() {
    let mailbox = Mailbox::start().await;
    mailbox.on_recipient("full@shop.example", [greylisted(), greylisted(), Act::Normal]);
    let system = start(&mailbox.url(), &[]).await;
    add(&system, &["ops@shop.example", "full@shop.example"]).await;
    system.publish(alert("greylisted")).await;
    system.wait_for_end("greylisted", "delivered").await;
    let letters = mailbox.letters();
    let recipients: Vec<_> = letters.iter().map(|letter| &letter.recipients[..]).collect();
    assert_eq!(recipients, [["ops@shop.example"], ["full@shop.example"]]);
    assert_eq!(message_ids(&letters).len(), 1, "it is the same mail");
    assert_eq!(tries(&system), ["1|t|deferred", "2|t|deferred", "3|t|ok"]);
    assert_eq!(end_reason(&system), "ok");
    let asked = mailbox.commands().iter().filter(|line| line.contains("ops@shop.example")).count();
    assert_eq!(asked, 1, "who has it is not even asked for");
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_of_a_mail_is_not_charged() {
    let mailbox = Mailbox::start().await;
    mailbox.at(Stage::Content, [Act::Drop, Act::Normal]);
    let system = start(&mailbox.url(), &[("ALERTS_RETRY_SCHEDULE", "1s")]).await;
    add(&system, &["ops@shop.example", "cto@shop.example"]).await;
    system.publish(alert("cut")).await;
    system.wait_for_end("cut", "delivered").await;
    let [letter] = mailbox.letters().try_into().expect("one mail");
    assert_eq!(letter.recipients.len(), 2);
    assert_eq!(tries(&system), ["0|f|no_answer", "1|t|ok"]);

    // Cut after the mail: the relay has it, and its word is lost.
    mailbox.at(Stage::Mail, [Act::Drop, Act::Normal]);
    system.publish(alert("word-lost")).await;
    system.wait_for_end("word-lost", "delivered").await;
    let letters = &mailbox.letters()[1..];
    assert_eq!((letters.len(), message_ids(letters).len()), (2, 1), "twice, and the same mail");
}

#[tokio::test]
async fn a_relay_that_is_away_is_waited_for_and_charged_to_nobody() {
    let port = free_port().expect("a free port");
    let relay = format!("smtp://127.0.0.1:{port}?tls=none");
    let system = start(&relay, &[("ALERTS_RETRY_SCHEDULE", "1s")]).await;
    add(&system, &["ops@shop.example"]).await;
    system.publish(alert("relay-away")).await;
    wait_for_try(&system, "connect").await;
    let mailbox = Mailbox::on(port, MailboxOptions::default()).await;
    mailbox.at(Stage::Greeting, [Act::reply(421, "4.3.2 not yet"), Act::Normal]);
    system.wait_for_end("relay-away", "delivered").await;
    let tries = tries(&system);
    let (last, before) = tries.split_last().expect("tries");
    assert_eq!(last, "1|t|ok", "{tries:?}");
    assert!(before.iter().all(|line| line.starts_with("0|f|")), "{tries:?}");
    assert_eq!(before.last().map(String::as_str), Some("0|f|relay"), "{tries:?}");
    assert_eq!(mailbox.letters().len(), 1);
    assert_eq!(disabled_at(&system).await, None);
}

#[tokio::test]
async fn a_setting_whose_mailboxes_all_put_us_off_for_too_long_is_disabled() {
    let mailbox = Mailbox::start().await;
    mailbox.at(Stage::Recipient, [greylisted()]);
    let system = start(&mailbox.url(), &[("ALERTS_RETRY_SCHEDULE", "1s,1s")]).await;
    let id = add(&system, &["ops@shop.example", "full@shop.example"]).await;
    system.publish(alert("never")).await;
    system.wait_for_end("never", "exhausted").await;
    assert_eq!(tries(&system), ["1|t|deferred", "2|t|deferred", "3|t|deferred"]);
    eventually(SOON, "the setting to be disabled", || disabled_at(&system)).await;

    // Saved again it is enabled; and who did take a mail keeps getting more.
    save(&system, &id, &["ops@shop.example", "full@shop.example"]).await;
    assert_eq!(disabled_at(&system).await, None);
    mailbox.on_recipient("ops@shop.example", [Act::Normal]);
    system.publish(alert("for-one")).await;
    system.wait_for_end("for-one", "exhausted").await;
    mailbox.at(Stage::Recipient, [Act::Normal]);
    system.publish(alert("for-both")).await;
    system.wait_for_end("for-both", "delivered").await;
    assert_eq!(disabled_at(&system).await, None, "it has reached somebody all along");
    let letters = mailbox.letters();
    let recipients: Vec<_> = letters.iter().map(|letter| letter.recipients.len()).collect();
    assert_eq!(recipients, [1, 2]);
}

#[tokio::test]
async fn who_is_taken_out_while_a_mail_waits_gets_nothing_and_who_comes_in_gets_the_next() {
    let mailbox = Mailbox::start().await;
    for waits in ["stays@shop.example", "leaves@shop.example"] {
        mailbox.on_recipient(waits, [greylisted(), Act::Normal]);
    }
    let system = start(&mailbox.url(), &[("ALERTS_RETRY_SCHEDULE", "3s,1s")]).await;
    let id = add(&system, &["ops@shop.example", "stays@shop.example", "leaves@shop.example"]).await;
    system.publish(alert("changed")).await;
    mailbox.wait_for(1, SOON).await;
    save(&system, &id, &["ops@shop.example", "stays@shop.example", "new@shop.example"]).await;
    system.wait_for_end("changed", "delivered").await;
    let recipients = |letters: Vec<Letter>| -> Vec<Vec<String>> {
        letters.into_iter().map(|letter| letter.recipients).collect()
    };
    assert_eq!(recipients(mailbox.letters()), [["ops@shop.example"], ["stays@shop.example"]]);

    mailbox.forget();
    system.publish(alert("next")).await;
    let next = recipients(mailbox.wait_for(1, SOON).await);
    assert_eq!(next, [["ops@shop.example", "stays@shop.example", "new@shop.example"]]);

    // All who remain are taken out: one has it, so that it is delivered.
    mailbox.on_recipient("new@shop.example", [greylisted()]);
    mailbox.forget();
    system.publish(alert("emptied")).await;
    mailbox.wait_for(1, SOON).await;
    save(&system, &id, &["ops@shop.example"]).await;
    system.wait_for_end("emptied", "delivered").await;
    assert_eq!(mailbox.letters().len(), 1);

    // A setting that is deleted ends what waits for it.
    save(&system, &id, &["new@shop.example"]).await;
    let before = tries(&system).len();
    system.publish(alert("deleted")).await;
    eventually(SOON, "the first try", || async { tries(&system).get(before).map(drop) }).await;
    system.delete_alert("demo", &id).await;
    system.wait_for_end("deleted", "suppressed").await;
}

#[tokio::test]
async fn a_death_between_the_mail_and_its_outcome_sends_the_same_mail_again() {
    let mailbox = Mailbox::start().await;
    let relay = mailbox.url();
    let mut system = System::start_apart(&[&LIMITS, &[("SMTP_URL", &*relay)][..]].concat()).await;
    add(&system, &["ops@shop.example", "full@shop.example"]).await;
    for (point, letters_to_ops) in [
        ("dispatcher.before_mail", 1),
        ("dispatcher.answered", 2),
        // Whoever goes on finds the outcome.
        ("dispatcher.outcome_stored", 1),
        ("dispatcher.retry_stored", 1),
    ] {
        mailbox.forget();
        mailbox.on_recipient("full@shop.example", [greylisted(), Act::Normal]);
        system.process("dispatcher").terminate(SOON).await;
        system.run("dispatcher", Some(&format!("{point}=return"))).await;
        system.publish(Event { id: point.into(), ..example("ip_listed") }).await;
        let status = system.process("dispatcher").wait(SOON).await;
        assert!(!status.success(), "it did not die at {point}");
        system.run("dispatcher", None).await;
        system.wait_for_end(point, "delivered").await;
        let letters = mailbox.letters();
        let to =
            |name: &str| letters.iter().flat_map(|l| &l.recipients).filter(|r| *r == name).count();
        assert_eq!(to("ops@shop.example"), letters_to_ops, "{point}");
        assert_eq!(to("full@shop.example"), 1, "{point}");
        assert_eq!(message_ids(&letters).len(), 1, "{point}");
    }
}

#[tokio::test]
async fn without_a_relay_mails_are_held() {
    let mailbox = Mailbox::start().await;
    let mut system = start(&mailbox.url(), &[]).await;
    add(&system, &["ops@shop.example"]).await;
    system.process("all").terminate(SOON).await;
    system.set("SMTP_URL", "");
    system.run("all", None).await;
    system.publish(alert("held")).await;
    system.wait_for_end("held", "held").await;
    assert_eq!(end_reason(&system), "email_not_configured");
    assert_eq!(system.sql("SELECT count(*) FROM undelivered").trim(), "1");
    assert!(mailbox.letters().is_empty());
}

#[tokio::test]
async fn a_relay_that_hangs_holds_up_nothing_but_mail() {
    const MAILS: usize = 12;
    let mailbox = Mailbox::start().await;
    mailbox.at(Stage::Sender, [Act::Hang]);
    let few = [("DISPATCHER_SLOTS", "4"), ("SMTP_CONNECTIONS", "2")];
    let system = start(&mailbox.url(), &few).await;
    let hook = system.receiver.url("/hook");
    system.add_domain_webhook("demo", "mail.demo.example", "clicked", &[&hook]).await;
    add(&system, &["ops@shop.example"]).await;
    for number in 0..MAILS {
        system.publish(alert(&format!("mail-{number}"))).await;
    }
    eventually(SOON, "the relay to be asked", || async {
        (mailbox.connections() >= 2).then_some(())
    })
    .await;
    // Twice the slots: they would not get through if mail had more than its two.
    for number in 0..8 {
        system.publish(clicked(&format!("hook-{number}"))).await;
    }
    system.receiver.wait_for_posts("/hook", 8, Duration::from_secs(5)).await;
    assert!(mailbox.letters().is_empty(), "the relay still hangs");

    mailbox.at(Stage::Sender, [Act::Normal]);
    let letters = mailbox.wait_for(MAILS, 2 * SOON).await;
    let mut ids: Vec<_> = letters.iter().filter_map(|letter| letter.header("Message-ID")).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((letters.len(), ids.len()), (MAILS, MAILS), "each once");
    eventually(SOON, "all of them to end", || async {
        let ends = system.sql("SELECT count(*) FROM ends WHERE outcome = 'delivered'");
        (ends.trim() == (MAILS + 8).to_string()).then_some(())
    })
    .await;
    assert_eq!(
        system.sql("SELECT count(*) FROM attempts WHERE charged AND reason <> 'ok'").trim(),
        "0"
    );
}

#[tokio::test]
async fn owners_hear_of_alerts_that_do_not_arrive_and_nobody_twice() {
    let mailbox = Mailbox::start().await;
    let system = start(&mailbox.url(), &[("ALERTS_RETRY_SCHEDULE", "1s,1s")]).await;
    let contact = testkit::http::put(system.url("/postrider/v1/account"));
    let contact =
        contact.basic_auth("api", "key-demo").form(&[("contact_email", "owner@shop.example")]);
    contact.send().await.expect("answered").expect_status(200);
    system.receiver.on_post("/alert", [testkit::Reply::status(500)]);
    let url = system.receiver.url("/alert");
    system.add_alert("demo", "ip_listed", &url).await;
    for id in ["one", "two", "three"] {
        system.publish(alert(id)).await;
    }
    let letters = eventually(SOON, "three notices", || async {
        let letters = mailbox.letters();
        (letters.len() >= 3).then_some(letters)
    })
    .await;
    let answered = "Why       it was answered with status 500\n";
    let wanted = [
        ("An alert did not arrive (ip_listed)", answered),
        ("Your ip_listed alerts are about to be disabled", answered),
        ("Your ip_listed alerts are disabled", "Why       All attempts of its schedule failed.\n"),
    ];
    for (letter, (subject, why)) in letters.iter().zip(wanted) {
        assert_eq!(letter.subject(), subject);
        assert_eq!(letter.header("to").as_deref(), Some("owner@shop.example"));
        assert!(letter.text().contains(why), "{}", letter.text());
    }
    // Three alerts have failed three times each, and each stage was told once.
    let notices = "SELECT stage, count(*) FROM notices GROUP BY 1 ORDER BY 1";
    let told = system.sql(notices).replace([' ', '\t'], "");
    assert_eq!(told.trim(), "disabled|1\nfirst_failure|1\nlast_chance|1");
    assert_eq!(mailbox.letters().len(), 3);
}
