//! The platform as it is deployed, on one machine: three brokers, a database server,
//! and several of every role, each a process with ports of its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;

use crate::{ManagedProcess, NatsCluster, Postgres, PostgresOptions, Scratch, environment, ports};

/// The roles that work on one event after the other, in the order of their start.
pub const ROLES: [&str; 5] = ["settings-api", "ingest", "fanout", "dispatcher", "archive"];

/// A role waits for elections of the brokers.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Longer than the product lets its deliveries in flight finish.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// One process of a role. It keeps its ports when it is started again.
#[derive(Debug)]
pub struct Replica {
    role: &'static str,
    /// None while it is down.
    process: Option<ManagedProcess>,
    log: PathBuf,
    /// Health and metrics.
    pub ops: SocketAddr,
    /// The customers' APIs, where it is `settings-api`.
    pub http: SocketAddr,
    /// gRPC `Admin`, where it is `settings-api`.
    pub admin: SocketAddr,
    /// gRPC `Ingest`, where it is `ingest`.
    pub ingest: SocketAddr,
    ingest_http: SocketAddr,
}

impl Replica {
    /// What it is.
    pub fn role(&self) -> &'static str {
        self.role
    }

    /// What it has logged, in all of its runs.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The process id; `None` while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ManagedProcess::pid)
    }

    /// The addresses that its role listens on, besides the one of its metrics.
    pub fn doors(&self) -> Vec<(&'static str, SocketAddr)> {
        match self.role {
            "settings-api" => vec![("HTTP", self.http), ("gRPC", self.admin)],
            "ingest" => vec![("gRPC", self.ingest), ("HTTP", self.ingest_http)],
            _ => Vec::new(),
        }
    }
}

/// Everything. Dropping it ends it, the roles before their servers.
#[derive(Debug)]
pub struct Rig {
    replicas: Vec<Replica>,
    cluster: NatsCluster,
    postgres: Postgres,
    database_url: String,
    binary: PathBuf,
    settings: Vec<(String, String)>,
    // Last, because fields are dropped in order: the servers' files go after them.
    scratch: Scratch,
}

impl Rig {
    /// Starts the servers and migrates the database. `settings` are without their
    /// prefix `POSTRIDER_`; the servers' addresses are added to them.
    ///
    /// # Errors
    ///
    /// When a server does not start, or the binary cannot migrate.
    pub fn start(binary: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let scratch = Scratch::new()?;
        let cluster = NatsCluster::start(scratch.path())?;
        let postgres = Postgres::start(PostgresOptions::new(scratch.path().join("postgres")))?;
        let database_url = postgres.create_database("postrider")?;
        let nats_url = cluster.url();
        let servers =
            [("NATS_URL", &*nats_url), ("NATS_REPLICAS", "3"), ("DATABASE_URL", &*database_url)];
        let all = servers.iter().chain(settings);
        let settings = all.map(|(name, value)| (format!("POSTRIDER_{name}"), (*value).to_owned()));
        let rig = Self {
            replicas: Vec::new(),
            settings: settings.collect(),
            cluster,
            postgres,
            database_url,
            binary: binary.to_owned(),
            scratch,
        };
        rig.run(&["migrate"])?;
        Ok(rig)
    }

    /// Starts one more process of a role, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// When it ends, or is not ready in time.
    pub fn add(&mut self, role: &'static str) -> Result<&Replica> {
        let port =
            || Ok::<_, anyhow::Error>(SocketAddr::from(([127, 0, 0, 1], ports::free_port()?)));
        let number = self.of(role).count();
        self.replicas.push(Replica {
            role,
            process: None,
            log: self.scratch.path().join(format!("{role}-{number}.log")),
            ops: port()?,
            http: port()?,
            admin: port()?,
            ingest: port()?,
            ingest_http: port()?,
        });
        let at = self.replicas.len() - 1;
        self.launch(at)?;
        Ok(&self.replicas[at])
    }

