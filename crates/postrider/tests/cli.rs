//! The command line, from outside.

use std::net::SocketAddr;
use std::process::{Command, Output};
use std::time::Duration;

use testkit::{OwnServers, Postrider, TestEnv, free_port};

const BINARY: &str = env!("CARGO_BIN_EXE_postrider");
const SOON: Duration = Duration::from_secs(30);

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port().expect("a free port")))
}

/// Runs a command that needs no service.
fn postrider(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_clear().envs(variables.iter().copied());
    command.output().expect("it runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn all_problems_with_the_settings_are_told_before_anything_begins() {
    let output = postrider(
        &["all"],
        &[
            ("POSTRIDER_OPS_ADDR", "here"),
            ("POSTRIDER_MAX_EVENT_BYTES", "much"),
            ("POSTRIDER_LEESE", "30s"),
        ],
    );
    assert_eq!(output.status.code(), Some(64));
    let problems = text(&output.stderr);
    for name in ["OPS_ADDR", "MAX_EVENT_BYTES", "LEESE", "DATABASE_URL is not set", "SECRET_KEY"] {
        assert!(problems.contains(&format!("POSTRIDER_{name}")), "{name}: {problems}");
    }
}

#[test]
fn the_reference_and_the_help_are_printed() {
    let reference = postrider(&["config-docs"], &[]);
    assert!(reference.status.success());
    assert!(text(&reference.stdout).starts_with("# Configuration\n"));
    let help = text(&postrider(&["--help"], &[]).stdout);
    assert!(help.contains("settings-api") && help.contains("Examples:"), "{help}");
    let version = text(&postrider(&["--version"], &[]).stdout);
    assert_eq!(version.trim(), concat!("postrider ", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_process_takes_as_many_sockets_as_it_may_have() {
    let [address, ops] = [(); 2].map(|()| loopback().to_string());
    let mut bin = Command::new("sh")
        .args(["-c", "ulimit -S -n 256; exec \"$0\" request-bin", BINARY])
        .env_clear()
        .envs([("POSTRIDER_REQUEST_BIN_ADDR", address), ("POSTRIDER_OPS_ADDR", ops)])
        .spawn()
        .expect("it runs");
    let limits = format!("/proc/{}/limits", bin.id());
    testkit::eventually(SOON, "the limit to be raised", || async {
        let limits = std::fs::read_to_string(&limits).ok()?;
        let open_files = limits.lines().find(|line| line.starts_with("Max open files"))?;
        let mut numbers = open_files.split_whitespace().skip(3);
        let (soft, hard) = (numbers.next()?, numbers.next()?);
        (soft == hard).then_some(())
    })
    .await;
    bin.kill().expect("it can be ended");
    bin.wait().expect("it ends");
}

#[test]
fn a_service_that_is_not_there_is_told_as_such() {
    let nowhere = format!("http://{}", loopback());
    let output = postrider(&["admin", "account", "list", "--addr", &nowhere], &[]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains(&nowhere) && message.contains("POSTRIDER_ADMIN_ADDR"), "{message}");
}

/// A platform in one process.
struct All {
    variables: Vec<(String, String)>,
    process: Postrider,
    ops: SocketAddr,
}

impl All {
    async fn start(nats_url: &str, database_url: &str, region: &str) -> Self {
        let ops = loopback();
        let mut variables = vec![
            ("POSTRIDER_NATS_URL".to_owned(), nats_url.to_owned()),
            ("POSTRIDER_DATABASE_URL".to_owned(), database_url.to_owned()),
            ("POSTRIDER_REGION".to_owned(), region.to_owned()),
            ("POSTRIDER_SECRET_KEY".to_owned(), "5a".repeat(32)),
            ("POSTRIDER_OPS_ADDR".to_owned(), ops.to_string()),
        ];
        for name in ["HTTP", "ADMIN", "INGEST_GRPC", "INGEST_HTTP"] {
            variables.push((format!("POSTRIDER_{name}_ADDR"), loopback().to_string()));
        }
        let mut process = Postrider::start(BINARY, &["all"], variables.clone());
        process.wait_ready(ops, SOON).await;
        Self { variables, process, ops }
    }

    async fn run(&self, command: &str) -> anyhow::Result<String> {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        testkit::process::run(BINARY, &arguments, self.variables.clone()).await
    }

    async fn succeed(&self, command: &str) -> String {
        self.run(command).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    async fn refuse(&self, command: &str) -> String {
        match self.run(command).await {
            Ok(printed) => panic!("postrider {command} was expected to fail: {printed}"),
            Err(error) => format!("{error:#}"),
        }
    }
}

#[tokio::test]
async fn another_door_of_the_platform_is_told_as_not_the_admin_service() {
    let env = TestEnv::new();
    let all = All::start(&env.nats_url, &env.database_url, &env.region).await;
    let mut doors = vec![all.ops.to_string()];
    let of = |name: &str| all.variables.iter().find(|(known, _)| known.contains(name));
    doors.extend(
        ["_HTTP_ADDR", "INGEST_GRPC", "INGEST_HTTP"].map(|name| of(name).unwrap().1.clone()),
    );
    for door in doors {
        let refused = all.refuse(&format!("admin account list --addr {door}")).await;
        let is_told = refused.contains("does not answer as the Admin service does")
            && refused.contains("POSTRIDER_ADMIN_ADDR");
        assert!(is_told && refused.contains(&door), "{refused}");
    }
}

#[tokio::test]
async fn an_operator_sets_up_accounts_and_sends_events() {
    let env = TestEnv::new();
    let mut all = All::start(&env.nats_url, &env.database_url, &env.region).await;

    let made = all.succeed("admin account create demo --key key-demo").await;
    assert!(made.contains("NAME") && made.contains("key-demo"), "{made}");
    all.succeed("admin account create demo --key key-demo --if-absent").await;
    let refused = all.refuse("admin account create demo --key key-demo").await;
    assert!(refused.contains("already exists"), "{refused}");
    all.succeed("admin account create demo-sub --parent demo").await;
    all.succeed("admin domain create mail.demo.example --account demo").await;
    all.succeed("admin domain create mail.demo.example --account demo --if-absent").await;

    let accounts = all.succeed("admin account list").await;
    let sub = accounts.lines().find(|line| line.starts_with("demo-sub ")).expect("the subaccount");
    assert!(sub.contains(" demo ") && sub.contains(" open "), "{accounts}");
    let json = all.succeed("admin domain list --account demo --json").await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["domains"][0]["account_name"], "demo", "{json}");

    let key = all.succeed("admin key create --account demo --json").await;
    let key: serde_json::Value = serde_json::from_str(&key).expect("JSON");
    let key_id = key["key"]["key_id"].as_str().expect("an id");
    all.succeed(&format!("admin key revoke {key_id}")).await;
    let keys = all.succeed("admin key list --account demo").await;
    assert!(keys.contains(key_id), "{keys}");

    let hook = "admin webhook create --account demo --url https://hooks.demo.example/mail";
    let hook = all.succeed(&format!("{hook} --event opened --event clicked --json")).await;
    let hook: serde_json::Value = serde_json::from_str(&hook).expect("JSON");
    let hook_id = hook["webhook_id"].as_str().expect("an id");
    assert!(all.succeed("admin webhook list --account demo").await.contains(hook_id));
    all.succeed(&format!("admin webhook delete {hook_id} --account demo")).await;
    let lifetime = "--role basic --description dashboard --expires-in 30d";
    let made = all.succeed(&format!("admin key create --account demo {lifetime}")).await;
    assert!(made.contains(" basic ") && made.contains(" active ") && made.contains("dashboard"));

    let shown = all.succeed("admin account update demo --contact-email a@b.example").await;
    assert!(shown.contains("contact: a@b.example"), "{shown}");
    let shown =
        all.succeed("admin account update demo --max-domains 7 --max-webhooks default").await;
    let domains = shown.lines().find(|line| line.starts_with("domains ")).expect("the quota");
    assert_eq!(domains.split_whitespace().collect::<Vec<_>>()[..3], ["domains", "1", "7"]);
    assert_eq!(all.succeed("admin account show demo").await, shown);
    let refused = all.refuse("admin account update demo --max-domains many").await;
    assert!(refused.contains("expected a whole number or \"default\""), "{refused}");

    let disabled = all.succeed("admin domain disable mail.demo.example --reason spam").await;
    assert!(disabled.contains(" spam"), "{disabled}");
    let enabled = all.succeed("admin domain enable mail.demo.example").await;
    assert!(!enabled.contains(" spam"), "{enabled}");
    all.succeed("admin domain create gone.demo.example --account demo").await;
    all.succeed("admin domain delete gone.demo.example").await;
    assert!(all.succeed("admin reseal-secrets").await.contains("already"));

    let json = all.succeed("admin account show demo-sub --json").await;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let sub_id = json["account_id"].as_str().expect("an id");
    let refused = all.refuse("admin account erase demo-sub").await;
    assert!(refused.contains("close it first"), "{refused}");
    all.succeed("admin account set-status demo-sub disabled --reason unpaid").await;
    let closed = all.succeed(&format!("admin account set-status {sub_id} closed")).await;
    assert!(closed.contains(" closed "), "{closed}");
    let erased = all.succeed("admin account erase demo-sub").await;
    assert!(erased.contains(&format!("erased-{sub_id}")), "{erased}");
    assert!(erased.contains("under way"), "{erased}");

    let keys = all.succeed("admin signing-keys demo").await;
    assert!(keys.contains("alerts") && keys.contains("message events"), "{keys}");

    let batch = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/events/batch.ndjson");
    let sent = all.succeed(&format!("send-event {batch}")).await;
    assert!(sent.lines().count() > 1, "{sent}");
    assert!(sent.lines().all(|line| line.starts_with("stored ")), "{sent}");

    let scratch = testkit::Scratch::new().expect("a folder");
    let file = scratch.path().join("events.json");
    let events = r#"[{"id":"x","account":"demo","ip_listed":{"ip":"192.0.2.1","blocklist":"x"}},
                     {"id":"y","account":"nobody","ip_listed":{"ip":"192.0.2.1","blocklist":"x"}}]"#;
    std::fs::write(&file, events).expect("written");
    let refused = all.refuse(&format!("send-event {}", file.display())).await;
    assert!(refused.contains("stored x\nrejected y UNKNOWN_ACCOUNT account: "), "{refused}");
    std::fs::write(&file, "{\"account\":").expect("written");
    let refused = all.refuse(&format!("send-event {}", file.display())).await;
    assert!(refused.contains("line 1, column"), "{refused}");

    let status = all.process.terminate(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", all.process.log());
}

#[tokio::test]
async fn readiness_follows_the_broker() {
    let mut servers = OwnServers::start();
    let (nats_url, database_url) = (servers.nats.url(), servers.database_url.clone());
    let mut all = All::start(&nats_url, &database_url, &servers.region).await;
    let url = format!("http://{}/readyz", all.ops);
    let wait_for = async |status: u16| {
        testkit::eventually(SOON, &format!("{status} from /readyz"), || async {
            let answer = testkit::http::get(&url).send().await.ok()?;
            (answer.status == status).then(|| answer.text())
        })
        .await
    };
    servers.nats.kill9().expect("killed");
    let missing = wait_for(503).await;
    assert!(missing.contains("broker"), "{missing}");
    servers.nats.restart().expect("restarted");
    wait_for(200).await;
    // A stop while everything is well ends well.
    let status = all.process.terminate(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", all.process.log());
}

#[tokio::test]
async fn a_stop_is_heeded_while_the_broker_is_away() {
    let nats_url = format!("nats://{}", loopback());
    let ops = loopback();
    let variables = [("POSTRIDER_NATS_URL", nats_url), ("POSTRIDER_OPS_ADDR", ops.to_string())];
    let mut process = Postrider::start(BINARY, &["fanout"], variables);
    testkit::eventually(SOON, "the operator's port", || async {
        let answer = testkit::http::get(format!("http://{ops}/readyz")).send().await.ok()?;
        (answer.status == 503).then_some(())
    })
    .await;
    let status = process.terminate(SOON).await;
    assert_eq!(status.code(), Some(0), "{}", process.log());
}
