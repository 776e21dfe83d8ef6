//! The official clients, as published, against the whole system.
//!
//! What they do and expect stands in `tests/clients`, in their own languages.
//! Here they get a system, an account of their own, and deliveries to verify.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use protocol::v1::Event;
use serde_json::json;
use testkit::{Mailbox, Received, Reply, tools};

use crate::system::{SOON, System, clicked};

/// A client makes about a hundred calls, and each is one answer away.
const CLIENT_WITHIN: Duration = Duration::from_secs(60);

/// More calls a minute than any client makes.
const NO_RATE_LIMIT: (&str, &str) = ("SETTINGS_RATE_LIMIT", "1000000");

pub(crate) fn folder(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "clients", name].iter().collect()
}

/// A driver under `tests/clients`, ready for its arguments.
pub(crate) fn script(mut interpreter: Command, name: &str, arguments: &[&str]) -> Command {
    interpreter.arg(folder(name)).args(arguments);
    interpreter
}

/// Runs a driver to its end. What it printed shows when the test fails.
async fn drive(what: &str, command: Command, input: &str) {
    println!("{what}:\n{}", tools::run(what, command, input, CLIENT_WITHIN).await);
}

/// The key and the domain of a new account with this name.
async fn account(system: &System, name: &str) -> (String, String) {
    let domain = format!("mail.{name}.example");
    system.create_account(name, None).await;
    system.create_domain(&domain, name).await;
    (format!("key-{name}"), domain)
}

/// What a receiver was sent that failed at first: one line for each try.
async fn deliver_and_retry(system: &System, account: &str, domain: &str) -> String {
    let path = format!("/hook/{account}");
    system.receiver.on_post(&path, [500, 200].map(Reply::status));
    let url = system.receiver.url(&path);
    system.add_domain_webhook(account, domain, "clicked", &[&url]).await;
    let id = format!("for-{account}");
    let event = Event { domain: domain.into(), account: String::new(), ..clicked(&id) };
    system.publish(event).await;
    let posts = system.receiver.wait_for_posts(&path, 2, SOON).await;
    posts.iter().fold(String::new(), |mut lines, post| {
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{}", json!({"body": text(post)}));
        lines
    })
}

fn text(post: &Received) -> &str {
    std::str::from_utf8(&post.body).expect("JSON is UTF-8")
}

/// A system, and the relay without which it would not save alerts by mail.
pub(crate) async fn start() -> (System, Mailbox) {
    let mailbox = Mailbox::start().await;
    let relay = mailbox.url();
    let settings = [
        NO_RATE_LIMIT,
        ("SMTP_URL", &relay),
        ("SMTP_TIMEOUT", "2s"),
        ("SMTP_CONNECT_TIMEOUT", "1s"),
        ("MAIL_FROM", "alerts@example.net"),
    ];
    let system = System::start(&settings).await;
    // What the drivers' test calls are answered.
    system.receiver.on_post("/test", [Reply::status(200).body("received")]);
    system.receiver.on_post("/fails", [Reply::status(500)]);
    (system, mailbox)
}

#[tokio::test]
async fn the_client_from_npm_drives_every_call_and_its_users_verify_deliveries() {
    let node = tools::node(folder("node")).await;
    let (system, _mailbox) = start().await;
    let (url, receiver) = (system.url(""), system.receiver.url(""));
    for transport in ["http", "fetch", "form-data"] {
        let name = format!("npm-{transport}");
        let (key, domain) = account(&system, &name).await;
        let arguments = ["api", &url, &key, &domain, &receiver, transport];
        let command = script(node.command(), "mailgun.mjs", &arguments);
        drive(&format!("mailgun.js by {transport}"), command, "").await;
        let bodies = deliver_and_retry(&system, &name, &domain).await;
        let command = script(node.command(), "mailgun.mjs", &["verify", &url, &key]);
        drive("signatures by node", command, &bodies).await;
    }
}

#[tokio::test]
async fn the_client_from_pypi_drives_every_call_and_verifies_deliveries() {
    let python = tools::python(folder("python/requirements.txt")).await;
    let (system, _mailbox) = start().await;
    let url = system.url("");
    let (key, domain) = account(&system, "from-pypi").await;
    let command = script(python.command(), "mailgun_py.py", &["api", &url, &key, &domain]);
    drive("mailgun of PyPI", command, "").await;
    let bodies = deliver_and_retry(&system, "from-pypi", &domain).await;
    let command = script(python.command(), "mailgun_py.py", &["verify", &url, &key]);
    drive("signatures by mailgun of PyPI", command, &bodies).await;
}

#[tokio::test]
async fn the_clients_understand_that_they_call_too_often() {
    let node = tools::node(folder("node")).await;
    let python = tools::python(folder("python/requirements.txt")).await;
    let system = System::start(&[("SETTINGS_RATE_LIMIT", "20")]).await;
    let url = system.url("");
    let (key, domain) = account(&system, "from-npm").await;
    let arguments = ["rate-limit", &url, &key, &domain];
    drive("mailgun.js", script(node.command(), "mailgun.mjs", &arguments), "").await;
    let (key, domain) = account(&system, "from-pypi").await;
    let arguments = ["rate-limit", &url, &key, &domain];
    drive("mailgun of PyPI", script(python.command(), "mailgun_py.py", &arguments), "").await;
}
