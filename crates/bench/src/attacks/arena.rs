//! The servers, the one process that runs every role, and a request bin beside it.

use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dev_servers::{Nats, NatsOptions, Postgres, PostgresOptions, Scratch, ports};
use protocol::v1::admin_client::AdminClient;
use protocol::v1::ingest_client::IngestClient;
use protocol::v1::{Event, PublishRequest, SetAccountStatusRequest};
use serde::Serialize;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep_until, timeout};

use super::Options;
use super::names::Names;
use super::relay::Relay;
use super::stage::{ATTACKER, Stage};
use crate::customers::{Doors, domain};
use crate::platform::get;
use crate::report::rounded;
use crate::{cpu, footprint};

/// The event that everybody sends.
pub(super) const EVENT: &str = include_str!("../../../../examples/events/clicked.json");
/// How long an operator's change may take to come into force before it is given up.
const DISABLED_AFTER_ALL: Duration = Duration::from_secs(60);

/// Everything that runs. Dropping it ends it all.
pub(super) struct Arena {
    platform: Child,
    bin: Child,
    nats: Nats,
    postgres: Postgres,
    database: String,
    places: Stage,
    scratch: Scratch,
}

/// CPU-seconds of a stretch of time.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Cpu {
    pub(super) platform: f64,
    request_bin: f64,
    nats: f64,
    postgres: f64,
    /// The victim, its receiver and the watching, which are this process.
    watching: f64,
}

impl Cpu {
    /// The use between two moments.
    pub(super) fn since(now: &Self, then: &Self) -> Self {
        Self {
            platform: rounded(now.platform - then.platform),
            request_bin: rounded(now.request_bin - then.request_bin),
            nats: rounded(now.nats - then.nats),
            postgres: rounded(now.postgres - then.postgres),
            watching: rounded(now.watching - then.watching),
        }
    }
}

