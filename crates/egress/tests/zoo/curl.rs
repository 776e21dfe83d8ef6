//! The whole zoo once more beside curl, which most people try their receivers with: both
//! outcomes stand in docs/odd-receivers.md, and a reason where they differ.

use std::fmt::Write as _;
use std::process::Command;

use egress::Answer;
use futures_util::StreamExt as _;
use futures_util::stream;
use testkit::Scratch;
use testkit::zoo::{Habit, Zoo};

use super::{TOTAL, client, inhabitants};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/odd-receivers.md");
/// The version whose outcomes the page has.
const VERSION: &str = "7.88.1";
/// The heads of the table's columns, and what stands in front of it.
const HEAD: &str =
    "| it answers | Postrider | curl | why they differ |\n| --- | --- | --- | --- |\n";

/// The errors of curl for a connection that ends without an answer.
const CUT: &str = "error 52 or 56";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_receivers_come_to_what_the_page_says_here_and_with_curl() {
    let version = Command::new("curl").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if !version.is_ok_and(|text| text.starts_with(&format!("curl {VERSION} "))) {
        println!("skipped: it takes curl {VERSION}");
        return;
    }
    let zoo = Zoo::default();
    let client = client(&zoo);
    let scratch = Scratch::new().expect("a directory");
    let authority = scratch.path().join("authority.pem");
    std::fs::write(&authority, zoo.authority_pem()).expect("written");
    let (client, zoo, authority) = (&client, &zoo, &authority);
    let rows: Vec<String> = stream::iter(inhabitants())
        .map(|(habit, _)| async move {
            let name = name_of(&habit);
            let animal = zoo.admit(habit).await;
            let ours = client.post(&animal.url(), &[], "{\"a\": 1}".into()).await.answer;
            let ours = match ours {
                Answer::Response { status, .. } => status.to_string(),
                // By chance the connection counts as made before.
                Answer::Failed(_) if name == "ResetsAtOnce" => "connect` or `no_answer".to_owned(),
                Answer::Failed(failure) => failure.kind.as_str().to_owned(),
            };
            let mut curl = tokio::process::Command::new("curl");
            curl.args(["-s", "--http1.1", "-o", "/dev/null", "-w", "%{http_code}", "--max-time"]);
            curl.arg(TOTAL.as_secs().to_string()).arg("--cacert").arg(authority);
            curl.args(["--json", "{\"a\": 1}"]).arg(animal.url());
            let output = curl.output().await.expect("curl runs");
            let status = String::from_utf8_lossy(&output.stdout).into_owned();
            let theirs = match output.status.code() {
                Some(0) => status,
                // Nothing, or a reset: by chance, where both come.
                Some(52 | 56) => CUT.to_owned(),
                Some(error) => format!("error {error}"),
                None => "killed".to_owned(),
            };
            let why = if is_the_same(&ours, &theirs) { "" } else { why(&name, &ours, &theirs) };
            format!("| {name} | `{ours}` | {theirs} | {why} |\n")
        })
        .buffered(8)
        .collect()
        .await;
    let table = rows.into_iter().fold(HEAD.to_owned(), |mut table, row| {
        // Writing to a string does not fail.
        let _ = write!(table, "{row}");
        table
    });
    let page = std::fs::read_to_string(PAGE).expect("the page");
    let (before, recorded) = page.split_once(HEAD).expect("a table on the page");
    let recorded = format!("{HEAD}{recorded}");
    if recorded != table && is_to_be_written() {
        std::fs::write(PAGE, format!("{before}{table}")).expect("written");
        return;
    }
    let new = table.lines().filter(|line| !recorded.lines().any(|known| known == *line));
    let new: Vec<&str> = new.collect();
    assert!(
        recorded == table,
        "not on the page as it is (INSTA_UPDATE=always writes it): {new:#?}"
    );
    assert!(!table.contains("| ? |"), "a difference has no reason");
}

/// Whether snapshots are renewed, of which the page is one.
#[expect(clippy::disallowed_methods, reason = "a setting of tests, not of the product")]
fn is_to_be_written() -> bool {
    std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always")
}

/// Whether both have the status, or both have none.
fn is_the_same(ours: &str, theirs: &str) -> bool {
    let is_status = |text: &str| text.parse::<u16>().is_ok();
    ours == theirs || (!is_status(ours) && !is_status(theirs))
}

/// The reason for a difference.
fn why(name: &str, ours: &str, theirs: &str) -> &'static str {
    if name.contains("HTTP/1.1 101") {
        return "curl waits for an answer behind this one; here it is the answer";
    }
    if name.contains("Undefined variable in hook.php on") {
        return "a line that is no field is left out";
    }
    if name.starts_with("`\\r\\n") {
        return "empty lines in front are left out; curl takes them for HTTP/0.9";
    }
    match (ours, theirs) {
        ("200" | "299", "error 18" | "error 28" | CUT) => {
            "the status is the answer, whatever becomes of the body"
        }
        _ if name.contains("x-0: 1") => "more than 250 fields",
        _ if name.contains("HTTP/2") => "HTTP/1.1 was spoken, and this is another version",
        _ if name.contains("HTTP/1.1  200") => "the HTTP library wants one space there",
        _ if name.contains("Content-Length") => {
            "nobody can tell where the answer ends, and where another one begins"
        }
        _ if name.contains("a\\rb") => "a field that is two fields for some, and one for others",
        _ => "?",
    }
}

/// A habit, as a cell of a table has it.
fn name_of(habit: &Habit) -> String {
    const LONGEST: usize = 90;
    let text = match habit {
        Habit::Says(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let short: String = text.chars().take(LONGEST).collect();
            let is_cut = short.len() < text.len();
            format!("`{}{}`", short.escape_debug(), if is_cut { "…" } else { "" })
        }
        habit => format!("{habit:?}"),
    };
    text.replace('|', "\\|").replace("\\'", "'")
}
