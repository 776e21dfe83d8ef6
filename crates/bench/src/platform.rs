//! The platform under measurement: servers and every role as processes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_servers::{Nats, NatsOptions, NatsSync, Postgres, PostgresOptions, Scratch, ports};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until};

use crate::cpu;

const ROLES: [&str; 5] = ["settings-api", "ingest", "fanout", "dispatcher", "archive"];

/// Everything that runs. Dropping it ends it all.
pub(crate) struct Platform {
    roles: BTreeMap<&'static str, Child>,
    receiver: Child,
    nats: Nats,
    postgres: Postgres,
    env: Vec<(String, String)>,
    /// `host:port` of the receiver.
    pub(crate) receiver_addr: String,
    /// URL of ingest's gRPC port.
    pub(crate) ingest: String,
    http: String,
    database: String,
    binary: PathBuf,
    _scratch: Scratch,
}

impl Platform {
    /// Starts everything, with one account, one domain, one webhook.
    pub(crate) async fn start(binary: PathBuf, sync: NatsSync, event_type: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut options = NatsOptions::new(scratch.path().join("nats"));
        options.sync = sync;
        let nats = Nats::start(options)?;
        let mut options = PostgresOptions::new(scratch.path().join("postgres"));
        options.durable = true;
        let postgres = Postgres::start(options)?;
        let database = postgres.create_database("postrider")?;

        let (receiver, receiver_addr) = start_receiver().await?;
        let port = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", ports::free_port()?));
        let (http, admin, grpc, json) = (port()?, port()?, port()?, port()?);
        let env: Vec<(String, String)> = [
            ("NATS_URL", nats.url()),
            ("DATABASE_URL", database.clone()),
            ("SECRET_KEY", "07".repeat(32)),
            ("HTTP_ADDR", http.clone()),
            ("ADMIN_ADDR", admin),
            ("INGEST_GRPC_ADDR", grpc.clone()),
            ("INGEST_HTTP_ADDR", json),
            ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8".into()),
            ("LOG", "warn".into()),
        ]
        .into_iter()
        .map(|(name, value)| (format!("POSTRIDER_{name}"), value))
        .collect();
        let mut platform = Self {
            roles: BTreeMap::new(),
            receiver,
            nats,
            postgres,
            env,
            receiver_addr,
            ingest: format!("http://{grpc}"),
            http,
            database,
            binary,
            _scratch: scratch,
        };
        platform.command(&["migrate"]).await?;
        for role in ROLES {
            platform.start_role(role).await?;
        }
        platform.command(&["admin", "account", "create", "demo", "--key", "key-demo"]).await?;
        platform
            .command(&["admin", "domain", "create", "mail.demo.example", "--account", "demo"])
            .await?;
        platform.add_webhook(event_type).await?;
        Ok(platform)
    }

    /// CPU-seconds so far, by process.
    pub(crate) fn cpu(&self) -> BTreeMap<String, f64> {
        let roles = self.roles.iter().map(|(role, child)| ((*role).to_owned(), child.id()));
        let others = [
            ("nats".to_owned(), self.nats.pid()),
            ("postgres".to_owned(), self.postgres.pid()),
            ("receiver".to_owned(), self.receiver.id()),
        ];
        let pids = roles.chain(others).filter_map(|(name, pid)| Some((name, pid?)));
        pids.map(|(name, pid)| (name, cpu::seconds_of_tree(pid))).collect()
    }

    /// Waits until history has this many events, routings and ends. Asked
    /// once a second, so that the asking costs next to nothing.
    pub(crate) async fn wait_for_history(&self, events: u64) -> Result<()> {
        let wanted = format!("{events}|{events}|{events}");
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let counts = self.postgres.tools().query(
                &self.database,
                "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM routings), \
                 (SELECT count(*) FROM ends)",
            )?;
            if counts.trim() == wanted {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "history has {counts} instead of {wanted}");
            sleep_until(Instant::now() + Duration::from_secs(1)).await;
        }
    }

    async fn start_role(&mut self, role: &'static str) -> Result<()> {
        let ops = format!("127.0.0.1:{}", ports::free_port()?);
        let mut command = Command::new(&self.binary);
        command.arg(role).envs(self.env.iter().cloned()).env("POSTRIDER_OPS_ADDR", &ops);
        // Five processes share few cores: more threads would only wake each other.
        command.env("TOKIO_WORKER_THREADS", "1");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        self.roles.insert(role, child);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if get(&ops, "/readyz").await.is_ok_and(|answer| answer.contains(" 200 ")) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{role} is not ready after 30 s");
            sleep_until(Instant::now() + Duration::from_millis(50)).await;
        }
    }

    async fn command(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.binary);
        let output = command.args(arguments).envs(self.env.iter().cloned()).output().await?;
        let printed = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "postrider {}: {printed}", arguments.join(" "));
        Ok(())
    }

    async fn add_webhook(&self, event_type: &str) -> Result<()> {
        let form = format!(
            "id={event_type}&url=http%3A%2F%2F{}%2Fhook",
            self.receiver_addr.replace(':', "%3A")
        );
        let request = format!(
            "POST /v3/domains/mail.demo.example/webhooks HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\
             Authorization: Basic YXBpOmtleS1kZW1v\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            form.len()
        );
        let answer = exchange(&self.http, &request).await?;
        anyhow::ensure!(answer.contains(" 200 "), "the webhook was not created: {answer}");
        Ok(())
    }
}

async fn start_receiver() -> Result<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("receiver").stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut receiver = command.spawn()?;
    let stdout = receiver.stdout.take().context("the receiver has an output")?;
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address).await?;
    Ok((receiver, address.trim().to_owned()))
}

/// A GET; returns head and body as text.
pub(crate) async fn get(address: &str, path: &str) -> Result<String> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"))
        .await
}

async fn exchange(address: &str, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
