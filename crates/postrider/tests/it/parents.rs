//! A subaccount's sight of its parent's receiver, by every door; and what nobody sees of
//! it, because it is told to nobody.

use std::collections::BTreeSet;

use protocol::v1::Event;
use protocol::v1::event::Kind;
use serde_json::{Value, json};
use testkit::{Letter, Mailbox, Reply, eventually, http};

use crate::console::Visitor;
use crate::system::{SOON, System, alert, clicked, opened};

const DOMAIN: &str = "mail.sub.example";
/// With many services the path is the secret.
const PATH: &str = "/services/T0KENINTHEPATH4711/hook";
const QUERY: &str = "?key=T0KENINTHEQUERY4711";
const ANSWER: &str = "ANSWEROFTHERECEIVER4711";
/// Texts that a subaccount sees nowhere.
const HIDDEN: [&str; 4] = ["T0KENINTHEPATH", "T0KENINTHEQUERY", "ANSWEROFTHERECEIVER", "/services"];

/// Of the subaccount's domain.
fn of_sub(event: Event) -> Event {
    Event { account: "demo-sub".into(), domain: DOMAIN.into(), ..event }
}

/// The parent hears of the events of its subaccount: one is delivered, one rejected, and one
/// was tried until its schedule was over. Returns the parent's URL.
async fn start() -> (System, String, std::net::SocketAddr) {
    let mut system = System::start(&[("SEND_RETRY_SCHEDULE", "1s"), ("LOG", "debug")]).await;
    // Once more, with its address for metrics.
    system.kill9("all").await;
    let ops = system.begin("all", None);
    system.process("all").wait_ready(ops, SOON).await;
    system.create_account("demo-sub", Some("demo")).await;
    system.create_domain(DOMAIN, "demo-sub").await;
    let url = system.receiver.url(&format!("{PATH}{QUERY}"));
    system.add_account_webhook("demo", &url, &["clicked", "opened"]).await;
    let reply = |status| Reply::status(status).body(ANSWER);
    for (id, statuses) in
        [("delivered", vec![200]), ("rejected", vec![406]), ("exhausted", vec![503, 500])]
    {
        system.receiver.on_post(PATH, statuses.into_iter().map(reply));
        system.publish(of_sub(clicked(id))).await;
        system.wait_for_end(id, id).await;
    }
    system.receiver.on_post(PATH, [reply(200), reply(503)]);
    system.publish(of_sub(opened("opened"))).await;
    system.wait_for_end("opened", "delivered").await;
    (system, url, ops)
}

async fn get(system: &System, key: &str, behalf: Option<&str>, path: &str) -> String {
    let mut request = http::get(system.url(path)).basic_auth("api", key);
    if let Some(behalf) = behalf {
        request = request.header("X-Mailgun-On-Behalf-Of", behalf);
    }
    let answer = request.send().await.expect("answered").expect_status(200);
    answer.text()
}

/// Panics when it shows what it may not.
#[track_caller]
fn hides(what: &str, text: &str) {
    for hidden in HIDDEN {
        assert!(!text.contains(hidden), "{what} shows {hidden}: {text}");
    }
}

#[tokio::test]
async fn a_subaccount_sees_of_its_parents_receiver_the_host_and_processes_log_no_path() {
    let (system, url, ops) = start().await;
    let deliveries = system.sql("SELECT delivery_id FROM ends");
    let mut paths: Vec<String> = [
        "/postrider/v1/failures",
        "/postrider/v1/failures?limit=1",
        "/postrider/v1/failures/export",
        "/postrider/v1/failures/export?format=csv",
        "/postrider/v1/statistics",
        "/postrider/v1/statistics/targets",
        "/postrider/v1/statistics/backlog",
        "/postrider/v1/undelivered",
        "/postrider/v1/resends",
        "/postrider/v1/webhooks",
        "/postrider/v1/urls",
        "/postrider/v1/account",
        "/v1/webhooks",
        "/v4/domains/mail.sub.example/webhooks",
        "/v3/mail.sub.example/events?begin=0&ascending=yes",
        "/postrider/v1/domains/mail.sub.example/events/export?begin=0&ascending=yes",
        "/postrider/v1/domains/mail.sub.example/events/export?begin=0&ascending=yes&format=csv",
    ]
    .map(str::to_owned)
    .into();
    for event in ["delivered", "rejected", "exhausted", "opened"] {
        paths.push(format!("/postrider/v1/events/{event}/journey"));
    }
    for delivery in deliveries.split_whitespace() {
        paths.push(format!("/postrider/v1/deliveries/{}", delivery.replace('-', "")));
    }
    assert_eq!(paths.len(), 25, "each event has a delivery: {deliveries}");
    for path in &paths {
        hides(path, &get(&system, "key-demo-sub", None, path).await);
    }
    let logs = http::post(system.url("/v1/analytics/logs")).basic_auth("api", "key-demo-sub");
    let logs = logs.json(&json!({"start": "Thu, 09 Oct 2025 08:00:00 +0000"}));
    hides("logs", &logs.send().await.expect("answered").expect_status(200).text());

    let failures = get(&system, "key-demo-sub", None, "/postrider/v1/failures").await;
    let failures: Value = serde_json::from_str(&failures).expect("JSON");
    let items = failures["items"].as_array().expect("a list");
    assert_eq!(items.len(), 3, "{failures}");
    for item in items {
        let shown = (item["url"].as_str(), item["response"].as_str());
        assert_eq!(shown, (Some("http://127.0.0.1/…"), Some("")), "{item}");
    }
    // By the whole URL nothing is found either, and it is as if nobody had it.
    let why = async |url: &str| {
        let url = url.replace('?', "%3F");
        let path = format!("/postrider/v1/why?url={url}&begin=0");
        let mut answer: Value =
            serde_json::from_str(&get(&system, "key-demo-sub", None, &path).await).expect("JSON");
        answer["settings"]["url"] = Value::Null;
        answer
    };
    assert_eq!(why(&url).await, why(&system.receiver.url("/nobody")).await);

    // The parent sees what is its own.
    let subaccount = system.sql("SELECT account_id FROM accounts WHERE name = 'demo-sub'");
    for path in &paths[..4] {
        let shown = get(&system, "key-demo", Some(subaccount.trim()), path).await;
        assert!(shown.contains(PATH) && shown.contains(ANSWER), "{path}: {shown}");
    }

    let visited = crawl(&system, "key-demo-sub").await;
    for wanted in ["/console/failures", "/console/events", "/console/resends"] {
        assert!(visited.iter().any(|path| path.starts_with(wanted)), "{wanted}: {visited:?}");
    }
    let metrics = http::get(format!("http://{ops}/metrics")).send().await.expect("metrics");
    hides("metrics", &metrics.expect_status(200).text());
    let logs = system.logs();
    assert!(logs.contains("DEBUG"), "what is logged is looked at");
    for hidden in HIDDEN {
        let line = logs.lines().find(|line| line.contains(hidden));
        assert!(line.is_none(), "logged: {line:?}");
    }
}

