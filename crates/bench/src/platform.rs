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

use crate::{broker, cpu, footprint};

const ROLES: [&str; 5] = ["settings-api", "ingest", "fanout", "dispatcher", "archive"];

/// The tables in which a delivery has a row: who is to hear of an event is decided in one
/// where one webhook is for it.
pub(crate) const HISTORY: [&str; 4] = ["events", "routing_decisions", "attempts", "ends"];

/// What is to be started.
pub(crate) struct Setup {
    /// The release binary.
    pub(crate) binary: PathBuf,
    pub(crate) sync: NatsSync,
    /// Settings besides those that every benchmark has, without their prefix.
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// Everything that runs. Dropping it ends it all.
pub(crate) struct Platform {
    roles: BTreeMap<&'static str, Role>,
    receiver: Child,
    nats: Nats,
    postgres: Postgres,
    env: Vec<(String, String)>,
    /// `host:port` of the receiver.
    pub(crate) receiver_addr: String,
    /// URL of ingest's gRPC port.
    pub(crate) ingest: String,
    /// URL of the gRPC service `Admin`.
    pub(crate) admin: String,
    /// `host:port` of the customers' APIs.
    pub(crate) http: String,
    database: String,
    binary: PathBuf,
    scratch: Scratch,
}

struct Role {
    child: Child,
    /// `host:port` of its metrics.
    ops: String,
}

impl Platform {
    /// Starts everything, without any customer.
    pub(crate) async fn start(setup: Setup) -> Result<Self> {
        let scratch = Scratch::new()?;
        let mut options = NatsOptions::new(scratch.path().join("nats"));
        options.sync = setup.sync;
        let nats = Nats::start(options)?;
        let mut options = PostgresOptions::new(scratch.path().join("postgres"));
        options.durable = true;
        // As its manual advises, where the default is made for the smallest machines.
        options.settings = ["shared_buffers=1GB", "max_wal_size=4GB"].map(str::to_owned).into();
        let postgres = Postgres::start(options)?;
        let database = postgres.create_database("postrider")?;

        let (receiver, receiver_addr) = start_other_end(&["receiver"]).await?;
        let port = || Ok::<_, anyhow::Error>(format!("127.0.0.1:{}", ports::free_port()?));
        let (http, admin, grpc, json) = (port()?, port()?, port()?, port()?);
        let settings = [
            ("NATS_URL", nats.url()),
            ("DATABASE_URL", database.clone()),
            ("SECRET_KEY", "07".repeat(32)),
            ("HTTP_ADDR", http.clone()),
            ("API_URL", format!("http://{http}")),
            ("ADMIN_ADDR", admin.clone()),
            ("INGEST_GRPC_ADDR", grpc.clone()),
            ("INGEST_HTTP_ADDR", json),
            ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8".into()),
            ("LOG", "warn".into()),
        ];
        let settings = settings.into_iter().chain(setup.settings);
        let env = settings.map(|(name, value)| (format!("POSTRIDER_{name}"), value)).collect();
        let mut platform = Self {
            roles: BTreeMap::new(),
            receiver,
            nats,
            postgres,
            env,
            receiver_addr,
            ingest: format!("http://{grpc}"),
            admin: format!("http://{admin}"),
            http,
            database,
            binary: setup.binary,
            scratch,
        };
        platform.command(&["migrate"]).await?;
        for role in ROLES {
            platform.start_role(role).await?;
        }
        Ok(platform)
    }

    /// CPU-seconds so far, by process.
    pub(crate) fn cpu(&self) -> BTreeMap<String, f64> {
        let roles = self.roles.iter().map(|(name, role)| ((*name).to_owned(), role.child.id()));
        let others = [
            ("nats".to_owned(), self.nats.pid()),
            ("postgres".to_owned(), self.postgres.pid()),
            ("receiver".to_owned(), self.receiver.id()),
        ];
        let pids = roles.chain(others).filter_map(|(name, pid)| Some((name, pid?)));
        pids.map(|(name, pid)| (name, cpu::seconds_of_tree(pid))).collect()
    }

