//! The platform as processes: brokers, a database, two of every role, each behind wires of
//! its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use dev_servers::rig::{ROLES, answers};
use dev_servers::{
    ManagedProcess, Nats, NatsCluster, NatsOptions, Postgres, PostgresOptions, Signal, TurnedClock,
    environment, ports,
};
use rustix::process::{Pid, kill_process};

use testkit::{Speech, Wire};

use crate::small_disks::SmallDisk;

const READY_WITHIN: Duration = Duration::from_secs(90);
const SHARDS: &str = "DELIVERY_SHARDS";
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Without their prefix, what the last release does not know: it does not start with it.
const NEWER_SETTINGS: [&str; 1] = ["RECONCILE_AFTER"];
/// In which order roles are upgraded: who reads before who writes (docs/operations.md).
const UPGRADED: [&str; 5] = ["archive", "dispatcher", "fanout", "settings-api", "ingest"];

/// The brokers.
#[derive(Debug)]
pub(crate) enum Brokers {
    One(Box<Nats>),
    Three(NatsCluster),
}

impl Brokers {
    pub(crate) fn nodes(&self) -> Vec<&Nats> {
        match self {
            Self::One(nats) => vec![nats],
            Self::Three(cluster) => cluster.nodes().iter().collect(),
        }
    }

    pub(crate) fn node_mut(&mut self, number: usize) -> &mut Nats {
        match self {
            Self::One(nats) => nats,
            Self::Three(cluster) => &mut cluster.nodes_mut()[number],
        }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.nodes().iter().map(|node| node.url()).collect()
    }
}

/// One process of a role. It keeps its ports and wires when it is started again.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) role: &'static str,
    pub(crate) name: String,
    process: Option<ManagedProcess>,
    log: PathBuf,
    pub(crate) ops: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) ingest: SocketAddr,
    pub(crate) ingest_http: SocketAddr,
    /// To each broker.
    pub(crate) to_brokers: Vec<Wire>,
    pub(crate) to_database: Wire,
    /// Of this process alone, from its next start on.
    pub(crate) own_settings: Vec<(String, String)>,
    is_old: bool,
}

impl Replica {
    pub(crate) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ManagedProcess::pid)
    }
}

/// What is to run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) binary: PathBuf,
    /// The last release's, for the second process of every role.
    pub(crate) old_binary: Option<PathBuf>,
    /// Everything is the last release's at first.
    pub(crate) begins_old: bool,
    pub(crate) brokers: usize,
    /// Without their prefix.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// A bug that is switched on: see `chassis::mutant`.
    pub(crate) mutant: Option<String>,
    /// The database's, if it is to be turned.
    pub(crate) clock: Option<TurnedClock>,
    pub(crate) directory: PathBuf,
}

/// The disks of the servers, where they can be filled.
#[derive(Debug)]
pub(crate) struct Disks {
    pub(crate) of_brokers: Vec<SmallDisk>,
    pub(crate) of_database: SmallDisk,
}

impl Disks {
    fn mount(directory: &Path, brokers: usize) -> Result<Option<Self>> {
        let stores = (0..brokers).map(|number| match brokers {
            1 => directory.join("nats/streams"),
            _ => directory.join(format!("nats-{number}/streams")),
        });
        let of_brokers: Option<Vec<_>> =
            stores.map(|store| SmallDisk::mount(&store)).collect::<Result<_>>()?;
        let of_database = SmallDisk::mount(&directory.join("postgres"))?;
        Ok(of_brokers
            .zip(of_database)
            .map(|(of_brokers, of_database)| Self { of_brokers, of_database }))
    }
}

/// Everything. Dropping it ends it, the roles before their servers.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) brokers: Brokers,
    pub(crate) postgres: Postgres,
    pub(crate) database: String,
    /// Streams of deliveries.
    shards: u32,
    plan: Plan,
    /// Dropped last.
    pub(crate) disks: Option<Disks>,
}