impl Arena {
    /// Starts everything, without any customer.
    pub(super) async fn start(
        options: &Options,
        names: Option<&Names>,
        relay: &Relay,
    ) -> Result<Self> {
        let scratch = Scratch::new()?;
        let nats = Nats::start(NatsOptions::new(scratch.path().join("nats")))?;
        let mut postgres = PostgresOptions::new(scratch.path().join("postgres"));
        postgres.durable = true;
        let postgres = Postgres::start(postgres)?;
        let database = postgres.create_database("postrider")?;
        let port =
            || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], ports::free_port()?)));
        let places = Stage {
            api: port()?,
            admin: port()?,
            ingest_grpc: port()?,
            ingest_http: port()?,
            ops: port()?,
            bin: port()?,
            seconds: 0,
        };
        let bin_ops = port()?;
        let settings = [
            ("NATS_URL", nats.url()),
            ("DATABASE_URL", database.clone()),
            ("SECRET_KEY", "07".repeat(32)),
            ("HTTP_ADDR", places.api.to_string()),
            ("ADMIN_ADDR", places.admin.to_string()),
            ("INGEST_GRPC_ADDR", places.ingest_grpc.to_string()),
            ("INGEST_HTTP_ADDR", places.ingest_http.to_string()),
            ("OPS_ADDR", places.ops.to_string()),
            ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8".into()),
            ("SMTP_URL", format!("smtp://{}?tls=none", relay.address)),
            ("MAIL_FROM", "Postrider <alerts@platform.example>".into()),
            ("LOG", "warn".into()),
        ];
        let binary = std::path::absolute(&options.binary)?;
        let mut migrate = command(&binary, "migrate", &settings, None, Stdio::null());
        ensure!(migrate.status().await?.success(), "the schema cannot be made");
        let log = File::create(scratch.path().join("platform.log"))?;
        let mut platform = command(&binary, "all", &settings, names, log.into());
        let platform = platform.spawn().context("the platform starts")?;
        let settings =
            [("REQUEST_BIN_ADDR", places.bin.to_string()), ("OPS_ADDR", bin_ops.to_string())];
        let bin = command(&binary, "request-bin", &settings, None, Stdio::null()).spawn()?;
        let arena = Self { platform, bin, nats, postgres, database, places, scratch };
        for ops in [arena.places.ops, bin_ops] {
            arena.wait_until_ready(ops).await?;
        }
        Ok(arena)
    }

    async fn wait_until_ready(&self, ops: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !get(&ops.to_string(), "/readyz").await.is_ok_and(|answer| answer.contains(" 200 ")) {
            ensure!(Instant::now() < deadline, "not ready after 30 s; the log:\n{}", self.log());
            sleep_until(Instant::now() + Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Where everything is, for an attack of so many seconds.
    pub(super) fn stage(&self, seconds: u64) -> Stage {
        Stage { seconds, ..self.places.clone() }
    }

    /// Process id of the platform.
    pub(super) fn pid(&self) -> u32 {
        self.platform.id().unwrap_or_default()
    }

    /// Process id of the request bin.
    pub(super) fn bin_pid(&self) -> u32 {
        self.bin.id().unwrap_or_default()
    }

    /// Memory of the platform's process in RAM.
    pub(super) fn rss_mb(&self) -> f64 {
        megabytes(self.pid())
    }

    /// CPU-seconds so far.
    pub(super) fn cpu(&self) -> Cpu {
        let of = |pid: Option<u32>| pid.map_or(0.0, cpu::seconds_of_tree);
        let children = cpu::seconds_of_children(std::process::id());
        Cpu {
            platform: of(self.platform.id()),
            request_bin: of(self.bin.id()),
            nats: of(self.nats.pid()),
            postgres: of(self.postgres.pid()),
            watching: cpu::seconds_of_tree(std::process::id()) - children,
        }
    }

    /// Connections and calls that doors have refused so far; 0 where the process does not say.
    pub(super) async fn refused(&self) -> u64 {
        let mut refused = 0;
        for patience in [2, 2] {
            let asked = get_within(self.places.ops, "/metrics", patience).await;
            let Ok(metrics) = asked else { continue };
            refused = metrics
                .lines()
                .filter(|line| line.starts_with("postrider_callers_refused_total{"))
                .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
                .sum();
            break;
        }
        refused
    }

    /// Runs a statement.
    pub(super) fn query(&self, statement: &str) -> Result<String> {
        self.postgres.tools().query(&self.database, statement)
    }

    /// Runs a statement that is larger than a command line may be.
    pub(super) fn fill(&self, statement: &str) -> Result<()> {
        let file = self.scratch.path().join("fill.sql");
        std::fs::write(&file, statement)?;
        self.postgres.tools().run_file(&self.database, &file)
    }

    /// Makes an account with a domain for each URL.
    pub(super) async fn add_customer(&self, account: &str, urls: &[String]) -> Result<()> {
        add_customer(&self.places, account, urls).await
    }

    /// Makes the attacker's account, with one domain that hears of nothing.
    pub(super) async fn add_attacker(&self) -> Result<()> {
        self.add_customer(ATTACKER, &["http://127.0.0.1:28000/".to_owned()]).await
    }

    /// Disables the attacker's account, as an operator does, and says after how many seconds
    /// no event of it is taken any more.
    pub(super) async fn disable_attacker(&self) -> Result<f64> {
        let begun = Instant::now();
        let mut admin = AdminClient::connect(format!("http://{}", self.places.admin)).await?;
        let request = SetAccountStatusRequest {
            account_name: ATTACKER.to_owned(),
            status: "disabled".to_owned(),
            reason: "it attacks".to_owned(),
        };
        // An error says that it comes into force without being asked for again.
        if let Err(error) = timeout(DISABLED_AFTER_ALL, admin.set_account_status(request)).await? {
            eprintln!("disabling the account: {}", error.message());
        }
        let mut ingest =
            IngestClient::connect(format!("http://{}", self.places.ingest_grpc)).await?;
        let template: Event = serde_json::from_str(EVENT)?;
        loop {
            let event = Event { domain: domain(ATTACKER, 0), ..template.clone() };
            let answer = ingest.publish(PublishRequest { events: vec![event] }).await;
            if answer.is_err_and(|status| status.code() == tonic::Code::FailedPrecondition) {
                return Ok(rounded(begun.elapsed().as_secs_f64()));
            }
            if begun.elapsed() > DISABLED_AFTER_ALL {
                return Ok(f64::INFINITY);
            }
            sleep_until(Instant::now() + Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        dev_servers::log_tail(&self.scratch.path().join("platform.log"), 20)
    }

    /// Copies the process's log.
    pub(super) fn keep_log(&self, directory: &Path, name: String) -> Result<()> {
        std::fs::create_dir_all(directory)?;
        let to = directory.join(name).with_extension("log");
        std::fs::copy(self.scratch.path().join("platform.log"), to)?;
        Ok(())
    }
}

/// Makes an account with a domain for each URL, which hears of clicks.
pub(super) async fn add_customer(places: &Stage, account: &str, urls: &[String]) -> Result<()> {
    let (admin, http) = (format!("http://{}", places.admin), places.api.to_string());
    Doors { admin: &admin, http: &http }.add_customer(account, "clicked", urls).await
}

/// A GET with a limit; head and body.
pub(super) async fn get_within(address: SocketAddr, path: &str, seconds: u64) -> Result<String> {
    timeout(Duration::from_secs(seconds), get(&address.to_string(), path)).await?
}

pub(super) fn megabytes(pid: u32) -> f64 {
    rounded(footprint::rss_bytes(pid) as f64 / 1e6)
}

/// The binary with these settings. With name servers of ours it has a mount namespace of its
/// own, in which /etc/resolv.conf is another one; the process is the same after that.
fn command(
    binary: &Path,
    role: &str,
    settings: &[(&str, String)],
    names: Option<&Names>,
    log: Stdio,
) -> Command {
    const IN_A_NAMESPACE: &str = "mount --bind \"$0\" /etc/resolv.conf && exec \"$1\" \"$2\"";
    let mut command = match names {
        None => Command::new(binary),
        Some(names) => {
            let mut command = Command::new("unshare");
            command.args(["--mount", "sh", "-c", IN_A_NAMESPACE]).arg(&names.resolv_conf);
            command.arg(binary);
            command
        }
    };
    command.arg(role);
    for (name, value) in settings {
        command.env(format!("POSTRIDER_{name}"), value);
    }
    command.stdin(Stdio::null()).stdout(log).kill_on_drop(true);
    command
}
