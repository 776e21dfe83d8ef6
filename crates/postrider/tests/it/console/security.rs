//! What the page of keys says, and whether what it tells receivers to do is right.

use std::process::Command;

use serde_json::json;
use signing::{SigningKey, send_signature, x_sign};
use testkit::http::put;
use testkit::{Scratch, tools};

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

/// In the languages that not everybody has.
#[tokio::test]
async fn snippets_of_other_languages_do_it_too() {
    let key = SigningKey::new(KEY);
    let (token, body) = ("t0ken", r#"{"event_data":{"a":"ä"}}"#);
    let (good, bad) = (send_signature(&key, 1_760_000_000, token), "00".repeat(32));
    let (alert, timestamp) = (x_sign(&key, body.as_bytes()), "1760000000");
    let arguments = [KEY, timestamp, token, &good, &bad, body, &alert];
    let scratch = Scratch::new().expect("a directory");
    let at = |name: &str| scratch.path().join(name);
    let is_there = |program: &str, version: &str| {
        let is_there = Command::new(program).arg(version).output().is_ok();
        if !is_there {
            println!("without {program}, which is not installed");
        }
        is_there
    };
    let write = |name: &str, text: &str| std::fs::write(at(name), text).expect("written");

    if is_there("go", "version") {
        std::fs::create_dir(at("verify")).expect("made");
        std::fs::copy(format!("{SNIPPETS}/verify.go"), at("verify/verify.go")).expect("copied");
        write("go.mod", "module receiver\n\ngo 1.19\n");
        write(
            "main.go",
            "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n\t\"receiver/verify\"\n)\n\nfunc main() {\n\
             \ta := os.Args[1:]\n\tone := func(s string) bool { return verify.IsOurs(a[0], a[1], a[2], s) }\n\
             \ttwo := func(s string) bool { return verify.IsOurAlert(a[0], []byte(a[5]), s) }\n\
             \tfmt.Println(one(a[3]), one(a[4]), two(a[6]), two(a[4]))\n}\n",
        );
        let mut go = Command::new("go");
        go.current_dir(scratch.path()).env("GOFLAGS", "-mod=mod").args(["run", "."]);
        assert_eq!(run(go, &arguments).await, "true false true false");
    }
    if is_there("javac", "-version") {
        write(
            "Main.java",
            "import static java.nio.charset.StandardCharsets.UTF_8;\n\
             class Main { public static void main(String[] a) throws Exception { System.out.println(\n\
             Verify.isOurs(a[0], a[1], a[2], a[3]) + \" \" + Verify.isOurs(a[0], a[1], a[2], a[4]) + \" \"\n\
             + Verify.isOurAlert(a[0], a[5].getBytes(UTF_8), a[6]) + \" \"\n\
             + Verify.isOurAlert(a[0], a[5].getBytes(UTF_8), a[4])); } }\n",
        );
        let mut javac = Command::new("javac");
        javac.args(["-d", "classes", "Main.java", &format!("{SNIPPETS}/Verify.java")]);
        javac.current_dir(scratch.path());
        assert_eq!(run(javac, &[]).await, "");
        let mut java = Command::new("java");
        java.current_dir(scratch.path()).args(["-Dsun.jnu.encoding=UTF-8", "-cp", "classes"]);
        java.env("LC_ALL", "C.UTF-8").arg("Main");
        assert_eq!(run(java, &arguments).await, "true false true false");
    }
    let call = "a = ARGV; one = ->(s) { ours?(a[0], { 'timestamp' => a[1], 'token' => a[2], \
                'signature' => s }) }; two = ->(s) { our_alert?(a[0], a[5], s) }; \
                puts [one.(a[3]), one.(a[4]), two.(a[6]), two.(a[4])].join(' ')";
    if is_there("ruby", "--version") {
        let mut ruby = Command::new("ruby");
        ruby.args(["-r", &format!("{SNIPPETS}/verify.rb"), "-e", call, "--"]);
        assert_eq!(run(ruby, &arguments).await, "true false true false");
    }
    let call = "require $argv[1]; $a = array_slice($argv, 2); \
                $one = fn($s) => is_ours($a[0], ['timestamp' => $a[1], 'token' => $a[2], 'signature' => $s]); \
                $two = fn($s) => is_our_alert($a[0], $a[5], $s); \
                echo implode(' ', array_map(fn($b) => $b ? 'true' : 'false', \
                [$one($a[3]), $one($a[4]), $two($a[6]), $two($a[4])]));";
    if is_there("php", "--version") {
        let mut php = Command::new("php");
        php.args(["-r", call, "--", &format!("{SNIPPETS}/verify.php")]);
        assert_eq!(run(php, &arguments).await, "true false true false");
    }
}

#[tokio::test]
async fn whose_switch_hides_personal_data_is_said_as_far_as_it_may_be_known() {
    let system = System::start(&[]).await;
    system.create_account("demo-sub", Some("demo")).await;
    system.create_domain("mail.sub.example", "demo-sub").await;
    let mut own = Visitor::signed_in(&system, "key-demo-sub").await;
    let page = own.look("/console/security").await;
    assert!(page.contains("only its own API keys can tell"), "{page}");
    assert!(!page.contains("This account</dt>") && !page.contains("name=\"redact\""), "{page}");

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
