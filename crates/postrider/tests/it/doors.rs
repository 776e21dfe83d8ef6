//! An operator and a caller, where both doors ask who comes.

use std::path::PathBuf;

use testkit::{Authority, Postrider, Scratch, TestEnv, eventually};

use crate::system::{BINARY, SOON, loopback};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const NEXT_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// Files by name, in a directory of their own.
struct Files(Scratch);

impl Files {
    fn new() -> Self {
        Self(Scratch::new().expect("a directory"))
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.to_str().expect("Unicode").to_owned()
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("written");
    }
}

/// A platform whose doors both speak TLS, ask for certificates and for tokens.
struct Secured {
    files: Files,
    variables: Vec<(String, String)>,
    process: Postrider,
    _env: TestEnv,
}

impl Secured {
    async fn start() -> Self {
        let (env, files, ops) = (TestEnv::new(), Files::new(), loopback());
        let authority = Authority::called("our authority");
        // Not for the address, as behind a forwarded port.
        let server = authority.issue("postrider", &["postrider.internal"]);
        let client = authority.issue("an operator", &[]);
        files.write("ca.crt", &authority.pem());
        files.write("tls.crt", &server.cert_pem);
        files.write("tls.key", &server.key_pem);
        files.write("client.crt", &client.cert_pem);
        files.write("client.key", &client.key_pem);
        files.write("tokens", &format!("operator:{TOKEN}\n"));
        files.write("token", TOKEN);
        let mut variables = vec![
            ("POSTRIDER_NATS_URL".to_owned(), env.nats_url.clone()),
            ("POSTRIDER_DATABASE_URL".to_owned(), env.database_url.clone()),
            ("POSTRIDER_REGION".to_owned(), env.region.clone()),
            ("POSTRIDER_SECRET_KEY".to_owned(), "5a".repeat(32)),
            ("POSTRIDER_OPS_ADDR".to_owned(), ops.to_string()),
        ];
        for name in ["HTTP", "ADMIN", "INGEST_GRPC", "INGEST_HTTP"] {
            variables.push((format!("POSTRIDER_{name}_ADDR"), loopback().to_string()));
        }
        for door in ["INGEST", "ADMIN"] {
            for (name, file) in [
                ("TLS_CERT", "tls.crt"),
                ("TLS_KEY", "tls.key"),
                ("CLIENT_CA", "ca.crt"),
                ("TOKENS_FILE", "tokens"),
            ] {
                variables.push((format!("POSTRIDER_{door}_{name}"), files.path(file)));
            }
        }
        let mut process = Postrider::start(BINARY, &["all"], variables.clone());
        process.wait_ready(ops, SOON).await;
        Self { files, variables, process, _env: env }
    }

    /// Runs a command with these files, each after its option.
    async fn run(&self, command: &str, files: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut arguments: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        arguments.extend(["--server-name".to_owned(), "postrider.internal".to_owned()]);
        for (option, file) in files {
            arguments.extend([(*option).to_owned(), self.files.path(file)]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        testkit::process::run(BINARY, &arguments, self.variables.clone()).await
    }

    async fn refuse(&self, command: &str, files: &[(&str, &str)]) -> String {
        let refused = self.run(command, files).await.expect_err("it is refused");
        format!("{refused:#}")
    }
}

const CA: (&str, &str) = ("--ca", "ca.crt");
const CERT: (&str, &str) = ("--client-cert", "client.crt");
const KEY: (&str, &str) = ("--client-key", "client.key");
const TOKEN_FILE: (&str, &str) = ("--token-file", "token");

#[tokio::test]
async fn operators_and_callers_prove_who_they_are() {
    let mut secured = Secured::start().await;
    let list = "admin account list";
    let create = "admin account create demo --key key-demo";
    for files in [&[][..], &[CA], &[CA, TOKEN_FILE], &[CERT, KEY, TOKEN_FILE]] {
        secured.refuse(list, files).await;
    }
    let refused = secured.refuse(list, &[CA, CERT, KEY]).await;
    assert!(refused.contains("Unauthenticated") && refused.contains("Bearer TOKEN"), "{refused}");
    let refused = secured.refuse(list, &[CA, CERT, TOKEN_FILE]).await;
    assert!(refused.contains("--client-key"), "{refused}");
    secured.run(create, &[CA, CERT, KEY, TOKEN_FILE]).await.expect("done");

    let events = Files::new();
    events.write(
        "event.json",
        r#"{"id":"x","account":"demo","ip_listed":{"ip":"192.0.2.1","blocklist":"x"}}"#,
    );
    let send = format!("send-event {}", events.path("event.json"));
    let refused = secured.refuse(&send, &[CA, CERT, KEY]).await;
    assert!(refused.contains("Unauthenticated"), "{refused}");
    let tokens = ("--token-file", "tokens");
    let sent = secured.run(&send, &[CA, CERT, KEY, tokens]).await.expect("stored");
    assert!(sent.starts_with("stored x"), "{sent}");

    // Replaced while the process runs, which sees to it by itself.
    secured.files.write("tokens", &format!("operator:{NEXT_TOKEN}\n"));
    eventually(SOON, "the old token to be refused", || async {
        secured.run(list, &[CA, CERT, KEY, TOKEN_FILE]).await.err()
    })
    .await;
    secured.run(list, &[CA, CERT, KEY, tokens]).await.expect("the new one is taken");
    let status = secured.process.terminate(SOON).await;
    let log = secured.process.log();
    assert_eq!(status.code(), Some(0), "{log}");
    let told = log.lines().find(|line| line.contains("an operator calls")).expect("a trail");
    assert!(told.contains("create_account") && told.contains("\"operator\""), "{told}");
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_before_anything_begins() {
    let files = Files::new();
    let authority = Authority::called("our authority");
    files.write("tls.crt", &authority.issue("a", &["a.internal"]).cert_pem);
    files.write("tls.key", &authority.issue("b", &["b.internal"]).key_pem);
    let variables = [
        ("POSTRIDER_NATS_URL", format!("nats://{}", loopback())),
        ("POSTRIDER_INGEST_TLS_CERT", files.path("tls.crt")),
        ("POSTRIDER_INGEST_TLS_KEY", files.path("tls.key")),
        ("POSTRIDER_INGEST_TOKENS_FILE", files.path("tokens")),
    ];
    let mut process = Postrider::start(BINARY, &["ingest"], variables);
    let status = process.wait(SOON).await;
    let log = process.log();
    assert_eq!(status.code(), Some(64), "{log}");
    assert!(log.contains("POSTRIDER_INGEST_TLS_KEY: this key is not that of"), "{log}");
    assert!(log.contains("POSTRIDER_INGEST_TOKENS_FILE: cannot read"), "{log}");
}
