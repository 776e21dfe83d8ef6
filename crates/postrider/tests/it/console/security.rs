//! What the page of keys says, and whether what it tells receivers to do is right.

use std::process::Command;

use serde_json::json;
use signing::{SigningKey, send_signature, x_sign};
use testkit::http::put;
use testkit::tools;

use super::Visitor;
use crate::clients::folder;
use crate::system::{SOON, System};

const SNIPPETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../console/templates/snippets");
const KEY: &str = "key-0123456789abcdef";

/// Runs a command with what a delivery has, and returns what it prints.
async fn run(mut command: Command, arguments: &[&str]) -> String {
    command.args(arguments);
    tools::run("a snippet", command, "", SOON).await.trim().to_owned()
}

#[tokio::test]
async fn receivers_who_do_as_the_snippets_do_tell_ours_from_others() {
    let key = SigningKey::new(KEY);
    let (token, body) = ("t0ken", r#"{"event_data":{"a":"ä"}}"#);
    let (good, bad) = (send_signature(&key, 1_760_000_000, token), "00".repeat(32));
    let (alert, timestamp) = (x_sign(&key, body.as_bytes()), "1760000000");
    let answers = "true false true false";

    let call = format!(
        "import sys; sys.path.insert(0, '{SNIPPETS}'); import verify; a = sys.argv[1:]; \
         one = lambda s: verify.is_ours(a[0], dict(timestamp=a[1], token=a[2], signature=s)); \
         two = lambda s: verify.is_our_alert(a[0], a[5].encode(), s); \
         print(*(str(it).lower() for it in (one(a[3]), one(a[4]), two(a[6]), two(a[4]))))"
    );
    let arguments = [KEY, timestamp, token, &good, &bad, body, &alert];
    let mut python = Command::new("python3");
    python.args(["-B", "-c", &call]);
    assert_eq!(run(python, &arguments).await, answers);

    let call = format!(
        "const {{ isOurs, isOurAlert }} = await import('file://{SNIPPETS}/verify.mjs'); \
         const a = process.argv.slice(1); \
         const one = signature => isOurs(a[0], {{ timestamp: a[1], token: a[2], signature }}); \
         const two = hex => isOurAlert(a[0], a[5], hex); \
         console.log([one(a[3]), one(a[4]), two(a[6]), two(a[4])].join(' '))"
    );
    let mut node = tools::node(folder("node")).await.command();
    node.args(["--input-type=module", "-e", &call]);
    assert_eq!(run(node, &arguments).await, answers);

    let mut shell = Command::new("sh");
    let call = format!(
        "key=$1 timestamp=$2 token=$3; cd \"$(mktemp -d)\"; printf '%s' \"$6\" > body.bin; \
         . {SNIPPETS}/verify.sh; rm body.bin"
    );
    shell.args(["-c", &call, "sh"]);
    assert_eq!(run(shell, &arguments).await, format!("{good}\n{alert}"));
}

#[tokio::test]
async fn whose_switch_hides_personal_data_is_said_as_far_as_it_may_be_known() {
    let system = System::start(&[]).await;
    system.create_account("demo-sub", Some("demo")).await;
    system.create_domain("mail.sub.example", "demo-sub").await;
    let mut own = Visitor::signed_in(&system, "key-demo-sub").await;
    assert!(own.look("/console/security").await.contains("only its own API keys can tell"));

    let mut parent = Visitor::signed_in(&system, "key-demo").await;
    let page = parent.look("/console/subaccounts").await;
    let (_, rest) = page.split_once("name=\"id\" value=\"").expect("a subaccount");
    let id = rest.split('"').next().expect("its id").to_owned();
    parent.submit("/console/act", &[("id", &id)]).await.expect_status(303);
    assert!(!parent.look("/console/security").await.contains("because of what is above"));
    let switch = put(system.url("/v5/accounts/features")).basic_auth("api", "key-demo");
    let on = json!({"webhooks_redact_pii": {"enabled": true}});
    switch.json(&on).send().await.expect("answered").expect_status(200);
    let page = parent.look("/console/security").await;
    assert!(page.contains("and so for everything here"), "{page}");
    assert!(page.contains("because of what is above"), "{page}");
    assert!(own.look("/console/security").await.contains("only its own API keys can tell"));
}
