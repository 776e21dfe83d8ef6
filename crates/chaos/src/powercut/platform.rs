//! Brokers, a database, and the product as one process with every role.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use dev_servers::rig::answers;
use dev_servers::{
    ManagedProcess, Nats, NatsCluster, NatsOptions, NatsSync, Postgres, PostgresOptions, Signal,
    environment, ports,
};

use crate::REGION;
use crate::rig::Brokers;

const READY_WITHIN: Duration = Duration::from_secs(120);
const KILLED_WITHIN: Duration = Duration::from_secs(20);

/// Everything that runs on a machine. Dropping it ends it, the product before its servers.
#[derive(Debug)]
pub(super) struct Platform {
    /// None while it is down.
    product: Option<ManagedProcess>,
    brokers: Brokers,
    postgres: Postgres,
    database: String,
    binary: PathBuf,
    log: PathBuf,
    ops: SocketAddr,
    admin: SocketAddr,
    grpc: SocketAddr,
    /// The customers' APIs.
    pub(super) api: SocketAddr,
    /// `/v1/events`.
    pub(super) ingest: SocketAddr,
}

/// Where a broker keeps its configuration, its log and, in `streams`, its store.
pub(super) fn node_directory(directory: &Path, nodes: usize, number: usize) -> PathBuf {
    match nodes {
        1 => directory.join("nats"),
        _ => directory.join(format!("nats-{number}")),
    }
}

impl Platform {
    pub(super) fn start(
        binary: PathBuf,
        directory: PathBuf,
        nodes: usize,
        sync: NatsSync,
    ) -> Result<Self> {
        let brokers = match nodes {
            1 => {
                let mut options = NatsOptions::new(node_directory(&directory, nodes, 0));
                options.sync = sync;
                Brokers::One(Box::new(Nats::start(options)?))
            }
            _ => Brokers::Three(NatsCluster::start_with(&directory, sync)?),
        };
        let postgres = Postgres::start(PostgresOptions::new(directory.join("postgres")))?;
        let database = postgres.create_database("postrider")?;
        let port =
            || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], ports::free_port()?)));
        let mut platform = Self {
            product: None,
            brokers,
            postgres,
            database,
            binary,
            log: directory.join("postrider.log"),
            ops: port()?,
            admin: port()?,
            grpc: port()?,
            api: port()?,
            ingest: port()?,
        };
        platform.run(&["migrate"])?;
        platform.start_product()?;
        Ok(platform)
    }

    /// Ends product and brokers on the spot.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(product) = self.product.take() {
            product.stop(Signal::KILL, KILLED_WITHIN)?;
        }
        (0..self.brokers.nodes().len()).try_for_each(|node| self.brokers.node_mut(node).kill9())
    }

    /// Starts the brokers again.
    pub(super) fn start_brokers(&mut self) -> Result<()> {
        for node in 0..self.brokers.nodes().len() {
            self.brokers.node_mut(node).restart()?;
        }
        Ok(())
    }

    /// Waits until each node of a cluster has all that the others have.
    pub(super) fn wait_healthy(&self) -> Result<()> {
        match &self.brokers {
            Brokers::One(_) => Ok(()),
            Brokers::Three(cluster) => {
                (0..cluster.nodes().len()).try_for_each(|node| cluster.wait_healthy(node))
            }
        }
    }

    /// Starts the product again, and waits until it is ready. One that does not get ready goes
    /// on running: some of its roles may.
    pub(super) fn start_product(&mut self) -> Result<()> {
        let mut command = self.command();
        command.arg("all");
        let product = ManagedProcess::spawn("postrider", &mut command, &self.log, Signal::KILL)?;
        let product = self.product.insert(product);
        let deadline = Instant::now() + READY_WITHIN;
        while !answers(self.ops, "/readyz") {
            let log = || dev_servers::log_tail(&self.log, 20);
            if let Some(status) = product.ended()? {
                bail!("postrider ended at its start ({status}); the end of its log:\n{}", log());
            }
            ensure!(
                Instant::now() < deadline,
                "postrider is not ready after {} s; the end of its log:\n{}",
                READY_WITHIN.as_secs(),
                log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Runs the product with these arguments to its end.
    fn run(&self, arguments: &[&str]) -> Result<()> {
        let mut command = self.command();
        let output = command.args(arguments).output().context("cannot run the product")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("postrider {}: {said}", arguments.join(" "));
        }
        Ok(())
    }

    /// Runs a command of `admin`.
    pub(super) fn admin(&self, arguments: &[&str]) -> Result<()> {
        self.run(&[&["admin"], arguments].concat())
    }

    /// Where clients reach each of the brokers.
    pub(super) fn broker_urls(&self) -> Vec<String> {
        self.brokers.urls()
    }

    /// Rows of the database as text, one a line.
    pub(super) fn query(&self, statement: &str) -> Result<String> {
        self.postgres.tools().query(&self.database, statement)
    }

    /// The product with its settings, and with nothing of ours.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for name in environment::names_with_prefix("POSTRIDER_") {
            command.env_remove(name);
        }
        command.env_remove("FAILPOINTS");
        let brokers = self.brokers.urls();
        let settings = [
            ("REGION", REGION.to_owned()),
            ("SECRET_KEY", "07".repeat(32)),
            ("NATS_URL", brokers.join(",")),
            ("NATS_REPLICAS", brokers.len().to_string()),
            ("DATABASE_URL", self.database.clone()),
            ("OPS_ADDR", self.ops.to_string()),
            ("HTTP_ADDR", self.api.to_string()),
            ("ADMIN_ADDR", self.admin.to_string()),
            ("INGEST_GRPC_ADDR", self.grpc.to_string()),
            ("INGEST_HTTP_ADDR", self.ingest.to_string()),
            ("EGRESS_ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
            ("EGRESS_CONNECT_TIMEOUT", "1s".to_owned()),
            ("EGRESS_TIMEOUT", "2s".to_owned()),
            // Short, so that what a dead process held comes back within seconds, and that
            // retries wait on the broker at every cut.
            ("LEASE", "5s".to_owned()),
            ("SEND_RETRY_SCHEDULE", "4s,4s,8s,8s,16s".to_owned()),
            ("SETTINGS_RATE_LIMIT", "100000".to_owned()),
            ("RECONCILE_AFTER", "10s".to_owned()),
            ("LOG", "info".to_owned()),
            ("LOG_FORMAT", "text".to_owned()),
        ];
        command.envs(settings.map(|(name, value)| (format!("POSTRIDER_{name}"), value)));
        command
    }
}
