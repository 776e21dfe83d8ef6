//! The official clients, as published, against the whole system.
//!
//! What they do and expect stands in `tests/clients`, in their own languages.
//! Here they get a system, an account of their own, and deliveries to verify.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use protocol::v1::Event;
use serde_json::json;
use testkit::{Mailbox, Received, Reply, Scratch, tools};

use crate::system::{SOON, System, clicked};

/// A client makes about a hundred calls, and each is one answer away.
const CLIENT_WITHIN: Duration = Duration::from_secs(60);

/// A tool that is to be built fetches what it is built from, on a first run.
const BUILT_WITHIN: Duration = Duration::from_secs(300);
/// The page that has a row for each client.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/compatibility.md");

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

/// Runs a driver to its end, and returns what it printed, which shows when the test fails.
async fn drive(what: &str, command: Command, input: &str) -> String {
    let printed = tools::run(what, command, input, CLIENT_WITHIN).await;
    println!("{what}:\n{printed}");
    printed
}

/// Compares what a client did with its row in the documentation.
pub(crate) async fn is_documented(system: &System, client: &str, version: &str, printed: &str) {
    let checks = printed.lines().filter(|line| line.starts_with("ok ")).count();
    let calls = calls_of(system).await.len();
    let row = format!("| {client} | {version} | {calls} | {checks} |");
    let page = std::fs::read_to_string(PAGE).expect("the page");
    assert!(page.lines().any(|line| line == row), "docs/compatibility.md has no row\n{row}");
}

/// The different calls that customers have made of this system: method and path.
async fn calls_of(system: &System) -> BTreeSet<String> {
    let page = format!("http://{}/metrics", system.ops["all"]);
    let answer = testkit::http::get(page).send().await.expect("metrics").expect_status(200);
    let answer = answer.text();
    let series = answer.lines().filter(|line| line.starts_with("postrider_settings_api_requests"));
    let of = |line: &str, label: &str| {
        let (_, value) = line.split_once(&format!("{label}=\""))?;
        value.split_once('"').map(|(value, _)| value.to_owned())
    };
    series.filter_map(|line| Some(of(line, "method")? + " " + &of(line, "route")?)).collect()
}

/// Whether a tool that a user may lack is there. In CI it has to be.
#[expect(clippy::disallowed_methods, reason = "a setting of CI, not of the product")]
fn is_there(program: &str, version: &str) -> bool {
    let is_there = Command::new(program).arg(version).output().is_ok();
    if !is_there {
        println!("skipped: {program} is not installed");
        assert!(std::env::var_os("CI").is_none(), "{program} is required in CI");
    }
    is_there
}

/// A copy of a driver's folder, to be built there.
fn copied(name: &str) -> Scratch {
    let scratch = Scratch::new().expect("a directory");
    copy(&folder(name), scratch.path());
    scratch
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir(&to).expect("made");
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).expect("copied");
        }
    }
}

/// The key and the domain of a new account with this name.
pub(crate) async fn account(system: &System, name: &str) -> (String, String) {
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
        let printed = drive(&format!("mailgun.js by {transport}"), command, "").await;
        if transport == "http" {
            is_documented(&system, "mailgun.js (npm)", "14.0.1", &printed).await;
        }
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
    let printed = drive("mailgun of PyPI", command, "").await;
    is_documented(&system, "mailgun (PyPI)", "1.10.0", &printed).await;
    let bodies = deliver_and_retry(&system, "from-pypi", &domain).await;
    let command = script(python.command(), "mailgun_py.py", &["verify", &url, &key]);
    drive("signatures by mailgun of PyPI", command, &bodies).await;
}

/// Lets a driver that was built make all of its calls, and verify deliveries.
async fn drives_every_call(client: &str, version: &str, driver: impl Fn() -> Command) {
    let (system, _mailbox) = start().await;
    let (url, receiver) = (system.url(""), system.receiver.url(""));
    let (key, domain) = account(&system, client).await;
    let mut command = driver();
    command.args(["api", &url, &key, &domain, &receiver]);
    let printed = drive(client, command, "").await;
    is_documented(&system, client, version, &printed).await;
    let bodies = deliver_and_retry(&system, client, &domain).await;
    let mut command = driver();
    command.args(["verify", &url, &key]);
    drive(&format!("signatures by {client}"), command, &bodies).await;
}

#[tokio::test]
async fn the_client_for_go_drives_every_call_and_verifies_deliveries() {
    if !is_there("go", "version") {
        return;
    }
    let built = copied("go");
    let mut build = Command::new("go");
    build.current_dir(built.path()).args(["build", "-mod=readonly", "-o", "driver", "."]);
    tools::run("go build", build, "", BUILT_WITHIN).await;
    let driver = || Command::new(built.path().join("driver"));
    drives_every_call("mailgun-go", "5.14.0", driver).await;
}

#[tokio::test]
async fn the_client_for_java_drives_every_call_and_its_users_verify_deliveries() {
    if !is_there("mvn", "--version") {
        return;
    }
    let built = copied("java");
    let mut build = Command::new("mvn");
    build.current_dir(built.path()).args(["-q", "-B", "compile", "dependency:build-classpath"]);
    build.arg("-Dmdep.outputFile=classpath");
    tools::run("mvn compile", build, "", BUILT_WITHIN).await;
    let libraries = std::fs::read_to_string(built.path().join("classpath")).expect("a class path");
    let classes = format!("{}:{libraries}", built.path().join("target/classes").display());
    let driver = || {
        let mut java = Command::new("java");
        java.args(["-cp", &classes, "Driver"]);
        java
    };
    drives_every_call("mailgun-java", "2.4.1", driver).await;
}

#[tokio::test]
async fn consumers_of_payloads_understand_every_kind_of_event_in_both_formats() {
    let python = tools::python(folder("consumers/requirements.txt")).await;
    let (system, _mailbox) = start().await;
    let (key, domain) = account(&system, "consumers").await;
    let signing_key = system.signing_keys("consumers").await.http_signing_key;
    let (ingest, url) = (system.ingest_http(""), system.url(""));
    let arguments = [ingest.as_str(), &url, &key, &domain, &signing_key];
    let command = script(python.command(), "consumers/deliveries.py", &arguments);
    let deliveries = tools::run("events of all kinds", command, "", CLIENT_WITHIN).await;
    let command = script(python.command(), "consumers/consumers.py", &[]);
    let printed = tools::run("consumers", command, &deliveries, CLIENT_WITHIN).await;
    println!("{}", printed.lines().last().expect("a count"));
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
