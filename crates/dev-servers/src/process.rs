//! A child process that is looked after: its log, its signals, its end.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How often a condition is looked at that no system call waits for.
pub(crate) const POLL: Duration = Duration::from_millis(10);

/// A running child process with its output in a log file. Dropping it ends it
/// the quick way, and a watchdog does when this process is killed.
#[derive(Debug)]
pub struct ManagedProcess {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// The log is appended to, so this run's part of it begins here.
    log_start: u64,
    quick: Signal,
    watchdog: Option<Watchdog>,
}

impl ManagedProcess {
    /// Starts the command with its output in `log`. `quick` is the signal that
    /// ends it fastest without leaving anything behind in the system.
    ///
    /// It gets a process group of its own, so that Ctrl-C in a terminal reaches
    /// us alone and everything is stopped in the right order.
    ///
    /// # Errors
    ///
    /// When the log cannot be written or the program cannot be run.
    pub fn spawn(
        name: &'static str,
        command: &mut Command,
        log: &Path,
        quick: Signal,
    ) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let log_start = output.metadata()?.len();
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let mut server =
            Self { name, child, log: log.to_owned(), log_start, quick, watchdog: None };
        server.watchdog = Some(Watchdog::stop_when_orphaned(server.pid(), quick)?);
        Ok(server)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    ///
    /// When the system does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// What this run has logged.
    pub(crate) fn log_text(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let start = usize::try_from(self.log_start).unwrap_or(0).min(bytes.len());
        String::from_utf8_lossy(&bytes[start..]).into_owned()
    }

    /// Waits until `ready` says so. `port` is only for the message.
    pub(crate) fn wait_ready(
        &mut self,
        port: u16,
        within: Duration,
        mut ready: impl FnMut(u32) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended at its start on port {port} ({status}); the end of {}:\n{}",
                    self.name,
                    self.log.display(),
                    log_tail(&self.log, 20)
                );
            }
            if ready(self.pid()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} is not ready on port {port} after {} s; the end of {}:\n{}",
                    self.name,
                    within.as_secs(),
                    self.log.display(),
                    log_tail(&self.log, 20)
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Whether this run could not have its port.
    pub(crate) fn lost_its_port(&self) -> bool {
        self.log_text().to_lowercase().contains("address already in use")
    }

    /// Ends it with this signal, and the hard way when it takes longer than `within`.
    ///
    /// # Errors
    ///
    /// When it had to be killed.
    pub fn stop(mut self, signal: Signal, within: Duration) -> Result<()> {
        self.end(signal, within)
    }

    /// Ends it as a crash would: no warning, nothing flushed.
    pub(crate) fn kill9(mut self) -> Result<()> {
        self.dismiss_watchdog();
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn end(&mut self, signal: Signal, within: Duration) -> Result<()> {
        // Before the child is reaped: afterwards its id may be somebody else's.
        self.dismiss_watchdog();
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, signal)?;
        }
        let deadline = Instant::now() + within;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} had not stopped after {} s and was killed", self.name, within.as_secs());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn dismiss_watchdog(&mut self) {
        if let Some(watchdog) = self.watchdog.take() {
            watchdog.dismiss();
        }
    }
}

impl Drop for ManagedProcess {
    fn drop(&mut self) {
        // Nobody is left to tell; `end` has already killed what would not stop.
        let _ = self.end(self.quick, Duration::from_secs(5));
    }
}

/// A shell that waits for this process to end, in whatever way, and then cleans up.
///
/// It reads from a pipe that only we hold, so even SIGKILL or a `static` that is
/// never dropped wakes it. Linux could tie a child's life to ours directly, but
/// that is tied to the thread which started the child, and test threads come and go.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    /// Never written to; its closing is the message.
    _pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Ends the process `pid` with this signal; with SIGKILL if it is still there five seconds later.
    fn stop_when_orphaned(pid: u32, signal: Signal) -> Result<Self> {
        const SCRIPT: &str = r#"
            cat > /dev/null
            kill "-$1" "$2" 2> /dev/null || exit 0
            tries=0
            while kill -0 "$2" 2> /dev/null && [ "$tries" -lt 50 ]; do
                sleep 0.1
                tries=$((tries + 1))
            done
            kill -KILL "$2" 2> /dev/null
        "#;
        let signal = signal.as_raw().to_string();
        Self::start(SCRIPT, &[signal.as_ref(), pid.to_string().as_ref()])
    }

    /// Removes a directory, again and again while a dying server still writes to it.
    pub(crate) fn remove_when_orphaned(dir: &Path) -> Result<Self> {
        const SCRIPT: &str = r#"
            cat > /dev/null
            tries=0
            while [ -e "$1" ] && [ "$tries" -lt 80 ]; do
                rm -rf -- "$1" 2> /dev/null
                sleep 0.1
                tries=$((tries + 1))
            done
        "#;
        Self::start(SCRIPT, &[dir.as_os_str()])
    }

    fn start(script: &str, arguments: &[&std::ffi::OsStr]) -> Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", script, "watchdog"])
            .args(arguments)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run sh")?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, _pipe: pipe })
    }

    /// Ends the watch without the clean-up.
    pub(crate) fn dismiss(mut self) {
        // A shell that is gone already has nothing left to do.
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// The last lines of a log, for a message about why something failed.
pub fn log_tail(log: &Path, lines: usize) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