    /// All processes of all roles.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// The processes of a role.
    pub fn of(&self, role: &str) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(move |replica| replica.role == role)
    }

    /// Ends a process as an orchestrator does, by its number among all.
    ///
    /// # Errors
    ///
    /// When it had to be killed.
    pub fn stop(&mut self, number: usize) -> Result<()> {
        let process = self.replicas[number].process.take();
        process.map_or(Ok(()), |process| process.stop(Signal::TERM, STOP_WITHIN))
    }

    /// Ends a process as an orchestrator does, starts it again, and waits until it is
    /// ready.
    ///
    /// # Errors
    ///
    /// As [`Rig::stop`] and [`Rig::add`].
    pub fn restart(&mut self, number: usize) -> Result<()> {
        self.stop(number)?;
        self.launch(number)
    }

    /// Runs the binary with these arguments to its end, and returns what it prints.
    /// Commands of `admin` go to the first of `settings-api`.
    ///
    /// # Errors
    ///
    /// When it exits with anything but 0; the message has what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command();
        if let Some(api) = self.of("settings-api").next() {
            command.env("POSTRIDER_ADMIN_ADDR", api.admin.to_string());
        }
        if let Some(ingest) = self.of("ingest").next() {
            command.env("POSTRIDER_INGEST_GRPC_ADDR", ingest.ingest.to_string());
        }
        let output = command.args(arguments).output().context("cannot run the product")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("postrider {}: {}\n{said}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The brokers.
    pub fn cluster(&self) -> &NatsCluster {
        &self.cluster
    }

    /// The brokers, to end one of them and start it again.
    pub fn cluster_mut(&mut self) -> &mut NatsCluster {
        &mut self.cluster
    }

    /// The process id of the database server; `None` while it is down.
    pub fn postgres_pid(&self) -> Option<u32> {
        self.postgres.pid()
    }

    /// Where logs and data are, for as long as it runs.
    pub fn directory(&self) -> &Path {
        self.scratch.path()
    }

    /// Where history and settings are.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Rows of the database as text, columns separated by `|`.
    ///
    /// # Errors
    ///
    /// When PostgreSQL refuses the statement.
    pub fn query(&self, statement: &str) -> Result<String> {
        self.postgres.tools().query(&self.database_url, statement)
    }

    /// Starts again what has ended by itself, as an orchestrator does. Returns what
    /// that was.
    ///
    /// # Errors
    ///
    /// When something does not come back.
    pub fn revive(&mut self) -> Result<Vec<String>> {
        let mut revived = Vec::new();
        for node in self.cluster.nodes_mut() {
            if !node.is_running() {
                revived.push(node.name());
                node.restart()?;
            }
        }
        if !self.postgres.is_running() {
            revived.push("PostgreSQL".to_owned());
            self.postgres.restart()?;
        }
        for number in 0..self.replicas.len() {
            let Replica { role, process, .. } = &mut self.replicas[number];
            let ended = process.as_mut().map(ManagedProcess::ended).transpose()?.flatten();
            if let Some(status) = ended {
                revived.push(format!("{role} ({status})"));
                *process = None;
                self.launch(number)?;
            }
        }
        Ok(revived)
    }

    fn launch(&mut self, number: usize) -> Result<()> {
        let mut command = self.command();
        let replica = &mut self.replicas[number];
        command.arg(replica.role);
        for (name, address) in [
            ("OPS_ADDR", replica.ops),
            ("HTTP_ADDR", replica.http),
            ("ADMIN_ADDR", replica.admin),
            ("INGEST_GRPC_ADDR", replica.ingest),
            ("INGEST_HTTP_ADDR", replica.ingest_http),
        ] {
            command.env(format!("POSTRIDER_{name}"), address.to_string());
        }
        let mut process =
            ManagedProcess::spawn(replica.role, &mut command, &replica.log, Signal::KILL)?;
        let ops = replica.ops;
        process.wait_ready(ops.port(), READY_WITHIN, |_| answers(ops, "/readyz"))?;
        replica.process = Some(process);
        Ok(())
    }

    /// The product with the rig's settings, and with nothing of ours.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        for name in environment::names_with_prefix("POSTRIDER_") {
            command.env_remove(name);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for replica in &self.replicas {
                let log = crate::log_tail(&replica.log, 20);
                eprintln!("{} on {}; the end of its log:\n{log}", replica.role, replica.ops);
            }
        }
    }
}

/// Whether a GET of this path is answered with 200.
pub fn answers(address: SocketAddr, path: &str) -> bool {
    let patience = Duration::from_secs(2);
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}
