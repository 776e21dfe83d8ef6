//! NATS with JetStream, on loopback.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::ManagedProcess;
use crate::user::RunAs;
use crate::{fetch, pins, ports};

/// Recovering a million pending messages takes the server some six seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// When JetStream flushes what it has acknowledged to the disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NatsSync {
    /// The server's own default: every two minutes. A killed process loses
    /// nothing; a power cut would.
    Lazy,
    /// Before every acknowledgement.
    Always,
}

/// How to run NATS.
#[derive(Clone, Debug)]
pub struct NatsOptions {
    /// The port on 127.0.0.1; `None` picks a free one.
    pub port: Option<u16>,
    /// Holds the streams, the server's configuration and its log. Made when
    /// absent; what stands in it from an earlier run is served again.
    pub dir: PathBuf,
    /// When acknowledged messages reach the disk.
    pub sync: NatsSync,
    /// The largest message, headers included, in bytes.
    pub max_payload_bytes: u32,
    /// More of the server's configuration, such as users.
    pub more: String,
}

impl NatsOptions {
    /// A free port, lazy syncing and the server's usual limit of one megabyte.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            port: None,
            dir: dir.into(),
            sync: NatsSync::Lazy,
            max_payload_bytes: 1024 * 1024,
            more: String::new(),
        }
    }
}

/// A NATS server of ours. Dropping it ends it.
#[derive(Debug)]
pub struct Nats {
    binary: PathBuf,
    options: NatsOptions,
    run_as: RunAs,
    port: u16,
    process: Option<ManagedProcess>,
}

impl Nats {
    /// Fetches the server if need be, starts it, and returns when it takes clients.
    ///
    /// # Errors
    ///
    /// When it cannot be fetched, or ends or stays silent instead of coming up;
    /// the message then holds the end of its log.
    pub fn start(options: NatsOptions) -> Result<Self> {
        let binary = fetch(&pins::NATS)?.join("bin/nats-server");
        let run_as = RunAs::choose();
        run_as.own_dir(&options.dir)?;
        let mut nats = Self { binary, options, run_as, port: 0, process: None };
        nats.launch()?;
        Ok(nats)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port on 127.0.0.1, the same after every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server calls itself, the same after every restart.
    pub fn name(&self) -> String {
        name(self.port)
    }

    /// The process id; `None` while it is down.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(ManagedProcess::pid)
    }

    /// The server's log file.
    pub fn log(&self) -> PathBuf {
        self.options.dir.join("nats.log")
    }

    /// Ends it with SIGKILL. Does nothing when it is down.
    ///
    /// # Errors
    ///
    /// When the process cannot be waited for.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), ManagedProcess::kill9)
    }

    /// Ends it with SIGTERM and waits. Does nothing when it is down.
    ///
    /// # Errors
    ///
    /// When it had to be killed because it did not stop.
    pub fn stop(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |process| process.stop(Signal::TERM, STOP_WITHIN))
    }

    /// Starts it again, stopping it first when it runs: same port, same streams.
    ///
    /// # Errors
    ///
    /// As [`Nats::start`].
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }

    /// Whether it still runs; a server that ended by itself is noticed here.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| matches!(process.ended(), Ok(None)))
    }

    fn launch(&mut self) -> Result<()> {
        // After the first start the port is fixed: clients hold on to the address.
        let fixed = self.options.port.or((self.port != 0).then_some(self.port));
        // A free port may be gone by the time the server binds it.
        for _ in 0..5 {
            self.port = match fixed {
                Some(port) => port,
                None => ports::free_port()?,
            };
            let name = name(self.port);
            let config = self.write_config(&name)?;
            let mut command = Command::new(&self.binary);
            command.arg("--config").arg(config).current_dir(&self.options.dir);
            self.run_as.apply(&mut command);
            let mut process =
                ManagedProcess::spawn("NATS", &mut command, &self.log(), Signal::TERM)?;
            let port = self.port;
            match process.wait_ready(port, READY_WITHIN, |_| answers_as(&name, port)) {
                Ok(()) => {
                    self.process = Some(process);
                    return Ok(());
                }
                Err(_) if fixed.is_none() && process.lost_its_port() => {}
                Err(error) => return Err(error),
            }
        }
        self.port = 0;
        bail!("NATS found no free port in five tries");
    }

    fn write_config(&self, name: &str) -> Result<PathBuf> {
        let path = self.options.dir.join("nats.conf");
        let text = config(name, self.port, &self.options);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        self.run_as.give(&path)?;
        Ok(path)
    }
}

/// Nobody else's: two processes may pick the same port one after the other.
fn name(port: u16) -> String {
    format!("postrider-{}-{port}", std::process::id())
}

/// The store's limit is only a promise to streams, never an allocation; it is
/// set high so that what a stream reserves depends on the stream, not on how
/// full the developer's disk is.
fn config(name: &str, port: u16, options: &NatsOptions) -> String {
    let sync = match options.sync {
        // Without the quotes this would be two millions: of seconds.
        NatsSync::Lazy => "\"2m\"",
        NatsSync::Always => "always",
    };
    format!(
        "server_name: {name}\n\
         listen: \"127.0.0.1:{port}\"\n\
         max_payload: {max_payload}\n\
         jetstream {{\n  store_dir: {store}\n  max_file_store: 1PB\n  max_memory_store: 1GB\n  \
         sync_interval: {sync}\n}}\n{more}\n",
        more = options.more,
        max_payload = options.max_payload_bytes,
        store = quoted(&options.dir.join("streams")),
    )
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The server greets every client with a line that holds its name. Comparing
/// the name tells our server from one that took the port before it. It opens
/// the port only after JetStream has recovered its streams.
fn answers_as(name: &str, port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let patience = Duration::from_secs(1);
    let Ok(stream) = TcpStream::connect_timeout(&address, patience) else {
        return false;
    };
    let mut greeting = String::new();
    stream.set_read_timeout(Some(patience)).is_ok()
        && BufReader::new(stream).read_line(&mut greeting).is_ok()
        && greeting.starts_with("INFO ")
        && greeting.contains(&format!("\"server_name\":\"{name}\""))
        && greeting.contains("\"jetstream\":true")
}
