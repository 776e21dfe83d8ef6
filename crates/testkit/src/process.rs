//! The product as a process: started, watched, ended gently or not.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dev_servers::{Scratch, environment, log_tail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::http;
use crate::wait::pause;

/// A running `postrider`, killed when dropped. When the test has failed by
/// then, the end of its log is printed.
#[derive(Debug)]
pub struct Postrider {
    child: Child,
    pid: u32,
    log: PathBuf,
    _scratch: Scratch,
}

impl Postrider {
    /// Starts the binary, which is `env!("CARGO_BIN_EXE_postrider")`, with
    /// these arguments and these variables. Of the caller's environment it gets
    /// nothing that begins with `POSTRIDER_`: a test decides all of that.
    ///
    /// # Panics
    ///
    /// When the process cannot be started.
    pub fn start<K, V>(
        binary: impl AsRef<Path>,
        arguments: &[&str],
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        match Self::try_start(binary.as_ref(), arguments, variables) {
            Ok(process) => process,
            Err(error) => panic!("cannot start postrider {}: {error:#}", arguments.join(" ")),
        }
    }

    fn try_start<K, V>(
        binary: &Path,
        arguments: &[&str],
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self>
    where
        K: AsRef<str>,
        V: AsRef<str>,
    {
        let scratch = Scratch::new()?;
        let log = scratch.path().join("postrider.log");
        let output = File::create(&log)?;
        let child = command(binary, arguments, variables)
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().context("it has no process id")?;
        Ok(Self { child, pid, log, _scratch: scratch })
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// All that it has logged so far, both outputs together.
    pub fn log(&self) -> String {
        log_tail(&self.log, usize::MAX)
    }

    /// Waits until `/readyz` on its ops address answers 200.
    ///
    /// # Panics
    ///
    /// When the process ends or the time passes before that; the message has
    /// the end of the log.
    pub async fn wait_ready(&mut self, ops: SocketAddr, within: Duration) {
        let url = format!("http://{ops}/readyz");
        let deadline = Instant::now() + within;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("postrider ended before it was ready: {status}{}", self.excerpt());
            }
            let answer = timeout(Duration::from_secs(2), http::get(&url).send()).await;
            if matches!(answer, Ok(Ok(answer)) if answer.status == 200) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "postrider is not ready after {within:?}{}",
                self.excerpt()
            );
            pause(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a crash would, and waits for its end.
    ///
    /// # Panics
    ///
    /// When it cannot be waited for.
    pub async fn kill9(&mut self) {
        // It may have crashed by itself, at a crash point, just before.
        let _ = self.child.start_kill();
        self.wait(Duration::from_secs(10)).await;
    }

    /// Asks it to end, with SIGTERM, and waits for its end.
    ///
    /// # Panics
    ///
    /// When it still runs after this time.
    pub async fn terminate(&mut self, within: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(within).await
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    ///
    /// When it still runs after this time; the message has the end of the log.
    pub async fn wait(&mut self, within: Duration) -> ExitStatus {
        match timeout(within, self.child.wait()).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => panic!("cannot wait for postrider: {error}"),
            Err(_) => panic!("postrider still runs after {within:?}{}", self.excerpt()),
        }
    }

    /// Stops it in its tracks, with everything still open, until [`Postrider::thaw`].
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Postrider::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    fn signal(&self, signal: Signal) {
        // The id is taken from the child, which forgets it once it is reaped,
        // so this never reaches a stranger.
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // A process that has just ended gets no signal and needs none.
            let _ = kill_process(pid, signal);
        }
    }

    fn excerpt(&self) -> String {
        format!("; the end of its log:\n{}", log_tail(&self.log, 40))
    }
}

impl Drop for Postrider {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("postrider (process {}){}", self.pid, self.excerpt());
        }
    }
}

/// Runs the binary to its end and returns what it printed, for commands such as
/// `migrate` and `admin`.
///
/// # Errors
///
/// When it exits with anything but 0; the message has what it printed.
pub async fn run<K, V>(
    binary: impl AsRef<Path>,
    arguments: &[&str],
    variables: impl IntoIterator<Item = (K, V)>,
) -> Result<String>
where
    K: AsRef<str>,
    V: AsRef<str>,
{
    let output = command(binary.as_ref(), arguments, variables).kill_on_drop(true).output().await?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "postrider {}: {}\n{printed}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(printed)
}

fn command<K, V>(
    binary: &Path,
    arguments: &[&str],
    variables: impl IntoIterator<Item = (K, V)>,
) -> Command
where
    K: AsRef<str>,
    V: AsRef<str>,
{
    let mut command = Command::new(binary);
    command.args(arguments).stdin(Stdio::null());
    for name in environment::names_with_prefix("POSTRIDER_") {
        command.env_remove(name);
    }
    for (name, value) in variables {
        command.env(name.as_ref(), value.as_ref());
    }
    command
}