impl Rig {
    pub(crate) async fn start(plan: Plan) -> Result<Self> {
        let directory = plan.directory.clone();
        let disks = Disks::mount(&directory, plan.brokers)?;
        let brokers = match plan.brokers {
            1 => Brokers::One(Box::new(Nats::start(NatsOptions::new(directory.join("nats")))?)),
            3 => Brokers::Three(NatsCluster::start(&directory)?),
            other => bail!("a rig has one broker or three, not {other}"),
        };
        let postgres = Postgres::start(PostgresOptions {
            clock: plan.clock.clone(),
            ..PostgresOptions::new(directory.join("postgres"))
        })?;
        let database = postgres.create_database("postrider")?;
        let replicas = Vec::new();
        let mut rig = Self { replicas, brokers, postgres, database, shards: 1, plan, disks };
        let first = rig.plan.old_binary.as_ref().filter(|_| rig.plan.begins_old);
        rig.migrate(first.unwrap_or(&rig.plan.binary))?;
        for role in ROLES {
            for number in 0..2 {
                rig.add(role, number).await?;
            }
        }
        for replica in 0..rig.replicas.len() {
            rig.wait_ready(replica)?;
        }
        Ok(rig)
    }

    fn migrate(&self, binary: &Path) -> Result<()> {
        let mut command = self.command(binary);
        command.env("POSTRIDER_DATABASE_URL", &self.database);
        command.env("POSTRIDER_NATS_URL", self.brokers.urls().join(","));
        let output = command.arg("migrate").output().context("cannot run the product")?;
        if !output.status.success() {
            bail!("postrider migrate: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }

    async fn add(&mut self, role: &'static str, number: usize) -> Result<()> {
        let port =
            || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], ports::free_port()?)));
        let mut to_brokers = Vec::new();
        for node in self.brokers.nodes() {
            let address = SocketAddr::from(([127, 0, 0, 1], node.port()));
            to_brokers.push(Wire::lay(address, Speech::Nats).await?);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], self.postgres.port()));
        let to_database = Wire::lay(address, Speech::Other).await?;
        self.replicas.push(Replica {
            role,
            name: format!("{role}-{number}"),
            process: None,
            log: self.plan.directory.join(format!("{role}-{number}.log")),
            ops: port()?,
            http: port()?,
            admin: port()?,
            ingest: port()?,
            ingest_http: port()?,
            to_brokers,
            to_database,
            own_settings: Vec::new(),
            is_old: self.plan.old_binary.is_some() && (number == 1 || self.plan.begins_old),
        });
        let at = self.replicas.len() - 1;
        self.launch(at)
    }

    /// Starts a process that is down, without waiting for it.
    pub(crate) fn launch(&mut self, at: usize) -> Result<()> {
        let old = self.plan.old_binary.as_ref().filter(|_| self.replicas[at].is_old);
        let mut command = self.command(old.unwrap_or(&self.plan.binary));
        let nats: Vec<String> = self.replicas[at]
            .to_brokers
            .iter()
            .map(|wire| format!("nats://{}", wire.address()))
            .collect();
        let database = self.database.replace(
            &format!(":{}/", self.postgres.port()),
            &format!(":{}/", self.replicas[at].to_database.address().port()),
        );
        let replica = &mut self.replicas[at];
        command.arg(replica.role);
        command.env("POSTRIDER_NATS_URL", nats.join(","));
        command.env("POSTRIDER_DATABASE_URL", database);
        for (name, address) in [
            ("OPS_ADDR", replica.ops),
            ("HTTP_ADDR", replica.http),
            ("ADMIN_ADDR", replica.admin),
            ("INGEST_GRPC_ADDR", replica.ingest),
            ("INGEST_HTTP_ADDR", replica.ingest_http),
        ] {
            command.env(format!("POSTRIDER_{name}"), address.to_string());
        }
        command.env("TOKIO_WORKER_THREADS", "1");
        command.envs(replica.own_settings.iter().map(|(name, value)| (name, value)));
        replica.process =
            Some(ManagedProcess::spawn(replica.role, &mut command, &replica.log, Signal::KILL)?);
        Ok(())
    }

    /// Waits until a process says that it is ready; starts it again when it has ended.
    pub(crate) fn wait_ready(&mut self, at: usize) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !answers(self.replicas[at].ops, "/readyz") {
            self.revive(at)?;
            if Instant::now() >= deadline {
                let log = dev_servers::log_tail(&self.replicas[at].log, 20);
                bail!("{} is not ready; the end of its log:\n{log}", self.replicas[at].name);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Starts a process again that has ended by itself, as an orchestrator does.
    pub(crate) fn revive(&mut self, at: usize) -> Result<bool> {
        let ended = match &mut self.replicas[at].process {
            Some(process) => process.ended()?.is_some(),
            None => false,
        };
        if ended {
            self.replicas[at].process = None;
            self.launch(at)?;
        }
        Ok(ended)
    }

    pub(crate) fn signal(&self, at: usize, signal: Signal) {
        if let Some(process) = &self.replicas[at].process {
            send(process.pid(), signal);
        }
    }

    /// From their next start on, processes have one stream of deliveries more.
    pub(crate) fn add_shard(&mut self) {
        self.shards += 1;
        self.plan.settings.retain(|(name, _)| *name != SHARDS);
        self.plan.settings.push((SHARDS, self.shards.to_string()));
    }

    /// From its next start on, a process is of the other release. Whether there is one.
    pub(crate) fn change_release(&mut self, at: usize) -> bool {
        self.replicas[at].is_old = !self.replicas[at].is_old;
        self.has_two_releases()
    }

    /// Upgrades everything, as operators are told to: the schema, then one process after the
    /// other.
    pub(crate) fn upgrade(&mut self) -> Result<()> {
        self.migrate(&self.plan.binary)?;
        for role in UPGRADED {
            for at in self.of(role) {
                self.replicas[at].is_old = false;
                self.stop(at);
                self.launch(at)?;
                self.wait_ready(at)?;
            }
        }
        Ok(())
    }

    pub(crate) fn has_two_releases(&self) -> bool {
        self.plan.old_binary.is_some()
    }

    /// Ends a process on the spot.
    pub(crate) fn kill9(&mut self, at: usize) {
        if let Some(process) = self.replicas[at].process.take() {
            // One that is frozen ends as well.
            let _ = process.stop(Signal::KILL, STOP_WITHIN);
        }
    }

    /// Ends a process as an orchestrator does.
    pub(crate) fn stop(&mut self, at: usize) {
        if let Some(process) = self.replicas[at].process.take() {
            let _ = process.stop(Signal::TERM, STOP_WITHIN);
        }
    }

    pub(crate) fn is_down(&self, at: usize) -> bool {
        self.replicas[at].process.is_none()
    }

    pub(crate) fn of(&self, role: &str) -> Vec<usize> {
        (0..self.replicas.len()).filter(|at| self.replicas[*at].role == role).collect()
    }

    /// Commands of `admin`, at the first of `settings-api`.
    pub(crate) fn admin(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(&self.plan.binary);
        let api = self.of("settings-api")[0];
        command.env("POSTRIDER_ADMIN_ADDR", self.replicas[api].admin.to_string());
        let output = command.arg("admin").args(arguments).output()?;
        if !output.status.success() {
            bail!("admin {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) fn query(&self, statement: &str) -> Result<String> {
        self.postgres.tools().query(&self.database, statement)
    }

    /// The product with the plan's settings, and with nothing of ours.
    fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        for name in environment::names_with_prefix("POSTRIDER_") {
            command.env_remove(name);
        }
        command.env_remove("FAILPOINTS").env_remove("MUTANT");
        let settings = self.plan.settings.iter();
        command.envs(settings.map(|(name, value)| (format!("POSTRIDER_{name}"), value)));
        if self.plan.old_binary.as_deref() == Some(binary) {
            for name in NEWER_SETTINGS {
                command.env_remove(format!("POSTRIDER_{name}"));
            }
        }
        command.env("POSTRIDER_NATS_REPLICAS", self.plan.brokers.to_string());
        command.envs(self.plan.mutant.iter().map(|mutant| ("MUTANT", mutant)));
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for at in 0..self.replicas.len() {
            self.signal(at, Signal::CONT);
        }
        for node in self.brokers.nodes() {
            node.pid().inspect(|pid| send(*pid, Signal::CONT));
        }
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended in this moment.
        let _ = kill_process(pid, signal);
    }
}