    /// Memory that NATS has in RAM, in bytes.
    pub(crate) fn nats_rss_bytes(&self) -> u64 {
        self.nats.pid().map_or(0, footprint::rss_bytes)
    }

    /// Memory that a role has in RAM, in bytes.
    pub(crate) fn rss_bytes(&self, role: &str) -> u64 {
        self.roles.get(role).and_then(|role| role.child.id()).map_or(0, footprint::rss_bytes)
    }

    /// What the broker's streams take on disk.
    pub(crate) fn nats_disk_bytes(&self) -> u64 {
        footprint::disk_bytes(&self.nats_dir())
    }

    fn nats_dir(&self) -> PathBuf {
        self.scratch.path().join("nats")
    }

    /// All streams of the broker.
    pub(crate) async fn streams(&self) -> Result<Vec<broker::Stream>> {
        broker::streams(&format!("127.0.0.1:{}", self.nats.port())).await
    }

    /// A counter of a role, by the value of its label.
    pub(crate) async fn counter(&self, role: &str, name: &str) -> Result<BTreeMap<String, u64>> {
        let ops = &self.roles.get(role).context("the role runs")?.ops;
        let metrics = get(ops, "/metrics").await?;
        let lines = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        Ok(lines
            .filter_map(|line| {
                let (labels, value) = line.split_once("} ")?;
                let label = labels.split('"').nth(1)?.to_owned();
                Some((label, value.trim().parse().ok()?))
            })
            .collect())
    }

    /// Rows of the database as text, columns separated by `|`.
    pub(crate) fn query(&self, statement: &str) -> Result<String> {
        self.postgres.tools().query(&self.database, statement)
    }

    /// Waits until archive has written the rows of this many deliveries, one of each event,
    /// since it was started. Its own counters tell: asking the database would cost what is
    /// measured.
    pub(crate) async fn wait_for_history(&self, deliveries: u64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(300);
        loop {
            let rows = self.counter("archive", "postrider_archive_rows_total").await?;
            let has_all = |part| rows.get(part).is_some_and(|rows| *rows >= deliveries);
            if ["events", "routings", "attempts", "ends"].into_iter().all(has_all) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "of {deliveries} archive has {rows:?}");
            sleep_until(Instant::now() + Duration::from_millis(50)).await;
        }
    }

    /// Makes sure that each table of history has this many rows, one for each delivery.
    pub(crate) fn check_history(&self, deliveries: u64) -> Result<()> {
        for table in HISTORY {
            let rows = self.query(&format!("SELECT count(*) FROM {table}"))?;
            let rows = rows.trim();
            anyhow::ensure!(
                rows == deliveries.to_string(),
                "{table} has {rows} rows instead of {deliveries}"
            );
        }
        Ok(())
    }

    /// Kills a role, as a crash would.
    pub(crate) async fn stop_role(&mut self, role: &str) -> Result<()> {
        if let Some(mut role) = self.roles.remove(role) {
            role.child.kill().await?;
        }
        Ok(())
    }

    /// Starts PostgreSQL again, which then has nothing in memory.
    pub(crate) fn restart_postgres(&mut self) -> Result<()> {
        self.postgres.restart()
    }

    /// Starts a role and waits until it is ready.
    pub(crate) async fn start_role(&mut self, role: &'static str) -> Result<()> {
        let ops = format!("127.0.0.1:{}", ports::free_port()?);
        let mut command = Command::new(&self.binary);
        command.arg(role).envs(self.env.iter().cloned()).env("POSTRIDER_OPS_ADDR", &ops);
        // Five processes share few cores: more threads would only wake each other.
        command.env("TOKIO_WORKER_THREADS", "1");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?;
        self.roles.insert(role, Role { child, ops: ops.clone() });
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
}

/// Starts this program as another end, and returns the line that it prints.
pub(crate) async fn start_other_end(arguments: &[&str]) -> Result<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().context("another end has an output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).await?;
    anyhow::ensure!(!line.is_empty(), "{} ended at once", arguments.join(" "));
    Ok((child, line.trim().to_owned()))
}

/// A GET; returns head and body as text.
pub(crate) async fn get(address: &str, path: &str) -> Result<String> {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"))
        .await
}

pub(crate) async fn exchange(address: &str, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