/// Follows every link of the console, and looks at each page. Returns where it was.
async fn crawl(system: &System, key: &str) -> BTreeSet<String> {
    let mut visitor = Visitor::signed_in(system, key).await;
    let mut waiting = vec!["/console".to_owned()];
    let mut visited = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if visited.len() > 300 || !visited.insert(path.clone()) {
            continue;
        }
        let request = visitor.get(&path);
        let answer = visitor.send(request).await;
        let page = answer.text();
        hides(&path, &page);
        if answer.status != 200 {
            continue;
        }
        for attribute in ["href=\"", "hx-get=\"", "src=\""] {
            for rest in page.split(attribute).skip(1) {
                let link = rest.split('"').next().unwrap_or_default().replace("&amp;", "&");
                if link.starts_with("/console") && !link.contains("sign-out") {
                    waiting.push(link);
                }
            }
        }
    }
    assert!(visited.len() > 12, "{visited:?}");
    visited
}

/// The text of a letter, and its recipients.
fn said(letter: &Letter) -> String {
    let html = letter.html().unwrap_or_default();
    format!("{:?} {} {} {html}", letter.recipients, letter.subject(), letter.text())
}

#[tokio::test]
async fn every_mail_is_about_the_account_that_gets_it() {
    let mailbox = Mailbox::start().await;
    let url = mailbox.url();
    let extra = [
        ("SMTP_URL", &*url),
        ("MAIL_FROM", "Postrider <alerts@example.net>"),
        ("SMTP_TIMEOUT", "2s"),
        ("SMTP_CONNECT_TIMEOUT", "1s"),
        ("ALERTS_RETRY_SCHEDULE", "1s"),
    ];
    let system = System::start(&extra).await;
    system.create_account("demo-sub", Some("demo")).await;
    system.create_account("other", None).await;
    let accounts = ["demo", "demo-sub", "other"];
    for name in accounts {
        let call = async |method: fn(String) -> http::Request, path: &str, body: Value| {
            let request = method(system.url(path)).basic_auth("api", &format!("key-{name}"));
            request.json(&body).send().await.expect("answered").expect_status(200);
        };
        let contact = json!({"contact_email": format!("contact@of-{name}.example")});
        call(http::put, "/postrider/v1/account", contact).await;
        let settings = json!({"emails": [format!("ops@of-{name}.example")]});
        let setting = json!({"event_type": "ip_listed", "channel": "email", "settings": settings});
        call(http::post, "/v1/alerts/settings/events", setting).await;
        let path = format!("/hooks/of-{name}");
        system.add_alert(name, "ip_listed", &system.receiver.url(&path)).await;
        system.receiver.on_post(&path, [Reply::status(500).body(format!("answer of-{name}"))]);
        let test =
            json!({"event_type": "ip_listed", "emails": [format!("test@of-{name}.example")]});
        call(http::post, "/v1/alerts/email/test", test).await;
        let mut event = alert(&format!("of-{name}-1"));
        event.account = name.to_owned();
        let Some(Kind::IpListed(listed)) = &mut event.kind else { panic!("{event:?}") };
        listed.blocklist = format!("list of-{name}.");
        system.publish(event).await;
    }
    // A test mail, the alert, the first trouble of its webhook, and that it was disabled.
    let to = |name: &str| {
        let letters = mailbox.letters().into_iter();
        let to = format!("of-{name}.example");
        letters.filter(|it| it.recipients.iter().any(|at| at.ends_with(&to))).collect::<Vec<_>>()
    };
    for name in accounts {
        eventually(SOON, &format!("the mails to {name}"), || async {
            let letters = to(name);
            let has =
                |who: &str| letters.iter().any(|letter| letter.recipients[0].starts_with(who));
            let told = letters.iter().map(said).any(|text| text.contains("are disabled"));
            (has("test@") && has("ops@") && has("contact@") && told).then_some(())
        })
        .await;
        let others = accounts.iter().filter(|other| **other != name);
        for letter in to(name) {
            assert_eq!(letter.recipients.len(), 1);
            let text = said(&letter);
            for other in others.clone() {
                let marks = ["example", "-1", ".", "\n"].map(|end| format!("of-{other}{end}"));
                assert!(!marks.iter().any(|mark| text.contains(mark)), "{other}: {text}");
            }
        }
    }
}
