//! The description of the API, as it is served: a linter reads it, and a fuzzing
//! tool holds the running system to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Scratch, http, tools};

use crate::clients::folder;
use crate::system::System;

/// Cases for each call and phase. Together they are thousands, in about a minute.
const MOST_EXAMPLES: &str = "10";
const FEWEST_CASES: u64 = 1_500;
const FUZZING_WITHIN: Duration = Duration::from_secs(480);

/// What must hold for every answer, whatever was asked. The last one asks again
/// without the key, and with a wrong one.
const CHECKS: [&str; 6] = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "ignored_auth",
];

/// Neither the rate nor the quotas of an account are to cut the fuzzing short.
const NO_LIMITS: [(&str, &str); 6] = [
    ("SETTINGS_RATE_LIMIT", "1000000"),
    ("QUOTA_WEBHOOKS", "1000000"),
    ("QUOTA_ALERT_SETTINGS", "1000000"),
    ("QUOTA_DOMAINS", "1000000"),
    ("QUOTA_API_KEYS", "1000000"),
    ("QUOTA_SUBACCOUNTS", "1000000"),
];

/// Saves the description in this directory, for tools that read files.
async fn save_description(system: &System, directory: &Path) -> PathBuf {
    let answer = http::get(system.url("/openapi.json")).send().await.expect("answered");
    let path = directory.join("openapi.json");
    fs::write(&path, answer.expect_status(200).body).expect("written");
    path
}

/// Generators of clients name an object without a name after its owner and its property, and
/// leave out what has a name that is taken.
fn assert_names_are_free(description: &Value) {
    let schemas = description["components"]["schemas"].as_object().expect("schemas");
    for (owner, schema) in schemas {
        for (property, inner) in schema["properties"].as_object().into_iter().flatten() {
            let words = property.split(['_', '-']).map(|word| {
                let (first, rest) = word.split_at_checked(1).unwrap_or_default();
                first.to_uppercase() + rest
            });
            let made: String = owner.chars().map(String::from).chain(words).collect();
            let is_inline = inner["type"] == "object";
            assert!(!is_inline || !schemas.contains_key(&made), "{made} is two things");
        }
    }
}

#[tokio::test]
async fn the_description_passes_a_linter() {
    let node = tools::node(folder("node")).await;
    let system = System::start(&[]).await;
    let scratch = Scratch::new().expect("a directory");
    let description = save_description(&system, scratch.path()).await;
    let text = fs::read_to_string(&description).expect("read");
    assert_names_are_free(&serde_json::from_str(&text).expect("JSON"));
    let mut command = node.command();
    command
        .arg(node.modules.join("@redocly/cli/bin/cli.js"))
        .args(["lint", "--format", "stylish", "--config"])
        .arg(folder("redocly.yaml"))
        .arg(description)
        // It tells nobody that it was run, and asks nobody for a newer one.
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .current_dir(scratch.path());
    let printed = tools::run("the linter", command, "", Duration::from_secs(60)).await;
    println!("{printed}");
}

#[tokio::test]
async fn a_fuzzing_tool_finds_no_answer_that_the_description_does_not_have() {
    let python = tools::python(folder("python/requirements.txt")).await;
    let system = System::start(&NO_LIMITS).await;
    let scratch = Scratch::new().expect("a directory");
    let description = save_description(&system, scratch.path()).await;
    // Half of the types have a webhook, so that all calls find one, and none.
    for webhook in ["opened", "clicked", "complained", "temporary_fail"] {
        let url = system.receiver.url("/there");
        system.add_domain_webhook("demo", "mail.demo.example", webhook, &[&url]).await;
    }
    let command = schemathesis(python.command(), &system, scratch.path(), &description);
    let printed = tools::run("schemathesis", command, "", FUZZING_WITHIN).await;
    println!("{printed}");
    let cases = number_before(&printed, " generated, ");
    assert!(cases >= FEWEST_CASES, "{cases} cases are fewer than {FEWEST_CASES}");

    // It has taken away neither its key nor its domain, without which the rest proves little.
    let list = system.url("/v3/domains/mail.demo.example/webhooks");
    let answer = http::get(list).basic_auth("api", "key-demo").send().await;
    answer.expect("answered").expect_status(200);
}

fn schemathesis(
    mut python: Command,
    system: &System,
    directory: &Path,
    description: &Path,
) -> Command {
    let config_file = directory.join("schemathesis.toml");
    fs::copy(folder("schemathesis.toml"), &config_file).expect("it is in the repository");
    rewrite(&config_file, |text| answered_by(system, &text));
    rewrite(description, |text| spare_the_domain(&answered_by(system, &text)));
    python
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(config_file)
        .arg("run")
        .arg(description)
        .args(["--url", &system.url(""), "--auth", "api:key-demo"])
        .args(["--checks", &CHECKS.join(",")])
        // Slack is out of scope, and its calls say so with a 501.
        .args(["--exclude-path-regex", "slack"])
        // The same cases in the same order each time.
        .args(["--generation-deterministic", "--workers", "1"])
        .args(["--max-examples", MOST_EXAMPLES, "--no-color"])
        // Where it leaves its notes.
        .current_dir(directory);
    python
}

fn rewrite(file: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(file).expect("read");
    fs::write(file, change(text)).expect("written");
}

/// Where the URLs of examples are called, somebody has to answer.
fn answered_by(system: &System, text: &str) -> String {
    text.replace("https://hooks.example.net", &system.receiver.url(""))
}

/// The domain that all the calls are about is also the example of which domain to delete.
fn spare_the_domain(description: &str) -> String {
    let mut description: Value = serde_json::from_str(description).expect("JSON");
    for path in ["/v3/domains/{domain}", "/v4/domains/{domain}"] {
        let parameters = &mut description["paths"][path]["delete"]["parameters"];
        for parameter in parameters.as_array_mut().expect("it is about a domain") {
            parameter["example"] = json!("mail.spare.example");
        }
    }
    description.to_string()
}

/// The number right before this word, as in "5120 generated, 5120 passed".
fn number_before(text: &str, word: &str) -> u64 {
    let before = text.split(word).next().expect("a text has a beginning");
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no number of cases"))
}
